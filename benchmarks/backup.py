"""Measures the cost of checkpoints: `mlp32` with and without a checkpoint after each epoch.

Usage: KERAS_BACKEND=… python benchmarks/backup.py
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import keras
from measure import BACKEND, interleave, median, print_header, print_row, ratio, shorten, timed
from works import mlp32

import kerasfit

EPOCHS = shorten(10 if BACKEND == "torch" else 30)  # some seconds


def main() -> None:
    keras.utils.set_random_seed(1)
    work = mlp32()

    def train(folder: Path | None) -> None:
        callbacks = [kerasfit.BackupAndRestore(folder)] if folder else []
        kerasfit.fit(
            work.model,
            work.x,
            work.y,
            batch_size=work.batch_size,
            epochs=EPOCHS,
            callbacks=callbacks,
            verbose=0,
        )

    with tempfile.TemporaryDirectory() as folder:
        runs = {
            "with": timed(partial(train, Path(folder) / "state")),
            "without": timed(partial(train, None)),
        }
        times = interleave(runs, rounds=9, warm_up=1)
    print_header("backend", "work", "without, ms for an epoch", "with, ms for an epoch", "with / without")
    epochs = [median(times[label], EPOCHS * 1e-3, digits=1) for label in ("without", "with")]
    print_row(BACKEND, "`mlp32`", *epochs, ratio(times["with"], times["without"]))


if __name__ == "__main__":
    main()
