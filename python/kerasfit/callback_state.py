"""What a callback remembers from epoch to epoch, as plain values."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private, store

HIDDEN = {"_model", "params", "validation_data"}  # attributes that are the run's


def state_of(callback: keras.callbacks.Callback, first: dict[str, Any]) -> Any:
    """The state of a callback: what it says itself, or its plain attributes that are not as at first."""
    if callable(getattr(callback, "get_state", None)):
        return {"own": callback.get_state()}
    now = plain_attributes(callback, copied=False)
    changed = {
        name: value for name, value in now.items() if name not in first or not same(first[name], value)
    }
    state = {"attributes": changed}
    if isinstance(callback, keras.callbacks.CSVLogger):
        callback.csv_file.flush()
        state["size"] = callback.csv_file.tell()
    return state


def give_state(callback: keras.callbacks.Callback, state: dict[str, Any]) -> None:
    if "own" in state:
        callback.set_state(state["own"])
    else:
        keras_private.choose_direction(callback)
        vars(callback).update(state["attributes"])


def plain_attributes(callback: keras.callbacks.Callback, *, copied: bool = True) -> dict[str, Any]:
    plain = {name: v for name, v in vars(callback).items() if name not in HIDDEN and store.is_plain(v)}
    return copy.deepcopy(plain) if copied else plain


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
