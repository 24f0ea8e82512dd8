"""Shared helpers of benchmarks: interleaved runs, fresh processes, peak memory, rows of tables.

They need Linux, because they read memory usage from /proc. With KERASFIT_BENCH_QUICK=1, everything is a tenth
as large. That is for trying the scripts; the figures mean nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

BACKEND = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
QUICK = bool(os.environ.get("KERASFIT_BENCH_QUICK"))
HERE = Path(__file__).parent
NONE = "-"


def shorten(count: int) -> int:
    """Reduce a number of rows, epochs or rounds to a tenth in a quick trial."""
    return max(1, count // 10) if QUICK else count


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """A function that calls ``run`` and returns the seconds that it takes."""

    def seconds() -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    return seconds


def interleave(
    measures: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 0
) -> dict[str, np.ndarray]:
    """Call all measures in each round, so that changes in the machine's load affect all; return their values.

    Each measure's values have shape (rounds,). The order changes each round, so that no measure always
    follows the same other one and finds its caches. None runs twice in a row, or it would find its own
    caches.
    """
    for _ in range(warm_up):
        for measure in measures.values():
            measure()
    random, taken = Random(0), []
    order = list(measures)
    for _ in range(shorten(rounds)):
        last = order[-1]
        random.shuffle(order)
        while order[0] == last and len(order) > 1:
            random.shuffle(order)
        taken.append({label: measures[label]() for label in order})
    return {label: np.array([values[label] for values in taken]) for label in measures}


def in_fresh_process(script: str, *arguments: Any) -> dict[str, float]:
    """Run a script of this folder in a new process, and return the JSON that it prints as its last line."""
    command = [sys.executable, HERE / script, *map(str, arguments)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


# ---- memory ------------------------------------------------------------------------------------------------


def memory(field: str) -> int:
    """The memory of this process in bytes: "VmRSS" is now, "VmHWM" is the peak.

    The peak of getrusage() is not used, because it starts at the memory of the parent process.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_above_now(run: Callable[[], object]) -> int:
    """The peak memory of a run in bytes, in addition to the memory that the process has before it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the peak: proc(5)
    before = memory("VmRSS")
    run()
    return memory("VmHWM") - before


# ---- tables ------------------------------------------------------------------------------------------------


def ratio(a: np.ndarray, b: np.ndarray) -> str:
    """Format the median of the pairwise ratios a / b, with quartiles."""
    low, middle, high = np.quantile(a / b, [0.25, 0.5, 0.75])
    return f"**{middle:.2f}** ({low:.2f} to {high:.2f})"


def median(values: np.ndarray, unit: float = 1.0, digits: int = 0) -> str:
    """Format the median of values in seconds in another unit."""
    return f"{np.median(values) / unit:,.{digits}f}"


def print_row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def print_header(*names: str) -> None:
    print_row(*names)
    print_row(*["---"] * len(names))
