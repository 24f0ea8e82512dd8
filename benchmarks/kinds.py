"""Measures warm training steps of models with other kinds of layers, to check that none is slower than Keras.

Usage: KERAS_BACKEND=… python benchmarks/kinds.py [kind …]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import keras
import numpy as np
from keras import layers
from measure import BACKEND, interleave, median, print_header, print_row, ratio, shorten, timed
from trainers import TRAINERS, warm_run
from works import Work

IMAGES, SEQUENCES, TOKENS, TABLE = "images", "sequences", "tokens", "table"
SHAPES = {IMAGES: (640, 28, 28, 1), SEQUENCES: (1600, 40, 8), TOKENS: (640, 60), TABLE: (3200, 20)}
WORDS = 5000

Stack = Callable[[], list[Callable]]
KINDS: dict[str, tuple[str, Stack]] = {
    "embedding, mean": (TOKENS, lambda: [layers.Embedding(WORDS, 32), layers.GlobalAveragePooling1D()]),
    "embedding, LSTM": (TOKENS, lambda: [layers.Embedding(WORDS, 32), layers.LSTM(32)]),
    "embedding with a mask, LSTM": (
        TOKENS,
        lambda: [layers.Embedding(WORDS, 32, mask_zero=True), layers.LSTM(32)],
    ),
    "GRU": (SEQUENCES, lambda: [layers.GRU(32)]),
    "embedding with a mask, GRU, both directions": (
        TOKENS,
        lambda: [layers.Embedding(WORDS, 32, mask_zero=True), layers.Bidirectional(layers.GRU(32))],
    ),
    "LSTM, both directions": (SEQUENCES, lambda: [layers.Bidirectional(layers.LSTM(32))]),
    "two LSTMs": (SEQUENCES, lambda: [layers.LSTM(32, return_sequences=True), layers.LSTM(16)]),
    "LSTM with dropout": (SEQUENCES, lambda: [layers.LSTM(32, dropout=0.2, recurrent_dropout=0.2)]),
    "simple recurrent": (SEQUENCES, lambda: [layers.SimpleRNN(32)]),
    "convolution over time": (
        SEQUENCES,
        lambda: [
            layers.Conv1D(32, 5, activation="relu"),
            layers.MaxPooling1D(),
            layers.Conv1D(32, 5, activation="relu"),
            layers.GlobalMaxPooling1D(),
        ],
    ),
    "attention": (SEQUENCES, lambda: [attention, layers.GlobalAveragePooling1D()]),
    "batch normalization, dropout": (
        TABLE,
        lambda: [
            layers.Dense(64),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.3),
            layers.Dense(64, activation="relu"),
        ],
    ),
    "layer normalization": (TABLE, lambda: [layers.Dense(64), layers.LayerNormalization(), layers.ReLU()]),
    "wide layers": (TABLE, lambda: [layers.Dense(512, "relu"), layers.Dense(512, "relu")]),
    "ten layers": (TABLE, lambda: [layers.Dense(32, "relu") for _ in range(10)]),
    "convolutions, batch normalization": (
        IMAGES,
        lambda: [
            layers.Conv2D(16, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.AveragePooling2D(2),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
        ],
    ),
    "separable convolutions": (
        IMAGES,
        lambda: [
            layers.SeparableConv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
        ],
    ),
    "convolutions in groups": (
        IMAGES,
        lambda: [
            layers.Conv2D(16, 3, 2, activation="relu"),
            layers.Conv2D(16, 3, groups=4, activation="relu"),
            layers.GlobalAveragePooling2D(),
        ],
    ),
    "autoencoder": (
        IMAGES,
        lambda: [
            layers.Conv2D(16, 3, 2, padding="same", activation="relu"),
            layers.Conv2DTranspose(16, 3, 2, padding="same", activation="relu"),
            layers.Conv2D(1, 3, padding="same"),
            layers.Flatten(),
        ],
    ),
}


def attention(inputs: keras.KerasTensor) -> keras.KerasTensor:
    seen = layers.MultiHeadAttention(4, 8)(inputs, inputs)
    return layers.LayerNormalization()(layers.Add()([inputs, seen]))


def work_of(kind: str) -> Work:
    data, stack = KINDS[kind]
    rows, *shape = SHAPES[data]
    size = (shorten(rows), *shape)
    random = np.random.default_rng(0)

    def build() -> keras.Model:
        inputs = outputs = keras.Input(shape, dtype="int32" if data == TOKENS else "float32")
        for layer in stack():
            outputs = layer(outputs)
        model = keras.Model(inputs, layers.Dense(1)(outputs))
        model.compile("adam", "mse", metrics=["mae"])
        return model

    x = random.integers(0, WORDS, size) if data == TOKENS else random.random(size)
    y = random.random((size[0], 1)).astype("float32")
    return Work(build, x.astype("int32" if data == TOKENS else "float32"), y, 32, 2)


def measure(kind: str, *, rounds: int = 7) -> None:
    keras.utils.set_random_seed(1)
    work = work_of(kind)
    runs = {trainer: timed(warm_run(trainer, work_of(kind))) for trainer in TRAINERS}
    times = interleave(runs, rounds=rounds, warm_up=2)
    print_row(
        BACKEND,
        kind,
        *(median(times[trainer] / work.steps, 1e-6) for trainer in TRAINERS),
        ratio(times["Keras"], times["kerasfit"]),
    )


def header() -> None:
    print_header("backend", "model", "Keras, µs", "kerasfit, µs", "Keras / kerasfit")


if __name__ == "__main__":
    header()
    for kind in sys.argv[1:] or KINDS:
        measure(kind)
