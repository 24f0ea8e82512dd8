"""Model attributes that change between steps take effect at the next step, as in Keras."""

from __future__ import annotations

import warnings
from functools import partial

import keras
import models
import numpy as np
import pytest
from keras import layers

import kerasfit
from kerasfit import keras_private, layer_traits
from kerasfit.engines import engine_for
from kerasfit.engines.attributes import Attributes

BACKEND = keras.backend.backend()
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="PyTorch alone has its steps recorded")
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="XLA takes over with TensorFlow alone")

OPTIMIZERS = {
    name: kind
    for name, kind in vars(keras.optimizers).items()
    if isinstance(kind, type)
    and issubclass(kind, keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
}
WITHOUT_A_VALUE = {"clipnorm": 0.01, "global_clipnorm": 0.01, "clipvalue": 0.001, "weight_decay": 0.1}
FOR_GOOD = ("learning_rate", "gradient_accumulation_steps", "use_ema", "ema_overwrite_frequency", "name")


def new_values(optimizer):
    """Return attributes of an optimizer with new values, except attributes that must be variables."""
    for name, value in optimizer.get_config().items():
        if name in WITHOUT_A_VALUE:
            yield name, WITHOUT_A_VALUE[name]
        elif name in FOR_GOOD or not hasattr(optimizer, name):
            continue
        elif isinstance(value, bool):
            yield name, not value
        elif isinstance(value, float) and value:
            yield name, value / 2
    yield "loss_scale_factor", 4.0


def small(optimizer="adam", *between):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(4, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.1), name="first"),
            layers.BatchNormalization(name="norm"),
            *between,
            layers.Dense(1, kernel_constraint=keras.constraints.MaxNorm(9.0), name="last"),
        ]
    )
    model.compile(optimizer, keras.losses.Huber(1.0), metrics=["mae"])
    return model


def trained(fit, change, build=small, epochs=2, **arguments):
    """Train and change the model after the first epoch of four steps; return the weights or the error."""
    keras.utils.set_random_seed(2)
    keras.config.set_epsilon(1e-7)
    model = build()

    class Change(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                change(model)

    x, y = models.numbers(5)[:32], models.numbers(1)[:32]
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, "callbacks": [Change()]} | arguments
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(model, x, y, epochs=epochs, **arguments)
    except Exception as error:
        return type(error)
    return [keras.ops.convert_to_numpy(v) for v in [*model.weights, *model.optimizer.variables]]


def assert_as_in_keras(change, build=small, **arguments):
    ours, theirs = (trained(fit, change, build, **arguments) for fit in (kerasfit.fit, keras.Model.fit))
    if isinstance(theirs, type):
        assert isinstance(ours, type)
        return
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", models.few(sorted(OPTIMIZERS), ["Adam"]))
def test_optimizer_attributes_take_effect_as_in_keras(name):
    kind = OPTIMIZERS[name]

    def change(model):
        for attribute, value in new_values(kind()):
            setattr(model.optimizer, attribute, value)

    assert_as_in_keras(change, lambda: small(kind(0.01)))


@on_torch
@pytest.mark.parametrize("attribute, value", [*new_values(OPTIMIZERS["Adam"]()), ("momentum", 0.9)])
def test_each_optimizer_attribute_takes_effect(attribute, value):
    optimizer = "sgd" if attribute == "momentum" else "adam"
    assert_as_in_keras(lambda model: setattr(model.optimizer, attribute, value), lambda: small(optimizer))


def freeze(model):
    model.get_layer("first").trainable = False


PARTS = {
    "a frozen layer": freeze,
    "a frozen variable": lambda model: setattr(model.get_layer("first").kernel, "trainable", False),
    "a regularizer": lambda model: setattr(model.get_layer("first").kernel_regularizer, "l2", 0.0),
    "a constraint": lambda model: setattr(model.get_layer("last").kernel_constraint, "max_value", 0.1),
    "an activation": lambda model: setattr(model.get_layer("first"), "activation", keras.activations.relu),
    "a moving average": lambda model: setattr(model.get_layer("norm"), "momentum", 0.5),
    "an argument of the loss": lambda model: keras_private.loss_arguments(model.loss).update(delta=0.01),
    "a schedule": lambda model: setattr(
        model.optimizer, "learning_rate", keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    ),
    "epsilon": lambda model: keras.config.set_epsilon(1e-2),
    "another optimizer": lambda model: setattr(model, "optimizer", keras.optimizers.SGD(0.1)),
}


@pytest.mark.parametrize("what", models.few_where_compiled(list(PARTS), []))
def test_attributes_of_layers_and_losses_take_effect_as_in_keras(what):
    try:
        assert_as_in_keras(PARTS[what])
    finally:
        keras.config.set_epsilon(1e-7)


