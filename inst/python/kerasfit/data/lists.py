"""Checks lists given as inputs or targets: their names, and that they are not lists of single samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasfit.data.shapes import dims, fits, wrong_names_error
from kerasfit.errors import DataError
from kerasfit.messages import listed, quoted

ARGUMENTS = {"x", "y", "sample_weight"}


def check_inputs(label: str, x: Any, names: Sequence[str], shapes: Sequence[tuple], *, by_name: bool) -> None:
    """Raise a ``DataError`` for a list or named list that cannot be a model's inputs.

    Parameters
    ----------
    label
        The name of x in errors.
    x
        The inputs as the caller gave them.
    names, shapes
        The names and shapes of the model's inputs; [""] and [()] for one input not known yet.
    by_name
        Whether the model's inputs are in a named list (a dict).
    """
    if isinstance(x, Mapping):
        check_names(label, x, names)
    elif isinstance(x, (list, tuple)) and len(x) == len(names) > 1 and by_name:
        raise DataError(
            label,
            f"`{label}` is a list without names, but the model's inputs have names: {listed(quoted(names))}.",
            f"Name its elements: list({', '.join(f'{name} = …' for name in names)}).",
        )
    elif len(names) == 1 and not is_list_of_one(label, x, "the model has one input"):
        rank = len(shapes[0])
        if is_list_of_arrays(x) and (not rank or all(array.ndim < rank for array in x)):
            raise list_of_samples_error(label, x)


def check_targets(label: str, y: Any, shape: tuple) -> None:
    """Raise a ``DataError`` for a list that cannot be the targets of a model with one output.

    ``shape`` is that of the output; () if it is not known.
    """
    if is_list_of_one(label, y, "the model has one output") or not is_list_of_arrays(y):
        return
    of_samples = {array.shape for array in y}
    if len(of_samples) > 1 or max(array.size for array in y) == 1 or fits(y[0].shape, shape[1:]):
        raise list_of_samples_error(label, y)


def check_names(label: str, x: Mapping, names: Sequence[str]) -> None:
    """Raise a ``DataError`` for a named list that lacks some of a model's inputs or contains targets."""
    given = set(x)
    if not names or set(names) <= given:
        return
    what = label.removesuffix("[[1]]") if "()" in label else label
    hint = None
    if {"x", "y"} <= given <= ARGUMENTS:
        hint = "Inputs and targets are separate arguments, x and y."
        if "()" in label:
            hint = "Put inputs and targets into a list without names: list(x, y)."
    elif len(names) > 1:
        raise wrong_names_error(what, x, names, "input")
    elif len(given) == 1:
        hint = "Give the array itself, or use that name." if any(names) else "Give the array itself."
    inputs = listed(quoted(names), "the input", "the inputs") if any(names) else "one input"
    raise DataError(
        label,
        f"`{what}` is a list with {listed(quoted(x), 'the name', 'the names')}. A named list gives inputs by "
        f"name, but the model has {inputs}.",
        hint,
    )


def is_list_of_one(label: str, value: Any, owner: str) -> bool:
    """Whether a value is a list of length 1; raises a ``DataError`` if its element is a list of arrays."""
    if not isinstance(value, (list, tuple)) or len(value) != 1:
        return False
    if isinstance(value[0], (list, tuple)) and not all(map(np.isscalar, value[0])):
        raise DataError(
            label, f"`{label}[[1]]` is a list, but {owner}.", "Give the array itself, not within lists."
        )
    return True


def is_list_of_arrays(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 1
        and all(isinstance(element, np.ndarray) and element.ndim for element in value)
    )


def list_of_samples_error(label: str, arrays: Sequence[np.ndarray]) -> DataError:
    """The error for a list with an array for each sample, where one array must have all samples."""
    name = "x" if "()" in label else label
    shapes = {array.shape for array in arrays}
    rank = arrays[0].ndim
    if len(shapes) == 1:
        what = (
            f"arrays of dimensions {dims(arrays[0].shape)}"
            if rank > 1
            else f"vectors of length {len(arrays[0])}"
        )
        order = ", ".join(map(str, (rank + 1, *range(1, rank + 1))))
        hint = f"`aperm(simplify2array({name}), c({order}))` makes one array of them."
        if rank == 1:
            made = (
                "unlist({})` makes one vector" if shapes == {(1,)} else "do.call(rbind, {})` makes one array"
            )
            hint = f"`{made.format(name)} of them."
    elif all(array.ndim == 1 for array in arrays):
        what = "vectors of different lengths"
        dtype = ', dtype = "float32"' if any(array.dtype.kind == "f" for array in arrays) else ""
        hint = (
            f"`keras$utils$pad_sequences(lapply({name}, as.list){dtype})` makes a matrix, padded with zeros."
        )
    else:
        what = "arrays of different dimensions"
        hint = "Give them equal dimensions: resize images with `keras$ops$image$resize()`, and pad sequences."
    reason = f"`{label}` is a list of {len(arrays)} {what}, but the model takes one array, samples first."
    return DataError(label, reason, hint)


def check_validation(validation_data: Any, x: Any, names: Sequence[str]) -> None:
    """Raise a ``DataError`` if x of the validation data is one array and the model has several inputs."""
    if len(names) > 1 and isinstance(x, np.ndarray) and isinstance(validation_data, (list, tuple)):
        raise DataError(
            "validation_data",
            f"`validation_data` is a list of {len(validation_data)}, the first of which is one array, but "
            f"the model has the inputs {listed(quoted(names))}.",
            "Put several inputs into a list of their own: list(list(u, v), y).",
        )
