"""Dropout with faster random number generation on CPUs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import keras


def tensorflow_dropout(original: Callable) -> Callable:
    """Dropout with the Threefry generator; with XLA's default on CPUs it takes fifty times as long."""
    import tensorflow as tf

    def drop(inputs: Any, rate: float, noise_shape: Any, seed: Any) -> Any:
        seed = tf.cast(tf.convert_to_tensor(seed.next()), tf.int32)
        return tf.nn.experimental.stateless_dropout(
            inputs, rate=rate, noise_shape=noise_shape, seed=seed, rng_alg="threefry"
        )

    return dropout(original, drop)


def jax_dropout(original: Callable) -> Callable:
    """Dropout with the same random bits as JAX, generated without the loop that JAX uses on CPUs."""
    import jax.numpy as jnp

    def drop(inputs: Any, rate: float, noise_shape: Any, seed: Any) -> Any:
        kept = jax_bernoulli(seed.next(), 1.0 - rate, noise_shape)
        return jnp.where(kept, inputs / (1.0 - rate), jnp.zeros_like(inputs))

    return dropout(original, drop)


def dropout(original: Callable, drop: Callable) -> Callable:
    """Use ``drop`` if called as layers call dropout: with a fixed rate, known shapes and a seed generator."""

    def function(inputs: Any, rate: Any, noise_shape: Any = None, seed: Any = None) -> Any:
        shape = tuple(inputs.shape if noise_shape is None else noise_shape)
        if (
            not isinstance(rate, (int, float))
            or not 0 < rate < 1
            or not isinstance(seed, keras.random.SeedGenerator)
            or not all(isinstance(size, int) for size in shape)
            or not keras.backend.is_float_dtype(inputs.dtype)
        ):
            return original(inputs, rate, noise_shape, seed)
        return drop(inputs, rate, shape, seed)

    return function


def jax_bernoulli(key: Any, p: Any, shape: tuple[int, ...]) -> Any:
    """Draw the same values as ``jax.random.bernoulli`` for a key and a shape."""
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
        counter = jnp.arange(size, dtype=jnp.uint32)
        high, low = threefry(key[0], key[1], jnp.zeros_like(counter), counter)
        draws = jnp.reshape(high ^ low, shape)
    one = jnp.uint32(0x3F800000)  # 1.0 as a float; the bits after it are the fraction
    drawn = jax.lax.bitcast_convert_type((draws >> 9) | one, jnp.float32) - 1.0 < p
    # XLA considers a square root expensive; without one it would draw again for the gradient
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
