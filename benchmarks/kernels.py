"""Measures single convolutions: Keras's implementation and kerasfit's kernels."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from measure import BACKEND, interleave, median, print_header, print_row, ratio, timed

from kerasfit.engines.kernels.convolution import ordinary_convolution
from kerasfit.keras_private import owner_of

CASES = [  # shapes of inputs and kernel, strides, padding
    ((32, 200, 1), (5, 1, 32), 1, "valid"),
    ((32, 200, 4), (4, 4, 32), 1, "valid"),
    ((32, 28, 28, 1), (3, 3, 1, 32), 1, "valid"),
    ((32, 28, 28, 1), (4, 4, 1, 32), 1, "valid"),
    ((32, 28, 28, 3), (3, 3, 3, 32), 1, "same"),
    ((32, 28, 28, 8), (3, 3, 8, 16), 1, "same"),
    ((32, 28, 28, 16), (3, 3, 16, 32), 1, "same"),
    ((32, 28, 28, 32), (3, 3, 32, 64), 1, "same"),
    ((128, 14, 14, 64), (3, 3, 64, 64), 1, "valid"),
    ((32, 14, 14, 64), (3, 3, 64, 128), 2, "same"),
    ((16, 28, 28, 128), (1, 1, 128, 64), 1, "valid"),
    ((8, 16, 16, 16, 1), (3, 3, 3, 1, 16), 1, "valid"),
    ((8, 16, 16, 16, 4), (2, 2, 2, 4, 16), 1, "valid"),
]


def gradients_of(convolution: Callable, inputs, kernel, weights, strides, padding) -> Callable[[], object]:
    """A function that computes the weighted sum of the outputs and its gradients and waits for the result."""

    def value(inputs, kernel):
        return keras.ops.sum(convolution(inputs, kernel, strides, padding, "channels_last") * weights)

    if BACKEND == "jax":
        import jax

        compiled = jax.jit(jax.value_and_grad(value, argnums=(0, 1)))
        return lambda: jax.block_until_ready(compiled(inputs, kernel))
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def compiled(inputs, kernel):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            total = value(inputs, kernel)
        return total, tape.gradient(total, [inputs, kernel])

    return lambda: compiled(inputs, kernel)[0].numpy()


def measure(shape: tuple, size: tuple, strides: int, padding: str) -> None:
    random = np.random.default_rng(0)
    plain = owner_of("nn.conv").conv
    arrays = [keras.ops.convert_to_tensor(random.random(each, "float32")) for each in (shape, size)]
    outputs = plain(*arrays, strides, padding, "channels_last")
    arrays.append(keras.ops.convert_to_tensor(random.random(outputs.shape, "float32")))
    runs = {
        who: timed(gradients_of(convolution, *arrays, strides, padding))
        for who, convolution in (("Keras", plain), ("kerasfit", ordinary_convolution(plain)))
    }
    times = interleave(runs, rounds=31, warm_up=3)
    print_row(
        BACKEND,
        f"{shape} by {size}, strides {strides}, {padding}",
        *(median(times[who], 1e-3, 1) for who in runs),
        ratio(times["Keras"], times["kerasfit"]),
    )


if __name__ == "__main__":
    print_header("backend", "inputs by kernel", "Keras, ms", "kerasfit, ms", "Keras / kerasfit")
    for case in CASES if BACKEND != "torch" else ():
        measure(*case)
