"""Kernels in training: values and gradients are those of the functions that they replace."""

from __future__ import annotations

from functools import partial

import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import kerasfit
from kerasfit import keras_private, layer_traits
from kerasfit.engines import kernels
from kerasfit.engines.kernels import convolution, dropout, matmul, pooling, recurrent, replace

BACKEND = keras.backend.backend()
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has no kernels replaced")
def test_training_uses_the_kernels(monkeypatch):
    seen, from_windows = [], pooling.from_windows
    monkeypatch.setattr(pooling, "from_windows", lambda *args: seen.append(1) or from_windows(*args))
    model, x, y = models.convolution()
    kerasfit.fit(model, x, y, batch_size=16, plan={"tensorflow": "xla_step"}.get(BACKEND, "auto"), verbose=0)
    assert seen


POOLS = [  # shape, size of windows, strides, padding
    ((3, 7, 8, 5), 2, 2, "valid"),
    ((3, 9, 7, 4), (3, 2), (3, 2), "valid"),
    ((2, 11, 3), 3, 3, "valid"),
    ((2, 4, 5, 6, 3), 2, 2, "valid"),
    ((3, 9, 8, 4), 3, 2, "same"),
    ((3, 9, 8, 4), (3, 2), (1, 2), "valid"),
    ((2, 11, 3), 2, 2, "same"),
]
EVERYWHERE, ON_JAX = ("jax", "tensorflow"), ("jax",)
CONVOLUTIONS = [  # shapes of inputs and kernel, strides, padding, backends with a gradient of ours
    ((3, 9, 8, 6), (3, 2, 6, 6), 2, "same", ()),
    ((3, 9, 8, 4), (3, 2, 4, 6), 1, "same", ON_JAX),
    ((3, 9, 8, 6), (3, 3, 6, 4), 1, "same", ON_JAX),
    ((2, 6, 6, 20), (1, 1, 20, 8), 2, "valid", EVERYWHERE),
    ((2, 6, 6, 3), (1, 1, 3, 8), 1, "same", EVERYWHERE),
    ((3, 9, 8, 1), (3, 3, 1, 6), 2, "same", EVERYWHERE),
    ((3, 12, 2), (4, 2, 5), 1, "valid", EVERYWHERE),
    ((3, 9, 8, 4), (3, 3, 4, 64), 1, "same", ON_JAX),
    ((3, 9, 8, 2), (3, 3, 2, 32), (2, 1), "same", ()),
    ((3, 12, 2), (9, 2, 32), 3, "valid", ()),
    ((4, 7, 6, 16), (3, 2, 16, 5), 1, "valid", ON_JAX),
    ((4, 5, 4, 16), (3, 3, 16, 20), 1, "valid", ON_JAX),
    ((2, 5, 5, 5, 1), (3, 3, 3, 1, 4), 1, "same", EVERYWHERE),
    ((2, 5, 6, 4, 3), (3, 2, 3, 3, 4), 2, "same", EVERYWHERE),
]
POINTWISE = np.random.default_rng(1).normal(size=(1, 1, 8, 5)).astype("float32")
OTHER_CONVOLUTIONS = {  # shapes of inputs and kernel, the operation, backends with a gradient of ours
    "groups": ((3, 7, 6, 4), (3, 2, 2, 6), lambda x, k: ops.conv(x, k, 2, "same"), EVERYWHERE),
    "groups of more channels": ((3, 7, 6, 20), (3, 2, 10, 6), lambda x, k: ops.conv(x, k), ON_JAX),
    "groups of one channel": ((3, 7, 6, 4), (3, 2, 1, 8), lambda x, k: ops.conv(x, k), EVERYWHERE),
    "depthwise": (
        (3, 9, 8, 4),
        (3, 2, 4, 1),
        lambda x, k: ops.depthwise_conv(x, k, 2, "same"),
        EVERYWHERE,
    ),
    "with a multiplier": (
        (2, 9, 8, 4),
        (3, 3, 4, 2),
        lambda x, k: ops.depthwise_conv(x, k, dilation_rate=2),
        EVERYWHERE,
    ),
    "over time": (
        (2, 9, 4),
        (3, 4, 2),
        lambda x, k: ops.depthwise_conv(x, k, padding="same"),
        EVERYWHERE,
    ),
    "separable": (
        (3, 9, 8, 4),
        (3, 2, 4, 2),
        lambda x, k: ops.separable_conv(x, k, POINTWISE, 2, "same"),
        EVERYWHERE,
    ),
    "transposed": ((2, 5, 4, 3), (3, 3, 6, 3), lambda x, k: ops.conv_transpose(x, k, 2, "same"), ON_JAX),
    "transposed, of other strides": (
        (2, 5, 4, 3),
        (4, 2, 6, 3),
        lambda x, k: ops.conv_transpose(x, k, (2, 3), output_padding=1),
        ON_JAX,
    ),
    "transposed over time": (
        (2, 7, 3),
        (4, 5, 3),
        lambda x, k: ops.conv_transpose(x, k, 3, "same"),
        ON_JAX,
    ),
}


