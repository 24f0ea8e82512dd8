"""Measures a whole R script in a fresh process: load the package, train on iris for 30 epochs, predict.

Usage: KERAS_BACKEND=… python benchmarks/start.py, with R_LIBS and RETICULATE_PYTHON as in the Makefile
"""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial

import numpy as np
from measure import BACKEND, HERE, NONE, interleave, print_header, print_row, ratio

PACKAGES = ("keras3", "kerasfit")


def is_installed(package: str) -> bool:
    code = f'quit(status = !nzchar(system.file(package = "{package}")))'
    return subprocess.run(["Rscript", "-e", code], check=False).returncode == 0


def cpu_seconds(package: str, elapsed: list[float]) -> float:
    """Run the script with a package; note the seconds elapsed, and return those of its CPU time."""
    began = time.perf_counter()
    process = subprocess.Popen(["Rscript", HERE / "start.R", package], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"The script failed with {package}.")
    elapsed.append(time.perf_counter() - began)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    packages = [package for package in PACKAGES if is_installed(package)]
    elapsed: dict[str, list[float]] = {package: [] for package in packages}
    measures = {package: partial(cpu_seconds, package, elapsed[package]) for package in packages}
    cpu = interleave(measures, rounds=5, warm_up=1)
    print_header(
        "backend",
        "keras3, CPU s",
        "kerasfit, CPU s",
        "keras3 / kerasfit",
        "keras3, elapsed s",
        "kerasfit, elapsed s",
    )
    cells = [f"{np.median(cpu[package]):.1f}" if package in cpu else NONE for package in PACKAGES]
    cells.append(ratio(cpu["keras3"], cpu["kerasfit"]) if "keras3" in cpu else NONE)
    cells += [f"{np.median(elapsed[package][1:]):.1f}" if package in cpu else NONE for package in PACKAGES]
    print_row(BACKEND, *cells)
