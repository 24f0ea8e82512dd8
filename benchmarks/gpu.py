"""Measures warm training steps on one GPU, with the rows of ``warm`` and ``kinds``, in less than 5 minutes.

Backends without a GPU are left out, and so are rows for which no time is left. RESULTS.md does not change.
Usage: python benchmarks/gpu.py [backend …]; with --cpu first, on the CPU, to try the script.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

SECONDS = 280  # for all backends
BACKENDS = ("jax", "torch", "tensorflow")


def measure(backend: str, seconds: float, *, on_cpu: bool) -> None:
    """Print the rows of one backend until the time is over; a row that has begun is finished."""
    import kinds
    import warm

    from kerasfit.devices import device_type
    from kerasfit.runtime.installation import report

    if device_type() == "cpu" and not on_cpu:
        print(f"{backend} has found no GPU.")
        return
    print(f"\n{backend}: {', '.join(report()['devices'])}\n")
    ends, slowest = time.monotonic() + seconds, 0.0
    left_out = []
    tables = (
        (warm.header, warm.WORKS, partial(warm.measure, rounds=3, peaks=False)),
        (kinds.header, kinds.KINDS, partial(kinds.measure, rounds=3)),
    )
    for header, names, measure_row in tables:
        header()
        for name in names:
            began = time.monotonic()
            if began + slowest > ends:
                left_out.append(name)
            else:
                measure_row(name)
                slowest = max(slowest, time.monotonic() - began)
        print()
    if left_out:
        print(f"No time for: {', '.join(left_out)}.")


def main(wanted: list[str], options: list[str]) -> None:
    ends = time.monotonic() + SECONDS
    backends = [name for name in wanted or BACKENDS if find_spec(name)]
    for number, backend in enumerate(backends):
        seconds = (ends - time.monotonic()) / (len(backends) - number)
        command = [sys.executable, Path(__file__), *options, "--only", backend, f"{seconds:.0f}"]
        subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, check=False)


if __name__ == "__main__":
    options = ["--cpu"] if "--cpu" in sys.argv else []
    arguments = [argument for argument in sys.argv[1:] if argument != "--cpu"]
    if arguments[:1] == ["--only"]:
        measure(arguments[1], float(arguments[2]), on_cpu=bool(options))
    else:
        main(arguments, options)
