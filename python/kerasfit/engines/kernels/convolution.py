"""Convolution with JAX."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from kerasfit.engines.kernels.products import transposed_product
from kerasfit.engines.kernels.space import by_place, channels_last, per_dimension

FEW_CHANNELS = 4
MANY_FILTERS = 32
LARGE_BATCH = 64


def jax_conv(plain: Callable) -> Callable:
    """Convolution whose gradient for the kernel is made of products of matrices, where those are faster.

    XLA has a convolution with a kernel as large as the image for it. It takes 2 to 6 times as long as one
    product for all places in the kernel where there is one place, or few channels become many; and as a
    product for each place in two dimensions or more, without padding, in large batches, or in three; there
    the gradient for the inputs is made of products too. Groups of channels are convolutions of their own:
    the gradient of one with groups takes a hundred times as long by XLA.
    """

    def conv(
        inputs: Any,
        kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
    ):
        options = strides, padding, data_format, dilation_rate

        def own(inputs: Any, kernel: Any) -> Any:
            return plain(inputs, kernel, *options)

        inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
        *size, channels, filters = kernel.shape
        groups, more = divmod(inputs.shape[-1], channels)
        if more or not channels_last(data_format) or not float32(inputs, kernel):
            return own(inputs, kernel)
        if groups > 1 and channels == 1:
            each = ops.reshape(kernel, (*size, groups, filters // groups))
            return depthwise(inputs, each, strides, padding, dilation_rate)
        if groups > 1:
            parts = ops.split(inputs, groups, -1), ops.split(kernel, groups, -1)
            return ops.concatenate([conv(*part, *options) for part in zip(*parts, strict=True)], -1)
        steps = per_dimension(strides, inputs)
        at_once = set(size) == {1} or (channels < FEW_CHANNELS and filters >= MANY_FILTERS)
        apart = (
            padding == "valid"
            and set(steps) == {1}
            and len(size) > 1
            and channels >= 16
            and inputs.shape[0] >= LARGE_BATCH
        )
        solid = len(size) == 3
        if set(per_dimension(dilation_rate, inputs)) != {1} or not (at_once or apart or solid):
            return own(inputs, kernel)
        return jax_conv_function(own, steps, padding, at_once=at_once, solid=solid)(inputs, kernel)

    return conv


def float32(*tensors: Any) -> bool:
    return {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors} == {"float32"}


def jax_conv_function(
    own: Callable, strides: tuple[int, ...], padding: str, *, at_once: bool, solid: bool
) -> Callable:
    import jax
    import jax.numpy as jnp

    def product(a: Any, b: Any) -> Any:
        return transposed_product(a, b) if b.shape[1] <= a.shape[1] else a.T @ b

    def kernel_gradient(inputs: Any, upstream: Any, size: tuple[int, ...]) -> Any:
        channels, filters = inputs.shape[-1], upstream.shape[-1]
        out = upstream.reshape(-1, filters)
        seen = by_place(inputs, size, strides, padding)
        if at_once:
            products = product(jnp.concatenate(seen, -1).reshape(len(out), -1), out)
        else:
            products = jnp.stack([product(part.reshape(-1, channels), out) for part in seen])
        return products.reshape(*size, channels, filters)

    def gradient(inputs: Any, kernel: Any, upstream: Any) -> tuple[Any, Any]:
        size = kernel.shape[:-2]
        if solid:
            matrices = kernel.reshape(-1, *kernel.shape[-2:])
            places = jax.vjp(lambda inputs: by_place(inputs, size, strides, padding), inputs)[1]
            (of_inputs,) = places([upstream @ matrix.T for matrix in matrices])
        else:
            (of_inputs,) = jax.vjp(lambda inputs: own(inputs, kernel), inputs)[1](upstream)
        return of_inputs, kernel_gradient(inputs, upstream, size)

    return with_gradient(own, gradient)


def jax_depthwise_conv(plain: Callable) -> Callable:
    """Convolution of each channel by itself."""

    def conv(
        inputs: Any,
        kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
    ):
        inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
        if not channels_last(data_format) or not float32(inputs, kernel):
            return plain(inputs, kernel, strides, padding, data_format, dilation_rate)
        return depthwise(inputs, kernel, strides, padding, dilation_rate)

    return conv


def depthwise(inputs: Any, kernel: Any, strides: Any, padding: str, dilation_rate: Any) -> Any:
    """The sum over the places in the kernel, which is one loop over the outputs: XLA's own takes 5 to 100
    times as long.

    The kernel is of shape (*size, channels, multiplier). Its gradient is summed sample by sample: what
    belongs to one stays in the processor's cache for all places.
    """
    import jax
    import jax.numpy as jnp

    *size, channels, multiplier = kernel.shape
    seen = partial(
        by_place,
        size=size,
        strides=per_dimension(strides, inputs),
        padding=padding,
        dilation=per_dimension(dilation_rate, inputs),
    )

    def convolved(inputs: Any, kernel: Any) -> Any:
        """By one kernel for each channel, of shape (places, channels)."""
        return sum(part * weights for part, weights in zip(seen(inputs), kernel, strict=True))

    def kernel_gradient(inputs: Any, upstream: Any) -> Any:
        def add(number: int, so_far: Any) -> Any:
            sample, out = (jax.lax.dynamic_slice_in_dim(array, number, 1) for array in (inputs, upstream))
            over = tuple(range(out.ndim - 1))
            return so_far + jnp.stack([jnp.sum(part * out, over) for part in seen(sample)])

        return jax.lax.fori_loop(0, len(inputs), add, jnp.zeros((len(seen(inputs[:1])), channels)))

    def gradient(inputs: Any, kernel: Any, upstream: Any) -> tuple[Any, Any]:
        (of_inputs,) = jax.vjp(lambda inputs: convolved(inputs, kernel), inputs)[1](upstream)
        return of_inputs, kernel_gradient(inputs, upstream)

    conv = with_gradient(convolved, gradient)
    kernels = jnp.reshape(kernel, (-1, channels, multiplier))
    each = [conv(inputs, kernels[..., number]) for number in range(multiplier)]
    return each[0] if multiplier == 1 else jnp.stack(each, -1).reshape(*each[0].shape[:-1], -1)


def jax_conv_transpose(plain: Callable) -> Callable:
    """Transposed convolution whose gradient for the kernel is that of the convolution that it transposes.

    For the one that JAX derives, XLA takes twenty times as long.
    """
    import jax

    def conv(inputs: Any, kernel: Any, *args: Any, **kwargs: Any) -> Any:
        def own(inputs: Any, kernel: Any) -> Any:
            return plain(inputs, kernel, *args, **kwargs)

        inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
        if not float32(inputs, kernel):
            return own(inputs, kernel)

        def gradient(inputs: Any, kernel: Any, upstream: Any) -> tuple[Any, Any]:
            def convolved(kernel: Any) -> Any:
                return jax.vjp(lambda inputs: own(inputs, kernel), inputs)[1](upstream)[0]

            of_inputs, of_kernel = jax.vjp(convolved, kernel)
            return of_inputs, *of_kernel(inputs)

        return with_gradient(own, gradient)(inputs, kernel)

    return conv


def with_gradient(function: Callable, gradient: Callable) -> Callable:
    """A function of inputs and kernel whose gradients for both are one of those and of the output's."""
    import jax

    derived = jax.custom_vjp(function)
    derived.defvjp(
        lambda inputs, kernel: (function(inputs, kernel), (inputs, kernel)),
        lambda kept, upstream: gradient(*kept, upstream),
    )
    return derived
