"""The random numbers of dropout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any


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
