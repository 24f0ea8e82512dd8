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
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")


def environment(backend: str, **more: str) -> dict[str, str]:
    return os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **more}


SOURCES = ("arrays", "frame", "dataset", "pydataset", "r_generator", "python_generator")


def killed(backend: str, count: int) -> str:
    """R sessions that train, killed at random times, until runs end: each as one that was not killed."""
    chance = random.Random(1)
    kills = ends = 0
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            source = SOURCES[number % len(SOURCES)]
            expected, seconds = trained(backend, source, "")
            for _ in range(KILLS_OF_A_RUN):
                folder = Path(place) / str(number) / "state"
                folder.parent.mkdir(exist_ok=True)
                answer, _ = trained(backend, source, str(folder), kill_after=seconds * chance.uniform(0, 1))
                kills += answer is None
                ends += answer is not None
                if answer not in (None, expected):
                    return f"FAILED {source}, after {kills} kills: {answer} is not {expected}"
                if answer is not None:
                    break
            else:
                answer, _ = trained(backend, source, str(folder))
                ends += 1
                if answer != expected:
                    return f"FAILED {source}, after {kills} kills: {answer} is not {expected}"
    return f"{kills} sessions killed; all {ends} that ended were as one that ran through"


KILLS_OF_A_RUN = 5


def trained(
    backend: str, source: str, folder: str, kill_after: float | None = None
) -> tuple[str | None, float]:
    """What a session prints at its end, and for how long it trained; None if it was killed before its end."""
    session = subprocess.Popen(
        ["Rscript", str(HERE / "killed.R"), source, folder],
        env=environment(backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while session.stdout.readline() not in ("training\n", ""):
        pass
    began = time.monotonic()
    try:
        printed, errors = session.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        session.kill()
        session.wait()
        return None, time.monotonic() - began
    last = printed.strip().splitlines()[-1:]
    return last[0] if session.returncode == 0 and last else f"{printed}{errors}", time.monotonic() - began


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
    "kills": (killed, 7),
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
