"""Measures time and memory to convert a matrix of doubles in R's column-major order to row-major floats.

Usage: KERAS_BACKEND=… python benchmarks/wide.py [job]. With a job, only that job is run, and its peak memory
in addition to the matrix is printed in bytes.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from measure import (
    BACKEND,
    in_fresh_process,
    interleave,
    median,
    peak_above_now,
    print_header,
    print_row,
    ratio,
    shorten,
    timed,
)
from trainers import TRAINERS, fit_of
from works import build_mlp

from kerasfit.tensors import to_model_dtype

ROWS, COLUMNS = shorten(60_000), 784
FLOAT32_COPY = ROWS * COLUMNS * 4  # bytes
CORES = len(os.sched_getaffinity(0))


def matrix_of_r() -> np.ndarray:
    """A matrix as R stores it: doubles in column-major order."""
    matrix = np.empty((ROWS, COLUMNS), order="F")
    np.random.default_rng(0).random(out=matrix.T)
    return matrix


def copy_on_all_cores(matrix: np.ndarray) -> np.ndarray:
    """Copy a matrix without conversion; each core copies one contiguous part."""
    copy = np.empty_like(matrix)
    with ThreadPoolExecutor(CORES) as threads:
        list(threads.map(np.copyto, np.array_split(copy.T, CORES), np.array_split(matrix.T, CORES)))
    return copy


def peak(job: str) -> int:
    """The peak memory in bytes of the conversion, or of a short epoch by a trainer with compiled steps."""
    matrix = matrix_of_r()
    if job == "conversion":
        to_model_dtype(np.asfortranarray(matrix[:COLUMNS]))
        return peak_above_now(lambda: to_model_dtype(matrix))
    model, labels = build_mlp(), np.zeros(ROWS, np.int32)

    def train(rows: int) -> None:
        fit_of(job)(model, matrix[:rows], labels[:rows], batch_size=128, steps_per_epoch=5, verbose=0)

    train(5 * 128)
    return peak_above_now(lambda: train(ROWS))


def measure() -> None:
    matrix = matrix_of_r()
    runs = {
        "kerasfit": lambda: to_model_dtype(matrix),
        "copy": lambda: copy_on_all_cores(matrix),
        "numpy": lambda: matrix.astype("float32", order="C"),
    }
    times = interleave({label: timed(run) for label, run in runs.items()}, rounds=7, warm_up=1)
    peaks = [in_fresh_process("wide.py", job)["peak"] / FLOAT32_COPY for job in ("conversion", *TRAINERS)]
    print_row(
        BACKEND,
        *(median(times[label], 1e-3) for label in runs),
        ratio(times["kerasfit"], times["copy"]),
        *(f"{peak:.2f}" for peak in peaks),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"peak": peak(sys.argv[1])}))
    else:
        print_header(
            "backend",
            "kerasfit, ms",
            "copy, ms",
            "numpy, ms",
            "kerasfit / copy",
            "conversion, copies",
            "Keras's fit(), copies",
            "kerasfit's fit(), copies",
        )
        measure()
