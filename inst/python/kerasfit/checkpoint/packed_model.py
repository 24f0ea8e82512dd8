"""Converts a model with its state to a plain value, and back, exactly.

The value consists of Keras's configuration of the model and of its ``compile()``, and of the values of its
variables: weights, seeds, and those of its optimizers. Metrics start anew, as in each epoch. The value
contains no code: reading it runs only the constructors of Keras and of classes that the reading process can
import.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasfit.checkpoint import store
from kerasfit.data import saved_schema
from kerasfit.errors import ArgumentError, StateError
from kerasfit.keras_private import (
    changes_of_trainable_weights,
    own_functions,
    seeds_in_config,
    without_loading_tensorflow,
)
from kerasfit.variables import all_variables, optimizer_of, own_optimizers

FORMAT = "kerasfit model 1"


def pack(model: keras.Model) -> dict[str, Any]:
    """Return a model as a plain value, which ``store`` can write.

    Raises
    ------
    ArgumentError
        If the model contains something that another process could not make: a lambda, or a class or function
        that cannot be imported.
    """
    if model.compiled and any(changes_of_trainable_weights(model)):
        raise ArgumentError(
            "object",
            "Layers of the model were frozen or unfrozen since it was compiled.",
            "Call compile() again.",
        )
    try:
        with without_loading_tensorflow(), seeds_in_config(model):
            config = keras.saving.serialize_keras_object(model)
            text = json.dumps(config)
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise not_portable(f"Keras cannot write its configuration: {reason}") from error
    functions = {f"the function `{function.__name__}`" for function in own_functions(model)}
    if names := sorted(functions | set(unknown_objects(config))):
        raise not_portable(f"other processes do not know {', '.join(names)}")
    return {
        "format": FORMAT,
        "config": text,
        "dtype_policy": keras.config.dtype_policy().name,
        "layers": values_of(layer_variables(model)),
        "optimizers": [values_of(optimizer.variables) for optimizer in all_optimizers(model)],
        "schema": saved_schema.schema_of(model),
    }


def not_portable(reason: str) -> ArgumentError:
    return ArgumentError(
        "object",
        f"The model cannot be sent to another process: {reason}.",
        "Define layers, losses and metrics of your own as classes in a Python module that can be imported.",
    )


def unpack(packed: dict[str, Any], *, importing: bool = True) -> keras.Model:
    """Make the model that ``pack`` converted, compiled as it was.

    Classes that are not Keras's are found in their modules, which are imported if ``importing`` is true.
    """
    if packed.get("format") != FORMAT:
        raise StateError("The model was written by another version of kerasfit.")
    config = json.loads(packed["config"])
    classes = {}
    for module, name, registered_name in classes_in(config):
        if module is not None and not is_known(module):
            found = importlib.import_module(module) if importing else sys.modules.get(module)
            classes[registered_name] = getattr(found, name, None)
    classes = {name: found for name, found in classes.items() if found is not None}
    with without_loading_tensorflow(), dtype_policy(packed["dtype_policy"]):
        model = keras.saving.deserialize_keras_object(config, custom_objects=classes, safe_mode=True)
    put_state(model, packed)
    return model


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Set the global policy, which decides whether ``compile()`` scales losses."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def put_state(model: keras.Model, packed: dict[str, Any]) -> None:
    """Set the state of a model that was made in the same way as the packed one.

    Variables that do not exist yet are created: those of layers that the packed model has built since, and
    those of optimizers.

    Raises
    ------
    StateError
        If the model differs. Nothing is changed.
    """
    if not model.built:
        model.build_from_config(json.loads(packed["config"]).get("build_config"))
    pairs = list(pairs_of(layer_variables(model), packed["layers"]))
    optimizers = all_optimizers(model)
    if len(optimizers) != len(packed["optimizers"]):
        raise differs()
    for optimizer, values in zip(optimizers, packed["optimizers"], strict=True):
        if len(values) > len(optimizer.variables):
            optimizer.build(model.trainable_variables)
        # an optimizer that has not been used may have more variables here, which are still as they began
        pairs += pairs_of(optimizer.variables[: len(values)], values)
    for variable, value in pairs:
        variable.assign(value)
    if packed["schema"] is not None:
        saved_schema.store_schema(model, packed["schema"])


def pairs_of(
    variables: list[keras.Variable], values: list[np.ndarray]
) -> Iterator[tuple[keras.Variable, np.ndarray]]:
    if [tuple(each.shape) for each in variables] != [value.shape for value in values]:
        raise differs()
    return zip(variables, values, strict=True)


def differs() -> StateError:
    return StateError("The state is that of a model with other layers or another optimizer.")


def has_state(model: keras.Model, packed: dict[str, Any]) -> bool:
    """Whether a model's variables have the values in a packed model, or do not exist yet."""
    now = [layer_variables(model), *(optimizer.variables for optimizer in all_optimizers(model))]
    then = [packed["layers"], *packed["optimizers"]]
    return len(now) == len(then) and all(
        len(variables) == len(values)
        and all(map(np.array_equal, values_of(variables), values, [True] * len(values)))
        for variables, values in zip(now, then, strict=True)
    )


