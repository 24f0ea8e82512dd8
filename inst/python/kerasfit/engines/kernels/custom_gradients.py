"""Functions with gradients of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops


def with_gradient(function: Callable, gradient: Callable) -> Callable:
    """A function of tensors, whose gradients are found from these and from the output's."""

    @ops.custom_gradient
    def derived(*tensors: Any) -> tuple[Any, Callable]:
        return function(*tensors), lambda *upstream: gradient(*tensors, upstream[0])

    return derived


def gradients(function: Callable, tensors: Sequence, upstream: Any) -> Any:
    """The backend's own gradients of a function for tensors, from those of its outputs."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.vjp(function, *tensors)[1](upstream)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = function(*tensors)
    return tape.gradient(outputs, tensors, upstream)
