"""Small compiled models with data: one function for each kind of model that is trained differently."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

KERAS = tuple(map(int, keras.__version__.split(".")[:2]))

SAMPLES = 70  # with batches of 16: four full ones and a last batch of 6


COMPILED = keras.backend.backend() != "torch"  # each test takes seconds there
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"  # programs take longest to compile there


def full_where_compiled(test):
    """Mark a test that does not depend on how steps are compiled; the full run alone has it if they are."""
    return pytest.mark.full(test) if COMPILED else test


def few(cases, chosen):
    """Return the cases of a test; all except the chosen ones are left to the full run."""
    return [pytest.param(case, marks=() if case in chosen else pytest.mark.full) for case in cases]


def few_pairs(cases, chosen):
    """Like ``few()``, for tests with several parameters: each case is a tuple of their values."""
    return [pytest.param(*case, marks=() if case in chosen else pytest.mark.full) for case in cases]


def few_where_compiled(cases, chosen):
    """Return the cases of a test; if the backend compiles steps, only the full run has those not chosen."""
    return few(cases, chosen if COMPILED else cases)


def few_on_tensorflow(cases, chosen):
    """Return the cases of a test; on TensorFlow, only the full run includes cases that are not chosen."""
    return few(cases, chosen if ON_TENSORFLOW else cases)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(SAMPLES, *shape)).astype("float32")


def classes(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, count, SAMPLES)


def dense(optimizer="adam", **compiling):
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax")]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **compiling)
    return model, numbers(5), classes(3)


def unbuilt():
    model = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(1)])
    model.compile("rmsprop", "mse", metrics=["mae"])
    return model, numbers(5), numbers(1)


def one_hot():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax")])
    model.compile("adam", "categorical_crossentropy", weighted_metrics=["accuracy"])
    return model, numbers(5), keras.utils.to_categorical(classes(3), 3)


METRICS = {
    "binary": lambda: [
        *("accuracy", "AUC", "Precision", "Recall", "Hinge", "BinaryCrossentropy", "FalseNegatives"),
        keras.metrics.AUC(curve="PR", num_thresholds=20, name="area_pr"),
        keras.metrics.SensitivityAtSpecificity(0.5),
        keras.metrics.PrecisionAtRecall(0.5),
        keras.metrics.BinaryIoU([0, 1]),
    ],
    "classes": lambda: [
        *("accuracy", "CategoricalCrossentropy", "KLDivergence"),
        keras.metrics.TopKCategoricalAccuracy(2),
        keras.metrics.F1Score(average="macro"),
        keras.metrics.OneHotMeanIoU(3),
        keras.metrics.AUC(multi_label=True, num_labels=3),
    ],
    "regression": lambda: [
        *("mae", "RootMeanSquaredError", "R2Score", "LogCoshError", "CosineSimilarity"),
        keras.metrics.MeanMetricWrapper(keras.losses.huber, name="of_a_function"),
        *((keras.metrics.PearsonCorrelation(),) if hasattr(keras.metrics, "PearsonCorrelation") else ()),
    ],
}


def with_metrics(task: str):
    """Build a small model with Keras's own metrics for a task: sums, counts, vectors and matrices."""
    units, activation, loss = {
        "binary": (1, "sigmoid", "binary_crossentropy"),
        "classes": (3, "softmax", "categorical_crossentropy"),
        "regression": (1, None, "mse"),
    }[task]
    model = keras.Sequential([keras.Input((5,)), layers.Dense(units, activation=activation)])
    model.compile("sgd", loss, metrics=METRICS[task]())
    y = {
        "binary": classes(2)[:, None].astype("float32"),
        "classes": keras.utils.to_categorical(classes(3), 3),
        "regression": numbers(1),
    }[task]
    return model, numbers(5), y


def batch_norm():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(8),
            layers.BatchNormalization(),
            layers.Dropout(0.0),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return model, numbers(5), numbers(1)


