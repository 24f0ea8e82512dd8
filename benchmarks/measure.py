"""How all benchmarks measure and print: interleaved runs, fresh processes, peaks of memory, rows of tables.

For Linux, where /proc has what a process holds. With KERASFIT_BENCH_QUICK=1 everything is a tenth as large:
that is for trying the scripts, its figures mean nothing.
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
    """A number of rows, epochs or repetitions: a tenth of it in a quick trial."""
    return max(1, count // 10) if QUICK else count


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """A measure: runs something and returns its seconds."""

    def seconds() -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    return seconds


def interleave(
    measures: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 0
) -> dict[str, np.ndarray]:
    """What each measure returns, shape (rounds,), taken in turn so that they share the machine's moods.

    In a new order each round, or one would always come after the same other and find its caches; and never
    twice in a row, which would find its own.
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
    """What a script of this folder prints as its last line, which is JSON."""
    command = [sys.executable, HERE / script, *map(str, arguments)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


# ---- memory ------------------------------------------------------------------------------------------------


def memory(field: str) -> int:
    """Bytes of this process: "VmRSS" now, or "VmHWM" at the peak.

    Not getrusage()'s peak: that of a new process begins with what its parent had.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_above_now(run: Callable[[], object]) -> int:
    """Bytes that a run takes at its peak, beside what the process holds already."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the peak so far: proc(5)
    before = memory("VmRSS")
    run()
    return memory("VmHWM") - before


# ---- tables ------------------------------------------------------------------------------------------------


def ratio(a: np.ndarray, b: np.ndarray) -> str:
    """The median of a / b, pair by pair, with its quartiles."""
    low, middle, high = np.quantile(a / b, [0.25, 0.5, 0.75])
    return f"**{middle:.2f}** ({low:.2f} to {high:.2f})"


def median(values: np.ndarray, unit: float = 1.0, digits: int = 0) -> str:
    """The median of some seconds in another unit."""
    return f"{np.median(values) / unit:,.{digits}f}"


def print_row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def print_header(*names: str) -> None:
    print_row(*names)
    print_row(*["---"] * len(names))
