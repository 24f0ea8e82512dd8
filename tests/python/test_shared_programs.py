"""Models that are made the same way share compiled programs, and other models never do."""

from __future__ import annotations

import gc
import os
import weakref

import keras
import models
import numpy as np
import pandas as pd
import pytest
from keras import layers, losses, metrics, optimizers, regularizers

import kerasfit
from kerasfit import keras_private
from kerasfit.engines import engine_for, shared_programs
from kerasfit.engines.model_key import model_key
from kerasfit.engines.shared_programs import forget_shared_programs

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(5)
X = RNG.normal(size=(70, 6)).astype("float32")
Y = RNG.integers(0, 3, 70).astype("int32")
IMAGES = RNG.normal(size=(70, 6, 6, 2)).astype("float32")
SERIES = RNG.normal(size=(70, 5, 4)).astype("float32")
CODES = RNG.integers(0, 9, (70, 5)).astype("int32")
CROSSENTROPY = "sparse_categorical_crossentropy"


def compiled(*parts, optimizer="sgd", loss=CROSSENTROPY, **arguments):
    model = keras.Sequential([*parts, layers.Dense(3, activation="softmax")])
    model.compile(optimizer, loss, **({"metrics": ["accuracy"]} | arguments))
    return model


def functional(build, **arguments):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(build(inputs)))
    model.compile(**({"optimizer": "sgd", "loss": CROSSENTROPY, "metrics": ["accuracy"]} | arguments))
    return model