def convolution():
    """Pooling with and without ties from ReLU, a stride, and a remainder that the windows do not cover."""
    model = keras.Sequential(
        [
            keras.Input((9, 9, 1)),
            layers.Conv2D(4, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(),
            layers.Conv2D(20, 2, activation="tanh"),
            layers.Conv2D(6, 3, strides=2, padding="same"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model, numbers(9, 9, 1), classes(2)


def convolution_in_time():
    model = keras.Sequential(
        [
            keras.Input((12, 3)),
            layers.Conv1D(5, 3, padding="causal", activation="relu"),
            layers.MaxPooling1D(3),
            layers.SeparableConv1D(4, 2),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return model, numbers(12, 3), numbers(1)


def recurrent():
    model = keras.Sequential([keras.Input((6, 3)), layers.LSTM(5, return_sequences=True), layers.Dense(1)])
    model.compile("adam", "mse", weighted_metrics=["mae"])
    return model, numbers(6, 3), numbers(6, 1)


def stateful(size=10):
    """A model that accepts batches of one size only. Keras cannot train it with PyTorch."""
    model = keras.Sequential(
        [keras.Input(batch_shape=(size, 5, 2)), layers.LSTM(3, stateful=True), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return model, numbers(5, 2)[:50], numbers(1)[:50]


def gated():
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(9, 3, mask_zero=True),
            layers.Bidirectional(layers.GRU(4)),
            layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    return model, np.random.default_rng(2).integers(0, 9, (SAMPLES, 6)), numbers(1)


def embedding():
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), layers.Embedding(9, 3), layers.Flatten(), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return model, np.random.default_rng(2).integers(0, 9, (SAMPLES, 4)), numbers(1)


def several_inputs():
    a, b = keras.Input((5,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, layers.Dense(1)(layers.concatenate([a, b])))
    model.compile("adam", "mse")
    return model, {"a": numbers(5), "b": numbers(3)}, numbers(1)


def several_outputs():
    inputs = keras.Input((5,))
    hidden = layers.Dense(8, activation="tanh")(inputs)
    outputs = {
        "u": layers.Dense(1, name="u")(hidden),
        "v": layers.Dense(2, activation="softmax", name="v")(hidden),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        "adam",
        {"u": "mse", "v": "sparse_categorical_crossentropy"},
        loss_weights={"u": 1.0, "v": 0.5},
        metrics={"u": "mae", "v": "accuracy"},
    )
    return model, numbers(5), {"u": numbers(1), "v": classes(2)}


def listed_outputs():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(2)(inputs)])
    model.compile("adam", ["mse", "mae"])
    return model, numbers(5), [numbers(1), numbers(2)]


def custom_loss_and_metric():
    def loss(y, y_pred):
        return ops.mean(ops.square(y - y_pred), axis=-1) + 0.1 * ops.mean(ops.abs(y_pred), axis=-1)

    class Largest(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="largest")
            self.value = self.add_weight(shape=(), initializer="zeros", name="value")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.value.assign(ops.maximum(self.value, ops.max(y_pred)))

        def result(self):
            return ops.copy(self.value)

    model = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    model.compile("adam", loss, metrics=[Largest()])
    return model, numbers(5), numbers(1)


def added_loss():
    class Penalty(layers.Layer):
        def call(self, x):
            self.add_loss(0.01 * ops.sum(ops.square(x)))
            return x

    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(4, kernel_regularizer="l2"), Penalty(), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return model, numbers(5), numbers(1)


def own_compute_loss():
    class Model(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return ops.mean(ops.abs(y - y_pred))

    model = Model([keras.Input((5,)), layers.Dense(1)])
    model.compile("adam")
    return model, numbers(5), numbers(1)


def frozen():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, trainable=False), layers.Dense(1)])
    model.compile("adam", "mse")
    return model, numbers(5), numbers(1)


def own_train_step():
    """A train_step for each backend that reports its own metric in addition to the loss."""
    backend = keras.backend.backend()

    class Model(keras.Sequential):
        def train_step(self, *args):
            answer = super().train_step(*args)
            logs, state = answer if backend == "jax" else (answer, None)
            logs = {**logs, "twice_the_loss": 2 * logs["loss"]}
            return (logs, state) if backend == "jax" else logs

    model = Model([keras.Input((5,)), layers.Dense(1)])
    model.compile("adam", "mse")
    return model, numbers(5), numbers(1)


KINDS = [
    dense,
    unbuilt,
    one_hot,
    batch_norm,
    convolution,
    convolution_in_time,
    recurrent,
    gated,
    embedding,
    several_inputs,
    several_outputs,
    listed_outputs,
    custom_loss_and_metric,
    added_loss,
    own_compute_loss,
    frozen,
    own_train_step,
]


def optimizers():
    """Return optimizers and compile options with unusual state or updates, by name."""
    from keras.optimizers import SGD, Adam, AdamW

    return {
        "momentum": dict(optimizer=SGD(0.05, momentum=0.9, nesterov=True)),
        "amsgrad": dict(optimizer=Adam(amsgrad=True)),
        "weight decay": dict(optimizer=AdamW(weight_decay=0.02)),
        "clipping": dict(optimizer=Adam(clipnorm=0.1)),
        "global clipping": dict(optimizer=SGD(0.1, global_clipnorm=0.1)),
        "accumulation": dict(optimizer=Adam(gradient_accumulation_steps=3)),
        "moving average": dict(optimizer=Adam(use_ema=True, ema_momentum=0.9)),
        "moving average, overwriting": dict(optimizer=SGD(use_ema=True, ema_overwrite_frequency=4)),
        "schedule": dict(optimizer=Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.5))),
        "loss scaling": dict(optimizer=keras.optimizers.LossScaleOptimizer(Adam())),
        "eager": dict(run_eagerly=True),
        "not compiled by XLA": dict(jit_compile=False),
    }
