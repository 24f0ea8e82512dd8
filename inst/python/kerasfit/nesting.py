"""Nested calls: fit, evaluate or predict called from a callback, generator or loss of the same model.

``evaluate()`` and ``predict()`` may be nested, and restore the state that the outer call needs. ``fit()`` may
not, because it would change the weights during the outer call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kerasfit.engines import Engine
from kerasfit.errors import StateError
from kerasfit.execution_size import exchange_sizers

ENGINE_ATTRIBUTES = ("plan", "plan_is_chosen", "kernels", "_at_work")
STOP_FLAGS = ("stop_evaluating", "stop_predicting")


def may_be_nested(function: Callable) -> Callable:
    """Decorate ``fit``, ``evaluate`` or ``predict`` to handle a call from within another one."""

    @functools.wraps(function)
    def call(model: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(model, keras.Model):  # the function itself raises an error
            return function(model, *args, **kwargs)
        with nested_call(model, function.__name__):
            return function(model, *args, **kwargs)

    return call


@contextmanager
def nested_call(model: keras.Model, verb: str) -> Iterator[None]:
    """Register a call for a model; if it is nested, restore the state of the outer call at the end."""
    calls = model.__dict__.setdefault("_kerasfit_calls", [])
    if calls and verb == "fit":
        raise StateError(
            f"fit() was called during {calls[-1]}() of the same model, for example by one of its callbacks.",
            hint="You may call evaluate() and predict() there, and fit() of another model.",
        )
    engine = model.__dict__.get("_kerasfit_engine") if calls else None
    restore = save_outer_call(engine, with_metrics=verb == "evaluate") if engine else lambda: None
    calls.append(verb)
    try:
        yield
    finally:
        calls.pop()
        restore()


def save_outer_call(engine: Engine, *, with_metrics: bool) -> Callable[[], None]:
    """Save the state of the outer call; returns a function that restores it."""
    model = engine.model
    settings = {name: getattr(engine, name) for name in ENGINE_ATTRIBUTES}
    stopped = {name: getattr(model, name, False) for name in STOP_FLAGS}
    engine.sync()
    variables = model.metrics_variables if with_metrics else []
    values = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    sizers = exchange_sizers(engine, {})

    def restore() -> None:
        engine.sync()
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        for name, setting in settings.items():
            setattr(engine, name, setting)
        exchange_sizers(engine, sizers)
        for name, flag in stopped.items():
            setattr(model, name, flag)

    return restore
