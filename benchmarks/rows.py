"""Measures a warm epoch of `tab` for several numbers of rows.

Usage: KERAS_BACKEND=… python benchmarks/rows.py
"""

from __future__ import annotations

import keras
from measure import BACKEND, NONE, interleave, median, print_header, print_row, ratio, shorten, timed
from trainers import TRAINERS, warm_run
from works import tab

MAX_ROWS_FOR_KERAS = 100_000  # Keras would take too long for more


def measure(rows: int) -> None:
    keras.utils.set_random_seed(1)
    epochs = max(1, shorten(20_000) // rows)  # in one call of fit()
    trainers = [trainer for trainer in TRAINERS if trainer != "Keras" or rows <= MAX_ROWS_FOR_KERAS]
    runs = {trainer: timed(warm_run(trainer, tab(rows, epochs))) for trainer in trainers}
    times = interleave(runs, rounds=5, warm_up=1)
    print_row(
        BACKEND,
        f"{rows:,}",
        *(
            median(times[trainer], epochs * 1e-3, digits=1) if trainer in times else NONE
            for trainer in TRAINERS
        ),
        ratio(times["Keras"], times["kerasfit"]) if "Keras" in times else NONE,
    )


if __name__ == "__main__":
    print_header("backend", "rows", "Keras, ms", "kerasfit, ms", "Keras / kerasfit")
    for rows in (1_000, 10_000, 100_000, 1_000_000):
        measure(shorten(rows))
