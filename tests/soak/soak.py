"""What kerasfit survives, as `make soak` tries: kills, interrupts, many calls, a zoo of models and data.

The short versions of these are in the tests.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")


def environment(backend: str, **more: str) -> dict[str, str]:
    return os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **more}


def killed(backend: str, count: int) -> str:
    """Processes that train, killed at random times, until runs end: each as one that was not killed."""
    tests = [f"{HERE.parent}/python/test_backup.py", "-k", "killed", "-s"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", *tests]
    answer = subprocess.run(
        command,
        env=environment(backend, KERASFIT_SOAK=str(count)),
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in answer.stdout.splitlines() if "processes killed" in line]
    return said[0] if answer.returncode == 0 and said else f"FAILED\n{answer.stdout}{answer.stderr}"


def interrupted(backend: str, count: int) -> str:
    """An R session whose training is interrupted again and again."""
    session = subprocess.Popen(
        ["Rscript", str(HERE / "interrupts.R"), str(count)],
        env=environment(backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    chance, whole, lines = random.Random(1), 0, []
    for line in session.stdout:
        lines.append(line)
        if line == "ready\n":
            time.sleep(chance.uniform(0, 2))
            session.send_signal(signal.SIGINT)
        whole += line.endswith("whole\n")
    alive = lines[-1:] == ["alive\n"] and session.wait() == 0
    said = f"{count} interrupts: {whole} models whole, session {'alive' if alive else 'DEAD'}"
    return said if whole == count and alive else f"FAILED {said}\n{''.join(lines)}{session.stderr.read()}"


def repeated(backend: str, count: int) -> str:
    """Calls of fit() in one R session."""
    command = ["Rscript", str(HERE / "leaks.R"), str(count), str(min(100, count // 2))]
    answer = subprocess.run(command, env=environment(backend), capture_output=True, text=True, check=False)
    last = answer.stdout.splitlines()[-1:]
    return last[0] if answer.returncode == 0 else f"FAILED\n{answer.stdout}{answer.stderr}"


def compared(backend: str, count: int) -> str:
    """So many per cent of the zoo, trained by both fit()s, and stopped and resumed."""
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-n", "auto", str(HERE / "as_keras.py")],
        env=environment(backend, KERASFIT_SOAK=str(count)),
        capture_output=True,
        text=True,
        check=False,
    )
    last = answer.stdout.strip().splitlines()[-1:]
    return last[0] if answer.returncode == 0 and last else f"FAILED\n{answer.stdout}{answer.stderr}"


TRIALS = {
    "kills": (killed, 34),
    "interrupts": (interrupted, 67),
    "calls": (repeated, 1000),
    "zoo": (compared, 100),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", nargs="*", default=list(TRIALS), help=", ".join(TRIALS))
    parser.add_argument("--backends", nargs="*", default=BACKENDS)
    parser.add_argument("--share", type=float, default=1.0, help="of the full counts")
    chosen = parser.parse_args()
    print("| trial | backend | survived | minutes |\n| --- | --- | --- | --- |", flush=True)
    failed = False
    for trial in chosen.trials:
        function, count = TRIALS[trial]
        for backend in chosen.backends:
            began = time.monotonic()
            said = function(backend, max(1, round(count * chosen.share)))
            failed |= said.startswith("FAILED")
            print(f"| {trial} | {backend} | {said} | {(time.monotonic() - began) / 60:.1f} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
