"""Converts the user's values to numpy arrays and checks them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasfit.data.lazy import LazyArray, is_sparse_matrix, lazy
from kerasfit.data.names import NAMES, Names
from kerasfit.errors import ArgumentError, DataError
from kerasfit.messages import describe
from kerasfit.tensors import aligned_copy, is_backend_tensor, is_ragged, to_model_dtype, to_numpy


def check_arrays(
    x: Any, y: Any = None, sample_weight: Any = None, *, names: Names = NAMES
) -> tuple[Any, Any, Any]:
    """Inputs, targets and weights as nested numpy arrays of equal length along the first axis.

    Raises
    ------
    ArgumentError
        If a value is not an array.
    DataError
        If there are no samples, the lengths differ, or a factor has missing values.
    """
    if x is None:
        raise ArgumentError(
            names.x, f"`{names.x}` is missing: give an array, a list of arrays, a dataset or a generator."
        )
    labels = (names.x, names.y, names.sample_weight)
    data = tuple(as_arrays(label, value) for label, value in zip(labels, (x, y, sample_weight), strict=True))
    leaves = [
        leaf for label, value in zip(labels, data, strict=True) for leaf in labelled_leaves(label, value)
    ]
    if not any(True for _ in labelled_leaves(names.x, data[0])):
        raise ArgumentError(names.x, f"`{names.x}` has no arrays in it.")
    check_are_numbers(names.y, data[1])
    check_are_numbers(names.sample_weight, data[2], weights=True)
    first, array = leaves[0]
    if len(array) == 0:
        raise DataError(first, f"`{first}` has no samples.")
    for label, other in leaves:
        if 0 in other.shape[1:]:
            shape = ", ".join(map(str, other.shape))
            raise DataError(label, f"`{label}` has dimensions ({shape}): there are no values in it.")
        if len(other) != len(array):
            raise DataError(
                label,
                f"`{label}` has {len(other)} sample{'s' * (len(other) != 1)} and `{first}` has {len(array)}: "
                "they must be equal.",
            )
    return data


def is_text(leaf: Any) -> bool:
    """Whether an array made by ``as_array`` is text; one of objects then has the bytes of a string tensor."""
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind in "USO"


def check_are_numbers(label: str, value: Any, *, weights: bool = False) -> None:
    """Raise a ``DataError`` if targets or weights are text."""
    for path, leaf in labelled_leaves(label, value):
        if is_text(leaf):
            wanted = "weights are numbers" if weights else "targets must be numbers or a factor"
            made = "as.numeric" if weights else "factor"
            raise DataError(
                path,
                f"`{path}` is text: {wanted}.",
                f"`{made}({path if '()' not in path else '…'})` converts it."
                + (" tuple() turns factors into text: use list() instead." if "[[" in path else ""),
            )


def as_arrays(label: str, value: Any, leaf: Callable[[str, Any], Any] | None = None) -> Any:
    """Convert each leaf of one argument to a numpy array of rank 1 or more. A list of numbers is one leaf."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: as_arrays(f"{label}${name}", element, leaf) for name, element in value.items()}
    if isinstance(value, (list, tuple)) and value and not all(np.isscalar(element) for element in value):
        return type(value)(
            as_arrays(f"{label}[[{i}]]", element, leaf) for i, element in enumerate(value, start=1)
        )
    return (leaf or as_array)(label, value)


def as_tensors(label: str, value: Any, *, allow_missing: bool = False) -> Any:
    """Convert a part of one batch to tensors, or arrays in the model's float type, that share no memory
    with the user's data.

    A step may still run while the next batch is made, and a generator may reuse the memory of its batches.
    """

    def convert(label: str, leaf: Any) -> Any:
        if is_ragged(leaf) and keras.backend.backend() != "tensorflow":
            raise ragged(label, "with this backend")
        if is_backend_tensor(leaf) and getattr(leaf.dtype, "name", None) != "string":
            return copy_of_tensor(leaf) if hasattr(leaf, "detach") else leaf  # the others are immutable
        array = as_array(label, leaf)
        if isinstance(array, LazyArray):
            array = array[:]
        converted = to_model_dtype(array, None if allow_missing else label)
        return aligned_copy(converted) if converted is array else converted

    return as_arrays(label, value, convert)


