"""What the first factors and data frames were like that a model was trained on: later ones are read alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np

from kerasfit.data import saved_schema

saved_schema.restore_when_loaded()

PLAIN = (str, int, float)  # what levels may be in the file of a model


@dataclass
class DataSchema:
    """The levels of factors, and the columns of data frames.

    They are known by their places: "$kind" or "[[2]]" among the inputs, and so on; targets by the number of
    their output, counted from 0, or by its name where a model does not say which outputs it has.
    """

    levels_of_inputs: dict[str, list] = field(default_factory=dict)
    levels_of_targets: dict[str | int, list] = field(default_factory=dict)
    columns_of_inputs: dict[str, list] = field(default_factory=dict)
    columns_of_targets: dict[str | int, list] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(asdict(self).values())


def save_schema(model: keras.Model, schema: DataSchema) -> None:
    """Keep a schema with a model that is trained on such data."""
    if schema or saved_schema.schema_of(model):
        saved_schema.keep_schema(model, plain(schema))


def restore_schema(model: keras.Model) -> DataSchema:
    """The schema of the data that a model was trained on, in this session or before it was saved."""
    kept = saved_schema.schema_of(model)
    return DataSchema() if kept is None else of_plain(kept)


def plain(schema: DataSchema) -> dict[str, list]:
    """A schema as lists of (place, names), which JSON can hold."""

    def name(value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        return value if isinstance(value, PLAIN) else str(value)

    return {
        part: [[place, [name(value) for value in values]] for place, values in places.items()]
        for part, places in asdict(schema).items()
    }


def of_plain(kept: Any) -> DataSchema:
    """A schema of what ``plain`` has made of it; none of what a file has that is something else."""
    schema = DataSchema()
    if not isinstance(kept, dict):
        return schema
    for part, places in vars(schema).items():
        for entry in kept.get(part) or []:
            place, names = entry if isinstance(entry, (list, tuple)) and len(entry) == 2 else (None, None)
            if isinstance(place, (str, int)) and is_names(names):
                places[place] = list(names)
    return schema


def is_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, PLAIN) for name in value)
