"""Operations of layers that XLA is slow at on CPUs, put in other words: the same values, found faster.

Layers call a function of the backend for each. While a step is traced for XLA on a CPU, these stand in for
it. Whatever one of them is not made for, it leaves to the backend's own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasfit import keras_private


@contextmanager
def tensorflow_kernels() -> Iterator[None]:
    """What a step is traced with for XLA with TensorFlow, on a CPU."""
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        yield
        return
    with keras_private.replaced(
        nn_max_pool=max_pool, numpy_matmul=matmul, random_dropout=tensorflow_dropout, lstm=lstm
    ):
        yield


@contextmanager
def jax_kernels() -> Iterator[None]:
    """What a step is traced with with JAX, on a CPU."""
    import jax

    if jax.default_backend() != "cpu":
        yield
        return
    with keras_private.replaced(
        nn_max_pool=max_pool, nn_conv=jax_conv, numpy_matmul=matmul, random_dropout=jax_dropout, lstm=lstm
    ):
        yield


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


FEW_CHANNELS = 4
MANY_FILTERS = 32
LARGE_BATCH = 64


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


FEW_COLUMNS = 16


def matmul(plain: Callable) -> Callable:
    """A product with a matrix of few columns, as of a last layer, whose gradient is found transposed."""

    def product(x1: Any, x2: Any) -> Any:
        x1, x2 = ops.convert_to_tensor(x1), ops.convert_to_tensor(x2)
        if (
            any(hasattr(x, "indices") for x in (x1, x2))  # sparse
            or {keras.backend.standardize_dtype(x.dtype) for x in (x1, x2)} != {"float32"}
            or len(x1.shape) < 2
            or len(x2.shape) != 2
            or not 1 < x2.shape[1] < x2.shape[0]
            or x2.shape[1] > FEW_COLUMNS
        ):
            return plain(x1, x2)

        @ops.custom_gradient
        def narrow(x1: Any, x2: Any) -> Any:
            def gradient(*upstream: Any) -> Any:
                (upstream,) = upstream
                rows, of_rows = (ops.reshape(x, (-1, x.shape[-1])) for x in (x1, upstream))
                return plain(upstream, ops.transpose(x2)), transposed_product(rows, of_rows)

            return plain(x1, x2), gradient

        return narrow(x1, x2)

    return product


def transposed_product(a: Any, b: Any) -> Any:
    """The product a' b as the transpose of b' a: 2 to 20 times as fast by XLA, where b is the narrow one."""
    return ops.transpose(left_as_it_is(ops.transpose(b) @ a))


def left_as_it_is(tensor: Any) -> Any:
    """A tensor that XLA computes as it is, and does not merge with what is done with it."""
    if keras.backend.backend() == "jax":
        from jax.lax import optimization_barrier

        return optimization_barrier(tensor)
    from tensorflow.compiler.tf2xla.python.xla import optimization_barrier

    return optimization_barrier(tensor)[0]


def tensorflow_dropout(plain: Callable) -> Callable:
    """Dropout by the Threefry generator: XLA on CPUs takes fifty times as long by the one it would choose."""
    import tensorflow as tf

    own = tf.nn.experimental.stateless_dropout
    return with_other(plain, tf.nn.experimental, "stateless_dropout", partial(own, rng_alg="threefry"))


def jax_dropout(plain: Callable) -> Callable:
    """Dropout with JAX's random bits, made without the loop that JAX has for them on CPUs."""
    import jax

    return with_other(plain, jax.random, "bernoulli", jax_bernoulli)


def with_other(plain: Callable, module: Any, name: str, other: Callable) -> Callable:
    """A function that finds another one under a name in a module while it runs."""

    def function(*args: Any, **kwargs: Any) -> Any:
        own = getattr(module, name)
        setattr(module, name, other)
        try:
            return plain(*args, **kwargs)
        finally:
            setattr(module, name, own)

    return function


