"""Each mistake of the user is one error that names the argument, raised before anything has changed."""

from __future__ import annotations

import itertools

import keras
import models
import numpy as np
import pytest
from keras import layers

import kerasfit
from kerasfit.error_context import error_context_of
from kerasfit.errors import ArgumentError, DataError

X, Y = models.numbers(5), models.classes(3)


def endless():
    while True:
        yield X, Y


MISTAKES = {
    "different lengths": (dict(y=Y[:-1]), "y", "`y` has 69 samples and `x` has 70"),
    "no x": (dict(x=None, y=None), "x", "`x` is missing"),
    "split of 1": (dict(validation_split=1), "validation_split", "at least 0 and below 1, not 1"),
    "negative split": (dict(validation_split=-0.5), "validation_split", "not -0.5"),
    "split of a generator": (
        dict(x=endless(), y=None, validation_split=0.1),
        "validation_split",
        "needs arrays",
    ),
    "y beside a generator": (dict(x=endless()), "y", "is for arrays only"),
    "weights beside a generator": (
        dict(x=endless(), y=None, sample_weight=Y),
        "sample_weight",
        "arrays only",
    ),
    "batch size of a generator": (dict(x=endless(), y=None, batch_size=8), "batch_size", "arrays only"),
    "endless generator": (dict(x=endless(), y=None), "steps_per_epoch", "the data never end"),
    "endless cycle": (dict(x=itertools.cycle([(X, Y)]), y=None), "steps_per_epoch", "the data never end"),
    "endless validation": (dict(validation_data=endless()), "validation_steps", "the data never end"),
    "initial epoch past the last": (dict(initial_epoch=3, epochs=2), "initial_epoch", "is past `epochs`"),
    "initial epoch of 0": (dict(initial_epoch=0), "initial_epoch", "1 or more, not 0"),
    "no epochs": (dict(epochs=0), "epochs", "1 or more, not 0"),
    "half an epoch": (dict(epochs=1.5), "epochs", "whole number, 1 or more, not 1.5"),
    "epochs in words": (dict(epochs="ten"), "epochs", 'not "ten"'),
    "batch size of 0": (dict(batch_size=0), "batch_size", "1 or more"),
    "steps of 0": (dict(steps_per_epoch=0), "steps_per_epoch", "1 or more"),
    "shuffle in words": (dict(shuffle="batch"), "shuffle", "TRUE or FALSE"),
    "verbose of 3": (dict(verbose=3), "verbose", '"auto", 0, 1 or 2, not 3'),
    "class without weight": (dict(class_weight={"0": 1, "1": 2}), "class_weight", "no weight for class 2"),
    "class weights of outputs": (
        dict(class_weight={"u": {"0": 1}}),
        "class_weight",
        r"`class_weight\$u` names an output that the model does not have",
    ),
    "validation data of one": (dict(validation_data=[X]), "validation_data", "list of two or three"),
    "validation data unequal": (
        dict(validation_data=(X, Y[:3])),
        "validation_data",
        r"`validation_data\[\[2\]\]` has 3 samples",
    ),
    "class without an output": (dict(y=Y + 1), "y", "has the value 3, but the model's output has 3 values"),
    "validation class without an output": (
        dict(validation_data=(X, Y - 1)),
        "validation_data",
        r"`validation_data\[\[2\]\]` has the value -1",
    ),
    "validation_freq of 0": (dict(validation_freq=0), "validation_freq", "1 or more"),
    "validation_freq of nothing": (dict(validation_freq=[]), "validation_freq", "names no epoch"),
    "callback that is none": (dict(callbacks=[keras.callbacks.Callback(), 5]), "callbacks", "element 2 is 5"),
    "unknown argument": (dict(epoch=5), "epoch", "has no argument `epoch`. Did you mean `epochs`"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_names_the_argument_and_changes_nothing(mistake):
    arguments, argument, message = MISTAKES[mistake]
    model, x, y = models.dense()
    before = model.get_weights()
    with pytest.raises(ArgumentError, match=message) as caught:
        kerasfit.fit(model, **{"x": x, "y": y, "verbose": 0, **arguments})
    assert caught.value.argument == argument
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(model.optimizer.iterations) == 0


def shared_embedding():
    """Build a model with an embedding that two inputs share."""
    inputs = [keras.Input((3,), dtype="int32") for _ in range(2)]
    embedding = layers.Embedding(9, 2)
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(embedding(inputs[0]) + embedding(inputs[1]))))


