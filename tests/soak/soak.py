"""Soak tests, run by `make soak`: kills, interrupts, many calls, and a zoo of models and data.

The test suite has short versions of them.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")


def environment(backend: str, **more: str) -> dict[str, str]:
    return os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **more}


SOURCES = ("arrays", "frame", "dataset", "pydataset", "r_generator", "python_generator")


def killed(backend: str, count: int) -> str:
    """Kill training R sessions at random times until runs end: each must end like one that was not killed."""
    chance = random.Random(1)
    kills = ends = 0
    undisturbed: dict[str, tuple[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            source = SOURCES[number % len(SOURCES)]
            if source not in undisturbed:
                undisturbed[source] = trained(backend, source, "")
            expected, seconds = undisturbed[source]
            folder = Path(place) / str(number) / "state"
            folder.parent.mkdir()
            for until in [*(seconds * chance.uniform(0, 1) for _ in range(KILLS_OF_A_RUN)), None]:
                answer, _ = trained(backend, source, str(folder), until)
                kills += answer is None
                if answer is not None:
                    break
            if answer != expected:
                return f"FAILED {source}, after {kills} kills: {answer} is not {expected}"
            ends += 1
            print(f"{source}: {kills} kills, {ends} ends", file=sys.stderr, flush=True)
    return f"{kills} sessions killed; all {ends} that ended were as one that ran through"


KILLS_OF_A_RUN = 5


def trained(
    backend: str, source: str, folder: str, kill_after: float | None = None
) -> tuple[str | None, float]:
    """Return the final output and the training time of a session; None if it was killed before its end."""
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
    """Interrupt training in an R session again and again."""
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


class InteractiveR:
    """R in a terminal, with a way to know when a command has ended."""

    def __init__(self, backend: str):
        main, side = pty.openpty()
        self.process = subprocess.Popen(
            ["R", "--no-save", "--no-restore", "--quiet"],
            stdin=side,
            stdout=side,
            stderr=side,
            env=environment(backend, TERM="dumb"),
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
        )
        os.close(side)
        self.main, self.output, self.commands = main, "", 0

    def send(self, text: str) -> None:
        os.write(self.main, text.encode())

    def read(self, seconds: float) -> None:
        """Read the output that arrives within some seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.main], [], [], left)[0]:
                self.output += os.read(self.main, 65536).decode(errors="replace").replace("\r", "")

    def wait_for(self, text: str, seconds: float = 120) -> str:
        """Wait for a text and return the output before it."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"R has not said {text!r}:\n{self.output[-3000:]}")
            self.read(0.02)
        before, self.output = self.output.split(text, 1)
        return before

    def value_of(self, code: str) -> str:
        """Return the string value of a call, once R is ready for it."""
        self.commands += 1
        mark = f"VALUE{self.commands}"
        # split, so that the terminal's echo does not match
        self.send(f"cat('', '{mark[0]}', '{mark[1:]} ', {code}, ' END\\n', sep = '')\n")
        self.wait_for(f"{mark} ")
        return self.wait_for(" END")


def stormed(backend: str, count: int) -> str:
    """Press Ctrl-C several times in an interactive R session while it trains."""
    session, chance, wrong = InteractiveR(backend), random.Random(count), []
    try:
        session.send(f"source('{HERE / 'storms.R'}', echo = FALSE)\n")
        expected = session.value_of("plain()")
        for number in range(count):
            session.send(f"storm({number})\n")
            session.wait_for("BEGUN\n")
            session.read(chance.choice([0.0, 0.01, 0.3, 1.0]) * chance.random())
            for _ in range(chance.choice([1, 1, 2, 3, 6, 12])):
                session.send("\x03")
                session.read(chance.choice([0.001, 0.01, 0.1, 0.5]) * chance.random())
            got = session.value_of("plain()")
            if got != expected:
                wrong.append(f"storm {number}: {got} instead of {expected}")
    except (RuntimeError, OSError) as error:
        wrong.append(str(error))
    finally:
        session.process.kill()
    said = f"{count} storms: {len(wrong)} wrong"
    return f"FAILED {said}\n" + "\n".join(wrong) if wrong else said


def repeated(backend: str, count: int, calls_of_a_model: int = 50) -> str:
    """Call fit() many times in one R session."""
    numbers = count, min(100, count // 2), calls_of_a_model
    command = ["Rscript", str(HERE / "leaks.R"), *map(str, numbers)]
    answer = subprocess.run(command, env=environment(backend), capture_output=True, text=True, check=False)
    last = answer.stdout.splitlines()[-1:]
    return last[0] if answer.returncode == 0 else f"FAILED\n{answer.stdout}{answer.stderr}"


def compared(backend: str, count: int) -> str:
    """Train some per cent of the zoo with both fit()s, and stop and resume it."""
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
    "storms": (stormed, 67),
    "calls": (repeated, 1000),
    "models": (partial(repeated, calls_of_a_model=1), 1000),
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
