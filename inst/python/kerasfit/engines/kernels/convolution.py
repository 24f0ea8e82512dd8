"""Faster convolutions on CPUs, and faster gradients of them, for XLA."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from kerasfit.engines.kernels.custom_gradients import gradients, with_gradient
from kerasfit.engines.kernels.matmul import transposed_product
from kerasfit.engines.kernels.windows import channels_last, per_dimension, window_slices

# Up to this many terms, a sum over the window is faster, by number of spatial dimensions; measured by
# `make bench ONLY=kernels`.
FEW_TERMS = {1: 16, 2: 16, 3: 27}


def convolution(computed: Callable) -> Callable[[Callable], Callable]:
    """Make a kernel for a backend's convolution from ``computed``, called if ``is_supported()`` is true.

    The arguments of ``computed`` are the original convolution as a function of inputs and kernel, the inputs,
    the kernel, strides, padding and dilation.
    """

    def kernel_for(original: Callable) -> Callable:
        def conv(
            inputs: Any,
            kernel: Any,
            strides: Any = 1,
            padding: str = "valid",
            data_format: Any = None,
            dilation_rate: Any = 1,
        ) -> Any:
            def original_conv(inputs: Any, kernel: Any) -> Any:
                return original(inputs, kernel, strides, padding, data_format, dilation_rate)

            inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
            if not is_supported(data_format, inputs, kernel):
                return original_conv(inputs, kernel)
            return computed(original_conv, inputs, kernel, strides, padding, dilation_rate)

        return conv

    return kernel_for


def ordinary(
    original_conv: Callable, inputs: Any, kernel: Any, strides: Any, padding: str, dilation_rate: Any
) -> Any:
    """Convolution, rewritten for XLA where that was measured to be faster.

    If each output is a sum of few terms, as with images of one channel, it is computed as that sum, in one
    loop over the outputs. The gradient for the kernel is one matrix product for each position in the window
    if the window has a single position or there are three spatial dimensions; with three, so is the gradient
    for the inputs. With JAX, whose convolutions use no library of kernels, the gradient for the kernel is
    also computed this way for images without strides. Each group of channels is a separate convolution,
    because the gradient of a grouped convolution takes up to a hundred times as long.
    """

    *size, channels, filters = kernel.shape
    groups, more = divmod(inputs.shape[-1], channels)
    if more:
        return original_conv(inputs, kernel)
    if groups > 1 and channels == 1:
        each = ops.reshape(kernel, (*size, groups, filters // groups))
        return depthwise(
            lambda inputs, each: original_conv(inputs, ops.reshape(each, kernel.shape)),
            inputs,
            each,
            strides,
            padding,
            dilation_rate,
        )
    if groups > 1:
        parts = zip(ops.split(inputs, groups, -1), ops.split(kernel, groups, -1), strict=True)
        each = [ordinary(original_conv, *part, strides, padding, dilation_rate) for part in parts]
        return ops.concatenate(each, -1)
    if set(per_dimension(dilation_rate, inputs)) != {1}:
        return original_conv(inputs, kernel)

    steps = per_dimension(strides, inputs)
    solid = len(size) == 3
    few = math.prod(size) * channels <= FEW_TERMS[len(size)]
    on_jax = keras.backend.backend() == "jax"
    by_places = solid or set(size) == {1} or (on_jax and len(size) == 2 and set(steps) == {1})
    if not (few or by_places):
        return original_conv(inputs, kernel)
    patches = partial(window_slices, size=size, strides=steps, padding=padding)

    def gradient(inputs: Any, kernel: Any, upstream: Any) -> tuple[Any, Any]:
        of_inputs, of_kernel = gradients(original_conv, [inputs, kernel], upstream)
        if solid:
            of_places = [upstream @ ops.transpose(matrix) for matrix in matrices(kernel)]
            (of_inputs,) = gradients(patches, [inputs], of_places)
        if by_places:
            of_kernel = kernel_gradient(patches(inputs), upstream)
            of_kernel = ops.reshape(of_kernel, kernel.shape)
        return of_inputs, of_kernel

    def sum_of_terms(inputs: Any, kernel: Any) -> Any:
        return sum(
            part[..., channel : channel + 1] * matrix[channel]
            for part, matrix in zip(patches(inputs), matrices(kernel), strict=True)
            for channel in range(channels)
        )

    forward = prevent_refusion(sum_of_terms, original_conv) if few else original_conv
    return with_gradient(forward, gradient)(inputs, kernel)


def prevent_refusion(function: Callable, original_conv: Callable) -> Callable:
    """Keep XLA from fusing a function of inputs and kernel into each use of its outputs.

    XLA may recompute a fused value with different rounding, so that max() equals none of its inputs and the
    gradient of the maximum divides by 0. It does not recompute the values of a branch. The other branch, for
    a weight that is not finite, is the original function, which gives the same values.
    """
    return lambda inputs, kernel: ops.cond(
        ops.isfinite(ops.reshape(kernel, (-1,))[0]),
        lambda: function(inputs, kernel),
        lambda: original_conv(inputs, kernel),
    )


def is_supported(data_format: str | None, inputs: Any, kernel: Any) -> bool:
    """Whether the kernels support a convolution: channels last, float32, shapes known."""
    return channels_last(data_format) and float32(inputs, kernel) and None not in inputs.shape


def float32(*tensors: Any) -> bool:
    return {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors} == {"float32"}


def matrices(kernel: Any) -> list[Any]:
    """The weights for each position in a kernel's window, of shape (channels, filters)."""
    return ops.unstack(ops.reshape(kernel, (-1, *kernel.shape[-2:])))


