"""Measures ``predict()`` of few rows, as a service calls it: Keras's and kerasfit's, and kerasfit's from R.

The models are built and compiled, and have predicted each number of rows before.
Usage: KERAS_BACKEND=… python benchmarks/predict.py
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from measure import BACKEND, HERE, interleave, print_header, print_row, ratio, shorten, timed
from models import tabular

import kerasfit  # before Keras, which it loads in its own way

BLOCKS = 10  # of calls, interleaved
SIZES = {"one row": [1], "1 to 40 rows, changing": [1, 7, 32, 3, 40, 12, 2, 25]}


def milliseconds(of_calls: Sequence[float]) -> list[str]:
    """Format the median and the 99th percentile of durations in seconds."""
    return [f"{value * 1000:.2f}" for value in np.quantile(of_calls, [0.5, 0.99])]


def measure(name: str, sizes: list[int]) -> None:
    model = tabular()
    random = np.random.default_rng(0)
    inputs = [random.normal(size=(size, 10)).astype("float32") for size in sizes]
    durations: dict[str, list[float]] = {"Keras": [], "kerasfit": []}

    def block(trainer: str, predict: Callable, calls: int) -> float:
        """Call a trainer often, keep the durations, and return their median."""
        taken = [timed(partial(predict, inputs[call % len(inputs)], verbose=0))() for call in range(calls)]
        durations[trainer] += taken
        return float(np.median(taken))

    predicts = {"Keras": model.predict, "kerasfit": partial(kerasfit.predict, model)}
    for predict in predicts.values():
        for _ in range(20):
            for x in inputs:
                predict(x, verbose=0)
    calls = {"Keras": shorten(100), "kerasfit": shorten(300)}  # Keras takes 100 ms with TensorFlow
    blocks = interleave({t: partial(block, t, p, calls[t]) for t, p in predicts.items()}, rounds=BLOCKS)
    in_r = subprocess.run(
        ["Rscript", HERE / "predict.R", *map(str, sizes)], stdout=subprocess.PIPE, text=True, check=True
    )
    print_row(
        BACKEND,
        name,
        *milliseconds(durations["Keras"]),
        *milliseconds(durations["kerasfit"]),
        ratio(blocks["Keras"], blocks["kerasfit"]),
        *milliseconds(json.loads(in_r.stdout.splitlines()[-1])),
    )


if __name__ == "__main__":
    columns = [
        f"{whose}, {part}, ms" for whose in ("Keras", "kerasfit", "from R") for part in ("median", "p99")
    ]
    print_header("backend", "calls", *columns[:4], "Keras / kerasfit", *columns[4:])
    for name, sizes in SIZES.items():
        measure(name, sizes)
