"""Checks data against a model's fixed batch size, which is the default and the only one allowed."""

from __future__ import annotations

from typing import Any

import keras

from kerasfit import layer_traits
from kerasfit.arguments import DEFAULT_BATCH_SIZE
from kerasfit.data.arrays import labelled_leaves
from kerasfit.errors import ArgumentError, DataError


def batch_size_of_model(model: keras.Model, given: int | None) -> int | None:
    """The batch size that a model requires; None if it takes any.

    A stateful model that is not built yet requires batches as large as the first one.
    """
    if not model.built and layer_traits.is_stateful(model):
        return given or DEFAULT_BATCH_SIZE
    return layer_traits.fixed_batch_size(model)


def needs_whole_batches(model: keras.Model) -> bool:
    """Whether a batch of a size other than the model's would fail, or change the results for its samples."""
    return not layer_traits.layers_separate_rows(model)


def check_batch_size(label: str, given: int | None, size: int) -> None:
    """Raise an ``ArgumentError`` for a batch size other than the model's."""
    if given not in (None, size):
        raise ArgumentError(
            label,
            f"`{label}` is {given}, but the model takes batches of {size}, because its input has that batch "
            "size.",
            f"Leave out `{label}`, or create the model with an input that has no batch size.",
        )


def check_whole_batches(label: str, samples: int, size: int) -> None:
    """Raise a ``DataError`` for a number of samples that does not make whole batches."""
    if rest := samples % size:
        raise DataError(
            label,
            f"`{label}` has {samples} sample{'s' * (samples != 1)}, but the model takes batches of {size}: "
            f"the last one would have {rest}.",
            f"The number of samples must be a multiple of {size}.",
        )


def check_batch(label: str, x: Any, size: int) -> None:
    """Raise a ``DataError`` for a batch of another size, where that is known."""
    for name, leaf in labelled_leaves(label, x):
        samples = leaf.shape[0] if len(leaf.shape) else None
        if samples not in (None, size):
            raise DataError(
                name,
                f"`{name}` has {samples} sample{'s' * (samples != 1)}, "
                f"but the model takes batches of {size}, because its input has that batch size.",
                f"Each batch, also the last one, must have {size} samples.",
            )
