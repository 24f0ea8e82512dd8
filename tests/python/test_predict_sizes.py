"""Prediction from data of different sizes compiles few programs, and outputs match Keras's."""

from __future__ import annotations

import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import kerasfit
from kerasfit.engines import engine_for

BACKEND = keras.backend.backend()
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
SIZES = [*range(1, 41), 63, 65, 70]


def programs(model, plan):
    functions = engine_for(model, plan).step("predict")._programs._functions
    return sum(function._cache_size() for function in functions.values())


def assert_as_keras(model, x, **common):
    ours = kerasfit.predict(model, x, verbose=0, **common)
    theirs = model.predict_on_batch(x)
    for a, b in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


@on_jax
@pytest.mark.parametrize("plan", models.few_where_compiled(["loop", "step"], ["loop"]))
@pytest.mark.parametrize("batch_size", [None, 8, "all"])
def test_different_numbers_of_rows_share_few_programs(plan, batch_size):
    model, x, _ = models.dense()
    kernel, bias = (np.asarray(layer) for layer in model.layers[0].get_weights())
    for rows in SIZES:
        size = rows if batch_size == "all" else batch_size
        outputs = kerasfit.predict(model, x[:rows], batch_size=size, verbose=0, plan=plan)
        expected = x[:rows] @ kernel + bias
        expected = (
            np.maximum(expected, 0) @ model.layers[1].get_weights()[0] + model.layers[1].get_weights()[1]
        )
        expected = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4)
    assert programs(model, plan) <= 9


@on_jax
def test_many_batches_share_the_program_of_a_few():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    x = np.random.default_rng(0).random((1000, 3)).astype("float32")
    expected = x @ model.get_weights()[0] + model.get_weights()[1]
    for rows in (300, 400, 510, 511, 512, 513, 515, 600, 777, 1000):
        outputs = kerasfit.predict(model, x[:rows], batch_size=4, verbose=0)
        np.testing.assert_allclose(outputs, expected[:rows], rtol=1e-5, atol=1e-6)
    assert programs(model, "auto") == 1


@on_jax
@pytest.mark.parametrize("plan", models.few_where_compiled(["loop", "step"], ["loop"]))
@pytest.mark.parametrize(
    "build",
    [models.batch_norm, models.gated, models.several_inputs, models.several_outputs, models.convolution],
    ids=lambda build: build.__name__,
)
def test_padding_rows_do_not_change_outputs(build, plan):
    model, x, _ = build()
    for rows in (1, 5, 37):
        assert_as_keras(
            model,
            keras.tree.map_structure(lambda leaf: leaf[:rows], x),  # noqa: B023
            batch_size=64,
            plan=plan,
        )
    assert engine_for(model, plan).step("predict").may_add_rows


@on_jax
def test_batches_of_generators_share_few_programs():
    model, x, _ = models.dense()
    sizes = [5, 17, 9, 30, 31, 7, 11, 32]
    whole = kerasfit.predict(model, x, verbose=0)
    for first in range(4):
        batches = [x[first : first + size] for size in sizes]
        outputs = kerasfit.predict(model, lambda: iter([(b,) for b in batches]), verbose=0)  # noqa: B023
        np.testing.assert_allclose(
            outputs, np.concatenate([whole[first : first + size] for size in sizes]), rtol=1e-5
        )
    assert engine_for(model).step("predict").program()._cache_size() <= 3  # 8, 16 and 32 rows


class Centred(layers.Layer):
    def call(self, x):
        return x - ops.mean(x, axis=0)


class Counted(keras.Sequential):
    def predict_step(self, *args):
        outputs, state = super().predict_step(*args)
        return outputs * outputs.shape[0], state


def functional(make):
    inputs = keras.Input((5,))
    return keras.Model(inputs, make(inputs))


LOOKING_AT_THE_BATCH = {
    "a layer": lambda: functional(Centred()),
    "an operation": lambda: functional(lambda x: x - ops.mean(x, axis=0)),
    "an activation": lambda: functional(layers.Dense(3, activation=lambda x: x - ops.mean(x, 0))),
    "an axis": lambda: functional(layers.Softmax(axis=0)),
    "an axis from the end": lambda: functional(layers.Softmax(axis=-2)),
    "training": lambda: functional(lambda x: layers.BatchNormalization()(x, training=True)),
    "training of a part": lambda: functional(
        lambda x: keras.Sequential([keras.Input((5,)), layers.BatchNormalization()])(x, training=True)
    ),
    "a step": lambda: Counted([keras.Input((5,)), layers.Dense(2)]),
    "a lambda": lambda: functional(layers.Lambda(lambda x: x / ops.shape(x)[0])),
}


