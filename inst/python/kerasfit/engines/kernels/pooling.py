"""Pooling as one operation for each position in the window, for XLA.

It becomes one loop over the outputs, which XLA fuses with the operation before. The gradients of XLA's own
pooling are slow: max pooling's visits one element after another, average pooling's all windows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from kerasfit.engines.kernels.custom_gradients import gradients, with_gradient
from kerasfit.engines.kernels.windows import channels_last, per_dimension, window_slices

MANY_PLACES = 50

Shape = tuple[int, ...]


def max_pool(original: Callable) -> Callable:
    """Max pooling; the gradient goes to the first maximum of a window, as in all backends."""
    return pooling(original, largest)


def average_pool(original: Callable) -> Callable:
    """Average pooling; padding does not count in the average."""
    return pooling(original, average)


def average_pool_of_jax_3_9(original: Callable) -> Callable:
    """Average pooling for Keras 3.9 on JAX, where only the last argument has a default."""
    average = average_pool(original)

    def pool(inputs: Any, pool_size: Any, strides: Any, padding: str, data_format: Any = None) -> Any:
        return average(inputs, pool_size, strides, padding, data_format)

    return pool


def pooling(original: Callable, pooled: Callable) -> Callable:
    def pool(
        inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
    ) -> Any:
        size = per_dimension(pool_size, inputs)
        if (
            math.prod(size) > MANY_PLACES
            or not channels_last(data_format)
            or not keras.backend.is_float_dtype(inputs.dtype)
            or None in inputs.shape
        ):
            return original(inputs, pool_size, strides, padding, data_format)
        steps = size if strides is None else per_dimension(strides, inputs)
        return pooled(inputs, size, steps, padding)

    return pool


def largest(inputs: Any, size: Shape, strides: Shape, padding: str) -> Any:
    patches = partial(window_slices, size=size, strides=strides, padding=padding, outside=-math.inf)

    def gradient(inputs: Any, upstream: Any) -> Any:
        parts = patches(inputs)
        first = first_largest(parts)
        if are_apart(size, strides, padding):
            here = ops.equal(beside_windows(first, size), numbers_in_window(size))
            return from_windows(ops.where(here, beside_windows(upstream, size), 0), inputs.shape)
        chosen = [ops.where(ops.equal(first, number), upstream, 0) for number in range(len(parts))]
        return gradients(patches, [inputs], chosen)[0]

    return with_gradient(lambda inputs: functools.reduce(ops.maximum, patches(inputs)), gradient)(inputs)


def first_largest(parts: list[Any]) -> Any:
    """For each element, the index of the first of several arrays that has the maximum.

    It does not use the maximum computed in the forward pass: XLA may recompute the values that are compared
    to it with different rounding.
    """
    first, so_far = ops.zeros(parts[0].shape, "int32"), parts[0]
    for number, part in enumerate(parts[1:], 1):
        first = ops.where(part > so_far, number, first)
        so_far = ops.maximum(part, so_far)
    return first


def average(inputs: Any, size: Shape, strides: Shape, padding: str) -> Any:
    patches = partial(window_slices, size=size, strides=strides, padding=padding)
    number = math.prod(size)
    if padding == "same":
        number = sum(patches(ops.ones((1, *inputs.shape[1:-1], 1), inputs.dtype)))

    def gradient(inputs: Any, upstream: Any) -> Any:
        parts = upstream / number
        if are_apart(size, strides, padding):
            everywhere = ops.ones_like(numbers_in_window(size), inputs.dtype)
            return from_windows(beside_windows(parts, size) * everywhere, inputs.shape)
        return gradients(patches, [inputs], [parts] * math.prod(size))[0]

    return with_gradient(lambda inputs: sum(patches(inputs)) / number, gradient)(inputs)


# ---- windows that do not overlap: each spatial axis becomes two, the window and the position in it ---------


def are_apart(size: Shape, strides: Shape, padding: str) -> bool:
    """Whether windows neither overlap nor leave gaps between them, and there is no padding."""
    return strides == size and padding == "valid"


def beside_windows(array: Any, size: Shape) -> Any:
    """Add an axis of length 1 for the positions in a window after each spatial axis."""
    for dimension in range(len(size)):
        array = ops.expand_dims(array, 2 * dimension + 2)
    return array


def numbers_in_window(size: Shape) -> Any:
    """The number of each position in a window, in row-major order."""
    axes = [axis for places in size for axis in (1, places)]
    return ops.reshape(ops.arange(math.prod(size), dtype="int32"), [1, *axes, 1])


def from_windows(blocks: Any, shape: Shape) -> Any:
    """Reshape windows to an array of the given shape, with 0 where there is no window."""
    counts, sizes = blocks.shape[1:-1:2], blocks.shape[2:-1:2]
    covered = [count * size for count, size in zip(counts, sizes, strict=True)]
    edges = [(0, whole - part) for whole, part in zip(shape[1:-1], covered, strict=True)]
    return ops.pad(ops.reshape(blocks, (shape[0], *covered, shape[-1])), [(0, 0), *edges, (0, 0)])
