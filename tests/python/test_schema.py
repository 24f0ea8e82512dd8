"""What a model remembers of the factors and data frames that it was trained on."""

from __future__ import annotations

import keras
import models
import numpy as np
import pandas as pd
import pytest
from keras import layers

import kerasfit
from kerasfit.errors import DataError

ROWS, CODES = models.numbers(5), models.classes(3)
LEVELS = ["a", "b", "c"]
FACTOR = pd.Categorical.from_codes(CODES, LEVELS)
BACKWARDS = pd.Categorical(FACTOR, LEVELS[::-1])
# In metrics, Keras 3.9 identifies outputs by the names of layers.
METRICS_BY_KEY = models.KERAS > (3, 9)
FRAME = pd.DataFrame(ROWS, columns=[*"vwxyz"])


def model_of_keys():
    inputs = keras.Input((5,))
    outputs = {"dt": layers.Dense(3, activation="softmax")(inputs), "am": layers.Dense(1)(inputs)}
    model = keras.Model(inputs, outputs)
    metrics = {"dt": "accuracy"} if METRICS_BY_KEY else None
    model.compile("sgd", {"dt": "sparse_categorical_crossentropy", "am": "mse"}, metrics=metrics)
    return model


def test_continued_training_matches_levels_by_name():
    some = (CODES == 1) | (CODES == 2)
    dropped = FACTOR[some].remove_unused_categories()

    def history(*more, **arguments):
        keras.utils.set_random_seed(1)
        model = models.dense()[0]
        kerasfit.fit(model, ROWS, FACTOR, verbose=0)
        return kerasfit.fit(model, *more, verbose=0, shuffle=False, **arguments)

    wanted = history(ROWS[some], CODES[some])
    assert history(ROWS[some], dropped).metrics == wanted.metrics
    assert history(ROWS[some], dropped).params["levels"] == LEVELS
    assert history(iter([(ROWS[some], dropped)])).params["levels"] == LEVELS
    weighted = history(ROWS[some], CODES[some], class_weight={"0": 1, "1": 1, "2": 4})
    assert history(ROWS[some], dropped, class_weight={"c": 4}).metrics == weighted.metrics
    validated = history(ROWS[some], dropped, validation_data=(ROWS, BACKWARDS))
    assert validated.metrics == history(ROWS[some], CODES[some], validation_data=(ROWS, CODES)).metrics


def test_new_levels_are_an_error_that_suggests_a_new_model():
    model = models.dense()[0]
    kerasfit.fit(model, ROWS, FACTOR, verbose=0)
    other = FACTOR.rename_categories([*"abd"])
    for data in ((ROWS, other), (iter([(ROWS, other)]),)):
        with pytest.raises(
            DataError, match=r"has a level d that the training data did not have.* create a new model"
        ):
            kerasfit.fit(model, *data, verbose=0)


def test_levels_of_a_call_that_failed_before_the_first_step_are_forgotten():
    model = models.dense()[0]
    with pytest.raises(Exception, match="columns"):
        kerasfit.fit(model, iter([(ROWS[:, :3], FACTOR.rename_categories([*"xyz"]))]), verbose=0)
    kerasfit.fit(model, ROWS, FACTOR, verbose=0)


def test_columns_of_later_training_data_are_matched_by_name():
    def loss_of_another_fit(data):
        keras.utils.set_random_seed(1)
        model = models.dense()[0]
        kerasfit.fit(model, FRAME, CODES, verbose=0)
        return kerasfit.fit(model, data, CODES, verbose=0, shuffle=False).metrics["loss"]

    assert loss_of_another_fit(FRAME[[*"zyxwv"]]) == loss_of_another_fit(ROWS)


@pytest.mark.parametrize("form", ["factor", "frame", "named", "generator"])
def test_an_output_is_identified_by_its_key_in_a_dict(form):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, {"dt": layers.Dense(3, activation="softmax")(inputs)})
    metrics = {"dt": ["accuracy"]} if METRICS_BY_KEY else None
    model.compile("sgd", {"dt": "sparse_categorical_crossentropy"}, metrics=metrics)
    y = {
        "factor": FACTOR,
        "frame": pd.DataFrame({"dt": FACTOR}),
        "named": {"dt": FACTOR},
        "generator": {"dt": FACTOR},
    }[form]
    data = (iter([(ROWS, y)]),) if form == "generator" else (ROWS, y)
    history = kerasfit.fit(model, *data, class_weight={"dt": {"b": 2}}, verbose=0)
    assert list(history.metrics) == ["loss", *(["accuracy"] if METRICS_BY_KEY else [])]
    wanted = kerasfit.evaluate(model, ROWS, {"dt": CODES}, verbose=0)
    assert kerasfit.evaluate(model, ROWS, {"dt": BACKWARDS}, verbose=0) == wanted
    assert kerasfit.evaluate(model, ROWS, BACKWARDS, verbose=0) == wanted
    ones = {"dt": np.ones(len(ROWS), "float32")}
    assert kerasfit.evaluate(model, ROWS, CODES, sample_weight=ones, verbose=0) == wanted
    with pytest.raises(DataError, match="`y` names `dense`, but the model's output is `dt`"):
        kerasfit.fit(model, ROWS, {"dense": CODES}, verbose=0)


