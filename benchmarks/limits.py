"""The best loops that we can write by hand for a backend: what a trainer can hope to reach.

Each knows its model: it has no callbacks, no progress, no ragged batch; it reads the metrics once an epoch.
A limit is a function of no arguments that trains as many steps as the work has.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from works import Work


def limits(work: Work) -> dict[str, Callable[[], None]]:
    """Every limit there is for this session's backend, by name."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return {"graph": tensorflow(work, xla=False), "XLA": tensorflow(work, xla=True)}
    return {"loop": jax(work)} if backend == "jax" else {}


def tensorflow(work: Work, *, xla: bool) -> Callable[[], None]:
    import tensorflow as tf

    model, optimizer, size = work.model, work.model.optimizer, work.batch_size
    optimizer.build(model.trainable_variables)
    x, y = tf.constant(work.x), tf.constant(work.y)
    variables = [variable.value for variable in model.trainable_variables]
    moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in variables]
    iterations = tf.Variable(0.0)
    total = tf.Variable(0.0)
    metric = keras.metrics.MeanAbsoluteError()
    if y.dtype.is_integer:
        metric = keras.metrics.SparseCategoricalAccuracy()
    metric.update_state(y[:1], model(x[:1]))

    def step(xb, yb):
        with tf.GradientTape() as tape:
            outputs = model(xb, training=True)
            loss = model.compute_loss(xb, yb, outputs)
        iterations.assign_add(1.0)
        for variable, (m, v), gradient in zip(
            variables, moments, tape.gradient(loss, variables), strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=tf.pow(0.9, iterations),
                beta2_power=tf.pow(0.999, iterations),
                lr=0.001,
                beta1=0.9,
                beta2=0.999,
                epsilon=1e-7,
                grad=gradient,
            )
        total.assign_add(loss)
        metric.update_state(yb, outputs)

    @tf.function(jit_compile=xla, autograph=False)
    def epoch(order):
        def body(at):
            rows = tf.slice(order, [at], [size])
            step(tf.gather(x, rows), tf.gather(y, rows))
            return (at + size,)

        tf.while_loop(lambda at: at <= len(work.x) - size, body, (0,), parallel_iterations=1)
        return total, metric.result()

    def run():
        for _ in range(work.epochs):
            _ = [float(value) for value in epoch(np.random.permutation(len(work.x)).astype(np.int32))]

    return run


def jax(work: Work) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp

    model, size = work.model, work.batch_size
    steps = len(work.x) // size
    x, y = jnp.asarray(work.x), jnp.asarray(work.y)
    trainable = [jnp.array(variable.value) for variable in model.trainable_variables]
    fixed = [jnp.array(variable.value) for variable in model.non_trainable_variables]
    zeros = [jnp.zeros_like(value) for value in trainable]

    def loss_of(trainable, fixed, xb, yb):
        outputs, fixed = model.stateless_call(trainable, fixed, xb, training=True)
        if yb.dtype == jnp.int32:
            score = jnp.mean(outputs.argmax(-1) == yb)
        else:
            score = jnp.mean(jnp.abs(outputs - yb))
        return model.compute_loss(xb, yb, outputs), (fixed, score)

    def step(carry, rows):
        trainable, fixed, m, v, t, total, scores = carry
        t = t + 1
        (loss, (fixed, score)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            trainable, fixed, x[rows], y[rows]
        )
        rate = 0.001 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        m = [a + (g - a) * 0.1 for a, g in zip(m, gradients, strict=True)]
        v = [a + (g * g - a) * 0.001 for a, g in zip(v, gradients, strict=True)]
        trainable = [
            w - rate * a / (jnp.sqrt(b) + 1e-7) for w, a, b in zip(trainable, m, v, strict=True)
        ]
        return (trainable, fixed, m, v, t, total + loss, scores + score), None

    stepped = any("Conv" in type(layer).__name__ for layer in model.layers)
    one = jax.jit(lambda carry, rows: step(carry, rows)[0], donate_argnums=0)
    many = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order)[0], donate_argnums=0)
    state = [(trainable, fixed, zeros, [z + 0 for z in zeros], jnp.float32(0))]

    def run():
        for _ in range(work.epochs):
            order = np.random.permutation(len(work.x))[: steps * size].reshape(steps, size)
            carry = (*state.pop(), jnp.float32(0), jnp.float32(0))
            if stepped:
                for rows in order:
                    carry = one(carry, rows)
            else:
                carry = many(carry, order)
            *kept, total, scores = carry
            _ = float(total), float(scores)
            state.append(tuple(kept))

    return run
