"""Kernels that replace functions of Keras: where they are used, and what happens if they cannot be."""

from __future__ import annotations

import inspect
import threading
import warnings

import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import kerasfit
from kerasfit import keras_private
from kerasfit.engines import kernels
from kerasfit.engines.kernels import replace

BACKEND = keras.backend.backend()
if BACKEND == "torch":
    from kerasfit.engines.torch.kernels import TORCH as TABLE
else:
    TABLE = {"tensorflow": kernels.TENSORFLOW, "jax": kernels.JAX}[BACKEND]
PLAN = "xla_step" if BACKEND == "tensorflow" else "auto"

IMAGES, SERIES = (9, 8, 3), (6, 3)
MODELS = {  # the shape of a sample, and the layers
    "numpy.matmul": ((32,), lambda: [layers.Dense(4)]),
    "LSTM.inner_loop": (SERIES, lambda: [layers.LSTM(4)]),
    "GRU.inner_loop": (SERIES, lambda: [layers.GRU(4)]),
    "nn.conv": (IMAGES, lambda: [layers.Conv2D(4, 1)]),
    "nn.depthwise_conv": (IMAGES, lambda: [layers.DepthwiseConv2D(2)]),
    "nn.separable_conv": (IMAGES, lambda: [layers.SeparableConv2D(4, 2)]),
    "nn.conv_transpose": (IMAGES, lambda: [layers.Conv2DTranspose(4, 2)]),
    "nn.max_pool": (IMAGES, lambda: [layers.MaxPooling2D()]),
    "nn.average_pool": (IMAGES, lambda: [layers.AveragePooling2D(2)]),
    "nn._transpose_spatial_inputs": (IMAGES, lambda: [layers.MaxPooling2D()]),
    "random.dropout": ((32,), lambda: [layers.Dropout(0.5, seed=3), layers.Dense(4)]),
}


