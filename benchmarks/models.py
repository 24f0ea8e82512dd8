"""Measures whole jobs with a new model each: build, ``fit()`` with validation, and ``predict()``.

The first job of a session is measured in fresh processes, without the imports; later ones in one process.
Usage: KERAS_BACKEND=… python benchmarks/models.py [job …]; with --first trainer job, it measures that job in
this process and prints the seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from measure import (
    BACKEND,
    in_fresh_process,
    interleave,
    median,
    print_header,
    print_row,
    ratio,
    timed,
)
from trainers import TRAINERS, fit_of

if TYPE_CHECKING:
    import keras


class Job(NamedTuple):
    """A model, and its data: their number of rows and the shape of a row. No classes mean regression."""

    build: Callable[[], keras.Model]
    rows: int
    shape: tuple[int, ...]
    classes: int
    epochs: int


def compiled(layers_or_model: list | keras.Model, classes: int) -> keras.Model:
    import keras

    model = layers_or_model if isinstance(layers_or_model, keras.Model) else keras.Sequential(layers_or_model)
    if classes:
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    else:
        model.compile("adam", "mse", metrics=["mae"])
    return model


def tabular(units: int = 16, rate: float = 0.0) -> keras.Model:
    from keras import layers

    hidden = [layers.Dense(units, activation="relu"), layers.Dense(units, activation="relu")]
    return compiled([*hidden, *([layers.Dropout(rate)] if rate else []), layers.Dense(1)], 0)


def convnet(filters: int, classes: int = 10) -> keras.Model:
    from keras import layers

    return compiled(
        [
            layers.Conv2D(filters, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(classes, activation="softmax"),
        ],
        classes,
    )


def transformer(blocks: int, units: int, steps: int) -> keras.Model:
    import keras
    from keras import layers

    inputs = keras.Input((steps, units))
    x = inputs
    for _ in range(blocks):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, units // 2)(x, x))
        hidden = layers.Dense(2 * units, activation="relu")(x)
        x = layers.LayerNormalization()(x + layers.Dense(units)(hidden))
    outputs = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    return compiled(keras.Model(inputs, outputs), 2)


def resnet() -> keras.Model:
    import keras

    return compiled(keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10), 10)


JOBS = {
    "tabular, 20 epochs": Job(tabular, 1000, (10,), 0, 20),
    "tabular, 1 epoch": Job(tabular, 1000, (10,), 0, 1),
    "digits, convnet, 5 epochs": Job(partial(convnet, 16), 1797, (8, 8, 1), 10, 5),
    "MNIST, convnet, 1 epoch": Job(partial(convnet, 32), 6000, (28, 28, 1), 10, 1),
    "transformer, 2 blocks of 16, 3 epochs": Job(partial(transformer, 2, 16, 8), 1000, (8, 16), 2, 3),
    "transformer, 4 blocks of 128, 1 epoch": Job(partial(transformer, 4, 128, 64), 512, (64, 128), 2, 1),
    "ResNet50, 64 rows, 1 epoch": Job(resnet, 64, (64, 64, 3), 10, 1),
}


LONG = 10  # seconds: of longer jobs, fewer later models are measured


def run_of(trainer: str, job: Job) -> Callable[[], None]:
    """A function that builds a model, trains it with validation data and predicts these."""
    import numpy as np

    fit = fit_of(trainer)
    random = np.random.default_rng(0)
    x = random.normal(size=(job.rows, *job.shape)).astype("float32")
    y = random.integers(0, job.classes, job.rows) if job.classes else random.normal(size=(job.rows, 1))
    y, cut = y.astype("int32" if job.classes else "float32"), job.rows * 4 // 5

    def run() -> None:
        model = job.build()
        validation = x[cut:], y[cut:]
        fit(model, x[:cut], y[:cut], epochs=job.epochs, validation_data=validation, verbose=0)
        if trainer == "Keras":
            model.predict(x[cut:], verbose=0)
        else:
            import kerasfit

            kerasfit.predict(model, x[cut:], verbose=0)

    return run


def measure(name: str) -> None:
    job = JOBS[name]

    def first_job(trainer: str) -> float:
        return in_fresh_process("models.py", "--first", trainer, name)["seconds"]

    first = interleave({trainer: partial(first_job, trainer) for trainer in TRAINERS}, rounds=5)
    runs = {trainer: timed(run_of(trainer, job)) for trainer in reversed(TRAINERS)}
    is_long = min(map(min, first.values())) > LONG
    later = interleave(runs, rounds=3 if is_long else 9, warm_up=1 if is_long else 2)
    cells = [
        cell
        for times in (first, later)
        for cell in (
            *(median(times[trainer], digits=2) for trainer in TRAINERS),
            ratio(times["Keras"], times["kerasfit"]),
        )
    ]
    print_row(BACKEND, name, *cells)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first"]:
        run = run_of(sys.argv[2], JOBS[sys.argv[3]])
        print(json.dumps({"seconds": timed(run)()}))
    else:
        seconds = [f"{when} model: {trainer}, s" for when in ("first", "later") for trainer in TRAINERS]
        print_header("backend", "job", *seconds[:2], "Keras / kerasfit", *seconds[2:], "Keras / kerasfit")
        for name in sys.argv[1:] or JOBS:
            measure(name)