@on_torch
def test_a_changed_dropout_rate_takes_effect():
    def train(plan):
        fit = partial(kerasfit.fit, plan=plan)  # its random numbers are not Keras's
        build = lambda: small("adam", layers.Dropout(0.5, name="drop"))  # noqa: E731
        return trained(fit, lambda model: setattr(model.get_layer("drop"), "rate", 0.1), build)

    for one, other in zip(train("recorded"), train("step"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@on_torch
@pytest.mark.parametrize("source", ["arrays", "generator"])
def test_attributes_take_effect_at_the_next_step(source):
    """They are changed by a callback with batch hooks or by a generator."""

    def train(fit):
        keras.utils.set_random_seed(2)
        model = small("sgd")
        x, y = models.numbers(5)[:40], models.numbers(1)[:40]

        def change(step):
            model.get_layer("first").trainable = step < 4 or step > 6

        class Change(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                change(batch)

        def batches():
            for step in range(10):
                change(step)
                rows = slice(8 * (step % 5), 8 * (step % 5) + 8)
                yield x[rows], y[rows]

        if source == "arrays":
            data, callbacks = {"x": x, "y": y, "batch_size": 4, "shuffle": False}, [Change()]
        else:
            data, callbacks = {"x": batches()}, []
        fit(model, **data, verbose=0, callbacks=callbacks)
        return model.get_weights()

    expected = train(keras.Model.fit)
    for plan in ("recorded", "loop", "step"):
        for one, other in zip(train(partial(kerasfit.fit, plan=plan)), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@on_torch
def test_a_generator_sees_the_weights_after_the_previous_step():
    def seen(fit):
        keras.utils.set_random_seed(2)
        model = small("sgd")
        x, y = models.numbers(5)[:8], models.numbers(1)[:8]
        outputs = []

        def batches():
            for _ in range(20):
                outputs.append(float(model(x[:1])))
                yield x, y

        fit(model, batches(), verbose=0)
        return outputs

    # Keras draws two batches before the first step
    np.testing.assert_allclose(seen(kerasfit.fit)[2:], seen(keras.Model.fit)[2:], rtol=1e-5)


@on_torch
def test_a_layer_frozen_between_two_fits_is_not_trained(recwarn):
    for optimizer in ("sgd", "adam"):
        model, x, y = small(optimizer), models.numbers(5), models.numbers(1)
        kerasfit.fit(model, x, y, epochs=2, verbose=0)
        freeze(model)
        before = model.get_layer("first").get_weights()
        kerasfit.fit(model, x, y, epochs=2, verbose=0)
        for now, then in zip(model.get_layer("first").get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)
    assert not [warning for warning in recwarn if "frozen" in str(warning.message)]


@on_torch
@pytest.mark.parametrize(
    "build", [models.dense, models.batch_norm, models.recurrent, models.several_outputs, models.embedding]
)
def test_recorded_graphs_are_reused_while_no_attribute_changes(build):
    """In a second fit(), with validation, and with callbacks that read and set weights."""
    model, x, y = build()

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights(self.model.get_weights())
            kerasfit.predict(self.model, x, verbose=0)

    attributes = []
    for _ in range(2):
        kerasfit.fit(
            model, x, y, epochs=3, verbose=0, plan="recorded", validation_data=(x, y), callbacks=[Looks()]
        )
        engine = engine_for(model, "recorded")
        attributes.append([engine.step(kind).recorded._attributes for kind in ("train", "test")])
    assert attributes[0] == attributes[1]
    assert None not in attributes[0]


@on_torch
def test_recording_becomes_rarer_when_attributes_change_at_every_step():
    model, x, y = small(), models.numbers(5), models.numbers(1)

    class Anneal(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.optimizer.weight_decay = 0.1 / (batch + 1)

    kerasfit.fit(model, x, y, batch_size=14, epochs=3, verbose=0, callbacks=[Anneal()])
    recorded = engine_for(model).step("train").recorded
    assert not recorded.replays
    assert recorded._after > 2
    kerasfit.fit(model, x, y, batch_size=70, epochs=2 * recorded._after + 3, verbose=0)
    assert recorded.replays


@on_tensorflow
def test_xla_does_not_take_over_a_step_whose_attributes_changed(monkeypatch):
    """XLA would trace the step with the new attributes, whereas Keras keeps using what it has traced."""
    monkeypatch.setattr(layer_traits, "xla_pays_after", lambda model: 8)
    assert_as_in_keras(lambda model: setattr(model.optimizer, "clipnorm", 1e-4), epochs=4)


def test_attribute_changes_are_detected():
    model = small()
    kerasfit.fit(model, models.numbers(5), models.numbers(1), verbose=0)
    for what in ("a regularizer", "an activation", "an argument of the loss", "another optimizer"):
        attributes = Attributes(model)
        assert attributes.are_unchanged()
        PARTS[what](model)
        assert not attributes.are_unchanged(), what
    attributes = Attributes(model)
    model.get_layer("norm").momentum = float("0.99")  # an equal object
    assert attributes.are_unchanged()
    model.get_layer("norm").own = 1
    assert not attributes.are_unchanged()
