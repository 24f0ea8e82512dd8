"""Compiled models and data of the kinds that Keras has: many more than the tests have time for.

Where rounding decides the sign of a gradient, the optimizer is SGD, on which this has little effect.

Each function in ``MODELS`` makes a model, inputs, targets and further arguments of ``fit()``. Each in
``DATA`` makes a model, a function that makes the data each time, and further arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import models
import numpy as np
import pandas as pd
from keras import layers, losses, ops
from models import classes, numbers
from own_layers import Counting, Measuring

MODELS: dict[str, Callable[[], tuple]] = {}
DATA: dict[str, Callable[[], tuple]] = {}


def model(build: Callable) -> Callable:
    MODELS[build.__name__] = build
    return build


def whole_numbers(low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(low, high, (models.SAMPLES, *shape))


def stack(inputs: Any, *parts: layers.Layer, loss: Any = "mse", optimizer: Any = "adam", **compiling: Any):
    """Build a sequential model for inputs of a shape, or for a ``keras.Input``."""
    built = keras.Sequential([keras.Input(inputs) if isinstance(inputs, tuple) else inputs, *parts])
    built.compile(optimizer, loss, **compiling)
    return built


def regression(shape: tuple, *parts: layers.Layer, **compiling: Any) -> tuple:
    """Build a model that ends in one number, with normal inputs and targets."""
    flat = [] if parts and isinstance(parts[-1], KEEPS_SHAPE) else [layers.Flatten()]
    built = stack(shape, *parts, *flat, layers.Dense(1), **compiling)
    return built, numbers(*shape), numbers(1)


KEEPS_SHAPE = (layers.Dense, layers.RNN, layers.Bidirectional, layers.GlobalAveragePooling2D)


def small(**compiling: Any):
    return stack((5,), layers.Dense(8, "relu"), layers.Dense(1), metrics=["mae"], **compiling)


def of_functions(inputs: Any, outputs: Any, loss: Any = "mse", **compiling: Any):
    built = keras.Model(inputs, outputs)
    built.compile(**{"optimizer": "adam", "loss": loss, **compiling})
    return built


# ---- layers --------------------------------------------------------------------------------------------

LAYERS = {
    "bidirectional": lambda: regression(
        (7, 3), layers.Bidirectional(layers.GRU(4, return_sequences=True)), layers.LSTM(3)
    ),
    "convolutional LSTM": lambda: regression((3, 6, 6, 1), layers.ConvLSTM2D(2, 3)),
    "unrolled": lambda: regression((5, 3), layers.SimpleRNN(4, unroll=True)),
    "distributed over time": lambda: regression(
        (5, 3),
        layers.TimeDistributed(layers.Dense(4)),
        layers.Conv1D(3, 2),
        layers.GlobalMaxPooling1D(),
    ),
    "separable": lambda: regression(
        (8, 8, 2),
        layers.SeparableConv2D(4, 3, padding="same"),
        layers.DepthwiseConv2D(3),
        layers.AveragePooling2D(2),
    ),
    "transposed": lambda: regression(
        (8, 8, 1),
        layers.Conv2D(3, 3, strides=2, padding="same"),
        layers.Conv2DTranspose(2, 3, strides=2, padding="same"),
        layers.UpSampling2D(),
        layers.GlobalAveragePooling2D(),
    ),
    "three dimensions": lambda: regression((5, 5, 5, 1), layers.Conv3D(2, 2), layers.MaxPooling3D()),
    "causal": lambda: regression((9, 2), layers.Conv1D(4, 3, padding="causal"), layers.AveragePooling1D(2)),
    "groups": lambda: regression((6, 6, 2), layers.Conv2D(4, 3, groups=2)),
    "windows that overlap": lambda: regression(
        (12, 12, 2),
        layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.Conv2D(3, 3, dilation_rate=2),
    ),
    "normalized in groups": lambda: regression(
        (5,), layers.Dense(8), layers.GroupNormalization(2), layers.UnitNormalization(), layers.PReLU()
    ),
    "spectral": lambda: regression(
        (5,),
        layers.SpectralNormalization(layers.Dense(4, use_bias=False)),
        layers.BatchNormalization(momentum=0.5),
    ),
    "regularized": lambda: regression(
        (5,),
        layers.Dense(4, kernel_regularizer="l2", activity_regularizer="l1"),
        layers.Dense(3, kernel_constraint="non_neg"),
        layers.ActivityRegularization(l2=0.01),
    ),
    "einsum": lambda: regression((3, 5), layers.EinsumDense("abc,cd->abd", (3, 4))),
    "lambda": lambda: regression(
        (5,), layers.Dense(4), layers.Lambda(lambda x: ops.where(x > 0, x, ops.exp(x) - 1))
    ),
    "of any length": lambda: (
        stack((None, 2), layers.LSTM(3), layers.Dense(1)),
        numbers(5, 2),
        numbers(1),
    ),
    "of any size": lambda: (
        stack((None, None, 1), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D(), layers.Dense(1)),
        numbers(6, 6, 1),
        numbers(1),
    ),
    "discretized": lambda: regression(
        (5,), layers.Discretization([-0.5, 0, 0.5]), layers.CategoryEncoding(4, "multi_hot")
    ),
    "bfloat16": lambda: regression((5,), layers.Dense(8, dtype="mixed_bfloat16"), optimizer="sgd"),
}
MODELS |= LAYERS


@model
def transformer():
    words = keras.Input((12,), dtype="int32")
    embedded = layers.Embedding(50, 16, mask_zero=True)(words)
    attended = layers.MultiHeadAttention(2, 8)(embedded, embedded)
    hidden = layers.LayerNormalization()(layers.Add()([embedded, attended]))
    pooled = layers.GlobalAveragePooling1D()(layers.Dense(16, "gelu")(hidden))
    outputs = layers.Dense(3, "softmax")(pooled)
    built = of_functions(words, outputs, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return built, whole_numbers(0, 50, 12), classes(3)


@model
def attention():
    query, value = keras.Input((4, 3)), keras.Input((6, 3))
    outputs = layers.Dense(1)(layers.Flatten()(layers.Attention()([query, value])))
    return of_functions([query, value], outputs), [numbers(4, 3), numbers(6, 3)], numbers(1)


@model
def masked():
    x = numbers(7, 3)
    x[:20, 4:] = 0
    return stack((7, 3), layers.Masking(), layers.LSTM(4), layers.Dense(1), metrics=["mae"]), x, numbers(1)


@model
def each_time_step():
    built = stack((5, 3), layers.Dense(4), layers.Dense(1), metrics=["mae"])
    return built, numbers(5, 3), numbers(5, 1), {"sample_weight": np.abs(numbers(5))}


@model
def adapted():
    normalization = layers.Normalization()
    normalization.adapt(numbers(5) * 3 + 1)
    return regression((5,), normalization)


@model
def bytes_of_an_image():
    inputs = keras.Input((4, 4, 1), dtype="uint8")
    built = stack(
        inputs,
        layers.Rescaling(1 / 255),
        layers.Flatten(),
        layers.Dense(3, "softmax"),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return built, whole_numbers(0, 255, 4, 4, 1).astype("uint8"), classes(3).astype("uint8")


@model
def hashed():
    inputs = keras.Input((2,), dtype="int32")
    built = stack(inputs, layers.Hashing(10), layers.Embedding(10, 3), layers.Flatten(), layers.Dense(1))
    return built, whole_numbers(0, 99, 2).astype("int32"), numbers(1)


@model
def looked_up():
    inputs = keras.Input((2,), dtype="int64")
    lookup = layers.IntegerLookup(vocabulary=[1, 5, 9])
    built = stack(inputs, lookup, layers.Embedding(4, 3), layers.Flatten(), layers.Dense(1))
    return built, whole_numbers(0, 10, 2), numbers(1)


@model
def double_precision():
    inputs = keras.Input((5,), dtype="float64")
    built = stack(inputs, layers.Dense(8, dtype="float64"), layers.Dense(1, dtype="float64"))
    return built, numbers(5).astype("float64"), numbers(1)


# ---- structures ----------------------------------------------------------------------------------------


@model
def shared_layer():
    dense, one, other = layers.Dense(4), keras.Input((5,)), keras.Input((5,))
    outputs = layers.Dense(1)(layers.Dot(1)([dense(one), dense(other)]))
    return of_functions([one, other], outputs), [numbers(5), numbers(5) * 2], numbers(1)


@model
def nested():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.BatchNormalization()])
    inputs = keras.Input((5,))
    return of_functions(inputs, layers.Dense(1)(inner(inputs)), optimizer="sgd"), numbers(5), numbers(1)


@model
def named_inputs_and_outputs():
    a, b = keras.Input((5,), name="a"), keras.Input((3,), name="b")
    hidden = layers.Concatenate()([a, b])
    outputs = {
        "p": layers.Dense(1, name="p")(hidden),
        "q": layers.Dense(3, "softmax", name="q")(hidden),
    }
    built = of_functions(
        {"a": a, "b": b},
        outputs,
        {"p": "mse", "q": "sparse_categorical_crossentropy"},
        loss_weights={"p": 0.3, "q": 2.0},
        metrics={"p": ["mae"], "q": ["accuracy"]},
        weighted_metrics={"q": ["accuracy"]},
    )
    return built, {"a": numbers(5), "b": numbers(3)}, {"p": numbers(1), "q": classes(3)}


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(4, "relu")
        self.dropout = layers.Dropout(0.0)
        self.last = layers.Dense(1)

    def call(self, x, training=False):
        if isinstance(x, dict):
            x = ops.concatenate([x["u"], x["v"]], 1)
        return self.last(self.dropout(self.hidden(x), training=training))


@model
def subclass():
    built = Subclass()
    built.compile("adam", "mse", metrics=["mae"])
    return built, numbers(5), numbers(1)


@model
def subclass_of_named_inputs():
    built = Subclass()
    built.compile("adam", "mse")
    return built, {"u": numbers(5), "v": numbers(2)}, numbers(1)


class Reconstruction(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(x - y_pred))


@model
def without_targets():
    inputs = keras.Input((5,))
    built = Reconstruction(inputs, layers.Dense(5)(layers.Dense(2)(inputs)))
    built.compile("adam")
    return built, numbers(5), None


class Sampling(layers.Layer):
    def call(self, mean_and_variance):
        mean, variance = mean_and_variance
        self.add_loss(-0.5 * ops.mean(1 + variance - mean**2 - ops.exp(variance)))
        return mean


@model
def variational():
    inputs = keras.Input((5,))
    hidden = layers.Dense(4)(inputs)
    outputs = layers.Dense(5)(Sampling()([layers.Dense(2)(hidden), layers.Dense(2)(hidden)]))
    return of_functions(inputs, outputs), numbers(5), numbers(5)


@model
def layer_with_state():
    return regression((5,), Counting())


@model
def layer_with_a_metric():
    return regression((5,), layers.Dense(4), Measuring())


@model
def low_rank():
    built, x, y = regression((5,), layers.Dense(6))
    built.layers[0].enable_lora(2)
    built.compile("adam", "mse")
    return built, x, y


@model
def stateful():
    return *models.stateful(10), {"batch_size": 10, "validation_split": 0.0}


# ---- compile() -----------------------------------------------------------------------------------------

OPTIMIZERS = (
    "Lion",
    "Adafactor",
    "Nadam",
    "Adamax",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "Ftrl",
    "Lamb",
    "Muon",
)
SCHEDULES = {
    "CosineDecay": (0.01, 10),
    "PiecewiseConstantDecay": ([3, 7], [0.1, 0.01, 0.001]),
    "PolynomialDecay": (0.1, 10),
    "InverseTimeDecay": (0.1, 5, 0.5),
}
LOSSES = (
    "huber",
    "log_cosh",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "cosine_similarity",
    "hinge",
    "squared_hinge",
    "kl_divergence",
    "poisson",
    "binary_focal_crossentropy",
)


def with_optimizer(name: str):
    return small(optimizer=getattr(keras.optimizers, name)()), numbers(5), numbers(1)


def with_schedule(name: str):
    schedule = getattr(keras.optimizers.schedules, name)(*SCHEDULES[name])
    return small(optimizer=keras.optimizers.SGD(schedule)), numbers(5), numbers(1)


def with_loss(name: str):
    return stack((5,), layers.Dense(2, "sigmoid"), loss=name), numbers(5), np.abs(numbers(2)) % 1


def with_reduction(reduction: str | None):
    built = stack((5,), layers.Dense(1), loss=losses.MeanSquaredError(reduction=reduction))
    return built, numbers(5), numbers(1), {"sample_weight": np.abs(numbers(1)[:, 0])}


MODELS |= {name: partial(with_optimizer, name) for name in OPTIMIZERS if hasattr(keras.optimizers, name)}
MODELS |= {name: partial(with_schedule, name) for name in SCHEDULES}
MODELS |= {name: partial(with_loss, name) for name in LOSSES}
MODELS |= {f"{name} of losses": partial(with_reduction, name) for name in ("sum", "mean_with_sample_weight")}
MODELS |= {
    "three steps in an execution": lambda: (small(steps_per_execution=3), numbers(5), numbers(1)),
    "scaled loss": lambda: (small(auto_scale_loss=True), numbers(5), numbers(1)),
    "booleans": lambda: (small(), numbers(5) > 0, numbers(1) > 0),
    "half and double precision": lambda: (small(), numbers(5).astype("float16"), numbers(1).astype("double")),
    "whole targets": lambda: (small(), numbers(5), classes(9)),
}


@model
def ctc():
    return stack((6, 4), layers.Dense(5), loss=losses.CTC()), numbers(6, 4), whole_numbers(1, 5, 2)


@model
def dice():
    convolution = layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    built = stack((6, 6, 1), convolution, loss=losses.Dice())
    return built, numbers(6, 6, 1), (numbers(6, 6, 1) > 0).astype("float32")


@model
def ignored_class():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    return stack((4, 5), layers.Dense(3, "softmax"), loss=loss), numbers(4, 5), whole_numbers(-1, 3, 4)


@model
def several_labels():
    metrics = ["accuracy", keras.metrics.AUC(multi_label=True, num_labels=4)]
    built = stack((5,), layers.Dense(4, "sigmoid"), loss="binary_crossentropy", metrics=metrics)
    return built, numbers(5), (numbers(4) > 0).astype("int32")


# ---- data ----------------------------------------------------------------------------------------------

X, Y, WEIGHTS = numbers(5), numbers(1), np.abs(numbers())


def of_named_inputs():
    a, b = keras.Input((5,), name="a"), keras.Input((2,), name="b")
    return of_functions({"a": a, "b": b}, layers.Dense(1)(layers.Concatenate()([a, b])))


def of_any_length():
    return stack((None, 2), layers.LSTM(3), layers.Dense(1))


def of_classes(**compiling: Any):
    return stack(
        (5,),
        layers.Dense(3, "softmax"),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **compiling,
    )


class Batches(keras.utils.PyDataset):
    def __init__(self, size: int = 16, **options: Any):
        super().__init__(**options)
        self.size = size

    def __len__(self):
        return -(-len(X) // self.size)

    def __getitem__(self, number):
        rows = slice(number * self.size, (number + 1) * self.size)
        return X[rows], Y[rows], WEIGHTS[rows]


def again_and_again(*batches: Any) -> Callable:
    def generator():
        while True:
            yield from batches

    return generator


DATA |= {
    "PyDataset": lambda: (small(), Batches, {}),
    "PyDataset, steps": lambda: (small(), Batches, {"steps_per_epoch": 3}),
    "generator": lambda: (
        small(),
        again_and_again(*((X[i : i + 14], Y[i : i + 14]) for i in range(0, 70, 14))),
        {"steps_per_epoch": 4},
    ),
    "generator of batches of all sizes": lambda: (
        small(),
        again_and_again(*((X[:size], Y[:size], WEIGHTS[:size]) for size in (3, 10, 7, 16, 1))),
        {"steps_per_epoch": 5},
    ),
    "generator of sequences of all lengths": lambda: (
        of_any_length(),
        again_and_again(*((numbers(length, 2)[:16], Y[:16]) for length in (3, 10, 7))),
        {"steps_per_epoch": 6},
    ),
    "generator of named inputs": lambda: (
        of_named_inputs(),
        again_and_again(({"a": X[:20], "b": X[:20, :2]}, Y[:20])),
        {"steps_per_epoch": 2},
    ),
    "generator of tensors": lambda: (
        small(),
        again_and_again((ops.convert_to_tensor(X[:16]), ops.convert_to_tensor(Y[:16]))),
        {"steps_per_epoch": 2},
    ),
    "generator of doubles": lambda: (
        small(),
        again_and_again((X[:16].astype("double"), Y[:16, 0].astype("double"))),
        {"steps_per_epoch": 2},
    ),
    "tensors": lambda: (small(), lambda: (ops.convert_to_tensor(X), ops.convert_to_tensor(Y)), {}),
    "data frame": lambda: (
        small(),
        lambda: (pd.DataFrame(X, columns=list("abcde")), pd.Series(Y[:, 0])),
        {},
    ),
    "class weights": lambda: (
        of_classes(weighted_metrics=["accuracy"]),
        lambda: (X, classes(3)),
        {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    ),
    "one batch": lambda: (small(), lambda: (X, Y), {"batch_size": 1000}),
    "batches of one": lambda: (small(), lambda: (X[:9], Y[:9]), {"batch_size": 1}),
    "epochs shorter than a pass": lambda: (small(), lambda: (X, Y), {"steps_per_epoch": 2}),
    "validation now and then": lambda: (
        small(),
        lambda: (X, Y),
        {
            "validation_data": lambda: (X[::-1].copy(), Y, WEIGHTS),
            "validation_steps": 3,
            "validation_batch_size": 7,
            "validation_freq": 2,
        },
    ),
    "validation on a PyDataset": lambda: (
        small(),
        lambda: (X, Y),
        {"validation_data": lambda: Batches(8)},
    ),
}


def tensorflow_data() -> dict[str, Callable[[], tuple]]:
    import tensorflow as tf

    def rows(*parts: Any) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(parts or (X, Y))

    def generated() -> tf.data.Dataset:
        spec = (tf.TensorSpec((None, 5), tf.float32), tf.TensorSpec((None, 1), tf.float32))
        batches = [(X[i : i + 7], Y[i : i + 7]) for i in range(0, 70, 7)]
        return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)

    def padded() -> tf.data.Dataset:
        sequences = rows().map(lambda x, y: (tf.reshape(x[:4], (2, 2)), y))
        return sequences.padded_batch(16, padded_shapes=([3, 2], [1]))

    weights = {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}
    return {
        "tf.data": lambda: (small(), lambda: rows().batch(16), {}),
        "tf.data, whole batches": lambda: (small(), lambda: rows().batch(16, drop_remainder=True), {}),
        "tf.data, endless": lambda: (small(), lambda: rows().batch(16).repeat(), {"steps_per_epoch": 3}),
        "tf.data, weights": lambda: (small(), lambda: rows(X, Y, WEIGHTS).batch(16).prefetch(2), {}),
        "tf.data, named inputs": lambda: (
            of_named_inputs(),
            lambda: rows({"a": X, "b": X[:, :2]}, Y).batch(16),
            {},
        ),
        "tf.data, a generator": lambda: (small(), generated, {}),
        "tf.data, filtered": lambda: (
            small(),
            lambda: rows().filter(lambda x, y: tf.reduce_sum(x) > 0).batch(16),
            {},
        ),
        "tf.data, steps": lambda: (small(), lambda: rows().batch(16), {"steps_per_epoch": 2}),
        "tf.data, validation": lambda: (
            small(),
            lambda: rows().batch(16),
            {"validation_data": lambda: rows().batch(9)},
        ),
        "tf.data, padded": lambda: (of_any_length(), padded, {}),
        "tf.data, class weights": lambda: (of_classes(), lambda: rows(X, classes(3)).batch(16), weights),
    }


def torch_data() -> dict[str, Callable[[], tuple]]:
    import torch

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, row):
            return {"a": X[row], "b": X[row, :2]}, Y[row]

    def loader() -> torch.utils.data.DataLoader:
        tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
        return torch.utils.data.DataLoader(tensors, batch_size=16)

    return {
        "DataLoader": lambda: (small(), loader, {}),
        "DataLoader, named inputs": lambda: (
            of_named_inputs(),
            lambda: torch.utils.data.DataLoader(Rows(), batch_size=16),
            {},
        ),
    }


DATA |= tensorflow_data() | torch_data()
