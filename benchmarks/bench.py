"""Runs the benchmarks, one process for each table and backend, and writes their tables to RESULTS.md.

Usage: python benchmarks/bench.py [table, backend or work …], by default all of them; or ``make bench
ONLY="warm cnn" BACKENDS="jax"``. A work is a model with its data (see works.py). Rows in RESULTS.md of other
tables, backends and works are kept, and so is all text outside the tables' markers. A quick trial (see
measure.py) writes to build/bench-trial.md instead.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from os import environ, sched_getaffinity
from pathlib import Path
from platform import python_version
from typing import NamedTuple

from measure import HERE, QUICK

RESULTS = HERE.parent / "build" / "bench-trial.md" if QUICK else HERE / "RESULTS.md"
TITLE = "# Results\n\nThe tables are written by `make bench`; the text around them is not.\n"
BACKENDS = ("tensorflow", "jax", "torch")
WORKS = ("tab", "mlp32", "mlp128", "cnn", "lstm")  # as in works.py, which cannot be imported without Keras
BY_WORK = ("warm", "cold")  # tables with a row for each work


class Benchmark(NamedTuple):
    script: str
    title: str
    caption: str


BENCHMARKS = {
    "warm": Benchmark(
        "warm.py",
        "Training steps, warm",
        "Microseconds for each step, medians of 7 interleaved rounds; ratios are medians over rounds, with "
        "quartiles. The limit is the fastest loop in `limits.py`. Peaks are the peak memory of a process "
        "that runs only this trainer.",
    ),
    "kinds": Benchmark(
        "kinds.py",
        "Other kinds of models, warm",
        "Microseconds for each step of 32 samples, medians of 7 interleaved rounds of 2 epochs. Each model "
        "has layers of one kind, of a size that suits a laptop, and a last layer of one unit.",
    ),
    "kernels": Benchmark(
        "kernels.py",
        "Convolutions alone, warm",
        "Milliseconds for the value and both gradients of one convolution compiled by XLA: Keras's "
        "implementation and kerasfit's. Medians of 31 interleaved rounds.",
    ),
    "cold": Benchmark(
        "cold.py",
        "Whole jobs in fresh processes",
        "Seconds from the end of the imports until `fit()` returns: the model is built, compiled and "
        "trained. Alternating processes, medians of 5 pairs for many epochs and of 3 pairs for one epoch.",
    ),
    "models": Benchmark(
        "models.py",
        "A new model each time",
        "Seconds of a whole job without the imports: a model is built, trained with validation data and used "
        "for predictions. The first job is that of a fresh process: medians of 5 pairs. Later jobs follow two"
        " others with models of the same kind in one process: medians of 9 interleaved rounds. Of jobs longer"
        " than 10 seconds, one job precedes 3 rounds.",
    ),
    "predict": Benchmark(
        "predict.py",
        "Predictions for few rows",
        "Milliseconds for each call of `predict()` with a small dense network: 1000 calls of Keras, 3000 of "
        "kerasfit, interleaved in blocks; and 3000 calls of kerasfit's `predict()` in R. Ratios are those of "
        "the blocks' medians.",
    ),
    "start": Benchmark(
        "start.py",
        "A script in a fresh R session",
        "Seconds of a whole `Rscript`: the package is loaded, a model is trained on iris for 30 epochs, and "
        "used for predictions. Medians of 5 interleaved processes. keras3 is measured if it is installed.",
    ),
    "wide": Benchmark(
        "wide.py",
        "From R's layout to the model's",
        "Conversion of a matrix of 60 000 by 784 doubles in column-major order to floats in row-major order, "
        "compared with a copy without conversion on all cores and with numpy's `astype()`. Milliseconds, "
        "medians of 7 interleaved rounds. Then the peak memory in addition to the matrix, in copies of it as "
        "floats (188 MB): of the conversion, and of an epoch of 5 steps, after an epoch that compiles them.",
    ),
    "parquet": Benchmark(
        "parquet.py",
        "Batches of Parquet files",
        "Two million rows of 20 columns and a target in four files of 64-bit floats. pyarrow makes batches "
        "in order and converts each to a matrix of floats; kerasfit does so for the model, in order and "
        "shuffled. Medians of 5 interleaved passes. The peak is that of a shuffled pass.",
    ),
    "rgen": Benchmark(
        "rgen.R",
        "Batches from an R function",
        "Milliseconds for each step: of the R function alone; of training alone, by kerasfit, on an existing "
        "batch; and of both, by Keras's `fit()` with `reticulate::py_iterator()` and by kerasfit's `fit()`. "
        "Medians of 5 interleaved rounds of 100 steps. All use the same cores.",
    ),
    "rows": Benchmark(
        "rows.py",
        "Epochs of `tab` by number of rows",
        "Milliseconds for each epoch, warm, medians of 5 interleaved rounds.",
    ),
    "backup": Benchmark(
        "backup.py",
        "Checkpoints",
        "Milliseconds for each epoch of `mlp32`, with and without a checkpoint after each epoch. Medians of "
        "9 interleaved rounds of 30 epochs, or of 10 epochs with torch.",
    ),
    "watching": Benchmark(
        "watching.R",
        "Showing progress",
        "Milliseconds for each epoch of `tab`, from R: without output, with the progress bar and lines of "
        "`verbose = 1`, and with the live page, which a client reads. Medians of 15 interleaved rounds of "
        "500 epochs.",
    ),
    "keras3": Benchmark(
        "keras3.R",
        "From R, compared with keras3",
        "Milliseconds for each epoch, after a first call: `fit()` of the package keras3 and of kerasfit, "
        "with the same arguments. Medians of 7 interleaved rounds of 2 epochs. keras3 must be installed.",
    ),
    "conditions": Benchmark(
        "", "Measured with", "The date, machine and versions with which each table was last measured."
    ),
}
TABLES = [name for name, benchmark in BENCHMARKS.items() if benchmark.script]
ON_REQUEST = {"keras3"}  # needs a package that `make setup` does not install


def main(wanted: Iterable[str]) -> int:
    """Run the benchmarks wanted and return the number that failed. Results are recorded after each."""
    if unknown := set(wanted) - {*TABLES, *BACKENDS, *WORKS}:
        known = f"{TABLES=}, {BACKENDS=}, {WORKS=}"
        sys.exit(f"No such table, backend or work: {', '.join(sorted(unknown))}. {known}")
    works = [name for name in WORKS if name in wanted]
    usual = BY_WORK if works else [name for name in TABLES if name not in ON_REQUEST]
    tables = [name for name in TABLES if name in wanted] or usual
    if works and not {*tables} <= {*BY_WORK}:
        sys.exit(f"Only these tables have rows by work: {', '.join(BY_WORK)}.")
    backends = [name for name in BACKENDS if name in wanted] or BACKENDS
    failures = 0
    for table in tables:
        for backend in filter(find_spec, backends):
            lines = measure(table, backend, works)
            if not lines:
                failures += 1
                continue
            record(table, [f"{backend} | `{work}`" for work in works] or [backend], lines)
            record("conditions", [f"{table} | {backend}"], conditions(table, backend))
    return failures


def measure(table: str, backend: str, works: list[str]) -> list[str]:
    """Run a benchmark and return the lines of its table; if it fails, print its errors and return none."""
    script = HERE / BENCHMARKS[table].script
    interpreter = "Rscript" if script.suffix == ".R" else sys.executable
    print(f"\n{table}, {backend}", flush=True)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [interpreter, script, *works],
            env={**environ, "KERAS_BACKEND": backend},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip("\n"))
        if process.wait() == 0:
            return [line for line in lines if line.startswith("|")]
        errors.seek(0)
        print(errors.read()[-5000:], file=sys.stderr)
    return []


def conditions(table: str, backend: str) -> list[str]:
    cpu = re.search(
        r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    )
    of_r = 'cat(as.character(getRversion()), as.character(packageVersion("reticulate")))'
    r, reticulate = subprocess.check_output(["Rscript", "-e", of_r], text=True).split()
    cells = {
        "table": table,
        "backend": backend,
        "date": date.today().isoformat(),
        "CPU": cpu[1] if cpu else "unknown",
        "cores": str(len(sched_getaffinity(0))),
        "Python": python_version(),
        **{package: version(package) for package in ("keras", "numpy")},
        "backend's version": version(backend),
        "R": r,
        "reticulate": reticulate,
    }
    return ["| " + " | ".join(row) + " |" for row in (cells, ["---"] * len(cells), cells.values())]


def record(table: str, owners: list[str], lines: list[str]) -> None:
    """Write lines (the header first) to a table, replacing rows that begin with one of the ``owners``."""
    RESULTS.parent.mkdir(exist_ok=True)
    text = (
        RESULTS.read_text(encoding="utf-8")
        if RESULTS.exists()
        else TITLE + "".join(map(empty_section, BENCHMARKS))
    )
    begin, end = markers(table)
    if begin not in text:
        text += empty_section(table)
    before, _, rest = text.partition(begin)
    section, _, after = rest.partition(end)
    header, rows = lines[:2], lines[2:]
    old = [line for line in section.splitlines() if line.startswith("|")]
    if old[:2] == header:
        theirs = tuple(f"| {owner} |" for owner in owners)
        rows = sorted([row for row in old[2:] if not row.startswith(theirs)] + rows, key=place)
    benchmark = BENCHMARKS[table]
    parts = [f"## {benchmark.title}", f"`{table}`: {benchmark.caption}", "\n".join([*header, *rows])]
    RESULTS.write_text(before + begin + "\n\n".join(parts) + "\n" + end + after, encoding="utf-8")


def markers(table: str) -> tuple[str, str]:
    return f"<!-- {table}: by make bench -->\n", f"<!-- end of {table} -->\n"


def empty_section(table: str) -> str:
    return "\n" + "".join(markers(table))


def place(row: str) -> list[int]:
    """The sort key of a row: its table, if it names one, then its backend and work; otherwise stable."""
    order = [*TABLES, *BACKENDS, *(f"`{work}`" for work in WORKS)]
    return [order.index(cell) for cell in row.strip("| ").split(" | ")[:2] if cell in order]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
