"""The works: a model, its data and its batch size each, sizes as on a statistician's laptop."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers


class Work(NamedTuple):
    model: keras.Model
    x: Any
    y: Any
    batch_size: int
    epochs: int  # in one measurement

    @property
    def steps(self) -> int:
        return self.epochs * -(-len(self.x) // self.batch_size)


def tab(rows: int = 1000, epochs: int = 20) -> Work:
    inputs = keras.Input((10,))
    hidden = layers.Dense(16, activation="relu")(layers.Dense(16, activation="relu")(inputs))
    return regression(keras.Model(inputs, layers.Dense(1)(hidden)), (rows, 10), epochs)


def mlp(batch_size: int, rows: int) -> Work:
    model = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10),
        ]
    )
    return classification(model, (rows, 784), batch_size)


def mlp32() -> Work:
    return mlp(32, 16_000)


def mlp128() -> Work:
    return mlp(128, 64_000)


def cnn() -> Work:
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    return classification(model, (2560, 28, 28, 1), 128)


def lstm() -> Work:
    inputs = keras.Input((50, 8))
    return regression(keras.Model(inputs, layers.Dense(1)(layers.LSTM(32)(inputs))), (3200, 50, 8), 1)


WORKS = {"tab": tab, "mlp32": mlp32, "mlp128": mlp128, "cnn": cnn, "lstm": lstm}


def regression(model: keras.Model, shape: tuple[int, ...], epochs: int) -> Work:
    model.compile("adam", "mse", metrics=["mae"])
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype("float32")
    return Work(model, x, random.normal(size=(shape[0], 1)).astype("float32"), 32, epochs)


def classification(model: keras.Model, shape: tuple[int, ...], batch_size: int) -> Work:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    random = np.random.default_rng(0)
    x = random.random(size=shape, dtype="float32")
    return Work(model, x, random.integers(0, 10, shape[0]).astype("int32"), batch_size, 1)
