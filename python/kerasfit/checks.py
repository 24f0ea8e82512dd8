"""What is looked at before anything happens to a model."""

from __future__ import annotations

import keras

from kerasfit.errors import ArgumentError
from kerasfit.indices import check_indices
from kerasfit.sources import ArraySource, Source


def check_compiled(model: keras.Model, verb: str) -> None:
    if not model.compiled:
        raise ArgumentError("object", f"The model is not compiled: call compile() before {verb}().")


def check_source(model: keras.Model, source: Source, argument: str, steps: int | None) -> None:
    """Raise an error for data that never end, or hold indices that the model cannot have.

    The argument is the one that gives the number of steps.
    """
    if source.endless and steps is None:
        raise ArgumentError(
            argument,
            f"`{argument}` is missing: there is no end to the data that can be seen.",
            f"Give the number of batches, or {argument} = -1 to go on for ever.",
        )
    if isinstance(source, ArraySource):
        x, y, _ = source.data
        check_indices(model, x, y, (source.names.x, source.names.y))
