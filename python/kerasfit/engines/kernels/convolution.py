"""Convolution."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from kerasfit.engines.kernels.products import transposed_product
from kerasfit.engines.kernels.space import channels_last, per_dimension

FEW_CHANNELS = 4
MANY_FILTERS = 32
LARGE_BATCH = 64


def jax_conv(plain: Callable) -> Callable:
    """Convolution whose gradient for the kernel is made of products of matrices, where those are faster.

    XLA has a convolution with a kernel as large as the image for it. It takes 2 to 6 times as long as one
    product for all places in the kernel where there is one place, or few channels become many; and as a
    product for each place in two dimensions or more, without padding, in large batches.
    """

    def conv(
        inputs: Any,
        kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
    ):
        own = partial(
            plain, strides=strides, padding=padding, data_format=data_format, dilation_rate=dilation_rate
        )
        kernel = ops.convert_to_tensor(kernel)
        if (
            not channels_last(data_format)
            or set(per_dimension(dilation_rate, inputs)) != {1}
            or inputs.shape[-1] != kernel.shape[-2]
            or {keras.backend.standardize_dtype(array.dtype) for array in (inputs, kernel)} != {"float32"}
        ):
            return own(inputs, kernel)
        *size, channels, filters = kernel.shape
        steps = per_dimension(strides, inputs)
        at_once = set(size) == {1} or (channels < FEW_CHANNELS and filters >= MANY_FILTERS)
        by_place = (
            padding == "valid"
            and set(steps) == {1}
            and len(size) > 1
            and channels >= 16
            and inputs.shape[0] >= LARGE_BATCH
        )
        if not (at_once or by_place):
            return own(inputs, kernel)
        return jax_conv_function(own, steps, padding, at_once=at_once)(inputs, kernel)

    return conv


def jax_conv_function(own: Callable, strides: tuple[int, ...], padding: str, *, at_once: bool) -> Callable:
    import jax
    import jax.numpy as jnp

    def product(a: Any, b: Any) -> Any:
        return transposed_product(a, b) if b.shape[1] <= a.shape[1] else a.T @ b

    def kernel_gradient(inputs: Any, upstream: Any, size: tuple[int, ...]) -> Any:
        pads = jax.lax.padtype_to_pads(inputs.shape[1:-1], size, strides, padding.upper())
        inputs = jnp.pad(inputs, [(0, 0), *pads, (0, 0)])
        out = upstream.reshape(-1, upstream.shape[-1])
        seen = [  # by each place in the kernel: an input for each output
            inputs[
                (
                    slice(None),
                    *(
                        slice(at, at + (n - 1) * step + 1, step)
                        for at, n, step in zip(place, upstream.shape[1:-1], strides, strict=True)
                    ),
                )
            ]
            for place in itertools.product(*map(range, size))
        ]
        channels = inputs.shape[-1]
        if at_once:
            products = product(jnp.concatenate(seen, -1).reshape(len(out), -1), out)
        else:
            products = jnp.stack([product(part.reshape(-1, channels), out) for part in seen])
        return products.reshape(*size, channels, out.shape[-1])

    @jax.custom_vjp
    def conv(inputs: Any, kernel: Any) -> Any:
        return own(inputs, kernel)

    def forward(inputs: Any, kernel: Any) -> Any:
        return own(inputs, kernel), (inputs, kernel)

    def backward(kept: Any, upstream: Any) -> Any:
        inputs, kernel = kept
        (of_inputs,) = jax.vjp(lambda inputs: own(inputs, kernel), inputs)[1](upstream)
        return of_inputs, kernel_gradient(inputs, upstream, kernel.shape[:-2])

    conv.defvjp(forward, backward)
    return conv
