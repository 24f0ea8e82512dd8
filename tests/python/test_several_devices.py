"""Several devices of JAX compute what one does, and exchange one sum in each step.

The devices are parts of the CPU, which conftest.py asks JAX for.
"""

from __future__ import annotations

import re

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit import devices as devices_module
from kerasfit.engines import engine_for
from kerasfit.errors import ArgumentError, StateError

BACKEND = keras.backend.backend()
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="only JAX computes on several devices")


def with_dropout():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8), keras.layers.Dropout(0.4)])
    model.compile("adam", "mse")
    return model, models.numbers(5), models.numbers(8)


MODELS = [
    models.dense,
    with_dropout,
    models.batch_norm,
    models.convolution,
    models.recurrent,
    models.gated,
    models.several_inputs,
    models.several_outputs,
    models.own_train_step,
    models.stateful,
]
FEW = [with_dropout, models.batch_norm, models.convolution, models.gated]


@pytest.fixture(autouse=True)
def default_device_afterwards():
    yield
    devices_module._chosen = []
    keras.distribution.set_distribution(None)


def outcome(build, devices=None, **arguments):
    """Train, evaluate and predict on some devices; return all that is computed."""
    if BACKEND == "jax" and keras.distribution.distribution() is None:
        kerasfit.use_devices(devices)
    keras.utils.set_random_seed(5)
    model, x, y = build()
    size = 10 if build is models.stateful else 16
    options = {"epochs": 3, "batch_size": size, "verbose": 0} | arguments
    if build is not models.stateful:
        options.setdefault("validation_split", 0.3)
    history = kerasfit.fit(model, x, y, **options)
    found = kerasfit.evaluate(model, x, y, batch_size=size, verbose=0)
    few = keras.tree.map_structure(lambda leaf: leaf[:3], x) if build is not models.stateful else x
    outputs = [kerasfit.predict(model, data, batch_size=size, verbose=0) for data in (x, few)]
    variables = [*model.variables, *(model.optimizer.variables if model.optimizer else [])]
    return {
        "history": history.metrics,
        "evaluate": found,
        "outputs": outputs,
        "variables": [keras.ops.convert_to_numpy(variable) for variable in variables],
    }, model


