"""Whatever its arguments, ``fit()`` trains as documented or raises an ArgumentError, and nothing else."""

from __future__ import annotations

import os
import warnings
from collections import Counter

import keras
import models
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kerasfit

X, Y = models.numbers(5), models.classes(3)


def generate():
    yield X[:16], Y[:16]
    yield X[:8], Y[:8]


def either(*right, wrong=()):
    """Draw one of the valid values, or occasionally an invalid one."""
    return st.integers(0, 9).flatmap(lambda n: st.sampled_from(wrong if n == 0 and wrong else right))


ARGUMENTS = {
    "x": either(
        X, [X], X > 0, generate, wrong=(None, "x", X[:, :2], X[:, 0], X[:0], X * np.nan, [X, X], 1j, object())
    ),
    "y": either(
        Y, Y.astype(float), [Y], wrong=(None, Y + 1, Y[:5], ["a"] * 70, np.eye(3)[Y], {"a": Y}, print)
    ),
    "batch_size": either(None, 16, 100, wrong=(0, -1, "a", 2.5, True)),
    "epochs": either(1, 2, 3.0, wrong=(0, None, "1", [1, 2], np.nan)),
    "initial_epoch": either(1, 2, wrong=(0, 9, -1)),
    "validation_split": either(0, 0.2, wrong=(1, -1, "x", 0.999)),
    "validation_data": either(
        None, (X, Y), (X, Y, np.ones(70)), generate, wrong=(X, (X,), (X[:, :2], Y), (X, Y + 1), 5)
    ),
    "shuffle": either(True, False, wrong=("batch", None)),
    "class_weight": either(
        None, {"0": 1, 1: 2.0, "2": 0}, wrong=({"0": 1}, {"a": 1}, [1], {0: "a"}, {0: -1}, {})
    ),
    "sample_weight": either(None, np.ones(70), wrong=(1, "a", np.ones((70, 2)), np.full(70, np.nan))),
    "steps_per_epoch": either(None, 1, 3, -1, wrong=(0, 1.5)),
    "validation_steps": either(None, 1, wrong=(0,)),
    "validation_batch_size": either(None, 10, wrong=(0,)),
    "validation_freq": either(1, 2, [1], wrong=(0, [], "a")),
    "callbacks": either(
        None, [], [keras.callbacks.TerminateOnNaN()], wrong=("a", [1], keras.callbacks.History)
    ),
    "verbose": either(0, wrong=(3, "loud")),
}
REQUIRED = ("x", "y", "verbose")
OPTIONAL = sorted(set(ARGUMENTS) - set(REQUIRED))


@st.composite
def calls(draw):
    names = [*REQUIRED, *draw(st.lists(st.sampled_from(OPTIONAL), max_size=4, unique=True))]
    arguments = {name: draw(ARGUMENTS[name]) for name in names}
    if arguments["x"] is generate and draw(st.integers(0, 9)):
        arguments["y"] = None
    return arguments


def test_random_arguments_train_or_raise_an_argument_error(capsys):
    model, *_ = models.dense()
    outcomes = Counter()

    @settings(
        max_examples=int(os.environ.get("KERASFIT_FUZZ_CALLS", 400)),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(calls())
    def call(arguments):
        before = model.get_weights()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                history = kerasfit.fit(model, **arguments)
        except kerasfit.ArgumentError as error:
            outcomes[type(error).__name__] += 1
            assert error.argument in ARGUMENTS
            for old, new in zip(before, model.get_weights(), strict=True):
                np.testing.assert_array_equal(new, old)
            return
        outcomes["trained"] += 1
        first, last = arguments.get("initial_epoch", 1), int(arguments.get("epochs", 1))
        if arguments["x"] is not generate:
            assert history.epochs == list(range(first, last + 1))
        assert np.isfinite(history.metrics["loss"]).all()
        validated = arguments.get("validation_data") is not None or arguments.get("validation_split", 0) != 0
        frequency = arguments.get("validation_freq", 1)
        due = [
            validated and (epoch in frequency if isinstance(frequency, list) else epoch % frequency == 0)
            for epoch in history.epochs
        ]
        values = history.metrics.get("val_loss", [None] * len(due))
        assert [value is not None for value in values] == due

    call()
    with capsys.disabled():
        print(f"\n{sum(outcomes.values())} random calls: {dict(outcomes)}")
    assert outcomes["trained"] > outcomes.total() / 4