def shared_encoder():
    """Build a model in which another model with an embedding is applied to two inputs."""
    encoder = keras.Sequential([keras.Input((3,)), layers.Embedding(9, 2), layers.Flatten()])
    inputs = [keras.Input((3,)) for _ in range(2)]
    return keras.Model(inputs, layers.Dense(1)(layers.Concatenate()([encoder(one) for one in inputs])))


def embedded_together():
    """Build a model with one embedding of two concatenated inputs."""
    inputs = [keras.Input((3,)) for _ in range(2)]
    words = layers.Embedding(9, 2)(layers.Reshape((6,))(layers.Concatenate()(inputs)))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(words)))


@pytest.mark.parametrize("build", [shared_embedding, shared_encoder, embedded_together])
def test_indices_in_all_inputs_of_a_shared_embedding_are_checked(build):
    model = build()
    model.compile("sgd", "mse")
    right, y = np.arange(30).reshape(10, 3) % 9, np.zeros((10, 1))
    for number, x in enumerate([[right + 1, right], [right, right + 1]], 1):
        for data in ((x, y), (iter([(tuple(x), y)]),)):
            message = rf"\[\[{number}\]\]` has the value 9, but the embedding .* 9 values"
            with pytest.raises(DataError, match=message):
                kerasfit.fit(model, *data, verbose=0)
    kerasfit.fit(model, [right, right], y, verbose=0)


def test_an_index_outside_the_embedding_is_an_error():
    for build in (models.embedding, models.gated):
        model, x, y = build()
        for verb in (kerasfit.fit, kerasfit.evaluate):
            with pytest.raises(ArgumentError, match=r"`x` has the value 9, but the embedding .* 9 values"):
                verb(model, np.where(x == 8, 9, x), y, verbose=0)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_an_invalid_class_for_one_of_several_outputs_is_named(wrong):
    model, x, y = models.several_outputs()
    y["v"] = np.where(y["v"] == 1, wrong, y["v"])
    with pytest.raises(ArgumentError, match=rf"`y\$v` has the value {wrong}"):
        kerasfit.fit(model, x, y, verbose=0)


def test_a_class_that_the_loss_ignores_needs_no_output():
    model, x, y = models.dense()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))
    history = kerasfit.fit(model, x, np.where(y == 2, -1, y), verbose=0)
    assert np.isfinite(history.metrics["loss"]).all()


