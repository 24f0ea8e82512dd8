"""Compares the shapes of data with those of a model, and words the errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from kerasfit import keras_private
from kerasfit.data.indices import losses_of_outputs
from kerasfit.errors import DataError
from kerasfit.messages import listed, quoted
from kerasfit.model_traits import output_names


def weight_errors(model: keras.Model, sample_weight: Any, y: Any, label: str) -> Iterator[DataError]:
    """Errors for weights that fit no loss, or that Keras would wrongly broadcast to a loss's values."""
    outputs = list(getattr(model, "outputs", None) or [])
    known = output_names(model) or [tensor.name for tensor in outputs]
    targets = by_output(known, y, "y")
    losses = losses_of_outputs(model, known, len(outputs))
    if not len(known) == len(outputs) == len(losses):
        return
    weights = by_output(known, sample_weight, label, same_for_all=True)
    for name, output, loss in zip(known, outputs, losses, strict=True):
        if name not in weights or loss is None:
            continue
        part, leaf = weights[name]
        given = tuple(leaf.shape)[1:]
        if not given:
            continue
        values = keras_private.shape_of_loss(loss, targets[name][1], output) if name in targets else None
        if values is None and keras_private.is_of_keras(loss):
            values = tuple(output.shape)[:-1]
        # of unknown shape: a user's loss may have a value for each element of the output
        wanted = [tuple(output.shape)[1:-1], tuple(output.shape)[1:]] if values is None else [values[1:]]
        if values != () and not any(weights_fit(given, each) for each in wanted):
            expected = dims(("samples", *wanted[0]))
            yield DataError(
                part, f"`{part}` has dimensions {dims(leaf.shape)}, but the loss takes weights of {expected}."
            )


def by_output(
    known: Sequence[str], values: Any, label: str, *, same_for_all: bool = False
) -> dict[str, tuple[str, Any]]:
    """Targets or weights by the name of their output, each with its name in errors."""
    if isinstance(values, dict):
        return {name: (f"{label}${name}", value) for name, value in values.items() if value is not None}
    if isinstance(values, (list, tuple)):
        parts = [(f"{label}[[{i}]]", value) for i, value in enumerate(values, 1)]
        pairs = zip(known, parts, strict=True) if len(parts) == len(known) else []
        return {name: part for name, part in pairs if part[1] is not None}
    if values is None or (len(known) > 1 and not same_for_all):
        return {}
    return dict.fromkeys(known, (label, values))


def weights_fit(given: Sequence[int | None], values: Sequence[int | None]) -> bool:
    """Whether weights of a shape fit the values of a loss: one for each value, or 1 along an axis.

    Keras drops a last axis of 1.
    """
    if len(given) == len(values) + 1 and given[-1] == 1:
        given = given[:-1]
    return len(given) == len(values) and all(
        a == b or a in (1, None) or b is None for a, b in zip(given, values, strict=True)
    )


def wrong_names_error(label: str, values: Mapping, known: Sequence[str], noun: str) -> DataError:
    """The error for a named list whose names are not those of the model's inputs or outputs."""
    return DataError(
        label,
        f"`{label}` names {listed(quoted(values))}, but the model's "
        f"{listed(quoted(known), f'{noun} is', f'{noun}s are')}.",
    )


def fits(given: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    """Whether a sample of one shape fits another shape. Keras adds or drops a last axis of 1."""
    if len(given) == len(expected) + 1 and given[-1] == 1:
        given = given[:-1]
    elif len(given) + 1 == len(expected) and expected[-1] in (1, None):
        expected = expected[:-1]
    return len(given) == len(expected) and all(
        a == b or b is None or a is None for a, b in zip(given, expected, strict=True)
    )


def shape_difference(label: str, given: tuple, expected: tuple, owner: str) -> str:
    """A sentence about the shape given and the shape expected; for matrices, about columns."""
    if len(given) == len(expected) == 2:
        return f"`{label}` has {given[1]} column{'s' * (given[1] != 1)}, but {owner} {expected[1]}."
    return f"`{label}` has dimensions {dims(given)}, but {owner} {dims(('samples', *expected[1:]))}."


def dims(shape: tuple) -> str:
    return f"({', '.join('NA' if size is None else str(size) for size in shape)})"
