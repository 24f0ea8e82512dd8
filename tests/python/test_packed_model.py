"""Models as plain values, which another process turns into the same models."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

import kerasfit
from kerasfit.checkpoint.packed_model import has_state, load, pack, put_state, save, unpack
from kerasfit.errors import ArgumentError, StateError
from kerasfit.variables import all_variables


class Scale(layers.Layer):
    """A layer that another process could import."""

    def call(self, x):
        return 2 * x


def compiled(*parts, loss="mse", optimizer="adam"):
    model = keras.Sequential(list(parts))
    model.compile(optimizer, loss)
    return model


def with_state(**compiled):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.LSTM(5, dropout=0.2, return_sequences=True),
            layers.Dropout(0.3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    model.compile(**{"optimizer": "adam", "loss": "mse", "metrics": ["mae"], **compiled})
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 6, 4)).astype("float32"), rng.normal(size=(40, 2)).astype("float32")


def fit(model, epochs=2):
    keras.utils.set_random_seed(3)
    return kerasfit.fit(model, *data(), batch_size=8, epochs=epochs, verbose=0).metrics


def schedule():
    return keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.5))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", schedule, lambda: keras.optimizers.SGD(0.1, 0.9)])
def test_a_model_that_was_packed_trains_like_the_original(tmp_path, optimizer, trained):
    model = with_state(optimizer=optimizer if isinstance(optimizer, str) else optimizer())
    if trained:
        fit(model)
    save(model, tmp_path / "model")
    copy = load(tmp_path / "model")
    assert fit(copy) == fit(model)
    for here, there in zip(all_variables(model), all_variables(copy), strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(here.value), keras.ops.convert_to_numpy(there.value)
        )


def test_a_model_without_variables_draws_the_same_ones():
    keras.utils.set_random_seed(1)
    model = compiled(layers.Dense(3, activation="relu"), layers.Dense(1))
    copy = unpack(pack(model))
    x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
    assert not model.built
    assert kerasfit.fit(copy, x, y, verbose=0).metrics == kerasfit.fit(model, x, y, verbose=0).metrics
    assert model.layers[0].kernel_initializer.get_config()["seed"] is None


def test_the_state_of_a_trained_copy_goes_into_the_original():
    for model in (with_state(), compiled(layers.Flatten(), layers.Dense(2))):
        sent = pack(model)
        copy = unpack(sent)
        fit(copy)
        assert has_state(model, sent)
        put_state(model, pack(copy))
        assert not has_state(model, sent)
        assert fit(model) == fit(copy)


def test_levels_and_columns_of_the_data_are_kept():
    model = compiled(
        keras.Input((1,)), layers.Dense(2, activation="softmax"), loss="sparse_categorical_crossentropy"
    )
    kerasfit.fit(model, np.ones((4, 1)), pd.Categorical(["b", "a", "b", "a"]), verbose=0)
    copy = unpack(pack(model))
    history = kerasfit.fit(copy, np.ones((2, 1)), pd.Categorical(["b", "b"]), verbose=0)
    assert history.params["levels"] == ["a", "b"]


def test_trainable_layers_and_precision_are_kept():
    model = with_state()
    model.layers[2].trainable = False
    assert len(unpack(pack(model)).trainable_variables) == len(model.trainable_variables)
    half = compiled(keras.Input((3,)), layers.Dense(2, dtype="mixed_float16"))
    assert unpack(pack(half)).layers[0].compute_dtype == "float16"


def test_what_another_process_cannot_make_is_an_error_that_names_it():
    class Local(layers.Layer):
        def call(self, x):
            return x

    def own_loss(y, p):
        return keras.ops.mean(y - p)

    def mean_squared_error(y, p):
        return keras.ops.mean(y - p)

    def relu(x):
        return x

    for unknown, name in [
        (compiled(keras.Input((3,)), Local()), "the class `Local`"),
        (compiled(keras.Input((3,)), layers.Dense(1), loss=own_loss), "the function `own_loss`"),
        # named like one of Keras, which another process would use in its place
        (compiled(keras.Input((3,)), layers.Dense(1), loss=mean_squared_error), "`mean_squared_error`"),
        (compiled(keras.Input((3,)), layers.Dense(1, activation=relu)), "the function `relu`"),
        (compiled(keras.Input((3,)), layers.Lambda(lambda x: x + 1, output_shape=(3,))), "a lambda"),
    ]:
        with pytest.raises(ArgumentError, match="cannot be sent to another process") as error:
            pack(unknown)
        assert name in str(error.value)
    assert type(unpack(pack(compiled(keras.Input((3,)), Scale()))).layers[0]) is Scale


def test_the_state_of_another_model_is_an_error_and_changes_nothing():
    model, other = with_state(), compiled(keras.Input((3,)), layers.Dense(1))
    before = model.get_weights()
    with pytest.raises(StateError):
        put_state(model, pack(other))
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(StateError, match="another version"):
        unpack(pack(model) | {"format": "kerasfit model 0"})


def test_a_model_of_mixed_precision_is_made_again_without_the_global_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = with_state()
    finally:
        keras.config.set_dtype_policy(before)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        fit(model)
        packed = pack(model)
    finally:
        keras.config.set_dtype_policy(before)
    copy = unpack(packed)
    assert type(copy.optimizer) is type(model.optimizer)
    assert keras.config.dtype_policy() == before
    assert fit(copy) == fit(model)


def test_a_layer_frozen_since_compile_is_an_error_that_says_so():
    model = with_state()
    fit(model)
    model.layers[0].trainable = False
    with pytest.raises(ArgumentError, match="frozen or unfrozen since it was compiled"):
        pack(model)
