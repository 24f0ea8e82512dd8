"""Models with their own fit() are trained by it, with kerasfit's arguments, history and progress."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import keras
import models
import numpy as np
import pandas as pd
import pytest

import kerasfit
from kerasfit.custom_fit import has_its_own


class OwnFit(keras.Sequential):
    def fit(self, *args, temperature=None, **kwargs):
        self.given = {**kwargs, "temperature": temperature}
        return super().fit(*args, **kwargs)


class OwnTrainFunction(keras.Sequential):
    runs = 0

    def make_train_function(self, force=False):
        super().make_train_function(force)
        train_function = self.train_function

        def counting(*args):
            self.runs += 1
            return train_function(*args)

        self.train_function = counting


class TakesText(keras.Sequential):
    """Converts text to numbers itself, as the models of keras_hub do."""

    def numbers(self, x):
        texts = x["text"] if isinstance(x, dict) else x
        if getattr(texts, "ndim", 1) == 2:
            return texts  # Keras's fit() calls evaluate()
        return np.array([[len(text), text.count("a"), 0, 0, 0] for text in texts], "float32")

    def fit(self, x=None, y=None, validation_data=None, **kwargs):
        if validation_data is not None:
            validation_data = (self.numbers(validation_data[0]), *validation_data[1:])
        return super().fit(self.numbers(x), y, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        return super().evaluate(self.numbers(x), y, **kwargs)

    def predict(self, x, **kwargs):
        return super().predict(self.numbers(x), **kwargs)


class TakesTextForTwo(keras.Model):
    """Computes both of its inputs from one vector of text, as keras_hub's classifiers do."""

    def fit(self, x=None, y=None, validation_data=None, **kwargs):
        if validation_data is not None:
            validation_data = (self.numbers(validation_data[0]), *validation_data[1:])
        return super().fit(self.numbers(x), y, validation_data=validation_data, **kwargs)

    def numbers(self, x):
        lengths = np.array([[len(text)] for text in x], "float32") if isinstance(x, np.ndarray) else x["ids"]
        return {"ids": lengths, "mask": lengths > 0}


