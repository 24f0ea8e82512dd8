"""Reads the training and validation data of a call of ``fit()``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from kerasfit import arguments
from kerasfit.checks.data import check_end
from kerasfit.custom_fit import overrides
from kerasfit.data.arrays import split_at
from kerasfit.data.class_weights import ClassWeighting, DeferredClassWeights, class_weights_of
from kerasfit.data.levels import levels_of, match_levels
from kerasfit.data.lists import check_validation
from kerasfit.data.reader import ModelData
from kerasfit.errors import ArgumentError
from kerasfit.sources import (
    SPLIT_NAMES,
    VALIDATION_NAMES,
    ArrowRows,
    ArrowSource,
    Source,
    array_source,
    is_array_like,
    is_arrow,
    is_iterator_like,
    open_source,
    read_arrays,
    split,
)


@dataclass(frozen=True)
class FitData:
    """The data that ``fit()`` trains and validates on.

    Attributes
    ----------
    reader
        The reader that has read the data, with their columns and levels.
    levels
        The levels of the targets, if they are a factor; a dict of them for several outputs.
    """

    reader: ModelData
    training: Source
    validation: Source | None
    levels: list[str] | dict[str, list[str]] | None


def open_fit_data(
    model: keras.Model,
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Any,
    validation_data: Any,
    *,
    validation_split: float,
    batch_size: int | None,
    validation_batch_size: int | None,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    shuffle: bool,
    allow_missing: bool,
) -> FitData:
    """Read the data once, and open the sources of batches to train and validate on.

    Raises
    ------
    ArgumentError, DataError
        If the data do not fit the model or each other.
    """
    reader = ModelData(model, allow_missing=allow_missing, checked=not overrides(model, "fit"))
    reader.restore_schema()
    y = reader.with_known_levels("y", y)
    levels = levels_of(y)
    weights = class_weights(class_weight, x, levels, reader)
    if validation_data is not None and is_array_like(validation_data):
        validation_data = validation_arrays(model, validation_data, x, y, reader)
    training: Source
    validation: Source | None = None
    if validation_data is None and validation_split:
        training, validation = open_split(
            (x, y, sample_weight),
            validation_split,
            reader,
            weights,
            validation_batch_size,
            validation_steps,
            batch_size=batch_size,
            steps=steps_per_epoch,
            shuffle=shuffle,
        )
    else:
        training = open_source(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            steps=steps_per_epoch,
            shuffle=shuffle,
            class_weight=weights,
            reader=reader,
        )
    check_end(training, "steps_per_epoch", steps_per_epoch)
    if validation_data is not None:
        if is_arrow(validation_data):  # its columns have the names of those of `x`
            validation_data = validation_data, y, sample_weight
        validation = open_validation(
            validation_data, validation_batch_size, batch_size, validation_steps, reader
        )
        check_end(validation, "validation_steps", validation_steps)
    return FitData(reader, training, validation, levels)


def class_weights(class_weight: Any, x: Any, levels: Any, reader: ModelData) -> ClassWeighting | None:
    """Class weights by code. Those of generators and Arrow datasets are resolved by the first batch."""
    if class_weight is not None and (is_iterator_like(x) or is_arrow(x)):
        return DeferredClassWeights(class_weight, reader.outputs, lambda: reader.levels, reader.are_codes)
    return class_weights_of(class_weight, levels, reader.outputs, reader.are_codes)


def validation_arrays(model: keras.Model, validation_data: Any, x: Any, y: Any, reader: ModelData) -> tuple:
    """``validation_data`` as (x, y, sample weights), with y recoded by the levels of the training targets."""
    x_val, y_val, *weights = arguments.validation_triple(
        validation_data,
        without_targets=y is None and (is_array_like(x) or model.loss is None),
        inputs=len(reader.required_inputs),
    )
    check_validation(validation_data, x_val, reader.required_inputs)
    return x_val, match_levels(y, y_val), *weights


def open_split(
    data: tuple,
    share: float,
    reader: ModelData,
    weights: ClassWeighting | None,
    validation_batch_size: int | None,
    validation_steps: int | None,
    *,
    batch_size: int | None,
    steps: int | None,
    shuffle: bool,
) -> tuple[Source, Source]:
    """Sources for training, and for validation on the last ``share`` of the samples."""
    if is_arrow(data[0]):
        rows = ArrowRows(*data, reader=reader)
        cut = split_at(rows.samples, share)
        return (
            ArrowSource(rows.part(0, cut), batch_size=batch_size, shuffle=shuffle, class_weight=weights),
            ArrowSource(rows.part(cut, rows.samples), batch_size=validation_batch_size or batch_size),
        )
    if not is_array_like(data[0]):
        raise ArgumentError(
            "validation_split",
            "`validation_split` needs arrays: a dataset or generator cannot be split.",
            "Give `validation_data`.",
        )
    training, validation = split(*read_arrays(*data, reader=reader), share)
    return (
        array_source(
            training, batch_size=batch_size, steps=steps, shuffle=shuffle, class_weight=weights, reader=reader
        ),
        array_source(
            validation,
            batch_size=validation_batch_size or batch_size,
            steps=validation_steps,
            names=SPLIT_NAMES,
            reader=reader,
        ),
    )


def open_validation(
    validation_data: Any,
    validation_batch_size: int | None,
    batch_size: int | None,
    steps: int | None,
    reader: ModelData,
) -> Source:
    if not is_array_like(validation_data):
        return open_source(
            validation_data, batch_size=validation_batch_size, names=VALIDATION_NAMES, reader=reader
        )
    return open_source(
        *validation_data,
        batch_size=validation_batch_size or batch_size,
        steps=steps,
        names=VALIDATION_NAMES,
        reader=reader,
    )
