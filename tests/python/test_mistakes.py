"""Each mistake is one error that names the argument, raised before anything has changed."""

from __future__ import annotations

import itertools

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit.errors import ArgumentError

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
    "y beside a generator": (dict(x=endless()), "y", "goes with arrays only"),
    "weights beside a generator": (
        dict(x=endless(), y=None, sample_weight=Y),
        "sample_weight",
        "arrays only",
    ),
    "batch size of a generator": (dict(x=endless(), y=None, batch_size=8), "batch_size", "arrays only"),
    "endless generator": (dict(x=endless(), y=None), "steps_per_epoch", "no end to the data"),
    "endless cycle": (dict(x=itertools.cycle([(X, Y)]), y=None), "steps_per_epoch", "no end to the data"),
    "endless validation": (dict(validation_data=endless()), "validation_steps", "no end to the data"),
    "initial epoch past the last": (dict(initial_epoch=3, epochs=2), "initial_epoch", "is past `epochs`"),
    "initial epoch of 0": (dict(initial_epoch=0), "initial_epoch", "1 or more, not 0"),
    "no epochs": (dict(epochs=0), "epochs", "1 or more, not 0"),
    "half an epoch": (dict(epochs=1.5), "epochs", "whole number, 1 or more, not 1.5"),
    "epochs in words": (dict(epochs="ten"), "epochs", 'not "ten"'),
    "batch size of 0": (dict(batch_size=0), "batch_size", "1 or more"),
    "steps of 0": (dict(steps_per_epoch=0), "steps_per_epoch", "1 or more"),
    "shuffle in words": (dict(shuffle="batch"), "shuffle", "true or false"),
    "verbose of 3": (dict(verbose=3), "verbose", '"auto", 0, 1 or 2, not 3'),
    "class without weight": (dict(class_weight={"0": 1, "1": 2}), "class_weight", "no weight for class 2"),
    "class weights of outputs": (
        dict(class_weight={"u": {"0": 1}}),
        "class_weight",
        r"`class_weight\$u` is for an output that the model does not have",
    ),
    "validation data of one": (dict(validation_data=[X]), "validation_data", "list of two or three"),
    "validation data unequal": (
        dict(validation_data=(X, Y[:3])),
        "validation_data",
        r"`validation_data\[\[2\]\]` has 3 samples",
    ),
    "class without an output": (dict(y=Y + 1), "y", "has the value 3, and the model's output has 3 values"),
    "validation class without an output": (
        dict(validation_data=(X, Y - 1)),
        "validation_data",
        r"`validation_data\[\[2\]\]` has the value -1",
    ),
    "validation_freq of 0": (dict(validation_freq=0), "validation_freq", "1 or more"),
    "validation_freq of nothing": (dict(validation_freq=[]), "validation_freq", "names no epoch"),
    "callback that is none": (dict(callbacks=[keras.callbacks.Callback(), 5]), "callbacks", "element 2 is 5"),
    "unknown argument": (dict(epoch=5), "epoch", "does not know the argument `epoch`"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_its_argument_and_changes_nothing(mistake):
    arguments, argument, message = MISTAKES[mistake]
    model, x, y = models.dense()
    before = model.get_weights()
    with pytest.raises(ArgumentError, match=message) as caught:
        kerasfit.fit(model, **{"x": x, "y": y, "verbose": 0, **arguments})
    assert caught.value.argument == argument
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(model.optimizer.iterations) == 0


def test_an_index_without_an_embedding_is_a_mistake():
    for build in (models.embedding, models.gated):
        model, x, y = build()
        for verb in (kerasfit.fit, kerasfit.evaluate):
            with pytest.raises(ArgumentError, match=r"`x` has the value 9, and the embedding .* 9 values"):
                verb(model, np.where(x == 8, 9, x), y, verbose=0)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_class_without_an_output_among_several_is_named(wrong):
    model, x, y = models.several_outputs()
    y["v"] = np.where(y["v"] == 1, wrong, y["v"])
    with pytest.raises(ArgumentError, match=rf"`y\$v` has the value {wrong}"):
        kerasfit.fit(model, x, y, verbose=0)


def test_a_class_that_the_loss_ignores_needs_no_output():
    model, x, y = models.dense()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))
    history = kerasfit.fit(model, x, np.where(y == 2, -1, y), verbose=0)
    assert np.isfinite(history.metrics["loss"]).all()


def test_a_model_must_be_compiled():
    model = keras.Sequential([keras.layers.Dense(1)])
    for verb in (kerasfit.fit, kerasfit.evaluate):
        with pytest.raises(ArgumentError, match="not compiled"):
            verb(model, X, Y)


def test_a_dataset_takes_no_batch_size_targets_weights_or_split():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    model, *_ = models.dense()
    for argument, value in dict(y=Y, batch_size=8, sample_weight=Y, validation_split=0.1).items():
        with pytest.raises(ArgumentError) as caught:
            kerasfit.fit(model, dataset, **{argument: value})
        assert caught.value.argument == argument
    with pytest.raises(ArgumentError, match="no end to the data") as caught:
        kerasfit.fit(model, dataset.repeat())
    assert caught.value.argument == "steps_per_epoch"