def trained(name, train=kerasfit.fit, **options):
    """Return the weights of a model that calls a function of Keras, after a few steps."""
    keras.utils.set_random_seed(5)
    shape, make = MODELS[name]
    model = keras.Sequential([keras.Input(shape), *make(), layers.Flatten(), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    if train is kerasfit.fit:
        options = {"plan": PLAN} | options
    x = np.random.default_rng(0).normal(size=(16, *shape)).astype("float32")
    train(model, x, x.reshape(16, -1)[:, :1], batch_size=8, epochs=2, shuffle=False, verbose=0, **options)
    return model.get_weights()


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture
def calls(monkeypatch):
    """Return two lists: the kernels that have replaced functions, and the kernels that have been called."""
    placed, called, fitting = [], [], replace.fitting

    def watched(name, own, makers):
        found = fitting(name, own, makers)
        if found is None:
            return None
        placed.append(name)
        return lambda *a, **k: called.append(name) or found(*a, **k)

    monkeypatch.setattr(replace, "fitting", watched)
    return placed, called


@pytest.fixture
def forget_warnings(monkeypatch):
    monkeypatch.setattr(replace, "_warned", set())


def test_each_kernel_has_a_model_in_this_file():
    assert set(TABLE) <= set(MODELS)


@pytest.mark.parametrize("name", TABLE)
def test_fit_uses_each_kernel_and_trains_as_keras_does(calls, name):
    ours = trained(name)
    placed, called = calls
    assert name in placed and name in called
    if (name, BACKEND) != ("random.dropout", "tensorflow"):  # XLA draws other numbers there, as documented
        assert_same(ours, trained(name, keras.Model.fit))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow's dropout")
def test_threefry_dropout_drops_the_right_share_and_scales_the_rest():
    class Seen(layers.Layer):
        def __init__(self):
            super().__init__()
            self.last = self.add_weight(shape=(64, 1000), trainable=False)

        def call(self, inputs):
            self.last.assign(inputs)
            return inputs

    seen = Seen()
    model = keras.Sequential([keras.Input((1000,)), layers.Dropout(0.25, seed=3), seen])
    model.compile("sgd", "mse", jit_compile=True)
    x = np.ones((64, 1000), "float32")
    drawn = []
    for _ in range(2):
        kerasfit.fit(model, x, x, batch_size=64, verbose=0, plan="xla_step")
        drawn.append(ops.convert_to_numpy(seen.last))
    np.testing.assert_allclose(np.unique(drawn[0]), [0, 1 / 0.75], rtol=1e-6)
    assert np.mean(drawn[0] == 0) == pytest.approx(0.25, abs=0.01)
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize(
    "name", ["nn.max_pool", "LSTM.inner_loop"] if BACKEND != "torch" else ["GRU.inner_loop"]
)
def test_a_keras_function_with_a_new_argument_is_kept_with_one_warning(
    monkeypatch, calls, forget_warnings, name
):
    owner, attribute = keras_private.owner_of(name), name.split(".")[1]
    own = getattr(owner, attribute)
    monkeypatch.setattr(owner, attribute, lambda *args, new=None, **kwargs: own(*args, **kwargs))
    with pytest.warns(UserWarning, match=f"has changed its function {name}"):
        ours = trained(name)
    assert name not in calls[0]
    assert_same(ours, trained(name, keras.Model.fit))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trained(name)


@pytest.mark.parametrize("name", sorted({name.split(".")[0] for name in TABLE} & {"nn", "numpy", "random"}))
def test_a_module_that_keras_has_moved_is_a_warning_and_not_an_error(monkeypatch, forget_warnings, name):
    monkeypatch.setitem(keras_private.BACKEND_MODULES, name, ("backend.nowhere",))
    kernel = "nn.max_pool" if BACKEND != "torch" else "nn._transpose_spatial_inputs"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours = trained(kernel)
    assert any(f"function {name}." in str(w.message) for w in caught)
    assert_same(ours, trained(kernel, keras.Model.fit))


def broken(calls):
    """Return a kernel that raises an error whenever it is called, and records the call."""

    def make(own):
        def function(*args, **kwargs):
            calls.append(1)
            raise TypeError("a kernel that does not fit")

        function.__signature__ = inspect.signature(own)
        return function

    return make


@pytest.mark.parametrize("plan", models.few_on_tensorflow(["auto", "step"], ["auto"]))
@pytest.mark.parametrize("name", ["LSTM.inner_loop", "GRU.inner_loop"])
def test_a_step_that_fails_with_kernels_is_rebuilt_without_them_for_good(monkeypatch, name, plan):
    seen = []
    monkeypatch.setitem(TABLE, name, broken(seen))
    ours = trained(name, plan=PLAN if BACKEND == "tensorflow" else plan)
    assert len(seen) == 1
    assert_same(ours, trained(name, keras.Model.fit))


@pytest.mark.skipif(BACKEND != "torch", reason="with PyTorch a step has run when it fails")
@pytest.mark.parametrize("plan", ["recorded", "loop", "step"])
def test_changes_by_a_step_before_it_failed_are_undone(monkeypatch, plan):
    def model_after(**options):
        keras.utils.set_random_seed(5)
        model = keras.Sequential(
            [
                keras.Input(SERIES),
                layers.BatchNormalization(),
                layers.Dropout(0.5, seed=2),
                layers.GaussianNoise(0.5),
                layers.GRU(3),
                layers.Dense(1),
            ]
        )
        model.compile("adam", "mse", metrics=["mae"])
        x = np.random.default_rng(0).normal(size=(16, *SERIES)).astype("float32")
        history = kerasfit.fit(model, x, x[:, 0, :1], batch_size=8, shuffle=False, verbose=0, **options)
        return [*model.get_weights(), *history.metrics.values()]

    from kerasfit.engines.torch.recurrent import GatedUnits

    expected = model_after(kernels=False, plan="loop")

    def backward(ctx, *upstream):
        raise RuntimeError("at the very end of a step")

    monkeypatch.setattr(GatedUnits, "backward", staticmethod(backward))
    assert_same(model_after(plan=plan), expected)


def test_an_error_raised_by_the_model_is_the_one_without_kernels(monkeypatch):
    def loss(y, y_pred):
        own = replace.wanted_here()[next(iter(TABLE))] == 0
        raise ValueError("mine, " + ("without kernels" if own else "with kernels"))

    model, x, y = models.dense()
    model.compile("adam", loss)
    with pytest.raises(ValueError, match="mine, without kernels"):
        kerasfit.fit(model, x, y, verbose=0, plan=PLAN)


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends trace steps before they run")
def test_an_error_after_the_update_of_the_optimizer_is_raised_without_another_update(monkeypatch):
    apply, updates = keras.optimizers.SGD.apply, []

    def failing(self, *args):
        apply(self, *args)
        updates.append(args)
        raise RuntimeError("after the update")

    monkeypatch.setattr(keras.optimizers.SGD, "apply", failing)
    model, x, y = models.unbuilt()
    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="after the update"):
        kerasfit.fit(model, x, y, verbose=0, plan="loop")
    assert len(updates) == 1


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_kernels_can_be_turned_off(monkeypatch, calls, by):
    name = "LSTM.inner_loop"
    if by == "environment":
        monkeypatch.setenv("KERASFIT_KERNELS", "0")
    ours = trained(name, **({"kernels": False} if by == "argument" else {}))
    assert calls == ([], [])
    assert_same(ours, trained(name, keras.Model.fit))


def test_threads_restore_all_functions_and_use_only_their_own_kernels():
    names = [name for name in TABLE if keras_private.owner_of(name)]
    places = [(keras_private.owner_of(name), name.split(".")[1]) for name in names]
    before = [getattr(*place) for place in places]
    seen, both = [], threading.Barrier(2)

    def use():
        for _ in range(200):
            with replace.replaced(TABLE):
                pass
        both.wait()
        with replace.replaced(TABLE):
            both.wait()
            both.wait()

    def look():
        both.wait()
        both.wait()  # the other thread is inside the block
        seen.append(dict(replace.wanted_here()))
        both.wait()

    threads = [threading.Thread(target=target) for target in (use, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [getattr(*place) for place in places] == before
    assert not any(seen[0].values())


@pytest.mark.skipif(BACKEND == "torch", reason="dropout is PyTorch's own there")
def test_dropout_does_not_patch_the_backend():
    if BACKEND == "jax":
        import jax

        owner, attribute = jax.random, "bernoulli"
    else:
        import tensorflow as tf

        owner, attribute = tf.nn.experimental, "stateless_dropout"
    own, seen = getattr(owner, attribute), []

    class Seed(keras.random.SeedGenerator):
        def next(self, ordered=True):
            seen.append(getattr(owner, attribute))
            return super().next(ordered)

    def drop():
        with replace.replaced(TABLE):
            return keras.random.dropout(ops.ones((3, 4)), 0.5, seed=seed)

    seed = Seed(1)
    drop() if BACKEND == "jax" else tf.function(drop, jit_compile=True)()
    assert seen == [own]
