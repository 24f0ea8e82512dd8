"""Defines the trainers that benchmarks compare: Keras's fit() and kerasfit's fit().

As a script, it runs one trainer in this process and prints the seconds from the end of the imports until
fit() returns (without creating the data), and the process's peak memory in bytes. Usage:

    KERAS_BACKEND=… python benchmarks/trainers.py Keras|kerasfit work epochs
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from measure import memory, timed

if TYPE_CHECKING:
    from works import Work

TRAINERS = ("Keras", "kerasfit")


def fit_of(trainer: str) -> Callable:
    """Import a trainer's fit() as its users do. kerasfit loads Keras in its own way."""
    if trainer == "Keras":
        import keras

        return keras.Model.fit
    import kerasfit

    return kerasfit.fit


def train(trainer: str, work: Work, epochs: int | None = None) -> None:
    """Train a work's model for the given number of epochs, by default the work's."""
    fit = fit_of(trainer)
    fit(work.model, work.x, work.y, batch_size=work.batch_size, epochs=epochs or work.epochs, verbose=0)


def warm_run(trainer: str, work: Work) -> Callable[[], None]:
    """A function that trains a work; kerasfit first trains until XLA has taken over."""
    if trainer == "kerasfit":
        from kerasfit.layer_traits import xla_pays_after

        train(trainer, work, epochs=math.ceil(xla_pays_after(work.model) * work.epochs / work.steps) + 1)
    return partial(train, trainer, work)


if __name__ == "__main__":
    trainer, name, epochs = sys.argv[1:]
    fit_of(trainer)

    from works import WORKS  # imports Keras, so it must follow fit_of()

    work = WORKS[name]()
    work.epochs = int(epochs)
    seconds = timed(lambda: train(trainer, work))()
    print(json.dumps({"seconds": seconds, "peak": memory("VmHWM")}))
