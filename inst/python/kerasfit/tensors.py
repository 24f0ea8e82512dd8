"""Converts arrays and tensors between numpy and the backend, and checks that numbers are finite."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from kerasfit.errors import DataError
from kerasfit.object_origin import package_of
from kerasfit.runtime.memory import aligned_empty


def is_backend_tensor(value: Any) -> bool:
    """Whether a value is a tensor of TensorFlow, JAX or PyTorch, whichever is this session's backend."""
    framework = package_of(type(value)) in ("tensorflow", "jax", "jaxlib", "torch")
    return framework and hasattr(value, "shape") and hasattr(value, "dtype")


def is_ragged(value: Any) -> bool:
    """Whether a value is a ragged tensor of TensorFlow or a nested tensor of PyTorch."""
    package = package_of(type(value))
    if package == "tensorflow":
        return "Ragged" in type(value).__name__
    return package == "torch" and bool(getattr(value, "is_nested", False))


def leaves_of(data: Any) -> list[Any]:
    """Return the leaves of nested data, as ``keras.tree.flatten()`` does, but faster for flat data.

    With PyTorch, Keras walks through nested data in Python. Most data are one array or a flat tuple.
    """
    if is_leaf(data):
        return [data]
    return list(data) if is_flat(data) else keras.tree.flatten(data)


def map_leaves(function: Callable[[Any], Any], data: Any) -> Any:
    """Replace each leaf by the function's value, as ``keras.tree.map_structure()`` does, but faster."""
    if is_leaf(data):
        return function(data)
    return tuple(map(function, data)) if is_flat(data) else keras.tree.map_structure(function, data)


def is_leaf(data: Any) -> bool:
    return data is None or isinstance(data, np.ndarray) or keras.ops.is_tensor(data)


def is_flat(data: Any) -> bool:
    return type(data) is tuple and all(map(is_leaf, data))


def with_leaves(structure: Any, leaves: Iterable[Any]) -> Any:
    """Replace the leaves of a structure other than None."""
    replacement = iter(leaves)
    flat = [None if leaf is None else next(replacement) for leaf in leaves_of(structure)]
    return tuple(flat) if is_flat(structure) else keras.tree.pack_sequence_as(structure, flat)


def to_numpy(value: Any) -> np.ndarray:
    """Convert a dense tensor of any framework to a numpy array, sharing its memory where possible."""
    if isinstance(value, np.ndarray):
        return value
    if keras.ops.is_tensor(value):
        return keras.ops.convert_to_numpy(value)
    if hasattr(value, "detach"):  # a torch tensor under another backend
        value = value.detach().cpu()
    return np.asarray(value)


def to_model_dtype(array: np.ndarray, label: str | None = None) -> np.ndarray:
    """Convert floats and booleans to the model's float type (``keras.config.floatx()``); leave other types.

    With a label, the array's name in errors, all numbers must be finite. This is checked by the norm of each
    block while the block is in the cache.

    Raises
    ------
    DataError
        If there is a missing value (NaN) or an infinite one.
    """
    dtype = np.dtype(keras.config.floatx() if array.dtype.kind in "fb" else array.dtype)
    as_it_is = array.dtype == dtype and array.flags.c_contiguous
    result = array if as_it_is else aligned_empty(array.shape, dtype)
    look = label is not None and dtype.kind == "f"
    suspicious = []

    def work(rows: slice) -> None:
        if not as_it_is:
            with np.errstate(over="ignore", invalid="ignore"):  # checked below
                result[rows] = array[rows]
        if look and not has_finite_norm(result[rows]):
            suspicious.append(rows)

    if look or not as_it_is:
        parallel_over_rows(work, len(array), array.size)
    if suspicious and label is not None:
        check_finite(label, array)
    return result


def has_finite_norm(array: np.ndarray) -> bool:
    """Whether the sum of squares is finite, which implies that all numbers are.

    BLAS computes it in a third of the time of a sum.
    """
    return math.isfinite(np.vdot(array, array))


def check_finite(label: str, array: np.ndarray) -> None:
    """Raise a ``DataError`` with the count of values that are not finite in the model's float type."""
    for words, found, hint in not_finite(array):
        if count := int(found.sum()):
            dtype = keras.config.floatx()
            example = (
                f": {array[found][0]:g} is finite in R, and infinite as {dtype}" if dtype in words else ""
            )
            raise DataError(label, f"`{label}` has {count} {words.format('s' * (count > 1))}{example}.", hint)


