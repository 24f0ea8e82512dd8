"""Measures a warm training step: Keras's fit(), kerasfit's fit() and the limits, interleaved in one process.

Usage: KERAS_BACKEND=… python benchmarks/warm.py [work …]
"""

from __future__ import annotations

import sys

import keras
import numpy as np
from limits import limits
from measure import (
    BACKEND,
    NONE,
    in_fresh_process,
    interleave,
    median,
    print_header,
    print_row,
    ratio,
    timed,
)
from trainers import TRAINERS, warm_run
from works import WORKS


def measure(name: str, *, rounds: int = 7, peaks: bool = True) -> None:
    keras.utils.set_random_seed(1)
    work = WORKS[name]()
    runs = {trainer: warm_run(trainer, WORKS[name]()) for trainer in TRAINERS} | limits(work)
    times = interleave({label: timed(run) for label, run in runs.items()}, rounds=rounds, warm_up=2)
    for label in runs:
        times[label] /= work.steps
    best = min(runs.keys() - set(TRAINERS), key=lambda label: np.median(times[label]), default=None)
    microseconds = {label: median(values, 1e-6) for label, values in times.items()}
    memory = [NONE, NONE]
    if peaks:
        measured = [in_fresh_process("trainers.py", trainer, name, work.epochs) for trainer in TRAINERS]
        memory = [f"{process['peak'] / 1e6:,.0f}" for process in measured]
    print_row(
        BACKEND,
        f"`{name}`",
        *(microseconds[trainer] for trainer in TRAINERS),
        f"{microseconds[best]} ({best})" if best else NONE,
        ratio(times["Keras"], times["kerasfit"]),
        ratio(times["kerasfit"], times[best]) if best else NONE,
        *memory,
    )


def header() -> None:
    print_header(
        "backend",
        "work",
        "Keras, µs",
        "kerasfit, µs",
        "limit, µs",
        "Keras / kerasfit",
        "kerasfit / limit",
        "Keras, peak MB",
        "kerasfit, peak MB",
    )


if __name__ == "__main__":
    header()
    for name in sys.argv[1:] or WORKS:
        measure(name)
