"""Time of a training step, warm: kerasfit, Keras's own fit() and the limits, interleaved in one process.

Usage: KERAS_BACKEND=… python benchmarks/warm.py [work …]. Prints rows of the table in RESULTS.md: the median over
pairs of Keras's time divided by ours, and of ours by the best limit's, with the quartiles.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import keras
import numpy as np
from limits import limits
from works import WORKS

import kerasfit

PAIRS = 7


def measure(name: str) -> str:
    """One row: microseconds per step of each, and the ratios."""
    keras.utils.set_random_seed(1)
    theirs, ours = WORKS[name](), WORKS[name]()
    arguments = {"batch_size": ours.batch_size, "epochs": ours.epochs, "verbose": 0}
    runs: dict[str, Callable] = {
        "Keras": lambda: theirs.model.fit(theirs.x, theirs.y, **arguments),
        "kerasfit": lambda: kerasfit.fit(ours.model, ours.x, ours.y, **arguments),
        **limits(WORKS[name]()),
    }
    for run in runs.values():
        run()
        run()
    times = {label: [] for label in runs}
    for _ in range(PAIRS):
        for label, run in runs.items():
            began = time.perf_counter()
            run()
            times[label].append((time.perf_counter() - began) / ours.steps * 1e6)
    medians = {label: np.median(values) for label, values in times.items()}
    best = min((label for label in runs if label not in ("Keras", "kerasfit")), key=medians.get, default=None)
    cells = [
        keras.backend.backend(),
        f"`{name}`",
        f"{medians['Keras']:.0f}",
        f"{medians['kerasfit']:.0f}",
        f"{medians[best]:.0f} ({best})" if best else "–",
        ratio(times["Keras"], times["kerasfit"]),
        ratio(times["kerasfit"], times[best]) if best else "–",
    ]
    return "| " + " | ".join(cells) + " |"


def ratio(a: list[float], b: list[float]) -> str:
    low, middle, high = np.quantile(np.array(a) / np.array(b), [0.25, 0.5, 0.75])
    return f"**{middle:.2f}** ({low:.2f}–{high:.2f})"


if __name__ == "__main__":
    for name in sys.argv[1:] or WORKS:
        print(measure(name), flush=True)
