"""The properties of a run that must not change when it is resumed: data, model, optimizer, callbacks etc."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private
from kerasfit.checkpoint import store
from kerasfit.checkpoint.callback_state import argument_names, keeps_own_state
from kerasfit.messages import listed
from kerasfit.sources import ArraySource, ArrowSource, DatasetSource, Source
from kerasfit.variables import own_optimizers

CHECKED_BYTES = 2**26  # of each array
# Arguments of callbacks that may change when a run is resumed
MAY_CHANGE = {"verbose", "filepath", "filename", "log_dir", "root", "path", "headers"}


@keras_private.without_loading_tensorflow()
def run_fingerprint(
    model: keras.Model,
    source: Source,
    validation: Source | None,
    callbacks: Sequence[keras.callbacks.Callback],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the properties of a run that must not change when it is resumed, by the names used in errors.

    Includes the additional properties ``given``, but not learning rates: see ``learning_rates``. A checksum
    is a dict with the key "checksum".
    """
    compiled = json_of(model.get_compile_config) or {}
    return {
        "the backend": keras.backend.backend(),
        "the model's layers": checksum_of(
            json_of(lambda: keras.saving.serialize_keras_object(model) | {"compile_config": None})
        ),
        "the optimizer": [optimizer_config(optimizer) for optimizer in optimizers(model)],
        "the model's compile()": {name: value for name, value in compiled.items() if name != "optimizer"},
        "the loss": [
            json_of(partial(keras_private.loss_arguments, loss)) for loss in keras.tree.flatten(model.loss)
        ],
        "`x`": kind_of(source),
        "`validation_data`": kind_of(validation),
        "`batch_size`": source.batch_size,
        "the number of samples": source.samples,
        "`shuffle`": isinstance(source, (ArraySource, ArrowSource)) and source.shuffling.seed is not None,
        "the data": checksum_of_data(source, (0, 1)),
        "the weights of the samples": checksum_of_data(source, (2,)),
        "`class_weight`": class_weights(source),
        "the number of validation samples": validation and validation.samples,
        "the validation batch size": validation and validation.batch_size,
        "the validation data": checksum_of_data(validation, (0, 1, 2)),
        **given,
        "`callbacks`": [
            type(callback).__name__ for callback in callbacks if type(callback) is not keras.callbacks.History
        ],
        **dict(zip(callback_names(callbacks), map(callback_config, callbacks), strict=True)),
    }


def difference(stored: Any, now: Any) -> str | None:
    """Describe the first difference between two fingerprints; None if they are equal."""
    if not isinstance(stored, dict):
        return "the description of the run is missing"
    for name, value in now.items():
        for where, then, here in differences(stored.get(name), value):
            what = f"{where} of {name}" if where else name
            if is_checksum(then) or is_checksum(here):
                return f"{what} are not the same"
            return f"{what} was {in_words(then)} and is now {in_words(here)}"
    return None


