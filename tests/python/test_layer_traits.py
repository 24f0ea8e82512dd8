"""Properties of layers that decide when XLA takes over."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from kerasfit.layer_traits import xla_pays_after


def network(shape, *hidden):
    return keras.Sequential([keras.Input(shape), *hidden, layers.Dense(1)])


class OwnCall(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = layers.Conv2D(4, 3)

    def call(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    "model, steps",
    [
        (lambda: network((10,), layers.Dense(16)), 5000),
        (lambda: network((784,), layers.Dense(128)), 1000),
        (lambda: network((8, 8, 1), layers.Conv2D(16, 3), layers.Flatten()), 5000),
        (lambda: network((28, 28, 1), layers.Conv2D(32, 3), layers.GlobalMaxPooling2D()), 300),
        (lambda: network((50, 4), layers.Conv1D(16, 5), layers.GlobalMaxPooling1D()), 5000),
        (lambda: network((None, 4), layers.Conv1D(16, 5), layers.GlobalMaxPooling1D()), 300),
        (lambda: network((20, 8), layers.Bidirectional(layers.LSTM(4))), 300),
        (OwnCall, 300),
    ],
    ids=["dense", "wide", "small images", "images", "series", "any length", "recurrent", "own call"],
)
def test_xla_takes_over_earlier_the_more_it_saves_in_each_step(model, steps):
    assert xla_pays_after(model()) == steps