def jax_bernoulli(key: Any, p: Any, shape: tuple[int, ...]) -> Any:
    """What ``jax.random.bernoulli`` gives for a key and a shape: the same draws."""
    import jax
    import jax.numpy as jnp
    from jax.random import bits

    size = math.prod(shape)
    if (
        key.dtype != jnp.uint32
        or key.shape != (2,)
        or size >= 2**32
        or not jax.config.jax_threefry_partitionable
    ):
        draws = bits(key, shape, jnp.uint32)
    else:
        high, low = threefry(*key, jnp.zeros(size, jnp.uint32), jnp.arange(size, dtype=jnp.uint32))
        draws = jnp.reshape(high ^ low, shape)
    one = jnp.uint32(0x3F800000)  # as a float; the bits after it are those of a fraction
    drawn = jax.lax.bitcast_convert_type((draws >> 9) | one, jnp.float32) - 1.0 < p
    # XLA would draw again for the gradient, were there not a root, which it takes to be expensive
    return jnp.sqrt(drawn.astype(jnp.float32)) > 0


def threefry(key_0: Any, key_1: Any, x_0: Any, x_1: Any) -> tuple[Any, Any]:
    """Threefry-2x32-20 of Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3"."""
    keys = key_0, key_1, key_0 ^ key_1 ^ 0x1BD11BDA
    x_0, x_1 = x_0 + keys[0], x_1 + keys[1]
    for group, rotations in zip(range(1, 6), itertools.cycle(((13, 15, 26, 6), (17, 29, 16, 24)))):
        for bits in rotations:
            x_0 = x_0 + x_1
            x_1 = ((x_1 << bits) | (x_1 >> (32 - bits))) ^ x_0
        x_0, x_1 = x_0 + keys[group % 3], x_1 + keys[(group + 1) % 3] + group
    return x_0, x_1


def lstm(plain: Callable) -> Callable:
    """A long short-term memory whose loops over time do no more than must be done in order.

    The projection of the inputs, the gradients for all weights and most of what the chain rule multiplies
    with are found for all times at once; XLA leaves all of that to the loops. The logistic function is
    (1 + tanh(x / 2)) / 2, so that one tanh serves all gates. For float32, without a mask.
    """

    def layer(
        inputs: Any,
        initial_state_h: Any,
        initial_state_c: Any,
        mask: Any,
        kernel: Any,
        recurrent_kernel: Any,
        bias: Any,
        activation: Any,
        recurrent_activation: Any,
        return_sequences: bool = False,
        go_backwards: bool = False,
        unroll: bool = False,
    ) -> tuple[Any, Any, list]:
        if (
            mask is not None
            or bias is None
            or unroll
            or activation is not keras.activations.tanh
            or recurrent_activation is not keras.activations.sigmoid
            or None in inputs.shape
            or any(keras.backend.standardize_dtype(v.dtype) != "float32" for v in (inputs, kernel))
        ):
            return plain(
                inputs,
                initial_state_h,
                initial_state_c,
                mask,
                kernel,
                recurrent_kernel,
                bias,
                activation,
                recurrent_activation,
                return_sequences,
                go_backwards,
                unroll,
            )
        by_time = ops.transpose(inputs, (1, 0, 2))
        if go_backwards:
            by_time = ops.flip(by_time, 0)
        tensors = [ops.convert_to_tensor(v) for v in (kernel, recurrent_kernel, bias)]
        over_time = ops.custom_gradient(lambda *arrays: lstm_over_time(*arrays, every=return_sequences))
        outputs, carry = over_time(by_time, initial_state_h, initial_state_c, *tensors)
        last = outputs[-1]
        return last, ops.transpose(outputs, (1, 0, 2)), [last, carry]

    return layer


