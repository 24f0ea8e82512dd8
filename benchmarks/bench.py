"""Runs the benchmarks, each table and backend in a process of its own, and writes them to RESULTS.md.

Usage: python benchmarks/bench.py [table, backend or work …], all by default; ``make bench ONLY="warm cnn"
BACKENDS="jax"``. What RESULTS.md has of other tables, backends and works stays, and so does all that is
written outside of the tables' markers. A quick trial (see measure.py) goes to build/bench-trial.md instead.
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
WORKS = ("tab", "mlp32", "mlp128", "cnn", "lstm")  # see works.py, which loads Keras
BY_WORK = ("warm", "cold")  # tables


class Benchmark(NamedTuple):
    script: str
    title: str
    caption: str


BENCHMARKS = {
    "warm": Benchmark(
        "warm.py",
        "Training steps, warm",
        "Microseconds for each step, medians of 7 interleaved rounds; ratios are medians over rounds, with "
        "quartiles. The limit is the best loop of `limits.py`. Peaks are those of a process that runs this "
        "trainer alone.",
    ),
    "kinds": Benchmark(
        "kinds.py",
        "Other kinds of models, warm",
        "Microseconds for each step of 32 samples, medians of 7 interleaved rounds of 2 epochs: layers of "
        "each kind, in sizes as on a laptop, and a last layer of one unit.",
    ),
    "kernels": Benchmark(
        "kernels.py",
        "Convolutions alone, warm",
        "Milliseconds for the value and both gradients of one convolution that XLA compiles: as Keras writes "
        "it and as kerasfit does. Medians of 31 interleaved rounds.",
    ),
    "cold": Benchmark(
        "cold.py",
        "Whole jobs in fresh processes",
        "Seconds from the end of the imports until `fit()` has returned: the model is built, compiled and "
        "trained. Alternating processes, medians of 5 pairs for many epochs and of 3 for one.",
    ),
    "wide": Benchmark(
        "wide.py",
        "From R's layout to the model's",
        "A matrix of 60 000 by 784 doubles, column by column, becomes floats, row by row; against a copy of "
        "it as it is on all cores, and `astype()` of numpy. Milliseconds, medians of 7 interleaved rounds. "
        "Then the peaks of memory beside the matrix, in copies of it as floats (188 MB): of the conversion, "
        "and of an epoch of 5 steps after one that has compiled the steps.",
    ),
    "rgen": Benchmark(
        "rgen.R",
        "Batches from an R function",
        "Milliseconds for each step: of the R function alone; of training alone, by kerasfit, on a batch "
        "that is ready; and of both, by Keras's `fit()` through `reticulate::py_iterator()` and by "
        "kerasfit's. Medians of 5 interleaved rounds of 100 steps. All have the same cores.",
    ),
    "rows": Benchmark(
        "rows.py",
        "Epochs of `tab` by number of rows",
        "Milliseconds for each epoch, warm, medians of 5 interleaved rounds.",
    ),
    "backup": Benchmark(
        "backup.py",
        "Keeping the state of a run",
        "Milliseconds for each epoch of `mlp32`, with and without its state stored after it. Medians of 9 "
        "interleaved rounds of 30 epochs, of 10 with torch.",
    ),
    "watching": Benchmark(
        "watching.R",
        "Watching training",
        "Milliseconds for each epoch of `tab`, from R: with neither, with the progress bar and the lines of "
        "`verbose = 1`, and with the live page, which a reader has open. Medians of 15 interleaved rounds "
        "of 500 epochs.",
    ),
    "keras3": Benchmark(
        "keras3.R",
        "From R, beside keras3",
        "Milliseconds for each epoch, after a first call: `fit()` of the package keras3, and of kerasfit "
        "with the same call. Medians of 7 interleaved rounds of 2 epochs. keras3 has to be in R's library.",
    ),
    "conditions": Benchmark("", "Measured with", "When and with what each table was measured last."),
}
TABLES = [name for name, benchmark in BENCHMARKS.items() if benchmark.script]
ON_REQUEST = {"keras3"}  # needs a package that is not set up


def main(wanted: Iterable[str]) -> int:
    """Measure what is wanted; how many benchmarks failed. Results so far are there if one fails."""
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
    """The lines of a table that a benchmark prints; none, and what went wrong on the screen, if it fails."""
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
    """Put lines, header first, into a table in place of those that begin with one of the ``owners``."""
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
    """Where a row belongs: by its table, if it names one, then by its backend and work, then as it came."""
    order = [*TABLES, *BACKENDS, *(f"`{work}`" for work in WORKS)]
    return [order.index(cell) for cell in row.strip("| ").split(" | ")[:2] if cell in order]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
