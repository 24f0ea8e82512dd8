"""Defines the works: models with data and a batch size, of sizes that suit a statistician's laptop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import layers
from measure import shorten


@dataclass
class Work:
    """Data and a model for them. ``model`` is built and compiled when it is first used."""

    build: Callable[[], keras.Model]
    x: Any
    y: Any
    batch_size: int
    epochs: int  # in one measurement

    @cached_property
    def model(self) -> keras.Model:
        return self.build()

    @property
    def steps(self) -> int:
        return self.epochs * -(-len(self.x) // self.batch_size)


def tab(rows: int = 1000, epochs: int = 100) -> Work:
    def build() -> keras.Model:
        inputs = keras.Input((10,))
        hidden = layers.Dense(16, activation="relu")(layers.Dense(16, activation="relu")(inputs))
        return for_regression(keras.Model(inputs, layers.Dense(1)(hidden)))

    return regression(build, (rows, 10), epochs)


def mlp(batch_size: int, rows: int) -> Work:
    return classification(build_mlp, (rows, 784), batch_size, 6)


def build_mlp() -> keras.Model:
    return for_classification(
        [
            keras.Input((784,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10),
        ]
    )


def mlp32() -> Work:
    return mlp(32, shorten(16_000))


def mlp128() -> Work:
    return mlp(128, shorten(64_000))


def cnn() -> Work:
    def build() -> keras.Model:
        return for_classification(
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

    return classification(build, (shorten(2560), 28, 28, 1), 128, 1)


def lstm() -> Work:
    def build() -> keras.Model:
        inputs = keras.Input((50, 8))
        return for_regression(keras.Model(inputs, layers.Dense(1)(layers.LSTM(32)(inputs))))

    return regression(build, (shorten(3200), 50, 8), 3)


WORKS = {"tab": tab, "mlp32": mlp32, "mlp128": mlp128, "cnn": cnn, "lstm": lstm}


def for_regression(model: keras.Model) -> keras.Model:
    model.compile("adam", "mse", metrics=["mae"])
    return model


def for_classification(stack: list) -> keras.Model:
    model = keras.Sequential(stack)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def regression(build: Callable[[], keras.Model], shape: tuple[int, ...], epochs: int) -> Work:
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype("float32")
    return Work(build, x, random.normal(size=(shape[0], 1)).astype("float32"), 32, epochs)


def classification(
    build: Callable[[], keras.Model], shape: tuple[int, ...], batch_size: int, epochs: int
) -> Work:
    random = np.random.default_rng(0)
    x = random.random(size=shape, dtype="float32")
    return Work(build, x, random.integers(0, 10, shape[0]).astype("int32"), batch_size, epochs)
