"""Calls of fit(), evaluate() and predict() inside callbacks and generators of another call."""

from __future__ import annotations

import signal

import keras
import numpy as np
import pytest

import kerasfit

X = np.random.default_rng(0).normal(size=(120, 4)).astype("float32")
Y = X[:, :1] * 2


@pytest.fixture
def new_model():
    def new():
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    return new


def run(model, within=lambda: None, hook="on_epoch_end", **arguments):
    """Train with a callback that makes a call at a hook; return metrics, losses of batches and weights."""
    seen = []

    class Calling(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, logs["loss"]))

    setattr(Calling, hook, record_and_call(getattr(Calling, hook), within))
    arguments = {"epochs": 3, "batch_size": 12, "shuffle": False, "verbose": 0} | arguments
    history = kerasfit.fit(model, X, Y, callbacks=[Calling(), keras.callbacks.TerminateOnNaN()], **arguments)
    return history.metrics, seen, [weights.tolist() for weights in model.get_weights()]


def record_and_call(method, within):
    def hook(self, *args, **kwargs):
        method(self, *args, **kwargs)
        within()

    return hook


@pytest.mark.parametrize(
    "hook", ["on_epoch_end", "on_train_batch_end", "on_test_batch_end", "on_train_begin"]
)
def test_evaluate_and_predict_in_a_callback_do_not_change_training(new_model, hook):
    watch = {"on_test_batch_end": lambda *args: None, "on_predict_batch_end": lambda *args: None}
    arguments = {"validation_data": (X, Y)}
    expected = run(new_model(), **arguments)
    model = new_model()

    def within():
        for callbacks in (None, watch):
            kerasfit.evaluate(model, X[:50], Y[:50], callbacks=callbacks, verbose=0)
            kerasfit.predict(model, X[:50], callbacks=callbacks, verbose=0, plan="step")

    assert len(expected[1]) == 30
    for got, wanted in zip(run(model, within, hook, **arguments), expected, strict=True):
        assert got == wanted


def test_evaluate_and_predict_in_a_generator_do_not_change_training(new_model):
    def train(within):
        model = new_model()

        def batches():
            for start in range(0, 120, 12):
                within(model)
                yield X[start : start + 12], Y[start : start + 12]

        history = kerasfit.fit(model, batches, epochs=2, verbose=0)
        return history.metrics, [weights.tolist() for weights in model.get_weights()]

    def within(model):
        kerasfit.evaluate(model, X, Y, verbose=0)
        kerasfit.predict(model, X, verbose=0)

    assert train(within) == train(lambda model: None)


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_end", "on_test_end", "on_train_end"])
def test_fit_of_the_same_model_in_a_callback_is_an_error_and_leaves_it_usable(new_model, hook):
    model = new_model()
    with pytest.raises(kerasfit.KerasfitError, match=r"during (fit|evaluate)\(\) of the same"):
        run(model, lambda: kerasfit.fit(model, X, Y, verbose=0), hook, validation_data=(X, Y))
    model.set_weights(new_model().get_weights())
    for got, wanted in zip(run(model), run(new_model()), strict=True):
        assert got == wanted
    with pytest.raises(kerasfit.KerasfitError, match=r"during predict\(\) of the same"):
        refit = {"on_predict_end": lambda logs: kerasfit.fit(model, X, Y, verbose=0)}
        kerasfit.predict(model, X, callbacks=refit, verbose=0)


def test_fit_of_another_model_in_a_callback_does_not_change_training(new_model):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    other.compile("sgd", "mse")
    expected = run(new_model(), epochs=2)
    for hook in ("on_epoch_end", "on_train_batch_end"):
        got = run(new_model(), lambda: kerasfit.fit(other, X, Y, epochs=2, verbose=0), hook, epochs=2)
        assert got == expected


def test_an_interrupt_in_a_nested_fit_ends_the_outer_one_too(new_model):
    other, inner = new_model(), []
    interrupt = {"on_train_batch_end": lambda batch, logs: signal.raise_signal(signal.SIGINT)}

    def within(epoch, logs):
        inner.append(kerasfit.fit(other, X, Y, epochs=9, callbacks=interrupt, verbose=0))

    history = kerasfit.fit(new_model(), X, Y, epochs=9, callbacks={"on_epoch_end": within}, verbose=0)
    assert [run.params["interrupted"] for run in inner] == [True]
    assert history.params["interrupted"]
    assert history.epochs == [1]
    assert not kerasfit.fit(other, X, Y, verbose=0).params["interrupted"]


def test_after_a_nested_call_a_non_finite_loss_still_ends_training(new_model):
    model = new_model()
    model.optimizer.learning_rate = 1e30
    calls = []

    def within():
        calls.append(kerasfit.evaluate(model, X, Y, verbose=0))

    _, seen, _ = run(model, within, "on_epoch_begin", epochs=5)
    assert len(seen) < 10
    assert len(calls) == 1
