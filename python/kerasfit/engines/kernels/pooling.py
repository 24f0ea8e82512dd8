"""Max pooling."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from kerasfit.engines.kernels.space import by_place, channels_last, per_dimension


def max_pool(plain: Callable) -> Callable:
    """Max pooling whose gradient is a choice among the elements of each window.

    XLA has a scatter for it, which goes from element to element. Windows must not overlap. The gradient goes
    to the first of the largest elements of a window, as everywhere.
    """

    def pool(
        inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
    ):
        own = partial(plain, pool_size=pool_size, strides=strides, padding=padding, data_format=data_format)
        size = per_dimension(pool_size, inputs)
        if (
            per_dimension(pool_size if strides is None else strides, inputs) != size
            or padding != "valid"
            or not channels_last(data_format)
            or None in inputs.shape
        ):
            return own(inputs)

        @ops.custom_gradient
        def pooled(inputs: Any) -> Any:
            largest = own(inputs)

            def gradient(*upstream: Any) -> Any:
                (upstream,) = upstream
                return spread(upstream, first_largest(inputs, largest, size), inputs.shape, size)

            return largest, gradient

        return pooled(inputs)

    return pool


MANY_PLACES = 50


def jax_max_pool(plain: Callable) -> Callable:
    """The same with JAX, also for windows that overlap: the largest of what is at each place in them."""

    def pool(
        inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
    ):
        size = per_dimension(pool_size, inputs)
        if (
            math.prod(size) > MANY_PLACES
            or not channels_last(data_format)
            or not keras.backend.is_float_dtype(inputs.dtype)
        ):
            return plain(inputs, pool_size, strides, padding, data_format)
        steps = size if strides is None else per_dimension(strides, inputs)
        return largest_by_place(inputs, size, steps, padding)

    return max_pool(pool)


def largest_by_place(inputs: Any, size: tuple[int, ...], strides: tuple[int, ...], padding: str) -> Any:
    import jax
    import jax.numpy as jnp

    seen = partial(by_place, size=size, strides=strides, padding=padding, outside=-math.inf)

    @jax.custom_vjp
    def largest(inputs: Any) -> Any:
        return functools.reduce(jnp.maximum, seen(inputs))

    def forward(inputs: Any) -> Any:
        return largest(inputs), inputs

    def backward(inputs: Any, upstream: Any) -> Any:
        parts, to_inputs = jax.vjp(seen, inputs)
        outputs = functools.reduce(jnp.maximum, parts)
        first = jnp.full(outputs.shape, -1)
        for number, part in reversed(list(enumerate(parts))):
            first = jnp.where(part == outputs, number, first)
        return to_inputs([jnp.where(first == number, upstream, 0) for number in range(len(parts))])

    largest.defvjp(forward, backward)
    return largest(inputs)


def first_largest(inputs: Any, largest: Any, size: tuple[int, ...]) -> Any:
    """The place of the first largest element in each window, counted in row-major order."""
    windows = in_windows(inputs, size)
    places = list(itertools.product(*map(range, size)))
    first = ops.zeros(largest.shape, "int32")
    for number, place in reversed(list(enumerate(places))):
        element = windows[(slice(None), *itertools.chain(*((slice(None), at) for at in place)))]
        first = ops.where(ops.equal(element, largest), number, first)
    return first


def spread(values: Any, places: Any, shape: tuple[int, ...], size: tuple[int, ...]) -> Any:
    """An array of a shape with one value in each window, at its place, and 0 elsewhere."""
    dimensions = range(len(size))
    number = sum(
        ops.reshape(
            ops.arange(size[d], dtype="int32") * math.prod(size[d + 1 :]),
            [1, *(size[d] if axis == 2 * d + 1 else 1 for axis in range(2 * len(size))), 1],
        )
        for d in dimensions
    )

    def beside_windows(array: Any) -> Any:
        for d in dimensions:
            array = ops.expand_dims(array, 2 * d + 2)
        return array

    blocks = ops.where(ops.equal(beside_windows(places), number), beside_windows(values), 0)
    covered = [n * s for n, s in zip(values.shape[1:-1], size, strict=True)]
    edges = [(0, whole - part) for whole, part in zip(shape[1:-1], covered, strict=True)]
    return ops.pad(ops.reshape(blocks, (shape[0], *covered, shape[-1])), [(0, 0), *edges, (0, 0)])


def in_windows(inputs: Any, size: tuple[int, ...]) -> Any:
    """The inputs with two axes for each dimension of space: of windows, and inside a window."""
    counts = [n // s for n, s in zip(inputs.shape[1:-1], size, strict=True)]
    covered = [slice(0, n * s) for n, s in zip(counts, size, strict=True)]
    axes = itertools.chain(*zip(counts, size, strict=True))
    return ops.reshape(inputs[(slice(None), *covered)], (inputs.shape[0], *axes, inputs.shape[-1]))
