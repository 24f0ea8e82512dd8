"""Layers as users write them, for the models trained here."""

import keras
from keras import layers, ops


class Penalty(layers.Layer):
    """Adds its own loss."""

    def call(self, x):
        self.add_loss(0.01 * ops.sum(ops.square(x)))
        return x


class Counting(layers.Layer):
    """Counts its calls in a non-trainable weight, and divides by it."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        self.calls.assign_add(1.0)
        return x * self.scale / (1 + ops.cast(self.calls, x.dtype))


class Measuring(layers.Layer):
    """Has a metric."""

    def __init__(self):
        super().__init__()
        self.size = keras.metrics.Mean(name="size")

    def call(self, x):
        self.size.update_state(ops.mean(ops.abs(x)))
        return x


class TrainingOnly(layers.Layer):
    """Behaves differently in training."""

    def call(self, x, training=False):
        return 0.5 * x if training else x
