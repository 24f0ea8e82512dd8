"""Measures whole jobs in fresh processes: build, compile and train a model.

Usage: KERAS_BACKEND=… python benchmarks/cold.py [work …]
"""

from __future__ import annotations

import sys
from functools import partial

from measure import BACKEND, in_fresh_process, interleave, median, print_header, print_row, ratio, shorten
from trainers import TRAINERS
from works import WORKS


def measure(name: str, epochs: int, rounds: int) -> None:
    def seconds(trainer: str) -> float:
        return in_fresh_process("trainers.py", trainer, name, epochs)["seconds"]

    times = interleave({trainer: partial(seconds, trainer) for trainer in TRAINERS}, rounds)
    print_row(
        BACKEND,
        f"`{name}`",
        str(epochs),
        *(median(times[trainer], digits=2) for trainer in TRAINERS),
        ratio(times["Keras"], times["kerasfit"]),
    )


if __name__ == "__main__":
    print_header("backend", "work", "epochs", "Keras, s", "kerasfit, s", "Keras / kerasfit")
    names = sys.argv[1:] or WORKS
    if "tab" in names:
        measure("tab", epochs=shorten(20), rounds=5)
    for name in names:
        measure(name, epochs=1, rounds=3)