SHAPES = {
    "columns": (models.dense, dict(x=X[:, :3]), "`x` has 3 columns, but the model takes 5"),
    "rank": (models.dense, dict(x=X[:, 0]), r"`x` has dimensions \(70\), but the model takes \(samples, 5\)"),
    "arrays": (models.dense, dict(x=[X, X]), "`x` has 2 arrays, but the model has 1 input"),
    "no targets": (models.dense, dict(y=None), "`y` is missing"),
    "one-hot": (models.dense, dict(y=np.eye(3)[Y]), "For one-hot targets, use the loss"),
    "codes": (models.one_hot, dict(y=Y), "Give a factor, or compile with the loss"),
    "validation": (
        models.dense,
        dict(validation_data=(X[:, :3], Y)),
        r"`validation_data\[\[1\]\]` has 3 col",
    ),
    "outputs": (models.several_outputs, dict(y=Y), "`y` has 1 array, but the model has 2 outputs"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_data_of_the_wrong_shape_are_an_error_that_names_the_argument(case):
    build, wrong, message = SHAPES[case]
    model, x, y = build()
    before = model.get_weights()
    with pytest.raises(DataError, match=message) as caught:
        kerasfit.fit(model, **{"x": x, "y": y, "verbose": 0, **wrong})
    assert caught.value.argument == next(iter(wrong))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_images_of_another_size_are_accepted_where_keras_accepts_them():
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    )
    model.compile("sgd", "mse")
    x = np.ones((6, 9, 7, 1), "float32")
    y = x[:, :3, 0, 0]
    history = kerasfit.fit(model, x[:, :8, :7], y, validation_data=(x, y), verbose=0)
    expected = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(history.metrics["val_loss"], [expected], rtol=1e-5)


def compares_with_the_sum(y, outputs):
    return keras.ops.square(y - keras.ops.sum(outputs, axis=-1))


class PredictsSums(keras.Sequential):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(compares_with_the_sum(y, y_pred))


@pytest.mark.parametrize("kind", ["an ignored class", "Circle", "own loss", "own compute_loss"])
def test_validation_targets_may_have_any_shape_the_loss_accepts(kind):
    made = PredictsSums if kind == "own compute_loss" else keras.Sequential
    model = made([keras.Input((5,)), keras.layers.Dense(3)])
    losses = {
        "an ignored class": keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        "Circle": keras.losses.Circle(),
        "own loss": compares_with_the_sum,
    }
    model.compile("sgd", losses.get(kind, "mse"), run_eagerly=True)
    y = Y if kind in ("an ignored class", "Circle") else Y.astype("float32")
    batches = ((X[:8], y[:8]) for _ in range(2))  # their shapes are unknown until they arrive
    history = kerasfit.fit(model, batches, validation_data=(X, y), verbose=0)
    assert np.isfinite(history.metrics["val_loss"]).all()


def broken(*args):
    raise RuntimeError("broken")


def broken_batches():
    yield X[:8], Y[:8]
    yield X[:8], Y[:8]
    broken()


PLACES = {
    "loss": (dict(loss=broken), {}, "the loss `broken`", 1, 1),
    "metric": (dict(metrics=[broken]), {}, "the metric `broken`", 1, 1),
    "generator": ({}, dict(x=broken_batches, y=None, steps_per_epoch=4), "the generator `x`", 1, 3),
    "generator's second pass": (
        {},
        dict(x=itertools.chain([(X, Y)] * 3, broken_batches()), y=None, steps_per_epoch=4),
        "the generator `x`",
        2,
        2,
    ),
    "validation": ({}, dict(validation_data=broken_batches), "the generator `validation_data`", 1, 3),
    "epoch's end": (
        {},
        dict(
            callbacks=keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epoch == 1 and broken())
        ),
        "`on_epoch_end()` of the callback LambdaCallback",
        2,
        None,
    ),
    "batch's end": (
        {},
        dict(
            callbacks=keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: batch == 1 and broken()
            )
        ),
        "`on_train_batch_end()` of the callback LambdaCallback",
        1,
        2,
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_an_exception_in_user_code_says_where_it_was_raised(case):
    compiling, fitting, function, epoch, batch = PLACES[case]
    model, x, y = models.dense()
    if compiling:
        model.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", **compiling})
    with pytest.raises(RuntimeError, match="broken") as caught:
        kerasfit.fit(model, **{"x": x, "y": y, "epochs": 3, "batch_size": None, "verbose": 0, **fitting})
    context = error_context_of(caught.value)
    assert (context.function, context.epoch, context.batch) == (function, epoch, batch)
    assert context.history.epochs == list(range(1, epoch))
    if hasattr(caught.value, "__notes__"):
        assert function in caught.value.__notes__[-1]


def test_a_model_must_be_compiled():
    model = keras.Sequential([keras.layers.Dense(1)])
    for verb in (kerasfit.fit, kerasfit.evaluate):
        with pytest.raises(ArgumentError, match="not compiled"):
            verb(model, X, Y)


def test_layers_unfrozen_after_compile_are_an_error_or_have_no_effect():
    model, x, y = models.frozen()
    for _ in range(2):
        kerasfit.fit(model, x, y, verbose=0)
    for layer in model.layers:
        layer.trainable = not layer.trainable
    before = model.get_weights()
    if keras.backend.backend() == "tensorflow":
        with pytest.warns(UserWarning, match="frozen.* no effect"):
            kerasfit.fit(model, x, y, verbose=0)
    else:
        with pytest.raises(ArgumentError, match="frozen"):
            kerasfit.fit(model, x, y, verbose=0)
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)
    model.compile("sgd", "mse")
    kerasfit.fit(model, x, y, verbose=0)