def differences(stored: Any, now: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the path of names at which two plain values differ, and both values."""
    if isinstance(stored, dict) and isinstance(now, dict) and not is_checksum(now):
        for key in [*now, *(key for key in stored if key not in now)]:
            yield from differences(stored.get(key), now.get(key), joined(where, key))
    elif isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now) and not all_text(now):
        for position, (then, here) in enumerate(zip(stored, now, strict=True), start=1):
            yield from differences(then, here, joined(where, position) if len(now) > 1 else where)
    elif stored != now and not (stored != stored and now != now):
        yield where, stored, now


def is_checksum(value: Any) -> bool:
    return isinstance(value, dict) and "checksum" in value


def joined(where: str, key: Any) -> str:
    """Append a name to a path in R's notation, except names that occur in all Keras configurations."""
    if key in ("config", "class_name", "registered_name", "module"):
        return where
    step = f"[[{key}]]" if isinstance(key, int) else f"{key}"
    return step if not where else f"{where}${step}" if not isinstance(key, int) else where + step


def all_text(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def in_words(value: Any) -> str:
    if isinstance(value, list) and all_text(value):
        return listed(value) if value else "none"
    if value is None:
        return "not set"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict) and "class_name" in value:
        return str(value["class_name"])
    return str(value)


# ---- parts -----------------------------------------------------------------------------------------


def optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    return [*([model.optimizer] if model.optimizer else []), *own_optimizers(model)]


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer within any ``LossScaleOptimizer``."""
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer


def rate_variable(optimizer: keras.optimizers.Optimizer) -> keras.Variable | None:
    """Return the learning-rate variable of an optimizer; None if it follows a schedule."""
    rate = getattr(inner_optimizer(optimizer), "learning_rate", None)
    return rate if isinstance(rate, keras.Variable) else None


@keras_private.without_loading_tensorflow()
def learning_rates(model: keras.Model) -> list[Any]:
    """Return the learning rate of each optimizer: a number, or the configuration of its schedule."""
    rates: list[Any] = []
    for optimizer in optimizers(model):
        variable = rate_variable(optimizer)
        if variable is not None:
            rates.append(float(keras.ops.convert_to_numpy(variable.value)))
        else:
            rates.append((json_of(inner_optimizer(optimizer).get_config) or {}).get("learning_rate"))
    return rates


def optimizer_config(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    config = json_of(optimizer.get_config) or {}
    inner = inner_optimizer(optimizer)
    if inner is not optimizer:
        config["inner_optimizer"] = optimizer_config(inner)
    return {"class": type(optimizer).__name__} | {
        name: value for name, value in config.items() if name not in ("name", "learning_rate")
    }


def callback_names(callbacks: Sequence[keras.callbacks.Callback]) -> list[str]:
    """Return the name of each callback in errors: its class, with its number if several have that class."""
    kinds = [type(callback).__name__ for callback in callbacks]
    return [
        f"the callback {kind}" + (f" (element {number})" if kinds.count(kind) > 1 else "")
        for number, kind in enumerate(kinds, start=1)
    ]


def callback_config(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Return the arguments of one of Keras's callbacks that are numbers or text, read from its attributes.

    Arguments that only determine where to write or what to show may change, and are left out.
    """
    names = argument_names(type(callback))[0] - MAY_CHANGE
    config = {name: vars(callback)[name] for name in sorted(names) if name in vars(callback)}
    if "min_delta" in config:
        config["min_delta"] = abs(config["min_delta"])  # Keras sets its sign by the direction
    config = {name: value for name, value in config.items() if isinstance(value, store.PLAIN)}
    return config | {"get_state()": keeps_own_state(callback)}


def class_weights(source: Source) -> Any:
    """Return the class weights of a source of batches; those of arrays are part of the sample weights."""
    weights = getattr(getattr(source, "class_weight", None), "class_weight", None)
    return json_of(lambda: weights)


def kind_of(source: Source | None) -> str | None:
    """Return the kind of data as errors name it."""
    if source is None:
        return None
    if isinstance(source, ArraySource):
        return "arrays"
    if isinstance(source, ArrowSource):
        return "an Arrow dataset"
    return "a dataset" if isinstance(source, DatasetSource) else "a generator"


def checksum_of_data(source: Source | None, parts: Sequence[int]) -> dict[str, int] | None:
    """Return a checksum of parts of the data (x, y, weights) if they are arrays; large ones are sampled.

    Of Arrow datasets, the files' names and sizes are checked.
    """
    if isinstance(source, ArrowSource):
        return {"checksum": source.rows.facts}
    if not isinstance(source, ArraySource):
        return None
    value = 0
    for leaf in keras.tree.flatten([source.data[part] for part in parts]):
        if leaf is not None:
            rows = max(1, CHECKED_BYTES // (leaf.dtype.itemsize * math.prod(leaf.shape[1:])))
            chosen = np.linspace(0, source.samples - 1, min(rows, source.samples)).astype(int)
            value = zlib.crc32(leaf[chosen].tobytes(), value)
    return {"checksum": value}


def checksum_of(config: Any) -> dict[str, int] | None:
    return None if config is None else {"checksum": zlib.crc32(json.dumps(config, sort_keys=True).encode())}


def json_of(config: Callable[[], Any]) -> Any:
    """Return a Keras configuration as plain values, without the numbers that make automatic names unique.

    None for a user's model, loss or metric without a configuration.
    """
    with suppress(Exception):
        text = json.dumps(config(), default=jsonable)
        return json.loads(re.sub(r'_\d+"(?!:)', '"', text))
    return None


def jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else type(value).__name__