def values_of(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


def layer_variables(model: keras.Model) -> list[keras.Variable]:
    """The variables of a model except those of optimizers and metrics."""
    others = [*model.metrics_variables]
    for optimizer in all_optimizers(model):
        others += optimizer.variables
    left_out = set(map(id, others))
    return [variable for variable in all_variables(model) if id(variable) not in left_out]


def all_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    optimizer = optimizer_of(model)
    return [*([] if optimizer is None else [optimizer]), *own_optimizers(model)]


def save(model: keras.Model, path: str | Path) -> None:
    """Write a packed model to a file that only its owner can read."""
    store.write(Path(path), pack(model))


def load(path: str | Path) -> keras.Model:
    """Make the model in a file that ``save`` has written."""
    return unpack(store.read(Path(path)))


def to_bytes(model: keras.Model, limit: float) -> bytearray | None:
    """Return a packed model as bytes; None if the values of its variables exceed ``limit`` bytes."""
    variables = [*layer_variables(model), *(v for each in all_optimizers(model) for v in each.variables)]
    if sum(map(size_of, variables)) > limit:
        return None
    return store.to_bytes(pack(model))


def size_of(variable: keras.Variable) -> int:
    """The number of bytes of a variable."""
    bits = re.search(r"\d+$", variable.dtype)
    return math.prod(variable.shape) * (int(bits[0]) // 8 if bits else 1)


def from_bytes(content: bytes) -> keras.Model:
    """Make the model of ``to_bytes``. No module is imported, so that bytes from elsewhere run no code."""
    try:
        packed = store.from_bytes(content)
    except store.CorruptFile as error:
        raise StateError("The model was damaged while it was saved.") from error
    return unpack(packed, importing=False)


# ---- what another process can make -----------------------------------------------------------------


def unknown_objects(config: Any) -> Iterator[str]:
    """Yield descriptions of the objects in a configuration that another process cannot make."""
    for module, name, _ in classes_in(config):
        if name == "__lambda__":
            yield "a lambda"
        elif module is None or not (is_known(module) or can_be_imported(module, name)):
            yield f"the class `{name}`"


def classes_in(config: Any) -> Iterator[tuple[str | None, str, str]]:
    """Yield the module, the name and the registered name of each class in a configuration."""
    if isinstance(config, dict):
        name = config.get("class_name")
        if name == "__lambda__" or (name not in (None, "function") and "registered_name" in config):
            yield config.get("module"), name, config.get("registered_name") or name
    if isinstance(config, (dict, list, tuple)):
        for each in config.values() if isinstance(config, dict) else config:
            yield from classes_in(each)


def is_known(module: str) -> bool:
    """Whether every process has the classes of a module."""
    return module.partition(".")[0] in ("keras", "builtins")


def can_be_imported(module: str, name: str) -> bool:
    """Whether a class is found in a module that other processes can import."""
    found = sys.modules.get(module)
    return getattr(found, "__spec__", None) is not None and hasattr(found, name)
