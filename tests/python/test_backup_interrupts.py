"""Wherever an interrupt ends a run, the trained steps are stored, and the same call resumes after them."""

from __future__ import annotations

import random
import signal

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit import interrupts

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
Y = (X[:, :1] * X[:, 1:2]).astype("float32")


def network():
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(4, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse", metrics=["mae"])
    return model


class Counter:
    """Interrupts at the call with a given number, counted over all calls from places of one kind."""

    def __init__(self, at=None, signal=False):
        self.calls, self.at, self.signal = 0, at, signal

    def __call__(self):
        self.calls += 1
        if self.calls == self.at:
            if self.signal:
                interrupts.request()
            else:
                raise KeyboardInterrupt


class Hook(keras.callbacks.Callback):
    """A user callback that draws random numbers and counts, and may be interrupted."""

    def __init__(self, hook, interrupt):
        super().__init__()
        self.drawn = 0.0
        self.hook, self.interrupt = hook, interrupt
        setattr(self, hook, self.run_hook)

    def run_hook(self, *args, **kwargs):
        if "train_batch" not in self.hook:
            self.interrupt()
        self.drawn += np.random.rand() + random.random()
        if "train_batch" in self.hook:  # the rest of an interrupted hook is not made up for there
            self.interrupt()


def random_batches(interrupt):
    """Return a function that returns batches forever, and interrupts after it has drawn a random number."""

    def batch():
        rows = np.random.randint(0, 60, 8)
        interrupt()
        rows[0] = random.randrange(60)
        return X[rows], Y[rows]

    return batch


def passes_of_three(interrupt):
    """Return a function that ends a pass after three batches."""
    batch, count = random_batches(interrupt), 0

    def batch_or_none():
        nonlocal count
        count = (count + 1) % 4
        return batch() if count else None

    return batch_or_none


HOOKS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_test_end",
)


def run(folder=None, place="", interrupt=None, **options):
    """Train for four epochs, interrupted at a place; return the history, and the outcome of training."""
    interrupt = interrupt or Counter()
    nothing = Counter()
    arguments = {"batch_size": 16, "validation_data": (X[:20], Y[:20])}
    data = (X, Y)
    if place.startswith("generator"):
        source = passes_of_three if place == "generator of passes" else random_batches
        data = (source(interrupt),)
        del arguments["batch_size"]
        if source is random_batches:
            arguments["steps_per_epoch"] = 4
    if place.startswith("validation generator"):
        arguments |= {"validation_data": random_batches(interrupt), "validation_steps": 3}
    hook = Hook(place, interrupt) if place in HOOKS else Hook("on_epoch_end", nothing)
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
        hook,
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.5),
        *([kerasfit.BackupAndRestore(folder, **options)] if folder else []),
    ]
    model = network()
    history = kerasfit.fit(model, *data, epochs=4, callbacks=callbacks, verbose=0, **arguments)
    variables = [*model.variables, *model.optimizer.variables]
    values = [keras.ops.convert_to_numpy(variable.value).tobytes() for variable in variables]
    return history, (values, history.metrics, hook.drawn, np.random.rand(), random.random())


PLACES = [*HOOKS, "generator", "generator of passes", "validation generator"]


WAYS = {"raised": False, "asked for": True}


PLACES_AND_WAYS = [(place, way) for place in PLACES for way in WAYS]
IN_SHORT = (
    [("on_train_batch_end", "asked for"), ("generator", "raised")]
    if models.COMPILED
    else [(place, "asked for") for place in PLACES] + [("on_epoch_end", "raised"), ("generator", "raised")]
)


@pytest.mark.parametrize("place, way", models.few_pairs(PLACES_AND_WAYS, IN_SHORT))
def test_a_run_interrupted_anywhere_resumes_exactly(tmp_path, place, way):
    count = Counter()
    _, expected = run(place=place, interrupt=count)
    assert run(tmp_path / "whole", place)[1] == expected
    at = count.calls // 2 + 1
    history, _ = run(tmp_path / "state", place, Counter(at, WAYS[way]), save_freq=1000)
    assert history.params["interrupted"]
    assert (tmp_path / "state" / "state.npz").exists()
    history, outcome = run(tmp_path / "state", place, save_freq=1000)
    assert not history.params["interrupted"]
    assert outcome == expected
    assert not (tmp_path / "state").exists()


@models.full_where_compiled
def test_an_interrupt_at_any_batch_stores_the_trained_steps(tmp_path):
    _, expected = run(place="generator")
    for number in (1, 2, 4, 5, 8, 16):
        folder = tmp_path / str(number)
        run(folder, "generator", Counter(number), save_freq=1000)
        assert run(folder, "generator", save_freq=1000)[1] == expected


@models.full_where_compiled
def test_swapped_ema_weights_are_restored_when_validation_is_interrupted():
    def weights(*more):
        model = network()
        model.compile(keras.optimizers.SGD(0.01, use_ema=True), "mse")
        callbacks = [*more, Hook("on_test_batch_end", Counter(3))]
        kerasfit.fit(model, X, Y, validation_data=(X, Y), callbacks=callbacks, verbose=0, epochs=3)
        return model.get_weights()

    for value, expected in zip(weights(keras.callbacks.SwapEMAWeights()), weights(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5)


@models.full_where_compiled
def test_interrupts_in_callbacks_work_where_the_process_ignores_signals(tmp_path):
    """A process in the background of a shell ignores them."""
    _, expected = run(place="on_train_batch_end")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(tmp_path / "state", "on_train_batch_end", Counter(7), save_freq=1000)
        assert run(tmp_path / "state", "on_train_batch_end", save_freq=1000)[1] == expected
    finally:
        signal.signal(signal.SIGINT, before)