def kernel_gradient(patches: list[Any], upstream: Any) -> Any:
    """The gradient for a kernel: a matrix product for each position in the window.

    A single product is used if the inputs at all positions together are no wider than the outputs.
    """
    channels, filters = patches[0].shape[-1], upstream.shape[-1]
    out = ops.reshape(upstream, (-1, filters))
    if len(patches) * channels <= filters:
        return product(ops.reshape(ops.concatenate(patches, -1), (-1, len(patches) * channels)), out)
    return ops.stack([product(ops.reshape(part, (-1, channels)), out) for part in patches])


def product(a: Any, b: Any) -> Any:
    """The matrix product a' b, computed as the faster of two forms."""
    return transposed_product(a, b) if b.shape[1] <= a.shape[1] else ops.transpose(a) @ b


def depthwise(
    original_conv: Callable, inputs: Any, kernel: Any, strides: Any, padding: str, dilation_rate: Any
) -> Any:
    """Depthwise convolution as a sum over the positions in the window, in one loop over the outputs.

    XLA's own convolution takes 5 to 100 times as long. The kernel has shape (*size, channels, multiplier),
    also for ``original_conv``. Its gradient is summed sample by sample, so that a sample stays in the
    processor's cache for all positions.
    """
    *size, channels, multiplier = kernel.shape
    patches = partial(
        window_slices,
        size=size,
        strides=per_dimension(strides, inputs),
        padding=padding,
        dilation=per_dimension(dilation_rate, inputs),
    )

    def by_one(inputs: Any, kernel: Any) -> Any:
        """Convolve with one weight for each position and channel."""
        return sum(part * weights for part, weights in zip(patches(inputs), ops.unstack(kernel), strict=True))

    def convolved(inputs: Any, kernel: Any) -> Any:
        kernels = ops.unstack(ops.reshape(kernel, (-1, channels, multiplier)), axis=-1)
        each = [by_one(inputs, weights) for weights in kernels]
        return each[0] if multiplier == 1 else ops.reshape(ops.stack(each, -1), (*each[0].shape[:-1], -1))

    def kernel_gradient(inputs: Any, upstream: Any) -> Any:
        def add(number: Any, so_far: Any) -> Any:
            sample, out = (
                ops.slice(array, (number, *[0] * (len(array.shape) - 1)), (1, *array.shape[1:]))
                for array in (inputs, upstream)
            )
            over = tuple(range(len(out.shape) - 1))
            return so_far + ops.stack([ops.sum(part * out, over) for part in patches(sample)])

        return ops.fori_loop(0, inputs.shape[0], add, ops.zeros((math.prod(size), channels)))

    def gradient(inputs: Any, kernel: Any, upstream: Any) -> tuple[Any, Any]:
        (of_inputs,) = gradients(lambda inputs: convolved(inputs, kernel), [inputs], upstream)
        of_each = ops.unstack(ops.reshape(upstream, (*upstream.shape[:-1], channels, multiplier)), axis=-1)
        of_kernel = ops.stack([kernel_gradient(inputs, each) for each in of_each], -1)
        return of_inputs, ops.reshape(of_kernel, kernel.shape)

    return with_gradient(prevent_refusion(convolved, original_conv), gradient)(inputs, kernel)


ordinary_convolution = convolution(ordinary)
depthwise_convolution = convolution(depthwise)


def tensorflow_separable_convolution(original: Callable) -> Callable:
    """Separable convolution as a depthwise and a pointwise convolution, which JAX's is already."""

    def conv(
        inputs: Any,
        depthwise_kernel: Any,
        pointwise_kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
    ) -> Any:
        options = strides, padding, data_format, dilation_rate
        if not is_supported(data_format, inputs, depthwise_kernel):
            return original(inputs, depthwise_kernel, pointwise_kernel, *options)
        channels = ops.depthwise_conv(inputs, depthwise_kernel, *options)
        return ops.conv(channels, pointwise_kernel, data_format=data_format)

    return conv


def jax_transposed_convolution(original: Callable) -> Callable:
    """Transposed convolution with a faster gradient for the kernel: that of the underlying convolution.

    With the gradient that JAX derives, XLA takes twenty times as long.
    """

    def conv(
        inputs: Any,
        kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: Any = None,
        dilation_rate: Any = 1,
    ) -> Any:
        def original_conv(inputs: Any, kernel: Any) -> Any:
            return original(inputs, kernel, strides, padding, output_padding, data_format, dilation_rate)

        inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
        if not float32(inputs, kernel):
            return original_conv(inputs, kernel)

        def gradient(inputs: Any, kernel: Any, upstream: Any) -> tuple[Any, Any]:
            def convolved(kernel: Any) -> Any:
                return gradients(lambda inputs: original_conv(inputs, kernel), [inputs], upstream)[0]

            return convolved(kernel), gradients(convolved, [kernel], inputs)[0]

        return with_gradient(original_conv, gradient)(inputs, kernel)

    return conv
