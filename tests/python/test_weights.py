"""Which shapes of sample weights a loss accepts."""

from __future__ import annotations

import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import kerasfit
from kerasfit.errors import DataError

SAMPLES = 8
X = models.numbers(4, 3)[:SAMPLES]
OF_SAMPLES = np.arange(1.0, SAMPLES + 1, dtype="float32")


def dense(loss, units=8):
    """Build a model with as many units as there are samples, so that weights for either look the same."""
    model = keras.Sequential([keras.Input((4, 3)), layers.Flatten(), layers.Dense(units)])
    model.compile("sgd", loss)
    return model


def at_times(loss="mse"):
    model = keras.Sequential([keras.Input((4, 3)), layers.Dense(2)])
    model.compile("sgd", loss)
    return model


def two_outputs():
    inputs = keras.Input((4, 3))
    outputs = {"a": layers.Dense(8)(layers.Flatten()(inputs)), "b": layers.Dense(2)(inputs)}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model, {"a": models.numbers(8)[:SAMPLES], "b": models.numbers(4, 2)[:SAMPLES]}


def elementwise(y_true, y_pred):
    return ops.abs(y_true - y_pred)


def of_samples(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


Y, TIMES = models.numbers(8)[:SAMPLES], models.numbers(4, 2)[:SAMPLES]
CODES = models.classes(8)[:SAMPLES]
MATRIX = np.ones((SAMPLES, 8), "float32")

WRONG = {
    "elements": (lambda: dense("mse"), Y, MATRIX, r"\(8, 8\), .* weights of \(samples\)"),
    "classes": (lambda: dense("sparse_categorical_crossentropy"), CODES, MATRIX, r"of \(samples\)"),
    "a loss of the user's": (lambda: dense(of_samples), Y, MATRIX, r"weights of \(samples\)"),
    "times": (at_times, TIMES, np.ones((SAMPLES, 2)), r"\(8, 2\), .* weights of \(samples, 4\)"),
    "elements at times": (at_times, TIMES, np.ones((SAMPLES, 4, 2)), r"weights of \(samples, 4\)"),
}


@pytest.mark.parametrize("form", ["arrays", "batches", "evaluate", "validation"])
@pytest.mark.parametrize("case", models.few_where_compiled(WRONG, ["elements", "times"]))
def test_weights_that_would_be_broadcast_are_an_error(case, form):
    build, y, weights, message = WRONG[case]
    model = build()
    with pytest.raises(DataError, match=message):
        if form == "batches":
            kerasfit.fit(model, iter([(X, y, weights)]), verbose=0)
        elif form == "evaluate":
            kerasfit.evaluate(model, X, y, sample_weight=weights, verbose=0)
        elif form == "validation":
            kerasfit.fit(model, X, y, validation_data=(X, y, weights), verbose=0)
        else:
            kerasfit.fit(model, X, y, sample_weight=weights, verbose=0)


@pytest.mark.parametrize("output", ["a", "b"])
def test_weights_for_one_of_several_outputs_are_checked(output):
    model, y = two_outputs()
    wrong = {output: np.ones_like(y[output])}
    with pytest.raises(DataError, match=rf"`sample_weight\${output}` has dimensions .* the loss takes"):
        kerasfit.fit(model, X, y, sample_weight=wrong, verbose=0)
    kerasfit.fit(model, X, y, sample_weight={output: OF_SAMPLES}, verbose=0)


RIGHT = {
    "of samples": (lambda: dense("mse"), Y, OF_SAMPLES),
    "in a column": (lambda: dense("mse"), Y, OF_SAMPLES[:, None]),
    "of times": (at_times, TIMES, np.linspace(0, 1, SAMPLES * 4).reshape(SAMPLES, 4)),
    "of samples, at times": (at_times, TIMES, OF_SAMPLES[:, None]),
    "of elements, by a loss of the user's": (lambda: dense(elementwise), Y, np.abs(Y)),
}


@pytest.mark.parametrize("case", models.few_where_compiled(RIGHT, ["in a column"]))
def test_weights_that_a_loss_accepts_count_as_in_keras(case):
    build, y, weights = RIGHT[case]
    model = build()
    ours = kerasfit.evaluate(model, X, y, sample_weight=weights, verbose=0)["loss"]
    assert ours == pytest.approx(model.evaluate(X, y, sample_weight=weights, verbose=0), rel=1e-4)