class Scaled(layers.Layer):
    """A user's layer with an attribute."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return x * self.factor


FACTOR = 1.0


def scaled_by_global(x):
    return x * FACTOR


def with_global(value):
    global FACTOR
    FACTOR = value
    return compiled(layers.Dense(4, activation=scaled_by_global))


def with_frozen(frozen):
    model = compiled(layers.Dense(4), layers.Dense(4))
    model.layers[0].trainable = not frozen
    model.compile("sgd", CROSSENTROPY, metrics=["accuracy"])
    return model


def adapted(data):
    layer = layers.Normalization()
    layer.adapt(data)
    return compiled(layer, layers.Dense(4))


def with_changed_attribute(activation):
    model = compiled(keras.Input((6,)), layers.Dense(4))
    model.layers[0].activation = activation
    return model


def with_excluded_variables(layer):
    model = compiled(keras.Input((6,)), layers.Dense(4, name="a"), layers.Dense(4, name="b"))
    optimizer = optimizers.AdamW(weight_decay=0.3)
    optimizer.exclude_from_weight_decay(var_list=model.get_layer(layer).weights)
    model.compile(optimizer, CROSSENTROPY)
    return model


def with_shared_layer(shared):
    first, second = layers.Dense(6), layers.Dense(6)
    return functional(lambda x: (first if shared else second)(first(x)))


def two_inputs(swapped):
    a, b = keras.Input((6,), name="b" if swapped else "a"), keras.Input((6,), name="a" if swapped else "b")
    outputs = layers.Dense(3, activation="softmax")(layers.Dense(4)(a) * 2.0 + layers.Dense(4)(b))
    model = keras.Model([a, b], outputs)
    model.compile("sgd", CROSSENTROPY)
    return model


def two_outputs(weights):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [layers.Dense(3, activation="softmax", name=name)(inputs) for name in "ab"])
    model.compile("sgd", [CROSSENTROPY, CROSSENTROPY], loss_weights=weights, metrics=[["accuracy"], []])
    return model


DATA = {"convolution": IMAGES, "pooling": IMAGES, "recurrent": SERIES, "direction": SERIES, "mask": CODES}

# name → a function that makes a model, and two arguments of it: the models differ in this one thing
PAIRS = {
    "activation": (lambda a: compiled(layers.Dense(4, activation=a)), "relu", "tanh"),
    "bias": (lambda b: compiled(layers.Dense(4, use_bias=b)), True, False),
    "dropout rate": (lambda r: compiled(layers.Dropout(r, seed=1)), 0.2, 0.6),
    "dropout seed": (lambda s: compiled(layers.Dropout(0.5, seed=s)), 1, 2),
    "noise shape": (lambda s: compiled(layers.Dropout(0.5, noise_shape=s, seed=1)), None, (None, 1)),
    "normalization epsilon": (lambda e: compiled(layers.BatchNormalization(epsilon=e)), 1e-3, 0.5),
    "normalization momentum": (lambda m: compiled(layers.BatchNormalization(momentum=m)), 0.99, 0.5),
    "adapted statistics": (adapted, X, 3 * X + 1),
    "constant array": (
        lambda c: compiled(keras.Input((6,)), layers.Normalization(mean=c, variance=X[2] ** 2)),
        X[0],
        X[1],
    ),
    "scale": (lambda s: compiled(layers.Rescaling(s)), 1.0, 2.0),
    "regularizer factor": (
        lambda f: compiled(layers.Dense(4, kernel_regularizer=regularizers.L2(f))),
        0.1,
        0.9,
    ),
    "kind of regularizer": (lambda r: compiled(layers.Dense(4, kernel_regularizer=r)), "l1", "l2"),
    "activity regularizer": (lambda r: compiled(layers.Dense(4, activity_regularizer=r)), None, "l2"),
    "constraint": (
        lambda c: compiled(layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(c))),
        0.1,
        0.9,
    ),
    "frozen layer": (with_frozen, False, True),
    "attribute set later": (with_changed_attribute, keras.activations.relu, keras.activations.tanh),
    "data type": (lambda d: compiled(layers.Dense(4, dtype=d)), "float32", "bfloat16"),
    "convolution": (lambda p: compiled(layers.Conv2D(2, 3, padding=p), layers.Flatten()), "same", "valid"),
    "pooling": (lambda s: compiled(layers.MaxPooling2D(2, strides=s), layers.Flatten()), 1, 2),
    "recurrent": (lambda a: compiled(layers.LSTM(3, activation=a)), "tanh", "relu"),
    "direction": (lambda b: compiled(layers.GRU(3, go_backwards=b)), False, True),
    "mask": (lambda m: compiled(layers.Embedding(9, 3, mask_zero=m), layers.LSTM(3)), False, True),
    "wiring": (lambda i: functional(lambda x: layers.Dense(4)(x) if i else x), False, True),
    "order of operands": (
        lambda f: functional(lambda x: keras.ops.subtract(*(x, layers.Dense(6)(x))[::f])),
        1,
        -1,
    ),
    "constant in the graph": (lambda c: functional(lambda x: layers.Dense(4)(x) * c), 2.0, 3.0),
    "array in the graph": (lambda c: functional(lambda x: x + c), X[0], X[1]),
    "training flag": (
        lambda t: functional(lambda x: layers.Dropout(0.5, seed=1)(x, training=t)),
        True,
        False,
    ),
    "shared layer": (with_shared_layer, False, True),
    "lambda": (lambda c: compiled(layers.Lambda(lambda x: x * c)), 1.0, 2.0),
    "global in a function": (with_global, 1.0, 5.0),
    "attribute of a user's layer": (lambda f: compiled(Scaled(f)), 1.0, 2.0),
    "label smoothing": (
        lambda s: compiled(loss=losses.CategoricalCrossentropy(label_smoothing=s), metrics=[]),
        0.0,
        0.5,
    ),
    "logits": (
        lambda f: compiled(loss=losses.SparseCategoricalCrossentropy(from_logits=f)),
        False,
        True,
    ),
    "reduction": (lambda r: compiled(loss=losses.SparseCategoricalCrossentropy(reduction=r)), "sum", "mean"),
    "ignored class": (
        lambda c: compiled(loss=losses.SparseCategoricalCrossentropy(ignore_class=c), metrics=[]),
        None,
        1,
    ),
    "user's loss": (
        lambda c: compiled(loss=lambda y, p: c * losses.sparse_categorical_crossentropy(y, p)),
        1.0,
        2.0,
    ),
    "loss weights": (two_outputs, [1.0, 1.0], [1.0, 0.2]),
    "names of inputs": (two_inputs, False, True),
    "metric threshold": (
        lambda t: compiled(loss="categorical_crossentropy", metrics=[metrics.Precision(t)]),
        0.2,
        0.6,
    ),
    "metric argument": (lambda k: compiled(metrics=[metrics.SparseTopKCategoricalAccuracy(k)]), 1, 2),
    "metric name": (lambda n: compiled(metrics=[metrics.SparseCategoricalAccuracy(name=n)]), "a", "b"),
    "weighted metric": (
        lambda w: compiled(**({"metrics": []} | {w: ["accuracy"]})),
        "weighted_metrics",
        "metrics",
    ),
    "learning rate": (lambda r: compiled(optimizer=optimizers.SGD(r)), 0.01, 0.5),
    "schedule": (
        lambda s: compiled(optimizer=optimizers.SGD(optimizers.schedules.ExponentialDecay(0.5, s, 0.5))),
        2,
        100,
    ),
    "momentum": (lambda m: compiled(optimizer=optimizers.SGD(0.1, momentum=m)), 0.5, 0.9),
    "nesterov": (lambda n: compiled(optimizer=optimizers.SGD(0.1, momentum=0.5, nesterov=n)), False, True),
    "optimizer epsilon": (lambda e: compiled(optimizer=optimizers.Adam(0.1, epsilon=e)), 1e-7, 0.1),
    "optimizer beta": (lambda b: compiled(optimizer=optimizers.Adam(0.1, beta_1=b)), 0.9, 0.1),
    "amsgrad": (lambda a: compiled(optimizer=optimizers.Adam(0.1, amsgrad=a)), False, True),
    "clipping": (lambda c: compiled(optimizer=optimizers.SGD(0.5, clipnorm=c)), None, 0.01),
    "weight decay": (lambda d: compiled(optimizer=optimizers.AdamW(0.1, weight_decay=d)), 0.01, 0.9),
    "variables without decay": (with_excluded_variables, "a", "b"),
    "moving average": (lambda e: compiled(optimizer=optimizers.SGD(0.5, use_ema=e)), False, True),
    "accumulation": (
        lambda n: compiled(optimizer=optimizers.SGD(0.5, gradient_accumulation_steps=n)),
        None,
        2,
    ),
    "kind of optimizer": (lambda o: compiled(optimizer=o), "adam", "rmsprop"),
}
SAME_KEY = {"learning rate"}  # it is the value of a variable
WITHOUT_KEY = {
    "lambda",
    "global in a function",
    "attribute of a user's layer",
    "user's loss",
    "variables without decay",
}
TRAINED = (
    [*PAIRS] if os.environ.get("KERASFIT_TEST_ALL") else ["learning rate", "dropout seed", "metric threshold"]
)


def data_for(name):
    y = keras.utils.to_categorical(Y, 3) if name in ("label smoothing", "metric threshold") else Y
    if name == "names of inputs":
        return {"a": X, "b": X[::-1].copy()}, y
    return DATA.get(name, X), [y, y] if name == "loss weights" else y


def outcome(name, make, argument):
    """Train a model and return all that is computed: its history, weights and predictions."""
    keras.utils.set_random_seed(3)
    model, (x, y) = make(argument), data_for(name)
    weights = np.linspace(0.5, 2.0, len(Y)).astype("float32") if name == "weighted metric" else None
    history = kerasfit.fit(
        model, x, y, sample_weight=weights, epochs=2, validation_split=0.2, batch_size=16, verbose=0
    )
    predictions = kerasfit.predict(model, x, batch_size=16, verbose=0)
    return model, (history.metrics, model.get_weights(), predictions)


def assert_equal(found, expected):
    assert list(found[0].values()) == list(expected[0].values())  # Keras numbers the names of metrics
    for one, other in zip(*(keras.tree.flatten(each[1:]) for each in (found, expected)), strict=True):
        np.testing.assert_array_equal(one, other)


def keys_of(name, argument):
    model, (x, y) = PAIRS[name][0](argument), data_for(name)
    batch = keras.tree.map_structure(lambda array: keras.ops.convert_to_tensor(array[:4]), (x, y))
    keras_private.build_state(model, batch)
    return [model_key(model, kind) for kind in ("train", "test")]


@pytest.mark.parametrize(
    "name", models.few_where_compiled(PAIRS, ["learning rate", "dropout seed", "lambda", "user's loss"])
)
def test_models_that_differ_in_one_thing_have_different_keys(name):
    _, one, other = PAIRS[name]
    first, again, second = keys_of(name, one), keys_of(name, one), keys_of(name, other)
    if name in WITHOUT_KEY:
        assert first == second == [None, None]
    else:
        assert None not in first
        assert first == again
        assert (first[0] == second[0]) is (name in SAME_KEY)


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_that_differs_in_one_thing_is_trained_as_if_it_were_alone(name):
    make, one, other = PAIRS[name]
    expected = outcome(name, make, other)[1]
    forget_shared_programs()
    outcome(name, make, one)
    assert_equal(outcome(name, make, other)[1], expected)


def traces(model):
    return sum(engine_for(model).step(kind).traces for kind in ("train", "test", "predict"))


@pytest.mark.parametrize("name", ["activation", "convolution", "recurrent", "wiring", "loss weights"])
def test_a_second_model_of_the_same_kind_is_trained_with_the_programs_of_the_first(name, monkeypatch):
    make, argument, _ = PAIRS[name]
    first, expected = outcome(name, make, argument)
    if BACKEND == "torch":
        monkeypatch.delattr(graph_capture().Recorded, "_record")  # recording again would be an error
    else:
        before = traces(first)
    second, found = outcome(name, make, argument)
    assert second is not first
    assert_equal(found, expected)
    if BACKEND != "torch":
        assert traces(second) == (before if BACKEND == "jax" else 0)


def in_generator(*data):
    rows = (slice(start, start + 16) for _ in range(2) for start in range(0, len(X), 16))
    return (tuple(each[row] for each in data) for row in rows)


def in_dataset(*data):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(data).batch(16)


@pytest.mark.skipif(BACKEND == "torch", reason="the same recordings serve all sources")
@pytest.mark.parametrize("source", [in_generator, in_dataset] if BACKEND == "tensorflow" else [in_generator])
def test_a_second_model_trained_on_a_generator_or_dataset_uses_the_programs_of_the_first(source):
    def trained():
        keras.utils.set_random_seed(3)
        model = compiled(layers.Dropout(0.3), loss="categorical_crossentropy", metrics=[metrics.AUC()])
        y, steps = keras.utils.to_categorical(Y, 3), len(X) // 16 + 1
        history = kerasfit.fit(
            model,
            source(X, y),
            epochs=2,
            steps_per_epoch=steps if source is in_generator else None,
            validation_data=source(X, y, y[:, 0] + 1),
            validation_steps=steps,
            verbose=0,
        )
        predictions = kerasfit.predict(model, source(X), steps=steps, verbose=0)
        assert list(history.metrics)[1] == model.metrics[1].metrics[0].name
        return model, (history.metrics, model.get_weights(), predictions)

    forget_shared_programs()
    first, expected = trained()
    before = traces(first)
    second, found = trained()
    assert_equal(found, expected)
    assert traces(second) == (before if BACKEND == "jax" else 0)


def graph_capture():
    from kerasfit.engines.torch import graph_capture

    return graph_capture


@pytest.mark.skipif(
    keras.backend.backend() == "torch" and models.KERAS < (3, 10),
    reason="Keras 3.9 cannot build these metrics with PyTorch",
)
def test_logs_have_the_names_that_keras_gives_the_metrics_of_each_model():
    def make():
        return compiled(loss="categorical_crossentropy", metrics=[metrics.Precision(0.3), metrics.AUC()])

    y = keras.utils.to_categorical(Y, 3)
    for _ in range(3):
        ours, theirs = make(), make()
        history = kerasfit.fit(ours, X, y, epochs=2, validation_split=0.2, verbose=0)
        expected = [metric.name for metric in ours.metrics[1].metrics]
        assert list(history.metrics)[:3] == ["loss", *expected]
        assert list(history.metrics)[3:] == ["val_loss", *(f"val_{name}" for name in expected)]
        theirs.fit(X, y, verbose=0)  # Keras numbers metrics by class, for the whole session


def test_a_model_that_is_changed_after_training_does_not_change_shared_programs():
    def make():
        return compiled(keras.Input((6,)), layers.Dense(4, activation="relu"))

    expected = outcome("other", lambda _: make(), None)[1]
    forget_shared_programs()
    first, _ = outcome("other", lambda _: make(), None)
    first.layers[0].activation = keras.activations.tanh
    for rows in (50, 33):  # other shapes of data, for which JAX traces again
        kerasfit.fit(first, X[:rows], Y[:rows], batch_size=7, verbose=0)
    small = X[:50], Y[:50]
    second = make()
    second.set_weights(weights := first.get_weights())
    history = kerasfit.fit(second, *small, batch_size=7, verbose=0, shuffle=False)
    forget_shared_programs()
    third = make()
    third.set_weights(weights)
    assert history.metrics == kerasfit.fit(third, *small, batch_size=7, verbose=0, shuffle=False).metrics
    assert_equal(outcome("other", lambda _: make(), None)[1], expected)


def test_a_method_of_keras_that_is_replaced_is_used_by_later_models(monkeypatch):
    def make():
        return compiled(keras.Input((6,)), layers.Rescaling(2.0))

    outcome("other", lambda _: make(), None)
    monkeypatch.setattr(layers.Rescaling, "call", lambda self, x: x * 0)
    _, (_, _, predictions) = outcome("other", lambda _: make(), None)
    np.testing.assert_allclose(predictions, predictions[:1].repeat(len(X), 0))


def test_compiled_programs_do_not_keep_models():
    def train():
        model, _ = outcome("other", lambda _: compiled(layers.Dense(4)), None)
        return weakref.ref(model)

    kept = [train() for _ in range(3)]
    gc.collect()
    assert [model() for model in kept] == [None] * 3


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow alone names variables")
def test_variables_of_optimizers_have_one_name_since_tensorflow_keeps_memory_for_each():
    model = compiled(keras.Input((6,)), optimizer="adam")
    kerasfit.fit(model, X, Y, verbose=0)
    created = [variable for variable in model.optimizer.variables if "kernel" in variable.name]
    assert len(created) == 2
    assert len({variable.value.name for variable in created}) == 1
    assert [variable.path.split("_")[-1] for variable in created] == ["momentum", "velocity"]


def test_programs_are_used_after_the_session_has_been_cleared():
    expected = outcome("wiring", PAIRS["wiring"][0], True)[1]
    keras.backend.clear_session()
    gc.collect()
    assert_equal(outcome("wiring", PAIRS["wiring"][0], True)[1], expected)


def test_few_programs_are_kept(monkeypatch):
    monkeypatch.setattr(shared_programs, "KEPT", 3)
    for units in range(1, 6):
        kerasfit.fit(compiled(layers.Dense(units)), X, Y, verbose=0)
    assert len(shared_programs._kept) <= 3
    monkeypatch.setattr(shared_programs, "KEPT_BYTES", 0)
    kerasfit.fit(compiled(layers.Dense(5)), X, Y, verbose=0)
    if BACKEND == "tensorflow":
        shared_programs.shared_programs("another", dict)
        assert not any(getattr(kept, "nbytes", 0) for kept in shared_programs._kept.values())


def test_models_trained_on_data_frames_with_factors_have_a_key():
    model = compiled(keras.Input((6,)))
    y = pd.Categorical.from_codes(Y, ["a", "b", "c"])
    kerasfit.fit(model, pd.DataFrame(X, columns=list("abcdef")), y, verbose=0)
    assert model_key(model, "train") and model_key(model, "predict")