def lstm_over_time(
    inputs: Any, h: Any, c: Any, kernel: Any, recurrent: Any, bias: Any, *, every: bool
) -> tuple[tuple[Any, Any], Callable]:
    """The outputs and the last carry of an LSTM, and their gradient, for ``ops.custom_gradient``.

    Inputs are of shape (times, samples, features); outputs are those of ``every`` time or of the last one,
    shape (times or 1, samples, units). Gates are in Keras's order: input, forget, candidate, output.
    """
    times, samples, features = inputs.shape
    units = recurrent.shape[0]
    rows = times * samples
    # gates are tanh(z * scale) * scale + shift
    scale = ops.convert_to_tensor(np.repeat(np.float32([0.5, 0.5, 1.0, 0.5]), units))
    shift = 1.0 - scale
    projected = ops.reshape(inputs, (rows, features)) @ (kernel * scale) + bias * scale
    projected = ops.reshape(projected, (times, samples, 4 * units))
    scaled_recurrent = recurrent * scale

    def forward(time: Any, h: Any, c: Any, gates: Any, carries: Any) -> tuple:
        now = ops.tanh(at(projected, time) + h @ scaled_recurrent) * scale + shift
        i, f, g, o = ops.split(now, 4, -1)
        c = f * c + i * g
        return time + 1, o * ops.tanh(c), c, put(gates, time, now), put(carries, time, c)

    start = (0, h, c, ops.zeros((times, samples, 4 * units)), ops.zeros((times, samples, units)))
    *_, gates, carries = ops.while_loop(lambda time, *_: time < times, forward, start)
    i, f, g, o = ops.split(gates, 4, -1)
    squashed = ops.tanh(carries)
    outputs = o * squashed

    def gradient(*upstream: Any) -> tuple:
        d_outputs, d_carry = keras.tree.flatten(upstream)
        carries_before = ops.concatenate([c[None], carries[:-1]])
        outputs_before = ops.concatenate([h[None], outputs[:-1]])
        to_carry = o * (1 - squashed * squashed)
        to_gates = ops.concatenate(
            [g * i * (1 - i), carries_before * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)], -1
        )

        def backward(time: Any, d_h: Any, d_c: Any, d_gates: Any) -> tuple:
            if every:
                d_h = d_h + at(d_outputs, time)
            d_c = d_c + d_h * at(to_carry, time)
            now = ops.concatenate([d_c, d_c, d_c, d_h], -1) * at(to_gates, time)
            return time - 1, now @ transposed, d_c * at(f, time), put(d_gates, time, now)

        transposed = ops.transpose(recurrent)
        d_last = ops.zeros_like(h) if every else d_outputs[0]
        start = (times - 1, d_last, d_carry, ops.zeros((times, samples, 4 * units)))
        _, d_h, d_c, d_gates = ops.while_loop(lambda time, *_: time >= 0, backward, start)
        d_gates = ops.reshape(d_gates, (rows, 4 * units))
        return (
            ops.reshape(d_gates @ ops.transpose(kernel), (times, samples, features)),
            d_h,
            d_c,
            ops.transpose(ops.reshape(inputs, (rows, features))) @ d_gates,
            ops.transpose(ops.reshape(outputs_before, (rows, units))) @ d_gates,
            ops.sum(d_gates, 0),
        )

    return (outputs if every else outputs[-1:], carries[-1]), gradient


def at(array: Any, time: Any) -> Any:
    """What an array has at a time, its first axis."""
    return ops.squeeze(ops.slice(array, (time, 0, 0), (1, *array.shape[1:])), 0)


def put(array: Any, time: Any, value: Any) -> Any:
    return ops.slice_update(array, (time, 0, 0), value[None])


def per_dimension(value: Any, inputs: Any) -> tuple[int, ...]:
    """One number for each dimension of space."""
    return (value,) * (len(inputs.shape) - 2) if isinstance(value, int) else tuple(value)


def channels_last(data_format: str | None) -> bool:
    return (data_format or keras.config.image_data_format()) == "channels_last"
