"""Helpers to define functions with custom gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops


def with_gradient(function: Callable, gradient: Callable) -> Callable:
    """Give a function of tensors a custom gradient: ``gradient(*tensors, upstream)``."""

    @ops.custom_gradient
    def derived(*tensors: Any) -> tuple[Any, Callable]:
        return function(*tensors), lambda *upstream: gradient(*tensors, upstream[0])

    return derived


def gradients(function: Callable, tensors: Sequence, upstream: Any) -> Any:
    """Compute the backend's gradients of a function for its inputs, given those of its outputs."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.vjp(function, *tensors)[1](upstream)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = function(*tensors)
    return tape.gradient(outputs, tensors, upstream)