def gradients_of(function, *arrays):
    if BACKEND == "jax":
        import jax

        return jax.jit(jax.grad(function, argnums=tuple(range(len(arrays)))))(*arrays)
    if BACKEND == "torch":
        import torch

        tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
        return torch.autograd.grad(function(*tensors), tensors)
    import tensorflow as tf

    def gradients(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        return tape.gradient(value, tensors)

    return tf.function(gradients, jit_compile=True)(*map(tf.constant, arrays))


def kernels_of_backend():
    if BACKEND == "torch":
        from kerasfit.engines.torch.kernels import torch_kernels

        return torch_kernels()
    return getattr(kernels, f"{BACKEND}_kernels")()


def assert_same_gradients(function, *arrays):
    expected = gradients_of(function, *arrays)
    with kernels_of_backend():
        actual = gradients_of(lambda *arrays: function(*arrays), *arrays)
    # sums that cancel have the rounding errors of their largest terms
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * max(1, np.abs(theirs).max()))


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has no kernels replaced")
@pytest.mark.parametrize("pool", models.few_on_tensorflow(POOLS, [POOLS[0], POOLS[4], POOLS[6]]))
@pytest.mark.parametrize("operation", [ops.max_pool, ops.average_pool], ids=["largest", "average"])
def test_the_gradient_of_pooling_matches_the_backend(operation, pool):
    shape, size, strides, padding = pool
    """That of the largest goes to the first of several."""
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype("float32")
    pool = partial(operation, pool_size=size, strides=strides, padding=padding)
    weights = random.normal(size=pool(x).shape).astype("float32")
    for inputs in (x, np.maximum(x, 0), np.zeros_like(x)):
        assert_same_gradients(lambda x: ops.sum(ops.tanh(pool(x)) * weights), inputs)


@pytest.fixture
def convolutions_with_our_gradient(monkeypatch):
    """Return a list that gets an element for each convolution with a gradient of ours."""
    seen, make = [], convolution.with_gradient
    monkeypatch.setattr(convolution, "with_gradient", lambda *args: seen.append(1) or make(*args))
    return seen


def assert_same_convolution(convolve, *shapes):
    random = np.random.default_rng(0)
    x, k = (random.normal(size=size).astype("float32") for size in shapes)
    weights = random.normal(size=convolve(x, k).shape).astype("float32")
    assert_same_gradients(lambda x, k: ops.sum(ops.tanh(convolve(x, k)) * weights), x, k)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has no kernels replaced")
@pytest.mark.parametrize(
    "shape, kernel, strides, padding, ours",
    models.few_pairs(CONVOLUTIONS, [case for case in CONVOLUTIONS if BACKEND in case[-1]]),
)
def test_the_gradients_of_a_convolution_match_the_backend(
    convolutions_with_our_gradient, shape, kernel, strides, padding, ours
):
    assert_same_convolution(lambda x, k: ops.conv(x, k, strides, padding), shape, kernel)
    assert bool(convolutions_with_our_gradient) == (BACKEND in ours)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has no kernels replaced")
