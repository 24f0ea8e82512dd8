"""Models that fix the batch size."""

from __future__ import annotations

import keras
import models
import numpy as np
import pytest
from keras import layers

import kerasfit
from kerasfit.errors import ArgumentError, DataError

BACKEND = keras.backend.backend()
X, Y = models.numbers(5, 2), models.numbers(1)  # 70 samples; the models accept 10 at a time
can_train = pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot train a stateful network there")


def model_of_batches(size=8):
    """Build a stateless model with a fixed batch size, whose rows do not depend on each other."""
    inputs = keras.Input(batch_shape=(size, 5))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    return model


def stateful_functional():
    inputs = keras.Input(batch_shape=(10, 5, 2))
    model = keras.Model(inputs, layers.Dense(1)(layers.LSTM(3, stateful=True)(inputs)))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("build", [stateful_functional, lambda: models.stateful()[0]])
def test_the_fixed_batch_size_of_a_model_is_the_default(build):
    model = build()
    by_default = kerasfit.predict(model, X, verbose=0)
    next(layer for layer in model.layers if isinstance(layer, layers.LSTM)).reset_states()
    assert by_default.shape == (70, 1)
    np.testing.assert_allclose(by_default, model.predict(X, batch_size=10, verbose=0), rtol=1e-4, atol=1e-6)


@can_train
def test_fit_evaluate_and_validation_use_the_fixed_batch_size():
    model = stateful_functional()
    history = kerasfit.fit(model, X, Y, validation_data=(X[:20], Y[:20]), verbose=0)
    assert (history.params["batch_size"], history.params["steps"]) == (10, 7)
    assert np.isfinite(kerasfit.evaluate(model, X, Y, verbose=0)["loss"])


WRONG_SIZES = {
    "fit": (lambda m: kerasfit.fit(m, X, Y, batch_size=32, verbose=0), "batch_size"),
    "evaluate": (lambda m: kerasfit.evaluate(m, X, Y, batch_size=7, verbose=0), "batch_size"),
    "predict": (lambda m: kerasfit.predict(m, X, batch_size=35, verbose=0), "batch_size"),
    "validation": (
        lambda m: kerasfit.fit(m, X, Y, validation_data=(X, Y), validation_batch_size=7, verbose=0),
        "validation_batch_size",
    ),
}


@pytest.mark.parametrize("verb", WRONG_SIZES)
def test_a_batch_size_other_than_the_fixed_one_is_an_error(verb):
    call, argument = WRONG_SIZES[verb]
    with pytest.raises(
        ArgumentError, match=rf"`{argument}` is \d+, but the model takes batches of 10"
    ) as caught:
        call(stateful_functional())
    assert caught.value.argument == argument


@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict"])
def test_samples_that_do_not_fill_whole_batches_are_an_error(verb):
    data = (X[:65], Y[:65])[: 1 if verb == "predict" else 2]
    with pytest.raises(DataError, match=r"`x` has 65 samples, but the model takes batches of 10: .* have 5"):
        getattr(kerasfit, verb)(stateful_functional(), *data, verbose=0)


def test_a_stateless_model_need_not_have_whole_batches():
    model, x = model_of_batches(), X[:, :, 0]
    expected = x @ model.get_weights()[0] + model.get_weights()[1]
    np.testing.assert_allclose(kerasfit.predict(model, x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ArgumentError, match="`batch_size` is 16, but the model takes batches of 8"):
        kerasfit.fit(model, x, Y, batch_size=16, verbose=0)


def test_the_size_of_the_first_batch_does_not_become_fixed():
    model = keras.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    kerasfit.fit(model, X[:, :, 0], Y, verbose=0)
    assert kerasfit.predict(model, X[:, :, 0], batch_size=10, verbose=0).shape == (70, 1)


@pytest.mark.parametrize("source", ["generator", "dataset", "dataset of unknown sizes"])
def test_a_batch_of_another_size_than_the_fixed_one_is_an_error(source):
    batches = [X[:10], X[10:15]]
    if source == "generator":
        data = iter([(x,) for x in batches])
    else:
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(X[:15])
        data = data.batch(10) if "unknown" in source else data.batch(5, drop_remainder=True)
    with pytest.raises(DataError, match=r"has 5 samples, but the model takes batches of 10"):
        kerasfit.predict(stateful_functional(), data, verbose=0)