def check_finite_columns(label: str, columns: Mapping[str, np.ndarray]) -> None:
    """Check the columns of a data frame; one error names all columns that have non-finite values."""
    floats = {name: column for name, column in columns.items() if column.dtype.kind == "f"}
    by_column = [list(not_finite(column)) for column in floats.values()]
    for kinds in zip(*by_column, strict=True):
        words, _, hint = kinds[0]
        counts = {name: int(found.sum()) for name, (_, found, _) in zip(floats, kinds, strict=True)}
        if sum(count > 0 for count in counts.values()) == 1:
            name = next(name for name, count in counts.items() if count)
            check_finite(f"{label}${name}", columns[name])
        if any(counts.values()):
            raise not_finite_in_columns(label, words, counts, hint)


def not_finite_in_columns(label: str, words: str, counts: Mapping[str, int], hint: str) -> DataError:
    """The error for columns of a data frame that have missing or other non-finite values."""
    found = {name: count for name, count in counts.items() if count}
    if len(found) == 1:
        ((name, count),) = found.items()
        return DataError(label, f"`{label}${name}` has {count} {words.format('s' * (count > 1))}.", hint)
    *names, last = [f"`{name}` ({count})" for name, count in found.items()]
    where = f"in the columns {', '.join(names)} and {last}"
    return DataError(label, f"`{label}` has {words.format('s')} {where}.", hint)


def not_finite(array: np.ndarray) -> Iterator[tuple[str, np.ndarray, str]]:
    """For each kind of non-finite value: its description, a mask of where it occurs, and a hint."""
    dtype = keras.config.floatx()
    infinite = np.isinf(array)
    yield MISSING_VALUES, np.isnan(array), MISSING
    yield "infinite value{}", infinite, "Remove or replace infinite values."
    with np.errstate(over="ignore", invalid="ignore"):
        too_large = np.isinf(array.astype(dtype)) & ~infinite
    yield f"value{{}} too large for {dtype}", too_large, "Scale the numbers, for example by `log()`."


MISSING_VALUES = "missing value{}"
MISSING = "Remove or impute missing values."
BLOCK = 50_000  # elements: this many fit the cache, read along one axis and written along the other


def aligned_copy(array: np.ndarray, dtype: Any = None) -> np.ndarray:
    """Copy to row-major order and the given type, in aligned memory that backends use without another copy.

    R's arrays are column-major: read row by row, each number is on another page of memory.
    """
    copy = aligned_empty(array.shape, np.dtype(dtype or array.dtype))

    def fill(rows: slice) -> None:
        copy[rows] = array[rows]

    parallel_over_rows(fill, len(array), array.size)
    return copy


def matrix_of_columns(columns: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Join columns of equal length to a matrix in row-major order and aligned memory."""
    matrix = aligned_empty((len(columns[0]), len(columns)), dtype)

    def fill(rows: slice) -> None:
        for number, column in enumerate(columns):
            matrix[rows, number] = column[rows]

    parallel_over_rows(fill, len(matrix), matrix.size)
    return matrix


def parallel_over_rows(work: Callable[[slice], None], rows: int, size: int) -> None:
    """Call ``work`` for blocks of rows that fit the cache, on all cores. ``size`` is the number of elements.

    Threads run in parallel because numpy releases the interpreter lock.
    """
    if size <= 20 * BLOCK:
        work(slice(0, rows))
        return
    block = max(1, BLOCK * rows // size)
    cores = os.cpu_count() or 1

    def part(number: int) -> None:
        first, last = rows * number // cores, rows * (number + 1) // cores
        for start in range(first, last, block):
            work(slice(start, min(start + block, last)))

    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(part, range(cores)))


def to_backend(batch: Any) -> Any:
    """Convert the arrays, numbers and other frameworks' tensors in a batch to tensors of the backend."""

    def convert(leaf: Any) -> Any:
        if leaf is None or keras.ops.is_tensor(leaf):
            return leaf
        return keras.ops.convert_to_tensor(to_numpy(leaf))

    return map_leaves(convert, batch)


def numbers_or_tensors(batch: Any) -> Any:
    """Convert a batch as ``to_backend`` does, but leave numeric numpy arrays as they are."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fiub":
            return leaf
        return to_backend(leaf)

    return map_leaves(convert, batch)


def pack_batch(batch: tuple) -> Any:
    """Pack (x, y, sample_weight) for a model's step methods, without None at the end."""
    return keras.utils.pack_x_y_sample_weight(*batch)