@pytest.mark.parametrize(
    "kind",
    models.few(
        OTHER_CONVOLUTIONS, [kind for kind, case in OTHER_CONVOLUTIONS.items() if BACKEND in case[-1]]
    ),
)
def test_the_gradients_of_other_convolutions_match_the_backend(convolutions_with_our_gradient, kind):
    *shapes, convolve, ours = OTHER_CONVOLUTIONS[kind]
    assert_same_convolution(convolve, *shapes)
    assert bool(convolutions_with_our_gradient) == (BACKEND in ours)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has no kernels replaced")
@pytest.mark.parametrize("rows, columns", [((8,), 3), ((8,), 16), ((4, 5), 2), ((8,), 1), ((8,), 40)])
def test_the_gradients_of_a_matrix_product_match_the_backend(monkeypatch, rows, columns):
    seen, left = [], matmul.optimization_barrier
    monkeypatch.setattr(matmul, "optimization_barrier", lambda tensor: seen.append(1) or left(tensor))
    random = np.random.default_rng(0)
    x, matrix = (random.normal(size=size).astype("float32") for size in ((*rows, 32), (32, columns)))
    weights = random.normal(size=(*rows, columns)).astype("float32")
    assert_same_gradients(lambda x, matrix: ops.sum(ops.tanh(ops.matmul(x, matrix)) * weights), x, matrix)
    assert bool(seen) == (BACKEND == "jax" and columns in (2, 3, 16))


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has derivatives of functions that go forward")
def test_layers_may_use_forward_mode_derivatives():
    import jax

    class WithSlope(keras.layers.Layer):
        def build(self, shape):
            self.inner = keras.layers.Dense(3)
            self.inner.build(shape)

        def call(self, inputs):
            return ops.concatenate(jax.jvp(self.inner, (inputs,), (ops.ones_like(inputs),)), -1)

    losses = []
    for train in (keras.Model.fit, kerasfit.fit):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((8,)), WithSlope(), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
        train(model, x, x[:, :1], epochs=2, shuffle=False, verbose=0)
        losses.append(model.evaluate(x, x[:, :1], verbose=0))
    np.testing.assert_allclose(*losses, rtol=1e-5)


def recurrent_kernel_calls(monkeypatch, kind):
    """Return a list that gets an element for each call of the kernel for one kind of recurrent layer."""
    seen, place, name = [], recurrent, f"{kind.lower()}_over_time"
    replace.fitting.cache_clear()  # it has cached the original function
    if BACKEND == "torch":
        import torch

        from kerasfit.engines.torch.recurrent import GatedUnits

        place, name = (torch, "lstm") if kind == "LSTM" else (GatedUnits, "apply")
    function = getattr(place, name)
    monkeypatch.setattr(place, name, lambda *a, **k: seen.append(1) or function(*a, **k))
    return seen


@pytest.mark.parametrize("masked", models.few_where_compiled(["no", "some", "to 0"], ["some"]))
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("backwards", models.few_where_compiled([False, True], [True]))
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("with_states", models.few_where_compiled([False, True], [False]))
def test_the_gradients_of_a_recurrent_layer_match_the_backend(
    monkeypatch, with_states, kind, backwards, every, masked
):
    seen = recurrent_kernel_calls(monkeypatch, kind)
    layer = getattr(keras.layers, kind)(
        5,
        return_sequences=every,
        return_state=with_states,
        go_backwards=backwards,
        zero_output_for_mask=masked == "to 0",
        bias_initializer="glorot_uniform",
    )
    layer.build((3, 6, 4))
    random = np.random.default_rng(0)
    variables = [*layer.trainable_variables]
    states = [(3, 5)] * (2 if kind == "LSTM" else 1)
    shapes = [(3, 6, 4), *states, *(variable.shape for variable in variables)]
    arrays = [random.normal(size=shape).astype("float32") for shape in shapes]
    fixed = [ops.convert_to_tensor(variable) for variable in layer.non_trainable_variables]
    weights = [random.normal(size=size).astype("float32") for size in ((3, 6, 5), *states)]
    mask = np.array([[0, 0, 1, 1, 0, 1], [1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]], bool)

    def value(x, *rest):
        state, values = rest[: len(states)], rest[len(states) :]
        found, _ = layer.stateless_call(
            values, fixed, x, initial_state=list(state), mask=None if masked == "no" else ops.array(mask)
        )
        outputs, *after = found if with_states else [found]
        outputs = outputs if every else outputs[:, None]
        return sum(ops.sum(ops.multiply(v, w)) for v, w in zip([outputs, *after], weights, strict=False))

    assert_same_gradients(value, *arrays)
    unsuitable = BACKEND == "torch" and kind == "LSTM" and masked != "no" and with_states
    assert bool(seen) == (not unsuitable)


