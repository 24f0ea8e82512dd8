"""The schema of a model's data: the levels and columns of its first training data, reused for later data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeGuard

import keras
import numpy as np

from kerasfit.data import saved_schema

saved_schema.restore_when_loaded()

PLAIN = (str, int, float)  # the types that levels have in a model's file


@dataclass
class DataSchema:
    """The levels of factors and the columns of data frames.

    The keys of inputs are their places, such as "$kind" or "[[2]]". The key of a target is the number of its
    output, counted from 0, or the output's name if the model's outputs are unknown.
    """

    levels_of_inputs: dict[str, list] = field(default_factory=dict)
    levels_of_targets: dict[str | int, list] = field(default_factory=dict)
    columns_of_inputs: dict[str, list] = field(default_factory=dict)
    columns_of_targets: dict[str | int, list] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(asdict(self).values())


def save_schema(model: keras.Model, schema: DataSchema) -> None:
    """Store the schema of the training data with a model."""
    if schema or saved_schema.schema_of(model):
        saved_schema.store_schema(model, to_plain(schema))


def restore_schema(model: keras.Model) -> DataSchema:
    """The schema of the data that a model was trained on, in this session or before it was saved."""
    kept = saved_schema.schema_of(model)
    return DataSchema() if kept is None else from_plain(kept)


def to_plain(schema: DataSchema) -> dict[str, list]:
    """A schema as lists of (key, names), which can be written as JSON."""

    def name(value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        return value if isinstance(value, PLAIN) else str(value)

    return {
        part: [[place, [name(value) for value in values]] for place, values in places.items()]
        for part, places in asdict(schema).items()
    }


def from_plain(kept: Any) -> DataSchema:
    """The schema that ``to_plain`` converted; anything in a file that is not part of one is ignored."""
    schema = DataSchema()
    if not isinstance(kept, dict):
        return schema
    for part, places in vars(schema).items():
        for entry in kept.get(part) or []:
            place, names = entry if isinstance(entry, (list, tuple)) and len(entry) == 2 else (None, None)
            if isinstance(place, (str, int)) and is_names(names):
                places[place] = list(names)
    return schema


def is_names(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple)) and all(isinstance(name, PLAIN) for name in value)