@on_jax
@pytest.mark.parametrize("name", LOOKING_AT_THE_BATCH)
@pytest.mark.parametrize("plan", models.few_where_compiled(["loop", "step"], ["loop"]))
def test_models_that_depend_on_the_whole_batch_get_it_without_padding(name, plan):
    model = LOOKING_AT_THE_BATCH[name]()
    for rows in (3, 7):
        x = models.numbers(5)[:rows]
        theirs = model.predict(x, verbose=0)
        np.testing.assert_allclose(
            kerasfit.predict(model, x, verbose=0, plan=plan), theirs, rtol=2e-4, atol=1e-6
        )


@on_jax
@pytest.mark.parametrize("plan", ["loop", "step"])
def test_the_number_of_programs_for_unpadded_batches_is_limited(monkeypatch, plan):
    import jax

    from kerasfit.engines.jax import programs as jax_programs

    monkeypatch.setattr(jax_programs, "PROGRAMS", 4)
    model = LOOKING_AT_THE_BATCH["a layer"]()
    living = []
    for rows in range(1, 25):
        x = models.numbers(5)[:rows]
        np.testing.assert_allclose(kerasfit.predict(model, x, verbose=0, plan=plan), x - x.mean(0), atol=1e-5)
        assert programs(model, plan) <= 4
        living.append(len(jax.devices()[0].client.live_executables()))
    assert max(living[12:]) <= max(living[:12])


@on_jax
def test_a_fixed_batch_size_and_a_state_are_respected():
    model, x, _ = models.stateful()
    theirs = [model.predict(x, batch_size=10, verbose=0) for _ in range(2)]
    model.layers[0].reset_states()
    for expected in theirs:
        np.testing.assert_allclose(
            kerasfit.predict(model, x, batch_size=10, verbose=0), expected, rtol=1e-4, atol=1e-6
        )


@on_jax
def test_evaluation_does_not_keep_programs_for_all_sizes(monkeypatch):
    from kerasfit.engines.jax import programs as jax_programs

    monkeypatch.setattr(jax_programs, "PROGRAMS", 3)
    model, x, y = models.dense()
    for rows in range(1, 8):
        ours = kerasfit.evaluate(model, x[:rows], y[:rows], verbose=0)["loss"]
        assert ours == pytest.approx(model.evaluate(x[:rows], y[:rows], verbose=0)[0], rel=1e-4)
        functions = engine_for(model).step("test")._programs._functions
        assert sum(function._cache_size() for function in functions.values()) <= 3


@pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow")
@pytest.mark.parametrize("plan", ["auto", "step"])
def test_tensorflow_traces_once_for_all_sizes(plan):
    model, x, _ = models.dense()
    for rows in (1, 5, 33, 70):
        kerasfit.predict(model, x[:rows], verbose=0, plan=plan)
    assert engine_for(model, plan).step("predict").traces == 1


@pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")
def test_recorded_graphs_are_not_kept_for_all_sizes(monkeypatch):
    from kerasfit.engines.torch import graph_capture

    monkeypatch.setattr(graph_capture, "RECORDINGS", 4)
    model, x, _ = models.dense()
    whole = model.predict(x, verbose=0)
    for rows in [*range(1, 12), 1, 1, 1]:
        outputs = kerasfit.predict(model, x[:rows], verbose=0)
        np.testing.assert_allclose(outputs, whole[:rows], rtol=1e-5, atol=1e-7)
        assert len(engine_for(model).step("predict")._recordings) <= 4
    assert engine_for(model).step("predict").replays


@on_jax
def test_a_model_without_an_input_needs_few_programs_too():
    model = keras.Sequential([layers.Dense(4, activation="relu"), layers.Dense(1)])
    x = models.numbers(5)
    kerasfit.predict(model, x[:8], verbose=0)  # builds it, with this batch size
    traces = engine_for(model).step("predict").traces
    for samples in (5, 6, 7):
        outputs = kerasfit.predict(model, x[:samples], verbose=0)
        np.testing.assert_allclose(outputs, model.predict(x[:samples], verbose=0), rtol=1e-5, atol=1e-6)
    assert engine_for(model).step("predict").traces == traces