def test_a_dataset_takes_no_batch_size_targets_weights_or_split():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    model, *_ = models.dense()
    for argument, value in dict(y=Y, batch_size=8, sample_weight=Y, validation_split=0.1).items():
        with pytest.raises(ArgumentError) as caught:
            kerasfit.fit(model, dataset, **{argument: value})
        assert caught.value.argument == argument
    narrow = tf.data.Dataset.from_tensor_slices((X[:, :3], Y)).batch(8)
    with pytest.raises(ArgumentError, match=r"`validation_data\[\[1\]\]` has 3 columns"):
        kerasfit.fit(model, dataset, validation_data=narrow)
    with pytest.raises(ArgumentError, match="the data never end") as caught:
        kerasfit.fit(model, dataset.repeat())
    assert caught.value.argument == "steps_per_epoch"


def pinball(y, y_pred):
    quantiles = keras.ops.convert_to_tensor([0.1, 0.5, 0.9])
    error = keras.ops.cast(y, "float32") - y_pred
    return keras.ops.mean(keras.ops.maximum(quantiles * error, (quantiles - 1) * error), -1)


class OwnSparse(keras.losses.SparseCategoricalCrossentropy):
    """Accepts one-hot targets, and codes outside the outputs."""

    def call(self, y, y_pred):
        codes = keras.ops.argmax(y, -1) if len(y.shape) == 2 else keras.ops.maximum(y, 0)
        return super().call(codes, y_pred)


class OwnSquares(keras.losses.MeanSquaredError):
    def call(self, y, y_pred):
        return keras.ops.mean(y_pred**2, -1)


OWN_LOSSES = {
    "a function": (pinball, Y[:, None]),
    "a class": (OwnSparse(), np.eye(3)[Y]),
    "codes": (OwnSparse(), Y - 1),
    "targets without use": (OwnSquares(), np.zeros((len(X), 2))),
    "ignored": (keras.losses.SparseCategoricalCrossentropy(ignore_class=-1), np.where(Y == 2, -1, Y)),
}


@pytest.mark.parametrize("validates", ["arrays", "generator"])
@pytest.mark.parametrize("trains", ["arrays", "generator"])
@pytest.mark.parametrize("kind", models.few_where_compiled(list(OWN_LOSSES), ["a function"]))
def test_targets_of_a_custom_loss_may_have_any_shape(kind, trains, validates):
    loss, y = OWN_LOSSES[kind]
    model, *_ = models.dense()
    model.compile("sgd", loss)
    arrays = X, y.astype("float32")
    data = arrays if trains == "arrays" else (iter([arrays]),)
    validation = arrays if validates == "arrays" else iter([arrays])
    history = kerasfit.fit(model, *data, verbose=0, validation_data=validation)
    assert np.isfinite(history.metrics["val_loss"]).all()


def test_an_error_in_a_custom_loss_is_not_explained_by_shapes():
    def loss(y, y_pred):
        raise ValueError("shape of things to come")

    model, *_ = models.dense()
    model.compile("sgd", loss)
    with pytest.raises(Exception, match="things to come") as caught:
        kerasfit.fit(model, X, Y[:, None], verbose=0)
    assert not isinstance(caught.value, DataError)


def test_the_error_for_a_metric_that_needs_a_matrix_says_how_to_make_one():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=[keras.metrics.F1Score()])
    y = (Y == 1).astype("float32")
    batches = ((X, y) for _ in range(1))
    for call in (
        lambda: kerasfit.fit(model, X, y, verbose=0),
        lambda: kerasfit.evaluate(model, X, y, verbose=0),
        lambda: kerasfit.fit(model, batches, verbose=0),
    ):
        with pytest.raises(DataError, match=r"the metric `f1_score` needs .* as.matrix\(y\)"):
            call()
    kerasfit.fit(model, X, y[:, None], verbose=0)
    model, x, y = models.dense()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["f1_score"])
    with pytest.raises(DataError, match="a factor is one-hot encoded"):
        kerasfit.fit(model, x, y, verbose=0)


def test_the_hint_for_a_negative_index_is_about_inputs_or_targets():
    model = keras.Sequential(
        [keras.Input((1,), dtype="int32"), keras.layers.Embedding(3, 2), keras.layers.Flatten()]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.array([0, 1]), np.array([0, 1])
    with pytest.raises(kerasfit.DataError) as of_input:
        kerasfit.predict(model, x - 1)
    with pytest.raises(kerasfit.DataError) as of_target:
        kerasfit.fit(model, x, y - 1)
    assert of_input.value.hint == "Indices count from 0."
    assert "ignore_class" in of_target.value.hint
