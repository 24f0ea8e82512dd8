"""Hand-written training loops for each backend: the limit of what a trainer can reach.

Each loop is written for its model: it has no callbacks and no progress, reads the metrics once an epoch, and
rewrites the operations that the backend is slow at. A limit is a function without arguments that trains for
the work's number of epochs, on all rows, as a trainer does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers
from works import Work


def limits(work: Work) -> dict[str, Callable[[], None]]:
    """All limits for this session's backend, by name."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return {"graph": tensorflow(work, xla=False), "XLA": tensorflow(work, xla=True)}
    return {"loop": jax(work)} if backend == "jax" else {"eager": torch(work)}


def is_convolutional(model: keras.Model) -> bool:
    """Whether a model has convolutions, which XLA runs on one thread if they are in a loop on a CPU."""
    return any("Conv" in type(layer).__name__ for layer in model.layers)


def tensorflow(work: Work, *, xla: bool) -> Callable[[], None]:
    import tensorflow as tf

    model, size = work.build(), work.batch_size
    cut = len(work.x) // size * size
    x, y = tf.constant(work.x), tf.constant(work.y)
    variables = [variable.value for variable in model.trainable_variables]
    moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in variables]
    iterations, total, scores = tf.Variable(0), tf.Variable(0.0), tf.Variable(0.0)

    def outputs_of(xb: tf.Tensor) -> tf.Tensor:
        for number, layer in enumerate(model.layers):
            if isinstance(layer, layers.Dropout):
                seed = tf.stack([iterations, number])
                # XLA's default generator is many times slower on CPUs; graphs have only the default
                algorithm = "threefry" if xla else "auto_select"
                xb = tf.nn.experimental.stateless_dropout(xb, layer.rate, seed, rng_alg=algorithm)
            elif xla and isinstance(layer, layers.MaxPooling2D):
                xb = max_of_windows(xb)
            elif not isinstance(layer, layers.InputLayer):
                xb = layer(xb, training=True)
        return xb

    def max_of_windows(xb: tf.Tensor) -> tf.Tensor:
        # the gradient of XLA's own pooling visits one element after another, which is slow
        height, width, channels = xb.shape[1] // 2, xb.shape[2] // 2, xb.shape[3]
        whole = xb[:, : 2 * height, : 2 * width]
        return tf.reduce_max(tf.reshape(whole, [-1, height, 2, width, 2, channels]), [2, 4])

    def score_of(yb: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        if yb.dtype.is_integer:
            return tf.reduce_mean(tf.cast(tf.argmax(outputs, -1, yb.dtype) == yb, tf.float32))
        return tf.reduce_mean(tf.abs(outputs - yb))

    @tf.function(jit_compile=xla, autograph=False)
    def step(xb: tf.Tensor, yb: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            outputs = outputs_of(xb)
            loss = model.compute_loss(xb, yb, outputs)
        t = tf.cast(iterations.assign_add(1), tf.float32)
        for variable, (m, v), gradient in zip(
            variables, moments, tape.gradient(loss, variables), strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=tf.pow(0.9, t),
                beta2_power=tf.pow(0.999, t),
                lr=0.001,
                beta1=0.9,
                beta2=0.999,
                epsilon=1e-7,
                grad=gradient,
            )
        total.assign_add(loss)
        scores.assign_add(score_of(yb, outputs))

    @tf.function(jit_compile=xla and not is_convolutional(model), autograph=False)
    def epoch(order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def body(at: tf.Tensor) -> tuple[tf.Tensor]:
            rows = tf.slice(order, [at], [size])
            step(tf.gather(x, rows), tf.gather(y, rows))
            return (at + size,)

        tf.while_loop(lambda at: at < cut, body, (0,), parallel_iterations=1)
        if cut < len(work.x):
            step(tf.gather(x, order[cut:]), tf.gather(y, order[cut:]))
        return total.read_value(), scores.read_value()

    def run() -> None:
        for _ in range(work.epochs):
            _ = [float(value) for value in epoch(np.random.permutation(len(work.x)).astype(np.int32))]

    return run


def jax(work: Work) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp

    model, size = work.build(), work.batch_size
    cut = len(work.x) // size * size
    x, y = jnp.asarray(work.x), jnp.asarray(work.y)
    trainable = [jnp.array(variable.value) for variable in model.trainable_variables]
    fixed = [jnp.array(variable.value) for variable in model.non_trainable_variables]
    zeros = [jnp.zeros_like(value) for value in trainable]

    def loss_of(trainable, fixed, xb, yb):
        if is_convolutional(model):
            outputs = jax_convolutional(model.layers, trainable, xb)
        else:
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
        trainable = [w - rate * a / (jnp.sqrt(b) + 1e-7) for w, a, b in zip(trainable, m, v, strict=True)]
        return (trainable, fixed, m, v, t, total + loss, scores + score), None

    stepped = is_convolutional(model)
    one = jax.jit(lambda carry, rows: step(carry, rows)[0], donate_argnums=0)
    many = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order)[0], donate_argnums=0)
    state = [(trainable, fixed, zeros, [z + 0 for z in zeros], jnp.float32(0))]

    def run() -> None:
        for _ in range(work.epochs):
            order = np.random.permutation(len(work.x))
            batches, rest = order[:cut].reshape(-1, size), order[cut:]
            carry = (*state.pop(), jnp.float32(0), jnp.float32(0))
            if stepped:
                for rows in batches:
                    carry = one(carry, rows)
            else:
                carry = many(carry, batches)
            if len(rest):
                carry = one(carry, rest)
            *kept, total, scores = carry
            _ = float(total), float(scores)
            state.append(tuple(kept))

    return run


def jax_convolutional(stack: list, weights: list, xb: Any) -> Any:
    """The outputs of a stack of layers, written without the gradients that are slow with XLA on CPUs."""
    import jax

    weights = iter(weights)
    for layer in stack:
        if isinstance(layer, layers.Conv2D):
            xb = jax.nn.relu(jax_convolution()(xb, next(weights)) + next(weights))
        elif isinstance(layer, layers.MaxPooling2D):
            samples, height, width, channels = xb.shape
            whole = xb[:, : height // 2 * 2, : width // 2 * 2]
            xb = whole.reshape(samples, height // 2, 2, width // 2, 2, channels).max((2, 4))
        elif isinstance(layer, layers.Flatten):
            xb = xb.reshape(len(xb), -1)
        else:
            xb = xb @ next(weights) + next(weights)
    return xb


def jax_convolution() -> Callable:
    """A convolution whose gradient for the kernel is one matrix product for each position in the window."""
    import jax
    import jax.numpy as jnp

    def convolve(xb, kernel):
        return jax.lax.conv_general_dilated(
            xb, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def backward(kept, upstream):
        xb, kernel = kept
        _, height, width, channels = upstream.shape
        products = [
            xb[:, i : i + height, j : j + width].reshape(-1, xb.shape[-1]).T @ upstream.reshape(-1, channels)
            for i, j in np.ndindex(kernel.shape[:2])
        ]
        (of_inputs,) = jax.vjp(lambda xb: convolve(xb, kernel), xb)[1](upstream)
        return of_inputs, jnp.stack(products).reshape(kernel.shape)

    function = jax.custom_vjp(convolve)
    function.defvjp(lambda xb, kernel: (convolve(xb, kernel), (xb, kernel)), backward)
    return function


def torch(work: Work) -> Callable[[], None]:
    import torch
    from torch.nn import functional

    model, size = work.build(), work.batch_size
    x, y = (keras.ops.convert_to_tensor(array) for array in (work.x, work.y))
    classes = not y.is_floating_point()
    y = y.long() if classes else y
    variables = [variable.value for variable in model.trainable_variables]
    optimizer = torch.optim.Adam(variables, eps=1e-7, fused=True)

    def step(rows: torch.Tensor, total: torch.Tensor, scores: torch.Tensor) -> None:
        xb, yb = x.index_select(0, rows), y.index_select(0, rows)
        outputs = model(xb, training=True)
        loss = functional.cross_entropy(outputs, yb) if classes else functional.mse_loss(outputs, yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            total += loss
            scores += (outputs.argmax(-1) == yb).float().mean() if classes else (outputs - yb).abs().mean()

    def run() -> None:
        model.train()
        for _ in range(work.epochs):
            total, scores = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
            order = torch.randperm(len(x), device=x.device)
            for rows in order.split(size):
                step(rows, total, scores)
            _ = float(total), float(scores)

    return run
