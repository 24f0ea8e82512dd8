"""Values on their way between numpy and the backend."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np


def is_backend_tensor(value: Any) -> bool:
    """Whether a value is a tensor of a deep-learning framework, this session's backend or another one."""
    framework = type(value).__module__.partition(".")[0] in ("tensorflow", "jax", "jaxlib", "torch")
    return framework and hasattr(value, "shape") and hasattr(value, "dtype")


def to_numpy(value: Any) -> np.ndarray:
    """A dense tensor of any framework as a numpy array (shared memory where the framework allows)."""
    if isinstance(value, np.ndarray):
        return value
    if keras.ops.is_tensor(value):
        return keras.ops.convert_to_numpy(value)
    if hasattr(value, "detach"):  # a torch tensor under another backend
        value = value.detach().cpu()
    return np.asarray(value)


def to_model_dtype(array: np.ndarray) -> np.ndarray:
    """Floats and booleans in the model's float type (``keras.config.floatx()``); others as they are."""
    dtype = np.dtype(keras.config.floatx() if array.dtype.kind in "fb" else array.dtype)
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    return aligned_copy(array, dtype)


ALIGNMENT = 64  # bytes: what TensorFlow and JAX want of memory that they use as it is
BLOCK = 50_000  # elements: so many fit the cache, being read along one axis and written along another


def is_aligned(array: np.ndarray) -> bool:
    return array.ctypes.data % ALIGNMENT == 0 and array.flags.c_contiguous


def aligned_copy(array: np.ndarray, dtype: Any = None) -> np.ndarray:
    """A copy in row-major order, of the type given, in memory that backends can use without copying it.

    R's arrays are column-major: read row by row, each number is on another page of memory. So blocks of rows
    are copied, by all cores (numpy lets other threads run meanwhile).
    """
    dtype = np.dtype(dtype or array.dtype)
    memory = np.empty(array.size * dtype.itemsize + ALIGNMENT, np.uint8)
    offset = -memory.ctypes.data % ALIGNMENT
    copy = memory[offset : offset + array.size * dtype.itemsize].view(dtype).reshape(array.shape)
    rows = max(1, BLOCK * len(array) // max(array.size, 1))
    if array.size <= 20 * BLOCK or array.dtype.hasobject:
        copy[...] = array
        return copy

    def copy_blocks(part: int) -> None:
        first, last = len(array) * part // cores, len(array) * (part + 1) // cores
        for start in range(first, last, rows):
            stop = min(start + rows, last)
            copy[start:stop] = array[start:stop]

    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(copy_blocks, range(cores)))
    return copy


def to_backend(batch: Any) -> Any:
    """A batch with arrays, numbers and other frameworks' tensors made into tensors of the backend."""

    def convert(leaf: Any) -> Any:
        if leaf is None or keras.ops.is_tensor(leaf):
            return leaf
        return keras.ops.convert_to_tensor(to_numpy(leaf))

    return keras.tree.map_structure(convert, batch)


def pack(batch: tuple) -> Any:
    """(x, y, sample_weight) as a model's step methods take them: without a None at the end."""
    return keras.utils.pack_x_y_sample_weight(*batch)


def numbers(logs: dict[str, Any] | None) -> dict[str, Any]:
    """Logs with each value a Python float where it is one number, flat, the loss first, in the order given.

    Keras itself gave them in alphabetical order up to 3.9.
    """
    flat: dict[str, Any] = {}
    for name, value in sorted((logs or {}).items(), key=lambda item: item[0] != "loss"):
        if isinstance(value, dict):
            flat.update(numbers(value))
            continue
        try:
            flat[name] = float(to_numpy(value))
        except (TypeError, ValueError):
            flat[name] = value
    return flat
