"""Saves and restores the state of callbacks, and continues their log files."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private
from kerasfit.checkpoint import store
from kerasfit.errors import ArgumentError
from kerasfit.object_origin import package_of

OF_THE_RUN = {keras_private.CALLBACK_MODEL, "params", "validation_data"}  # attributes that fit() sets


def check_callback_methods(callback: keras.callbacks.Callback) -> None:
    """Raise an ``ArgumentError`` if a callback has only one of ``get_state()`` and ``set_state()``."""
    has = [method for method in ("get_state", "set_state") if callable(getattr(callback, method, None))]
    if len(has) == 1:
        missing = {"get_state": "set_state", "set_state": "get_state"}[has[0]]
        raise ArgumentError(
            "callbacks",
            f"The callback {type(callback).__name__} has a method {has[0]}(), but no {missing}().",
            "Both are needed to save and restore its state.",
        )


def keeps_own_state(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback has a method ``get_state()``."""
    return callable(getattr(callback, "get_state", None))


def callback_state(callback: keras.callbacks.Callback, first: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a callback: ``get_state()``, and the attributes that differ from ``first``.

    For a callback with ``get_state()``, attributes are included only if its class is one of Keras's or
    derived from one.

    Raises
    ------
    ArgumentError
        If ``get_state()`` returns a value that cannot be stored.
    """
    state: dict[str, Any] = {"attributes": {}, "own": None, "size": None}
    if keeps_own_state(callback):
        state["own"] = own = callback.get_state()
        try:
            store.encoded(own, [])
        except (store.NotPlain, RecursionError) as error:
            raise ArgumentError(
                "callbacks",
                f"The state of the callback {type(callback).__name__} cannot be saved: {error}.",
                "get_state() may return numbers, text, arrays, and lists, tuples and dicts of them.",
            ) from error
    if not keeps_own_state(callback) or is_keras_callback(callback):
        now = plain_attributes(callback, copied=False)
        state["attributes"] = {
            name: value for name, value in now.items() if name not in first or not same(first[name], value)
        }
    if isinstance(callback, keras.callbacks.CSVLogger) and callback.csv_file and not callback.csv_file.closed:
        callback.csv_file.flush()
        state["size"] = os.path.getsize(callback.filename)
    return state


def restore_callback_state(callback: keras.callbacks.Callback, state: dict[str, Any]) -> None:
    keras_private.choose_direction(callback)
    for name, value in state["attributes"].items():
        if may_be_restored(callback, name, value):
            setattr(callback, name, value)
    if keeps_own_state(callback):
        callback.set_state(state["own"])


def is_callback_state(state: Any) -> bool:
    """Whether a value from a file has the form of a callback's state."""
    return (
        isinstance(state, dict)
        and isinstance(state.get("attributes"), dict)
        and {"own", "size"} <= state.keys()
    )


def plain_attributes(callback: keras.callbacks.Callback, *, copied: bool = True) -> dict[str, Any]:
    """Return the attributes of a callback that may be stored."""
    plain = {
        name: value
        for name, value in vars(callback).items()
        if may_be_restored(callback, name, value) and store.is_plain(value)
    }
    return copy.deepcopy(plain) if copied else plain


def may_be_restored(callback: keras.callbacks.Callback, name: Any, value: Any) -> bool:
    """Whether an attribute may be restored from a file: one that training changes, not a user's setting.

    Arguments of the constructor are never restored for Keras's callbacks, and for others never if they
    contain text, such as the path of a file.
    """
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("__") or name in OF_THE_RUN:
        return False
    if is_method_or_property(callback, name) or not store.is_plain(vars(callback).get(name)):
        return False
    own, others = argument_names(type(callback))
    return name.lstrip("_") not in own and not (name.lstrip("_") in others and has_text(value))


def is_method_or_property(callback: keras.callbacks.Callback, name: str) -> bool:
    attribute = inspect.getattr_static(type(callback), name, None)
    return callable(attribute) or hasattr(type(attribute), "__get__") or hasattr(type(attribute), "__set__")


def argument_names(kind: type) -> tuple[set[str], set[str]]:
    """Return the names of a callback's constructor arguments: those of Keras's or our classes, and others."""
    own: set[str] = set()
    others: set[str] = set()
    for cls in kind.__mro__:
        if "__init__" in vars(cls) and cls is not object:
            names = own if package_of(cls) in ("keras", "kerasfit") else others
            with suppress(TypeError, ValueError):
                names.update(inspect.signature(vars(cls)["__init__"]).parameters)
    return own, others - own


def is_keras_callback(callback: keras.callbacks.Callback) -> bool:
    """Whether the class of a callback is one of Keras's, or derived from one."""
    return any(
        package_of(cls) == "keras" and cls is not keras.callbacks.Callback for cls in type(callback).__mro__
    )


def has_text(value: Any) -> bool:
    return any(isinstance(leaf, (str, bytes)) for leaf in keras.tree.flatten(value))


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[name]) for name, value in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


@contextmanager
def continued_logs(
    callbacks: Sequence[keras.callbacks.Callback], states: Sequence[dict[str, Any]]
) -> Iterator[None]:
    """Make each ``CSVLogger`` append to its file, truncated to its size at the checkpoint."""
    loggers = [
        (callback, state["size"], callback.append)
        for callback, state in zip(callbacks, states, strict=True)
        if isinstance(callback, keras.callbacks.CSVLogger)
    ]
    for logger, size, _ in loggers:
        cut(logger.filename, size)
        logger.append = True
    try:
        yield
    finally:
        for logger, _, append in loggers:
            logger.append = append


def cut(path: str, size: Any) -> None:
    """Truncate a file to a size; a shorter file is left as it is."""
    with suppress(OSError), open(path, "r+b") as file:
        if type(size) is int and 0 <= size < os.fstat(file.fileno()).st_size:
            file.truncate(size)