def test_several_outputs_are_identified_by_their_keys():
    model, price = model_of_keys(), ROWS[:, :1]
    y = {"am": price, "dt": FACTOR}
    history = kerasfit.fit(model, ROWS, y, class_weight={"dt": {"b": 2}}, verbose=0)
    assert history.params["levels"] == {"dt": LEVELS}
    assert {"loss", "dt_loss", "am_loss"} == set(history.metrics) - {"dt_accuracy"}
    assert ("dt_accuracy" in history.metrics) == METRICS_BY_KEY
    wanted = model.evaluate(ROWS, {"am": price, "dt": CODES}, verbose=0, return_dict=True)
    for given in (y, {"dt": BACKWARDS, "am": price}):
        ours = kerasfit.evaluate(model, ROWS, given, verbose=0)
        assert ours == {name: pytest.approx(wanted[name], rel=1e-4) for name in ours}
    layer_names = dict(zip(model.output_names, (price, CODES), strict=True))
    with pytest.raises(DataError, match=r"`y` names `dense.*, but the model's outputs are `am` and `dt`"):
        kerasfit.fit(model, ROWS, layer_names, verbose=0)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_saved_model_keeps_levels_and_columns(tmp_path, kind):
    keras.utils.set_random_seed(1)
    model = models.dense()[0]
    kerasfit.fit(model, FRAME, FACTOR, epochs=2, verbose=0)
    path = tmp_path / ("model.keras" if kind == "file" else "model")
    if kind == "file":
        model.save(path)
    else:
        keras.saving.save_model(model, path, zipped=False)
    columns = FRAME[[*"zyxwv"]]
    wanted = kerasfit.evaluate(model, columns, BACKWARDS, verbose=0)
    assert wanted == kerasfit.evaluate(model, ROWS, CODES, verbose=0)
    loaded = keras.saving.load_model(path)
    assert kerasfit.evaluate(loaded, columns, BACKWARDS, verbose=0) == pytest.approx(wanted, rel=1e-5)
    loaded.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    assert kerasfit.evaluate(again, columns, BACKWARDS, verbose=0) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(DataError, match="a level d that the training data did not have"):
        kerasfit.fit(again, FRAME, FACTOR.rename_categories([*"abd"]), verbose=0)


def test_a_checkpoint_keeps_the_levels_of_the_run_that_wrote_it(tmp_path):
    model = models.dense()[0]
    path = str(tmp_path / "best.keras")
    kerasfit.fit(model, ROWS, FACTOR, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    loaded = keras.saving.load_model(path)
    wanted = kerasfit.evaluate(model, ROWS, CODES, verbose=0)
    assert kerasfit.evaluate(loaded, ROWS, BACKWARDS, verbose=0) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    "schema", [3, {"levels_of_targets": [[0, [None]], 5, [0]]}, {"levels_of_inputs": {}}]
)
def test_an_invalid_schema_in_a_file_is_ignored(schema):
    from kerasfit.data.schema import DataSchema, from_plain

    assert from_plain(schema) == DataSchema()


def test_a_factor_for_a_float_input_is_an_error_in_any_form():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    unbuilt = keras.Sequential([layers.Dense(3, activation="softmax")])
    unbuilt.compile("sgd", "sparse_categorical_crossentropy")
    for x in (FACTOR, [FACTOR], pd.DataFrame({"v": FACTOR})):
        with pytest.raises(DataError, match="is a factor, but the model"):
            kerasfit.fit(model, x, CODES, verbose=0)
        with pytest.raises(DataError, match="is a factor, but the model"):
            kerasfit.predict(model, x, verbose=0)
    with pytest.raises(DataError, match="is a factor, but the model"):
        kerasfit.fit(unbuilt, FACTOR, CODES, verbose=0)


def test_a_factor_becomes_codes_if_the_input_is_embedded():
    for first in ([keras.Input((1,), dtype="int32")], [keras.Input((1,))], []):
        model = keras.Sequential([*first, layers.Embedding(3, 2), layers.Flatten(), layers.Dense(1)])
        model.compile("sgd", "mse")
        kerasfit.fit(model, FACTOR, ROWS[:, :1], verbose=0)
        np.testing.assert_array_equal(
            kerasfit.predict(model, FACTOR, verbose=0), kerasfit.predict(model, CODES, verbose=0)
        )
