"""The parts of a batch and their names in errors."""

from __future__ import annotations

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """The data of one step: arrays or tensors, nested as the model takes them; y and weights may be None."""

    x: Any
    y: Any = None
    sample_weight: Any = None


class Names(NamedTuple):
    """The names, in errors, of the arguments that a source is made from."""

    x: str = "x"
    y: str = "y"
    sample_weight: str = "sample_weight"
    batch_size: str = "batch_size"
    iterator: str = "x"


NAMES = Names()


VALIDATION_NAMES = Names(
    "validation_data[[1]]",
    "validation_data[[2]]",
    "validation_data[[3]]",
    "validation_batch_size",
    "validation_data",
)


SPLIT_NAMES = NAMES._replace(batch_size="validation_batch_size")  # for data from `validation_split`