def ragged(label: str, where: str) -> DataError:
    return DataError(
        label,
        f"`{label}` is a ragged tensor, with rows of different lengths, which cannot be used {where}.",
        "Pad its rows, for example with zeros, by `to_tensor()`, and mask the padding in the model. With the "
        "backend tensorflow, the batches of a dataset may be ragged.",
    )


def copy_of_tensor(tensor: Any) -> Any:
    """A copy of a PyTorch tensor, which requires a gradient if the original does."""
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def as_array(label: str, value: Any) -> np.ndarray | LazyArray:
    if isinstance(value, LazyArray):
        return value
    if isinstance(value, pd.Categorical):
        return factor_codes(label, value)
    if (rows := lazy(value)) is not None:
        return rows
    if is_ragged(value):
        raise ragged(label, "here")
    if not is_array(value):
        raise ArgumentError(label, f"`{label}` must be an array, or a list of arrays, not {describe(value)}.")
    array = np.atleast_1d(np.asarray(to_numpy(value)))  # np.matrix (from scipy) becomes a plain array
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == object and all(isinstance(element, (str, bytes)) for element in array.flat):
        return as_text(array)
    if array.dtype.kind in "OmM":
        raise DataError(label, f"`{label}` must be numeric, not of type {array.dtype}.")
    return array


def as_text(array: np.ndarray) -> np.ndarray:
    """An array of strings, with bytes (from string tensors) decoded; unchanged if bytes are not UTF-8."""
    try:
        texts = [element.decode() if isinstance(element, bytes) else element for element in array.flat]
    except UnicodeDecodeError:
        return array
    return np.array(texts, dtype=str).reshape(array.shape)


def is_array(value: Any) -> bool:
    if (
        isinstance(value, (np.ndarray, list, tuple, LazyArray))
        or is_sparse_matrix(value)
        or hasattr(value, "__array__")
        or is_backend_tensor(value)
    ):
        return True
    return np.isscalar(value) and not isinstance(value, (str, bytes))


def factor_codes(label: str, factor: pd.Categorical) -> np.ndarray:
    """The 0-based codes of a factor, int32."""
    missing = int((factor.codes < 0).sum())
    if missing:
        raise DataError(
            label,
            f"`{label}` is a factor with {missing} missing value{'s' * (missing > 1)}.",
            "Leave out those rows, or make missing values a level with `addNA()`.",
        )
    return factor.codes.astype(np.int32)


def labelled_leaves(label: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Each array in a nested value, with its name in R's notation: x, x$a, x[[2]]."""
    if isinstance(value, dict):
        for name, element in value.items():
            yield from labelled_leaves(f"{label}${name}", element)
    elif isinstance(value, (list, tuple)):
        for position, element in enumerate(value, start=1):
            yield from labelled_leaves(f"{label}[[{position}]]", element)
    elif value is not None:
        yield label, value


def count_samples(x: Any) -> int:
    return len(next(labelled_leaves("x", x))[1])


def split_at(samples: int, fraction: float) -> int:
    """The number of samples for training if the last ``fraction`` of all is for validation."""
    cut = math.floor(samples * (1.0 - fraction))
    if not 0 < cut < samples:
        raise ArgumentError(
            "validation_split",
            f"`validation_split` of {fraction} leaves {cut} of {samples} samples for training and "
            f"{samples - cut} for validation: both need at least one.",
        )
    return cut


def split(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[tuple, tuple]:
    """Split arrays: the last ``fraction`` of the samples is for validation, the rest for training.

    As in Keras, the first floor(samples * (1 - fraction)) samples are for training.
    """

    def rows_of(leaf: Any, rows: slice) -> Any:
        if leaf is None:
            return None
        return leaf.part(rows) if isinstance(leaf, LazyArray) else leaf[rows]

    cut = split_at(count_samples(x), fraction)
    data = (x, y, sample_weight)
    first, last = (
        tuple(keras.tree.map_structure(partial(rows_of, rows=rows), part) for part in data)
        for rows in (slice(None, cut), slice(cut, None))
    )
    return first, last