@models.full_where_compiled
@pytest.mark.parametrize("jit_compile", ["auto", True] if BACKEND != "torch" else [False])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_loss_may_use_the_derivative_of_a_recurrent_layer(monkeypatch, kind, jit_compile):
    def slope(function, x):
        if BACKEND == "jax":
            import jax

            return jax.grad(function)(x)
        if BACKEND == "torch":
            import torch

            with torch.enable_grad():  # evaluation turns it off
                return torch.autograd.grad(function(x.requires_grad_()), x, create_graph=True)[0]
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return tape.gradient(value, x)

    class Smooth(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
            return loss + ops.mean(slope(lambda x: ops.sum(self(x)), x) ** 2)

    monkeypatch.setattr(layer_traits, "xla_pays_after", lambda model: 2)
    seen = recurrent_kernel_calls(monkeypatch, kind)
    x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype("float32")
    losses = []
    for train in (keras.Model.fit, kerasfit.fit):
        keras.utils.set_random_seed(1)
        model = Smooth([keras.Input((4, 3)), getattr(layers, kind)(2), layers.Dense(1)])
        model.compile("adam", "mse", jit_compile=False if train is keras.Model.fit else jit_compile)
        train(model, x, x[:, 0, :1], batch_size=5, shuffle=False, verbose=0)
        losses.append(model.evaluate(x, x[:, 0, :1], verbose=0))
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert seen or BACKEND != "torch"


@on_torch
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_custom_models_use_the_fast_recurrent_loops_too(monkeypatch, kind):
    seen = recurrent_kernel_calls(monkeypatch, kind)
    x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype("float32")
    weights = []
    for loss in ("mse", lambda y, y_pred: ops.mean((y - y_pred) ** 2, -1)):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4, 3)), getattr(layers, kind)(2), layers.Dense(1)])
        model.compile("adam", loss)
        kerasfit.fit(model, x, x[:, 0, :1], batch_size=5, shuffle=False, verbose=0, plan="loop")
        weights.append(model.get_weights())
    keras.tree.map_structure(np.testing.assert_array_equal, *weights)
    assert len(seen) == 8


@pytest.mark.skipif(BACKEND != "jax", reason="JAX alone has its random bits replaced")
def test_dropout_draws_the_same_numbers_as_jax():
    import jax

    for shape in [(7,), (128, 33), (2, 3, 5)]:
        for seed in range(3):
            key = jax.random.PRNGKey(seed)
            for p in (0.2, 0.75):
                expected = jax.random.bernoulli(key, p, shape)
                np.testing.assert_array_equal(dropout.jax_bernoulli(key, p, shape), expected)


def test_replaced_functions_are_restored_when_the_last_user_exits():
    owner, attribute = keras_private.owner_of("nn.max_pool"), "max_pool"
    own = getattr(owner, attribute)
    first, second = (kernels.replaced({"nn.max_pool": lambda own: partial(own)}) for _ in range(2))
    first.__enter__()
    standing = getattr(owner, attribute)
    second.__enter__()
    assert getattr(owner, attribute) is standing is not own
    first.__exit__(None, None, None)
    assert getattr(owner, attribute) is standing
    second.__exit__(None, None, None)
    assert getattr(owner, attribute) is own