def assert_close(found, expected):
    for one, other in zip(*map(keras.tree.flatten, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@on_jax
@pytest.mark.parametrize("number", models.few([2, 3, 4], [3]))
@pytest.mark.parametrize("build", models.few(MODELS, FEW), ids=lambda build: build.__name__)
def test_results_are_those_of_one_device(build, number):
    assert_close(outcome(build, number)[0], outcome(build)[0])


@on_jax
@pytest.mark.parametrize("plan", ["loop", "step"])
def test_weights_early_stopping_and_schedules_act_as_on_one_device(plan):
    def callbacks():
        return [
            keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.5),
        ]

    arguments = {"epochs": 6, "class_weight": {0: 1.0, 1: 3.0, 2: 0.5}, "plan": plan}
    results = [outcome(models.dense, n, callbacks=callbacks(), **arguments)[0] for n in (4, None)]
    assert_close(*results)


@on_jax
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_that_are_divided_among_devices_give_the_same_results(shuffle, monkeypatch):
    from kerasfit.engines.jax import placement

    expected = outcome(models.batch_norm, shuffle=shuffle)[0]
    monkeypatch.setattr(placement, "COPIED", 0)
    assert_close(outcome(models.batch_norm, 4, shuffle=shuffle)[0], expected)


@on_jax
def test_batches_of_a_generator_are_divided_among_devices():
    def on(devices):
        kerasfit.use_devices(devices)
        keras.utils.set_random_seed(5)
        model, x, y = models.dense()
        batches = [(x[start : start + 12], y[start : start + 12]) for start in range(0, 70, 12)]
        history = kerasfit.fit(model, lambda: iter(batches), epochs=2, verbose=0)
        return history.metrics, model.get_weights()

    assert_close(on(4), on(None))


@on_jax
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_step_has_one_all_reduce_of_the_gradients_and_collects_no_rows(split, shuffle, monkeypatch):
    from kerasfit.engines.jax import placement
    from kerasfit.engines.jax.programs import Loop
    from kerasfit.engines.jax.steps import Steps

    if split:
        monkeypatch.setattr(placement, "COPIED", 0)
    lowered = {}
    compile_ahead = Steps.compile_ahead

    def noted(steps, kind, *arguments):
        lowered[kind] = steps.program(kind).lower(*arguments)
        compile_ahead(steps, kind, *arguments)

    monkeypatch.setattr(Steps, "compile_ahead", noted)
    outcome(models.dense, 4, shuffle=shuffle, validation_split=0.0, epochs=1)
    text = lowered[Loop(16, halting=False, rare=False)].compile().as_text()
    assert not re.search(r"\[(70|72)[],].* all-gather\(", text)
    if not split:  # otherwise the rows of each batch are exchanged too
        assert len(re.findall(r" all-reduce(?:-start)?\(", text)) == 1
        assert "all-gather" not in text


@on_jax
@pytest.mark.parametrize("kind", ["DataParallel", "ModelParallel"])
def test_a_distribution_of_keras_is_used_as_it_is(kind):
    keras.backend.clear_session()  # the layout has names of layers
    expected = outcome(models.dense)[0]
    keras.backend.clear_session()
    if kind == "DataParallel":
        distribution = keras.distribution.DataParallel()
    else:
        mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"])
        layout = keras.distribution.LayoutMap(mesh)
        layout[".*dense/kernel"] = (None, "model")
        distribution = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    keras.distribution.set_distribution(distribution)
    found, model = outcome(models.dense)
    assert_close(found, expected)
    if kind == "ModelParallel":
        assert tuple(model.layers[0].kernel.value.sharding.spec) == (None, "model")
        assert tuple(model.optimizer.variables[2].value.sharding.spec) == (None, "model")
    assert engine_for(model).plan == "loop"
    with pytest.raises(StateError, match=r"keras\.distribution is in use"):
        kerasfit.use_devices(2)


@on_jax
def test_a_run_resumes_on_the_same_devices_bit_for_bit_and_on_others_nearly(tmp_path):
    class Stop(BaseException):
        pass

    def crash(batch, logs):
        if crash.at == batch:
            raise Stop

    def train(devices, at=None, folder=None):
        kerasfit.use_devices(devices)
        crash.at = at
        keras.utils.set_random_seed(5)
        model, x, y = models.batch_norm()
        backup = [kerasfit.BackupAndRestore(folder, save_freq=1)] if folder else []
        callbacks = [{"on_train_batch_end": crash}, *backup]
        history = kerasfit.fit(model, x, y, batch_size=16, epochs=3, verbose=0, callbacks=callbacks)
        return history.metrics, [np.asarray(variable.value) for variable in model.variables]

    expected = train(4)
    for resumed_on in (4, 2):
        folder = tmp_path / str(resumed_on)
        with pytest.raises(Stop):
            train(4, at=3, folder=folder)
        found = train(resumed_on, folder=folder)
        assert_close(found, expected)
        if resumed_on == 4:
            for one, other in zip(*map(keras.tree.flatten, (found, expected)), strict=True):
                np.testing.assert_array_equal(one, other)


@on_jax
def test_devices_are_chosen_by_number_or_name_also_for_a_model_that_was_trained_before():
    import jax

    names = [f"cpu:{device.id}" for device in jax.devices()]
    model, x, y = models.dense()
    for devices, used in (
        ("all", names),
        (2, names[:2]),
        (names[2:], names[2:]),
        (names[1], names[1:2]),
        (None, []),
    ):
        assert kerasfit.use_devices(devices) == used
        kerasfit.fit(model, x, y, verbose=0)
        assert len(engine_for(model).placement.key[1:]) == len(used)
        assert all(v.value.devices() == {jax.devices()[0]} for v in model.variables)


@on_jax
def test_a_model_that_runs_eagerly_uses_one_device():
    def on(devices):
        kerasfit.use_devices(devices)
        keras.utils.set_random_seed(5)
        model, x, y = models.dense(run_eagerly=True)
        history = kerasfit.fit(model, x, y, epochs=2, verbose=0)
        return history.metrics, kerasfit.predict(model, x, verbose=0)

    assert_close(on(4), on(None))


@on_jax
@pytest.mark.parametrize("devices", [0, 99, 1.5, "gpu:7", ["cpu:0", "cpu:0"], [], True, {}])
def test_devices_that_do_not_exist_are_an_error_that_lists_those_found(devices):
    kerasfit.use_devices(2)
    with pytest.raises(ArgumentError, match=r"`devices`") as caught:
        kerasfit.use_devices(devices)
    assert "cpu:0, cpu:1" in str(caught.value)
    assert len(devices_module.chosen_devices()) == 2


@pytest.mark.skipif(BACKEND == "jax", reason="about the other backends")
def test_other_backends_say_what_works_instead():
    with pytest.raises(StateError, match=r"Only JAX computes on several devices.*Choose the backend"):
        kerasfit.use_devices(2)