def compiled(cls):
    model = cls([keras.Input((5,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_custom_fit_gets_keras_arguments_and_its_own():
    model = compiled(OwnFit)
    history = kerasfit.fit(
        model,
        models.numbers(5),
        models.classes(3),
        initial_epoch=3,
        epochs=4,
        validation_split=0.3,
        class_weight={"0": 1, "1": 2, "2": 3},
        temperature=0.7,
        verbose=0,
    )
    assert model.given["temperature"] == 0.7
    assert model.given["initial_epoch"] == 2
    assert model.given["sample_weight"].tolist() == [[1, 2, 3][c] for c in models.classes(3)[:49]]
    assert history.epochs == [3, 4]
    assert set(history.metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.params["steps"] == 2


def test_validation_data_of_a_custom_fit_need_not_match_the_inputs():
    ids, mask = keras.Input((1,), name="ids"), keras.Input((1,), name="mask")
    model = TakesTextForTwo([ids, mask], keras.layers.Dense(1)(ids * mask))
    model.compile("sgd", "mse")
    x, y = np.array(["a", "bb", "ccc"]), np.array([1.0, 2.0, 3.0])
    history = kerasfit.fit(model, x, y, validation_data=(x, y), verbose=0)
    assert set(history.metrics) == {"loss", "val_loss"}


def test_a_custom_train_function_is_called():
    model = compiled(OwnTrainFunction)
    kerasfit.fit(model, models.numbers(5), models.classes(3), epochs=2, batch_size=35, verbose=0)
    assert model.runs == 4


def test_custom_evaluate_and_predict_methods_are_called():
    class Own(keras.Sequential):
        def evaluate(self, *args, **kwargs):
            return {**super().evaluate(*args, **kwargs), "mine": 1.0}

        def predict(self, *args, **kwargs):
            return -super().predict(*args, **kwargs)

    model = compiled(Own)
    results = kerasfit.evaluate(model, models.numbers(5), models.classes(3), verbose=0)
    assert set(results) == {"loss", "accuracy", "mine"}
    assert (kerasfit.predict(model, models.numbers(5), verbose=0) <= 0).all()


def test_a_custom_fit_validates_as_validation_freq_says():
    history = kerasfit.fit(
        compiled(OwnFit),
        models.numbers(5),
        models.classes(3),
        epochs=4,
        validation_split=0.3,
        validation_freq=2.0,
        verbose=0,
    )
    assert [value is None for value in history.metrics["val_loss"]] == [True, False, True, False]


def test_several_epochs_from_a_function_need_steps_per_epoch():
    def three():
        yield from [(models.numbers(5), models.classes(3))] * 3

    with pytest.raises(kerasfit.ArgumentError, match="`steps_per_epoch` is missing"):
        kerasfit.fit(compiled(OwnFit), three, epochs=2, verbose=0)
    for steps in (None, -1):
        history = kerasfit.fit(compiled(OwnFit), three, steps_per_epoch=steps, verbose=0)
        assert history.epochs == [1]


@pytest.mark.parametrize("form", ["generator", "dataset", "arrays"])
def test_a_custom_fit_is_asked_to_shuffle_only_arrays_and_does_not_warn(recwarn, form):
    def batches():
        while True:
            yield models.numbers(5), models.classes(3)

    model, arguments = compiled(OwnFit), {"steps_per_epoch": 2, "epochs": 2}
    if form == "generator":
        data = (batches(),)
    elif form == "dataset":
        tf = pytest.importorskip("tensorflow")
        data = (
            tf.data.Dataset.from_tensor_slices((models.numbers(5), models.classes(3))).batch(20).repeat(),
        )
    else:
        data, arguments = (models.numbers(5), models.classes(3)), {"epochs": 2}
    history = kerasfit.fit(model, *data, **arguments, verbose=0)
    assert history.epochs == [1, 2]
    assert model.given["shuffle"] == (form == "arrays")
    assert not [warning for warning in recwarn if "shuffle" in str(warning.message)]


def test_a_custom_fit_trains_on_functions_and_factors():
    batches = iter([(models.numbers(5), models.classes(3)), None] * 4)
    factor = pd.Categorical.from_codes(models.classes(3), ["a", "b", "c"])
    history = kerasfit.fit(
        compiled(OwnFit),
        lambda: next(batches),
        steps_per_epoch=1,
        epochs=3,
        validation_data=[models.numbers(5), factor],
        verbose=0,
    )
    assert history.epochs == [1, 2, 3]
    assert None not in history.metrics["val_loss"]


@pytest.mark.parametrize("method", ["train_step", "test_step", "compute_loss", "call"])
def test_other_overridden_methods_do_not_make_a_fit_custom(method):
    from kerasfit.custom_fit import has_its_own

    cls = type("Sub", (keras.Sequential,), {method: getattr(keras.Sequential, method)})
    assert not has_its_own("fit", cls())
    assert has_its_own("fit", OwnFit())
    assert has_its_own("fit", OwnTrainFunction())


@pytest.mark.parametrize("replicas, delegated", [(None, False), (1, False), (2, True)])
def test_a_model_with_several_replicas_is_trained_by_keras(monkeypatch, replicas, delegated):
    model, *_ = models.unbuilt()
    if replicas:
        strategy = SimpleNamespace(num_replicas_in_sync=replicas)
        monkeypatch.setattr(type(model), "distribute_strategy", strategy, raising=False)
    assert has_its_own("fit", model) is delegated


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow alone has strategies")
def test_a_distribution_strategy_with_one_device_changes_nothing():
    import tensorflow as tf

    y = pd.Categorical.from_codes(models.classes(3), ["a", "b", "c"])
    results = []
    for scope in (nullcontext(), tf.distribute.MirroredStrategy(["CPU:0"]).scope()):
        with scope:
            keras.utils.set_random_seed(1)
            model = compiled(keras.Sequential)
        history = kerasfit.fit(model, models.numbers(5), y, epochs=2, shuffle=False, verbose=0)
        evaluated = kerasfit.evaluate(model, models.numbers(5), y, verbose=0)
        results.append([*history.metrics["loss"], evaluated["loss"]])
    assert results[0] == pytest.approx(results[1], rel=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow alone has strategies")
def test_a_mirrored_strategy_trains_as_one_device_and_warns_of_an_uneven_last_batch(tmp_path):
    """In a process of its own, in which TensorFlow has two CPUs."""
    code = """
import json, os, warnings
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import kerasfit, keras
x = np.random.default_rng(0).normal(size=(70, 5)).astype("float32")
y = x[:, :1] * 2
results, seen = [], []
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    for rows in (64, 67):
        keras.utils.set_random_seed(1)
        make = lambda: keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
        if strategy:
            with strategy.scope():
                model = make()
                model.compile("sgd", "mse")
        else:
            model = make()
            model.compile("sgd", "mse")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kerasfit.fit(model, x[:rows], y[:rows], epochs=3, batch_size=16, shuffle=False, verbose=0)
        seen.append([str(w.message) for w in caught if "replicas" in str(w.message)])
        results.append(model.get_weights()[0].ravel().tolist())
try:
    kerasfit.fit(model, x, y, verbose=0, callbacks=[kerasfit.BackupAndRestore("nowhere")])
except kerasfit.ArgumentError as error:
    refused = str(error)
print(json.dumps({"results": results, "seen": seen, "refused": refused, "wrote": os.path.exists("nowhere")}))
"""
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True
    )
    found = json.loads(child.stdout.splitlines()[-1])
    one_even, one_uneven, two_even, two_uneven = map(np.array, found["results"])
    np.testing.assert_allclose(two_even, one_even, rtol=1e-5)
    assert np.abs(two_uneven - one_uneven).max() > 1e-4  # why there is a warning
    assert found["seen"][:3] == [[], [], []]
    assert "3 samples, which 2 replicas cannot share evenly" in found["seen"][3][0]
    assert "use_devices()" in found["refused"]
    assert not found["wrote"]


def test_a_model_is_trained_by_keras_where_a_distribution_is_set(monkeypatch):
    model, *_ = models.unbuilt()
    monkeypatch.setattr(keras.distribution, "distribution", object)
    assert has_its_own("fit", model)


@pytest.mark.parametrize(
    "form",
    [
        np.array,
        list,
        pd.Series,
        lambda text: pd.DataFrame({"text": text}),
        lambda text: pd.DataFrame({"text": text, "other": 1.0}),
        lambda text: {"text": np.array(text)},
    ],
    ids=["array", "list", "series", "column", "columns", "dict"],
)
def test_a_custom_fit_gets_text_unchanged_and_converts_it_to_numbers(form):
    text = ["a", "bb", "aba", "dada"] * 3
    y = pd.Categorical(["no", "yes"] * 6)
    model = compiled(TakesText)
    data = form(text), y
    history = kerasfit.fit(model, *data, validation_data=data, class_weight={"yes": 2}, epochs=2, verbose=0)
    assert set(history.metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    numbers = model.numbers(text)
    expected = keras.Sequential.evaluate(model, numbers, y.codes, verbose=0, return_dict=True)
    assert kerasfit.evaluate(model, *data, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert kerasfit.predict(model, data[0], verbose=0) == pytest.approx(
        keras.ops.convert_to_numpy(model(numbers)), rel=1e-5
    )
