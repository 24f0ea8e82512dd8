"""Updates TensorFlow variables by fused optimizer kernels, one operation for each variable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from kerasfit import keras_private

Update = Callable[[Any, tf.Variable, Any], Any]


@contextmanager
def fused_updates(optimizer: Any) -> Iterator[None]:
    """Use TensorFlow's fused kernel, if there is one, for the optimizer's updates while a step is traced.

    Only ``Optimizer.update_step``, the formula for one variable, is replaced. Keras still does clipping,
    weight decay, moving averages, accumulation, loss scaling and constraints. The kernels compute the same as
    Keras 3; the parity tests compare both. Keras also updates the variables that a kernel does not support:
    those whose gradient is sparse, or whose type differs from their gradient's or their moments'.
    """
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    original: Any = getattr(type(optimizer), "update_step", None)
    kernel = KERNELS.get(original)
    if (
        kernel is None
        or list(inspect.signature(original).parameters) != ARGUMENTS
        or "update_step" in optimizer.__dict__
    ):
        yield
        return
    optimizer.__dict__["update_step"] = kernel(optimizer, optimizer.update_step)
    try:
        yield
    finally:
        del optimizer.__dict__["update_step"]


def adam(optimizer: keras.optimizers.Adam, original: Update) -> Update:
    """Kingma and Ba (2014), algorithm 1, in the order of operations of their section 2, as in Keras."""

    def update(gradient: Any, variable: tf.Variable, learning_rate: Any) -> Any:
        moments = keras_private.adam_moments(optimizer, variable)
        if moments is None or optimizer.amsgrad or not same_dtype(gradient, variable, *moments):
            return original(gradient, variable, learning_rate)
        m, v = moments
        cast = lambda value: tf.cast(value, variable.dtype)  # noqa: E731
        step = cast(optimizer.iterations + 1)
        return tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=tf.pow(cast(optimizer.beta_1), step),
            beta2_power=tf.pow(cast(optimizer.beta_2), step),
            lr=cast(learning_rate),
            beta1=cast(optimizer.beta_1),
            beta2=cast(optimizer.beta_2),
            epsilon=cast(optimizer.epsilon),
            grad=gradient,
        )

    return update


def sgd(optimizer: keras.optimizers.SGD, original: Update) -> Update:
    """Gradient descent, with Keras's momentum if the optimizer has one."""

    def update(gradient: Any, variable: tf.Variable, learning_rate: Any) -> Any:
        if not same_dtype(gradient, variable):
            return original(gradient, variable, learning_rate)
        rate = tf.cast(learning_rate, variable.dtype)
        if not optimizer.momentum:
            return tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)
        momentum = keras_private.sgd_momentum(optimizer, variable)
        if momentum is None or not same_dtype(gradient, momentum):
            return original(gradient, variable, learning_rate)
        return tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=momentum.handle,
            lr=rate,
            grad=gradient,
            momentum=tf.cast(optimizer.momentum, variable.dtype),
            use_nesterov=optimizer.nesterov,
        )

    return update


ARGUMENTS = ["self", "gradient", "variable", "learning_rate"]  # of the function that is replaced
KERNELS = {keras.optimizers.Adam.update_step: adam, keras.optimizers.SGD.update_step: sgd}


def same_dtype(gradient: Any, *variables: tf.Variable) -> bool:
    """Whether the gradient is dense and all are TensorFlow variables of its type."""
    return isinstance(gradient, tf.Tensor) and all(
        isinstance(variable, tf.Variable) and variable.dtype == gradient.dtype for variable in variables
    )
