"""Measures how fast batches of Parquet files are made: 20 columns of floats and a target.

kerasfit's source is compared with pyarrow's own batches, which are not shuffled and not converted, and with a
matrix of floats made of each. Usage: KERAS_BACKEND=… python benchmarks/parquet.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from measure import BACKEND, interleave, peak_above_now, print_header, print_row, ratio, shorten, timed
from pyarrow import dataset, parquet, table

from kerasfit.sources import ArrowRows, ArrowSource

ROWS, COLUMNS, GROUP = shorten(2_000_000), 20, 100_000
SIZES = (32, 256, 4096)


def write(folder: Path) -> None:
    """Write four files of 64-bit floats."""
    random = np.random.default_rng(0)
    names = [f"x{column}" for column in range(COLUMNS)]
    for number in range(4):
        columns = {name: random.normal(size=ROWS // 4) for name in names}
        rows = table(columns | {"y": random.normal(size=ROWS // 4)})
        parquet.write_table(rows, folder / f"part-{number}.parquet", row_group_size=GROUP)


def by_pyarrow(folder: Path, size: int) -> None:
    for batch in dataset.dataset(folder).to_batches(batch_size=size):
        np.stack([column.to_numpy() for column in batch.columns[:COLUMNS]], axis=1).astype("float32")


def by_kerasfit(folder: Path, size: int, shuffle: bool = True) -> None:
    for _ in ArrowSource(ArrowRows(str(folder), "y"), batch_size=size, shuffle=shuffle):
        pass


def measure(folder: Path, size: int) -> None:
    jobs: dict[str, Callable[[], None]] = {
        "pyarrow": partial(by_pyarrow, folder, size),
        "in order": partial(by_kerasfit, folder, size, shuffle=False),
        "shuffled": partial(by_kerasfit, folder, size),
    }
    times = interleave({name: timed(job) for name, job in jobs.items()}, rounds=5, warm_up=1)
    rates = [f"{ROWS / np.median(seconds) / 1e6:.2f}" for seconds in times.values()]
    peak = peak_above_now(jobs["shuffled"])
    print_row(BACKEND, f"{size:,}", *rates, ratio(times["pyarrow"], times["shuffled"]), f"{peak / 1e6:,.0f}")


if __name__ == "__main__":
    rates = [f"{name}, million rows/s" for name in ("pyarrow", "in order", "shuffled")]
    print_header("backend", "batch size", *rates, "pyarrow / shuffled", "peak, MB")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        for size in SIZES:
            measure(Path(folder), size)
