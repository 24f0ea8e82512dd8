"""Stores the schema of a model's data with the model, also in the file that ``model.save()`` writes.

R imports this file alone when code other than kerasfit has loaded Keras, so it imports nothing from kerasfit.
In the model's file, the schema is in the build config, beside the shapes that the model was built with. Keras
ignores it there, so the file can be loaded without kerasfit.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import weakref
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

ATTRIBUTE = "_kerasfit_schema"
KEY = "kerasfit_schema"  # in the file


def schema_of(model: Any) -> Any:
    """The schema stored by ``store_schema``; None if there is none."""
    return vars(model).get(ATTRIBUTE)


def store_schema(model: Any, schema: dict[str, Any]) -> None:
    """Store a schema of plain values with a model and in the files that it is saved to."""
    vars(model)[ATTRIBUTE] = schema
    if overrides(model, "get_build_config") or overrides(model, "build_from_config"):
        return  # the user's method may not accept further keys
    owner = weakref.ref(model)

    def get_build_config() -> dict[str, Any] | None:
        model: Any = owner()
        config = type(model).get_build_config(model)
        return config and {**config, KEY: schema_of(model)}

    vars(model)["get_build_config"] = get_build_config


def overrides(model: Any, method: str) -> bool:
    owner = next((cls for cls in type(model).__mro__ if method in vars(cls)), None)
    module = getattr(owner, "__module__", None) or ""  # classes made by R have none
    return owner is not None and module.partition(".")[0] != "keras"


def restore_when_loaded() -> None:
    """Patch ``keras.saving.load_model`` to restore the schema from the model's file."""
    keras = sys.modules["keras"]
    for module in (keras.saving, keras.models):
        if not hasattr(module.load_model, "restores_schema"):
            module.load_model = wrap_load_model(module.load_model)


def wrap_load_model(load_model: Callable) -> Callable:
    @functools.wraps(load_model)
    def load(filepath: Any, *args: Any, **kwargs: Any) -> Any:
        model = load_model(filepath, *args, **kwargs)
        with suppress(Exception):  # a file of another kind
            if (schema := read_schema(filepath)) is not None:
                store_schema(model, schema)
        return model

    vars(load)["restores_schema"] = True
    return load


def read_schema(filepath: Any) -> Any:
    """The schema in a model's file or folder; None if it has none."""
    if os.path.isdir(filepath):
        with open(os.path.join(filepath, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    else:
        with zipfile.ZipFile(filepath) as archive:
            config = json.loads(archive.read("config.json"))
    return config["build_config"].get(KEY)
