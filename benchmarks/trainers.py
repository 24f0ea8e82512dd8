"""The trainers that are compared: Keras's fit() and kerasfit's.

As a script, one of them in this process alone, which prints its seconds, from imports done to fit() returned
(the data are there before), and the process's peak of memory in bytes. Usage:
KERAS_BACKEND=… python benchmarks/trainers.py Keras|kerasfit work epochs
"""

from __future__ import annotations

import json
import sys

import keras
from measure import memory, timed
from works import WORKS, Work

import kerasfit

FITS = {"Keras": keras.Model.fit, "kerasfit": kerasfit.fit}


def train(trainer: str, work: Work) -> None:
    """Train a work's model, as many epochs as it has in one measurement."""
    FITS[trainer](work.model, work.x, work.y, batch_size=work.batch_size, epochs=work.epochs, verbose=0)


if __name__ == "__main__":
    trainer, name, epochs = sys.argv[1:]
    work = WORKS[name]()
    work.epochs = int(epochs)
    seconds = timed(lambda: train(trainer, work))()
    print(json.dumps({"seconds": seconds, "peak": memory("VmHWM")}))
