"""How data frames, factors, class weights of outputs and missing values are interpreted."""

from __future__ import annotations

import keras
import models
import numpy as np
import pandas as pd
import pytest
from keras import layers

import kerasfit
from kerasfit.errors import DataError

BACKEND = keras.backend.backend()
RANDOM = np.random.default_rng(0)
SAMPLES = 40
FRAME = pd.DataFrame(
    {
        "age": RANDOM.normal(size=SAMPLES),
        "rooms": np.arange(SAMPLES) % 5,
        "garden": np.arange(SAMPLES) % 2 == 0,
    }
)
KINDS = pd.Categorical.from_codes(np.arange(SAMPLES) % 3, ["barn", "house", "tower"])
PRICE = RANDOM.normal(size=SAMPLES).astype("float32")


def matrix_model(columns=3, units=1, activation=None, loss="mse"):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((columns,)), layers.Dense(units, activation=activation)])
    model.compile("sgd", loss)
    return model


def model_of_inputs(**dtypes):
    keras.utils.set_random_seed(1)
    inputs = {name: keras.Input((1,), name=name, dtype=dtype) for name, dtype in dtypes.items()}
    numbers = [keras.ops.cast(tensor, "float32") for tensor in inputs.values()]
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()(numbers)))
    model.compile("sgd", "mse")
    return model


def model_of_outputs(losses=("sparse_categorical_crossentropy", "mse")):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    outputs = [
        layers.Dense(3, activation="softmax", name="kind")(inputs),
        layers.Dense(1, name="price")(inputs),
    ]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", list(losses))
    return model


def trained(model, *data, **arguments):
    kerasfit.fit(model, *data, batch_size=16, shuffle=False, verbose=0, **arguments)
    return model.get_weights()


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


# ---- data frames ---------------------------------------------------------------------------------------


def test_a_data_frame_of_numbers_is_a_matrix():
    matrix = FRAME.to_numpy("float32")
    assert_same(trained(matrix_model(), FRAME, PRICE), trained(matrix_model(), matrix, PRICE))
    model = matrix_model()
    np.testing.assert_array_equal(
        kerasfit.predict(model, FRAME, verbose=0), kerasfit.predict(model, matrix, verbose=0)
    )
    assert kerasfit.evaluate(model, FRAME, PRICE, verbose=0) == kerasfit.evaluate(
        model, matrix, PRICE, verbose=0
    )


def test_columns_are_passed_to_the_inputs_with_their_names():
    shuffled = FRAME[["garden", "age", "rooms"]]
    by_hand = {name: FRAME[name].to_numpy("float32")[:, None] for name in FRAME}
    dtypes = {"age": "float32", "rooms": "int32", "garden": "float32"}
    assert_same(
        trained(model_of_inputs(**dtypes), shuffled, PRICE),
        trained(model_of_inputs(**dtypes), by_hand, PRICE),
    )


def test_an_integer_input_gets_the_codes_of_a_factor():
    frame = FRAME.assign(kind=KINDS)[["age", "kind"]]
    by_hand = {"age": FRAME[["age"]].to_numpy("float32"), "kind": KINDS.codes.astype("int32")[:, None]}
    dtypes = {"age": "float32", "kind": "int32"}
    assert_same(
        trained(model_of_inputs(**dtypes), frame, PRICE), trained(model_of_inputs(**dtypes), by_hand, PRICE)
    )


def test_columns_need_not_be_in_the_order_of_inputs():
    inputs = [keras.Input((1,), name="size"), keras.Input((1,), name="kind", dtype="int32")]
    embedded = layers.Flatten()(layers.Embedding(3, 2)(inputs[1]))
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()([embedded, inputs[0]])))
    model.compile("sgd", "mse")
    kerasfit.fit(model, pd.DataFrame({"kind": KINDS, "size": 100 + PRICE}), PRICE, verbose=0)
    with pytest.raises(DataError, match=r"`x\$kind` has the value 3, but the embedding"):
        kerasfit.fit(model, pd.DataFrame({"kind": KINDS.codes + 1, "size": PRICE}), PRICE, verbose=0)


def test_columns_are_matched_by_their_names_in_training():
    x, y = FRAME[["age", "rooms"]], pd.DataFrame({"u": PRICE, "v": -PRICE})
    backwards = x[["rooms", "age"]], y[["v", "u"]]
    model = matrix_model(columns=2, units=2)
    history = kerasfit.fit(model, x, y, validation_data=backwards, verbose=0)
    wanted = kerasfit.evaluate(model, x, y, verbose=0)
    assert history.metrics["val_loss"] == [wanted["loss"]]
    assert kerasfit.evaluate(model, *backwards, verbose=0) == wanted
    assert_same(kerasfit.predict(model, x, verbose=0), kerasfit.predict(model, backwards[0], verbose=0))
    batches = [(x[:20], y[:20]), tuple(part[20:] for part in backwards)]
    assert kerasfit.evaluate(model, iter(batches), verbose=0)["loss"] == pytest.approx(wanted["loss"], 1e-4)
    with pytest.raises(
        DataError, match="`x` has the columns a and b, but the model was trained on age and rooms"
    ):
        kerasfit.predict(model, x.set_axis(["a", "b"], axis=1), verbose=0)
    with pytest.raises(DataError, match=r"`validation_data\[\[2\]\]` has the columns"):
        kerasfit.fit(model, x, y, validation_data=(x, y.set_axis(["a", "b"], axis=1)), verbose=0)
    kerasfit.predict(model, x.to_numpy(), verbose=0)
    with pytest.raises(DataError, match="`x` has the columns a and b, but the model was trained on"):
        kerasfit.fit(model, x.set_axis(["a", "b"], axis=1), y, verbose=0)


def test_input_factors_are_encoded_with_the_training_levels():
    keras.utils.set_random_seed(1)
    inputs = [keras.Input((1,), name="size"), keras.Input((1,), name="kind", dtype="int32")]
    embedded = layers.Flatten()(layers.Embedding(3, 2)(inputs[1]))
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()([embedded, inputs[0]])))
    model.compile("sgd", "mse")
    frame = pd.DataFrame({"kind": KINDS, "size": PRICE / 100})
    backwards = frame.assign(kind=KINDS.set_categories(["tower", "house", "barn"]))
    validated = kerasfit.fit(model, frame, PRICE, validation_data=(backwards, PRICE), verbose=0)
    assert validated.metrics["val_loss"] == [kerasfit.evaluate(model, frame, PRICE, verbose=0)["loss"]]
    assert_same(
        kerasfit.predict(model, frame, verbose=0)[KINDS == "tower"],
        kerasfit.predict(
            model, frame[KINDS == "tower"].assign(kind=pd.Categorical(["tower"] * 13)), verbose=0
        ),
    )
    wanted = kerasfit.evaluate(model, frame, PRICE, verbose=0)
    as_dict = {"kind": backwards["kind"].array, "size": PRICE / 100}
    for given in ((as_dict, PRICE), (iter([(as_dict, PRICE)]),)):
        loss = kerasfit.evaluate(model, *given, verbose=0)["loss"]
        assert loss == pytest.approx(wanted["loss"], 1e-4)
    other = frame.assign(kind=KINDS.rename_categories({"tower": "mill"}))
    for call in (kerasfit.predict, kerasfit.evaluate, kerasfit.fit):
        with pytest.raises(
            DataError, match=r"`x\$kind` has a level mill that the training data did not have"
        ):
            call(model, other, *([] if call is kerasfit.predict else [PRICE]), verbose=0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow alone has text")
@pytest.mark.parametrize("kind", [KINDS, np.array(KINDS.astype(object))])
def test_a_text_input_gets_labels(kind):
    keras.utils.set_random_seed(1)
    age, text = keras.Input((1,), name="age"), keras.Input((1,), name="kind", dtype="string")
    lookup = layers.StringLookup(vocabulary=["barn", "house", "tower"], output_mode="one_hot")
    model = keras.Model([age, text], layers.Dense(1)(layers.Concatenate()([age, lookup(text)])))
    model.compile("sgd", "mse")
    history = kerasfit.fit(model, FRAME.assign(kind=kind)[["kind", "age"]], PRICE, epochs=3, verbose=0)
    assert history.metrics["loss"][-1] < history.metrics["loss"][0]


def test_several_data_frames_are_several_inputs():
    keras.utils.set_random_seed(1)
    inputs = [keras.Input((2,)), keras.Input((1,))]
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()(inputs)))
    model.compile("sgd", "mse")
    before = model.get_weights()
    frames = [FRAME[["age", "rooms"]], FRAME[["garden"]]]
    one = trained(model, frames, PRICE)
    model.set_weights(before)
    assert_same(one, trained(model, [frame.to_numpy("float32") for frame in frames], PRICE))


def test_batches_may_be_data_frames():
    batches = [(FRAME[:20], KINDS[:20]), (FRAME[20:], KINDS[20:])]
    arguments = dict(units=3, activation="softmax", loss="sparse_categorical_crossentropy")
    codes = KINDS.codes.astype("int32")
    assert_same(
        trained_on(matrix_model(**arguments), iter(batches)),
        trained_on(matrix_model(**arguments), iter([(x.to_numpy("float32"), y.codes) for x, y in batches])),
    )
    assert codes.max() == 2


def trained_on(model, batches):
    kerasfit.fit(model, batches, verbose=0)
    return model.get_weights()


MISTAKES = {
    "factor": (FRAME.assign(kind=KINDS), r"`x\$kind` is a factor, but the model takes numbers"),
    "text": (FRAME.assign(kind="barn"), r"`x\$kind` is text, but the model takes numbers"),
    "missing": (FRAME.assign(age=FRAME.age.where(FRAME.age.index > 2)), r"`x\$age` has 3 missing values"),
    "no columns": (FRAME[[]], "`x` is a data frame without columns"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_column_that_is_not_numeric_is_named(mistake):
    frame, message = MISTAKES[mistake]
    with pytest.raises(DataError, match=message) as caught:
        kerasfit.fit(matrix_model(), frame, PRICE, verbose=0)
    assert caught.value.argument == "x"


MISTAKES_OF_INPUTS = {
    "too few": (FRAME[["age"]], "without the column `kind`, which the model has an input for"),
    "too many": (
        FRAME.assign(kind=0),
        r"`x\$rooms` is not an input of the model, whose inputs are `age` and",
    ),
    "factor": (FRAME.assign(kind=KINDS)[["age", "kind"]], r"`x\$kind` is a factor, .* of type float32"),
}


@pytest.mark.parametrize("mistake", MISTAKES_OF_INPUTS)
def test_columns_and_inputs_must_match(mistake):
    frame, message = MISTAKES_OF_INPUTS[mistake]
    with pytest.raises(DataError, match=message):
        kerasfit.fit(model_of_inputs(age="float32", kind="float32"), frame, PRICE, verbose=0)


# ---- targets -------------------------------------------------------------------------------------------


def test_a_factor_is_one_hot_encoded_for_a_categorical_loss():
    arguments = dict(units=3, activation="softmax", loss="categorical_crossentropy")
    one_hot = np.eye(3, dtype="float32")[KINDS.codes]
    assert_same(
        trained(matrix_model(**arguments), FRAME, KINDS, validation_split=0.2),
        trained(matrix_model(**arguments), FRAME, one_hot, validation_split=0.2),
    )


def test_the_history_keeps_levels():
    model = matrix_model(units=3, activation="softmax", loss="sparse_categorical_crossentropy")
    assert kerasfit.fit(model, FRAME, KINDS, verbose=0).params["levels"] == ["barn", "house", "tower"]
    assert "levels" not in kerasfit.fit(matrix_model(), FRAME, PRICE, verbose=0).params
    history = kerasfit.fit(model_of_outputs(), FRAME, {"kind": KINDS, "price": PRICE}, verbose=0)
    assert history.params["levels"] == {"kind": ["barn", "house", "tower"]}


def test_targets_may_be_a_data_frame():
    y = FRAME[["age", "rooms"]]
    assert_same(
        trained(matrix_model(units=2), FRAME, y), trained(matrix_model(units=2), FRAME, y.to_numpy("float32"))
    )
    by_output = pd.DataFrame({"price": PRICE, "kind": KINDS})
    assert_same(
        trained(model_of_outputs(), FRAME, by_output),
        trained(model_of_outputs(), FRAME, [KINDS.codes.astype("int32"), PRICE]),
    )
    arguments = dict(units=3, activation="softmax", loss="sparse_categorical_crossentropy")
    assert_same(
        trained(matrix_model(**arguments), FRAME, by_output[["kind"]]),
        trained(matrix_model(**arguments), FRAME, KINDS),
    )


def test_validation_data_frames_are_encoded_with_the_training_levels():
    y = pd.DataFrame({"price": PRICE, "kind": KINDS})
    other = y.assign(kind=KINDS.set_categories(["tower", "house", "barn"]))
    losses = [
        kerasfit.fit(model_of_outputs(), FRAME, y, validation_data=(FRAME, y_val), verbose=0).metrics[
            "val_loss"
        ]
        for y_val in (y, other)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("built", [True, False])
def test_a_sample_weight_applies_to_all_timesteps_of_the_sample(built):
    model = keras.Sequential([*([keras.Input((4, 2))] if built else []), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse", weighted_metrics=["mae"])
    x = RANDOM.normal(size=(12, 4, 2)).astype("float32")
    y = x[:, :, :1] * 2
    weights = np.arange(12.0)
    error = np.abs(kerasfit.predict(model, x, verbose=0) - y)[..., 0]
    wanted = {
        "loss": (error**2 * weights[:, None]).mean(),
        "mae": (error * weights[:, None]).sum() / weights.sum() / 4,
    }
    results = (
        kerasfit.evaluate(model, x, y, sample_weight=weights, verbose=0),
        kerasfit.evaluate(model, iter([(x, y, weights)]), verbose=0),
        {n: v[0] for n, v in kerasfit.fit(model, x, y, sample_weight=weights, verbose=0).metrics.items()},
    )
    for result in results:
        assert result == pytest.approx(wanted, 1e-4)


# ---- class weights of outputs --------------------------------------------------------------------------

OF_KIND = np.array([2.0, 1.0, 5.0], "float32")[KINDS.codes]
ONES = np.ones(SAMPLES, "float32")


@pytest.mark.parametrize(
    "form", ["list", "by name", "batches", "batches of factors", "beside sample weights"]
)
def test_class_weights_of_an_output_are_its_sample_weights(form):
    x, y = FRAME.to_numpy("float32"), [KINDS, PRICE]
    weights = {"kind": {"barn": 2, "tower": 5}}
    if form == "by name":
        y = {"kind": KINDS, "price": PRICE}
    if form.startswith("batches"):
        kinds = KINDS
        if form == "batches":
            weights, kinds = {"kind": {"0": 2, "1": 1, "2": 5}}, KINDS.codes.astype("int32")
        batches = [(x[at : at + 16], (kinds[at : at + 16], PRICE[at : at + 16])) for at in (0, 16, 32)]
        actual = model_of_outputs()
        kerasfit.fit(actual, iter(batches), class_weight=weights, verbose=0)
        actual = actual.get_weights()
    else:
        beside = {"sample_weight": [3 * ONES, PRICE**2]} if form == "beside sample weights" else {}
        actual = trained(model_of_outputs(), x, y, class_weight=weights, **beside)
    by_definition = [3 * OF_KIND, PRICE**2] if form == "beside sample weights" else [OF_KIND, ONES]
    codes = [KINDS.codes.astype("int32"), PRICE]
    assert_same(actual, trained(model_of_outputs(), x, codes, sample_weight=by_definition))


def test_class_weights_for_an_unknown_output_or_without_a_class_are_named():
    with pytest.raises(kerasfit.errors.ArgumentError, match=r"`class_weight\$size` names an output"):
        kerasfit.fit(model_of_outputs(), FRAME, [KINDS, PRICE], class_weight={"size": {"0": 1}}, verbose=0)
    with pytest.raises(
        kerasfit.errors.ArgumentError, match=r"`class_weight\$kind` has no weight for class 2"
    ):
        kerasfit.fit(
            model_of_outputs(), FRAME, [KINDS, PRICE], class_weight={"kind": {"0": 1, "1": 1}}, verbose=0
        )


@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("dtype", [str, object])
def test_text_in_any_batch_for_a_numeric_model_is_named(verb, dtype):
    words = np.full((SAMPLES, 3), "a", dtype)
    numbers, y = models.numbers(3), models.numbers(1)
    steps = {"fit": {"steps_per_epoch": 3}}.get(verb, {"steps": 3})
    with pytest.raises(DataError, match=r"`x\(\)\[\[1\]\]` is text, but the model takes numbers"):
        getattr(kerasfit, verb)(
            matrix_model(), iter([(numbers, y), (words, y), (numbers, y)]), **steps, verbose=0
        )


# ---- missing values ------------------------------------------------------------------------------------


def test_all_columns_with_missing_values_are_named_in_one_error():
    holes = FRAME.assign(age=np.nan, rooms=FRAME.rooms.where(FRAME.rooms > 0))
    message = r"`x` has missing values in the columns `age` \(40\) and `rooms` \(8\)"
    with pytest.raises(DataError, match=message):
        kerasfit.fit(matrix_model(), holes, PRICE, verbose=0)
    inputs = model_of_inputs(age="float32", rooms="float32", garden="float32")
    with pytest.raises(DataError, match=message):
        kerasfit.fit(inputs, holes, PRICE, verbose=0)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [SAMPLES, 50_000])
def test_missing_and_infinite_values_are_counted(order, dtype, rows):
    x = np.ones((rows, 30), dtype, order)
    y = np.zeros(rows, "float32")
    model, before = matrix_model(30), np.random.get_state()[1].copy()
    x[3, 7] = x[rows - 1, 29] = np.nan
    with pytest.raises(DataError, match="`x` has 2 missing values"):
        kerasfit.fit(model, x, y, verbose=0)
    x[3, 7], x[rows - 1, 29] = 1, -np.inf
    with pytest.raises(DataError, match="`x` has 1 infinite value"):
        kerasfit.fit(model, x, y, verbose=0)
    x[rows - 1, 29], y[5] = 1, np.nan
    with pytest.raises(DataError, match="`y` has 1 missing value"):
        kerasfit.fit(model, x, y, verbose=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("values", [np.matrix, lambda x: x.astype(">f4"), lambda x: x.astype(">i4")])
def test_numpy_matrices_and_big_endian_arrays_are_accepted(values):
    x = np.arange(30).reshape(10, 3).astype("float32")
    losses = []
    for given in (x, values(x)):
        history = kerasfit.fit(matrix_model(), given, given[:, :1], epochs=2, verbose=0)
        losses.append(history.metrics["loss"])
        assert kerasfit.predict(matrix_model(), given, verbose=0).shape == (10, 1)
    assert losses[0] == losses[1]


def test_a_batch_without_samples_is_named():
    batches = iter([(np.ones((4, 3), "float32"), np.ones(4)), (np.ones((0, 3), "float32"), np.ones(0))])
    with pytest.raises(DataError, match=r"`x\(\)\[\[1\]\]` has no samples"):
        kerasfit.fit(matrix_model(), batches, verbose=0)


def test_a_factor_is_not_a_sample_weight():
    x = np.ones((SAMPLES, 3), "float32")
    for weights in (KINDS, pd.DataFrame({"weight": KINDS})):
        with pytest.raises(DataError, match="is a factor"):
            kerasfit.fit(matrix_model(), x, PRICE, sample_weight=weights, verbose=0)


def test_finite_values_whose_sum_overflows_are_accepted():
    x = np.full((SAMPLES, 3), 3e38, "float32")
    kerasfit.predict(matrix_model(), x, verbose=0)
    with pytest.raises(DataError, match=r"1e\+300 is finite in R, and infinite as float32"):
        kerasfit.predict(matrix_model(), np.array([[1e300, 1, 1]]), verbose=0)


def test_missing_values_may_be_allowed():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((3,)), layers.Lambda(lambda x: keras.ops.nan_to_num(x)), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    holes = FRAME.assign(age=np.nan)
    for x in (holes, holes.to_numpy("float32"), lambda: iter([(holes, PRICE)])):
        y = None if callable(x) else PRICE
        history = kerasfit.fit(model, x, y, allow_missing=True, verbose=0)
        assert np.isfinite(history.metrics["loss"][-1])


def test_missing_values_in_a_batch_are_counted():
    batch = models.numbers(5).copy()
    batch[:4, 1] = np.nan
    with pytest.raises(DataError, match=r"`x\(\)\[\[1\]\]` has 4 missing values"):
        kerasfit.fit(matrix_model(5), iter([(batch, models.numbers(1))]), verbose=0)


# ---- arrays that are never loaded as a whole -----------------------------------------------------------


def sparse_matrix(rows=SAMPLES, columns=7, count=80):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    places = RANDOM.integers(0, rows, count), RANDOM.integers(0, columns, count)
    return scipy_sparse.csc_matrix((RANDOM.normal(size=count), places), shape=(rows, columns))


def test_a_generator_may_yield_sparse_batches():
    sparse = sparse_matrix().tocsr()

    def batches(of):
        for start in range(0, SAMPLES, 8):
            yield of[start : start + 8], np.ones((of.shape[0], 1))[start : start + 8]

    def losses(of):
        model = matrix_model(columns=7)
        return kerasfit.fit(model, lambda: batches(of), epochs=2, verbose=0).metrics["loss"]

    assert losses(sparse) == losses(sparse.toarray())


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_sparse_matrix_trains_as_the_dense_one(shuffle):
    sparse = sparse_matrix()
    weights = []
    for x in (sparse, sparse.toarray()):
        model = matrix_model(7)
        arguments = dict(plan="step", validation_split=0.25, shuffle=shuffle, verbose=0)
        history = kerasfit.fit(model, x, PRICE, batch_size=8, epochs=2, **arguments)
        dense = kerasfit.predict(model, sparse.toarray(), verbose=0)
        np.testing.assert_allclose(kerasfit.predict(model, x, verbose=0), dense, rtol=1e-6)
        weights.append([*model.get_weights(), history.metrics["val_loss"]])
    assert_same(*weights)


def test_a_sparse_matrix_is_never_converted_to_a_dense_one():
    import tracemalloc

    sparse = sparse_matrix(100_000, 5_000, 500_000)
    model = matrix_model(5_000)
    tracemalloc.start()
    kerasfit.fit(
        model, sparse, np.zeros(100_000, "float32"), batch_size=512, steps_per_epoch=5, plan="step", verbose=0
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6  # the dense matrix has 2 GB


def test_missing_values_in_a_sparse_matrix_are_counted():
    sparse = sparse_matrix()
    sparse.data[:2] = np.nan
    with pytest.raises(DataError, match="`x` has 2 missing values"):
        kerasfit.fit(matrix_model(7), sparse, PRICE, verbose=0)


def test_a_memory_mapped_array_is_read_batch_by_batch(tmp_path):
    x = RANDOM.normal(size=(SAMPLES, 3))
    mapped = np.memmap(tmp_path / "x", "float64", "w+", shape=x.shape)
    mapped[:] = x
    read = np.memmap(tmp_path / "x", "float64", "r", shape=x.shape)
    assert_same(
        trained(matrix_model(), read, PRICE, plan="step", validation_split=0.25),
        trained(matrix_model(), x, PRICE, plan="step", validation_split=0.25),
    )
    mapped[30, 1] = np.nan
    with pytest.raises(DataError, match="`x` has 1 missing value"):
        kerasfit.fit(matrix_model(), read, PRICE, verbose=0)


# ---- Python datasets -----------------------------------------------------------------------------------


class Numbered(keras.utils.PyDataset):
    """A dataset of numbered batches that records which were requested."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.asked, self.ended = [], 0

    def __len__(self):
        return 5

    def __getitem__(self, number):
        self.asked.append(number)
        rows = slice(8 * number, 8 * number + 8)
        return FRAME.to_numpy("float32")[rows], PRICE[rows]

    def on_epoch_end(self):
        self.ended += 1


@pytest.mark.parametrize("workers", [1, 3])
def test_a_py_dataset_trains_as_its_arrays(workers):
    dataset, model, other = Numbered(workers=workers), matrix_model(), matrix_model()
    history = kerasfit.fit(model, dataset, epochs=2, shuffle=False, plan="step", verbose=0)
    kerasfit.fit(other, FRAME, PRICE, batch_size=8, epochs=2, shuffle=False, plan="step", verbose=0)
    assert_same(model.get_weights(), other.get_weights())
    assert sorted(dataset.asked) == sorted([*range(5)] * 2)
    assert dataset.ended == 2
    assert history.params["steps"] == 5


def test_a_py_dataset_is_shuffled():
    dataset = Numbered()
    keras.utils.set_random_seed(1)
    kerasfit.fit(matrix_model(), dataset, epochs=2, verbose=0)
    one, other = dataset.asked[:5], dataset.asked[5:]
    assert sorted(one) == sorted(other) == [*range(5)]
    assert one != other or one != [*range(5)]


# ---- errors found only in batches or once the model is built -------------------------------------------


def unbuilt():
    model = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, activation="softmax")

    def call(self, x):
        return self.dense(x)


def subclassed():
    model = Subclassed()
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


ROWS, CODES = models.numbers(5), models.classes(3)


@pytest.mark.parametrize("form", ["arrays", "batches"])
@pytest.mark.parametrize(
    "build", [lambda: models.dense()[0], unbuilt, subclassed], ids=["built", "unbuilt", "subclassed"]
)
def test_a_class_without_an_output_is_an_error_in_any_model(build, form):
    model = build()
    wrong = (ROWS, CODES + 1)
    data = wrong if form == "arrays" else (iter([wrong]),)
    if build is subclassed and BACKEND != "jax":  # they raise their own error
        with pytest.raises(Exception, match="3"):
            kerasfit.fit(model, *data, verbose=0)
        return
    with pytest.raises(DataError, match="has the value 3, but the model's output has 3 values: 0 to 2"):
        kerasfit.fit(model, *data, verbose=0)
    kerasfit.fit(model, ROWS, CODES, verbose=0)


def test_factors_in_batches_are_encoded_with_the_levels_of_the_first():
    levels = ["a", "b", "c"]
    batches = [(ROWS[:3], pd.Categorical(["c", "a", "b"], own)) for own in (levels, levels[::-1])]
    batches.append((ROWS[:2], pd.Categorical(["c", "b"])))
    coded = [(x, np.array([levels.index(level) for level in y])) for x, y in batches]

    def trained_on(batches):
        keras.utils.set_random_seed(1)
        model = models.dense()[0]
        return kerasfit.fit(model, iter(batches), validation_data=iter(batches[::-1]), verbose=0)

    ours, wanted = trained_on(batches), trained_on(coded)
    assert ours.params["levels"] == levels
    assert ours.metrics == wanted.metrics
    with pytest.raises(
        DataError, match="has a level b that the training data did not have: the levels are a"
    ):
        kerasfit.fit(models.dense()[0], iter([(ROWS[:1], pd.Categorical([own])) for own in "ab"]), verbose=0)


def test_class_weights_for_a_generator_may_name_the_levels_of_its_factors():
    levels, weights = ["1", "2", "3"], np.array([1, 4, 1], "float32")

    def weights_after(y, **arguments):
        keras.utils.set_random_seed(1)
        model = models.dense()[0]
        kerasfit.fit(model, iter([(ROWS, y, *arguments.pop("sample_weight", ()))]), verbose=0, **arguments)
        return model.get_weights()

    factor = pd.Categorical.from_codes(CODES, levels)
    assert_same(
        weights_after(factor, class_weight={"2": 4}), weights_after(CODES, sample_weight=(weights[CODES],))
    )
    unknown = 'class "four" that does not exist: `y` has the levels 1, 2 and 3'
    with pytest.raises(kerasfit.errors.ArgumentError, match=unknown):
        weights_after(factor, class_weight={"four": 4})


def test_evaluation_uses_the_training_levels():
    model, levels = models.dense()[0], ["a", "b", "c"]
    factor = pd.Categorical.from_codes(CODES, levels)
    kerasfit.fit(model, ROWS, factor, verbose=0)
    wanted = kerasfit.evaluate(model, ROWS, CODES, verbose=0)
    assert kerasfit.evaluate(model, ROWS, factor, verbose=0) == wanted
    backwards = pd.Categorical(factor, levels[::-1])
    assert kerasfit.evaluate(model, ROWS, backwards, verbose=0) == wanted
    with pytest.raises(
        DataError, match="`y` has a level d that the training data did not have: the levels are a, b and c"
    ):
        kerasfit.evaluate(model, ROWS, factor.rename_categories([*"abd"]), verbose=0)


@pytest.mark.parametrize("outputs", [list, dict])
@pytest.mark.parametrize("losses", [list, dict])
@pytest.mark.parametrize("names", [("sort", "kind"), ("a", "b")])
def test_targets_are_checked_against_the_output_with_their_name(outputs, losses, names):
    inputs = keras.Input((4,))
    heads = [
        keras.layers.Dense(3, "softmax", name=names[0])(inputs),
        keras.layers.Dense(5, "softmax", name=names[1])(inputs),
    ]
    model = keras.Model(inputs, heads if outputs is list else dict(zip(names, heads, strict=True)))
    loss = "sparse_categorical_crossentropy"
    model.compile("sgd", [loss, loss] if losses is list else dict.fromkeys(names, loss))
    x, codes = np.ones((10, 4), "float32"), np.arange(10, dtype="int32")
    kerasfit.fit(model, x, {names[0]: codes % 3, names[1]: codes % 5}, verbose=0)
    with pytest.raises(DataError, match="has the value 4, but the model's output has 3 values"):
        kerasfit.fit(model, x, {names[0]: codes % 5, names[1]: codes % 5}, verbose=0)


def for_two_classes():
    model = keras.Sequential([keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    return model


@pytest.mark.parametrize(
    ("y", "value"),
    [
        (pd.Categorical.from_codes(1 + CODES % 2, ["a", "b", "c"]), "2"),
        (CODES + 1, "3"),
        (2 * (CODES % 2) - 1, "-1"),
    ],
)
def test_a_binary_loss_accepts_two_classes(y, value):
    with pytest.raises(DataError, match=f"`y` has the value {value}, but the loss takes classes 0 and 1"):
        kerasfit.fit(for_two_classes(), ROWS, y, verbose=0)


@pytest.mark.parametrize("y", [CODES % 2, (CODES % 2).astype(float), CODES / 2])
def test_a_binary_loss_accepts_two_classes_and_values_between_them(y):
    model = for_two_classes()
    kerasfit.fit(model, ROWS, y, verbose=0)
    evaluated = kerasfit.evaluate(model, ROWS, y, verbose=0)
    np.testing.assert_allclose(evaluated["loss"], model.evaluate(ROWS, y, verbose=0), rtol=1e-5)


def without_inputs():
    model = keras.Sequential([layers.Dense(2), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_a_vector_is_a_column_for_a_model_without_inputs():
    for x in (ROWS[:, 0], pd.Series(ROWS[:, 0])):
        model = without_inputs()
        kerasfit.fit(model, x, ROWS[:, 1], verbose=0)
        assert model.layers[0].kernel.shape == (1, 2)


def test_text_and_empty_data_are_reported_before_a_model_is_built():
    model = without_inputs()
    with pytest.raises(DataError, match="`x` is text, but the model takes numbers there"):
        kerasfit.fit(model, ROWS.astype(str), ROWS[:, 1], verbose=0)
    with pytest.raises(DataError, match="`x` is a data frame without columns"):
        kerasfit.fit(model, pd.DataFrame(index=range(len(ROWS))), ROWS[:, 1], verbose=0)
    assert not model.built


def test_parts_of_a_batch_must_have_the_same_number_of_samples():
    with pytest.raises(DataError, match="must have equal numbers of samples"):
        kerasfit.fit(models.dense()[0], iter([(ROWS[:10], CODES[:9])]), verbose=0)


def test_weights_may_be_given_for_some_outputs():
    model, x, y = models.several_outputs()
    first, second = model.output_names
    weights = np.linspace(0, 1, len(keras.tree.flatten(x)[0])).astype("float32")

    def losses(sample_weight):
        return kerasfit.evaluate(model, x, y, sample_weight=sample_weight, verbose=0)

    model.compile("sgd", dict(zip(model.output_names, keras.tree.flatten(model.loss), strict=True)))
    y = dict(zip(model.output_names, keras.tree.flatten(y), strict=True))
    whole = {first: weights, second: np.ones_like(weights)}
    assert losses({first: weights}) == losses(whole) == losses(list(whole.values()))
    assert losses({first: weights, second: None}) == losses(whole)
    with pytest.raises(DataError, match="`sample_weight` names `other`, but the model's outputs are"):
        losses({"other": weights})


def test_a_missing_label_is_an_error_and_not_the_text_nan():
    town = keras.Input((1,), dtype="string", name="town")
    if BACKEND != "tensorflow":
        pytest.skip("no text")
    model = keras.Model(town, keras.layers.StringLookup(vocabulary=["a", "nan"])(town))
    with pytest.raises(DataError, match="is a factor with 1 missing value"):
        kerasfit.predict(model, pd.DataFrame({"town": pd.Categorical(["a", None])}), verbose=0)


def test_a_single_named_input_takes_a_data_frame_without_a_warning(recwarn):
    age = keras.Input((1,), name="age")
    model = keras.Model(age, keras.layers.Dense(1)(age))
    model.compile("sgd", "mse")
    kerasfit.fit(model, pd.DataFrame({"age": np.arange(9.0)}), np.arange(9.0), verbose=0)
    by_name = keras.Model({"age": age}, keras.layers.Dense(1)(age))
    by_name.compile("sgd", "mse")
    kerasfit.fit(by_name, pd.DataFrame({"age": np.arange(9.0)}), np.arange(9.0), verbose=0)
    assert not [warning for warning in recwarn if "structure" in str(warning.message)]


def test_the_targets_of_a_single_output_may_be_named():
    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(3, activation="softmax", name="kind")(inputs)
    for model in (
        models.dense()[0],
        keras.Model(inputs, outputs),
        keras.Model(inputs, {"kind": outputs}),
    ):
        model.compile("sgd", "sparse_categorical_crossentropy")
        weights = {"sample_weight": np.ones(len(CODES)), "class_weight": {0: 2, 1: 1, 2: 1}}
        named = kerasfit.fit(model, ROWS, {"kind": CODES}, **weights, verbose=0)
        assert np.isfinite(named.metrics["loss"]).all()
        if not isinstance(model, keras.Sequential):
            with pytest.raises(DataError, match="`y` names `other`, but the model's output is `kind`"):
                kerasfit.fit(model, ROWS, {"other": CODES}, verbose=0)
        with pytest.raises(DataError, match="`y` names `kind` and `other`"):
            kerasfit.fit(model, ROWS, {"kind": CODES, "other": CODES}, verbose=0)


def test_targets_are_not_broadcast_over_outputs_of_another_shape():
    x = RANDOM.normal(size=(SAMPLES, 3)).astype("float32")
    times = RANDOM.normal(size=(SAMPLES, 4, 3)).astype("float32")
    for given, y, message in (
        (x, np.stack([PRICE, PRICE], 1), "`y` has 2 columns, but the model's output has 1"),
        (times, PRICE, r"`y` has dimensions \(40\), but the model's output has \(samples, 4, 1\)"),
    ):
        for loss in ("mse", keras.losses.Huber()):
            model = keras.Sequential([layers.Dense(1)])
            model.compile("sgd", loss)
            for call in (kerasfit.fit, kerasfit.evaluate):
                with pytest.raises(DataError, match=message):
                    call(model, given, y, verbose=0)
            with pytest.raises(DataError, match=message.replace("`y`", r"`validation_data\[\[2\]\]`")):
                right = np.zeros((*given.shape[:-1], 1))
                kerasfit.fit(model, given, right, validation_data=(given, y), verbose=0)
    model = keras.Sequential([layers.Dense(1)])
    model.compile(
        "sgd", lambda y, y_pred: keras.ops.mean(y, -1) - y_pred[:, 0]
    )  # a loss that accepts any shape
    kerasfit.fit(model, x, np.stack([PRICE, PRICE], 1), verbose=0)


def test_fractions_are_not_indices():
    model = matrix_model(units=3, activation="softmax", loss="sparse_categorical_crossentropy")
    with pytest.raises(DataError, match=r"`y` has the value 0\.5: indices must be whole"):
        kerasfit.fit(model, FRAME, np.repeat([0.5, 1], SAMPLES // 2), verbose=0)


def test_classes_at_several_timesteps_are_not_one_hot_rows():
    model = keras.Sequential([layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    x, y = RANDOM.normal(size=(SAMPLES, 5, 2)), np.arange(SAMPLES * 5).reshape(SAMPLES, 5) % 2
    weights = {"0": 1, "1": 2}
    with pytest.raises(DataError, match="the rows of `y` are not one-hot") as raised:
        kerasfit.fit(model, x, y, class_weight=weights, verbose=0)
    assert "(samples, 5, 1)" in raised.value.hint
    kerasfit.fit(model, x, y[..., None], class_weight=weights, verbose=0)


@pytest.mark.parametrize("form", [pd.Series, pd.DataFrame])
def test_metrics_of_a_single_column_of_targets_are_those_of_keras(form):
    """A vector would be compared with a vector of outputs, which gives one value of the metric per batch."""
    x, y = models.numbers(5), form(models.classes(2).astype("float32"))
    model = matrix_model(columns=5, activation="sigmoid", loss="binary_crossentropy")
    model.compile("sgd", "binary_crossentropy", metrics=["hinge"])
    options = {"batch_size": 32, "verbose": 0}
    expected = model.evaluate(x, y, return_dict=True, **options)
    assert kerasfit.evaluate(model, x, y, **options) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
def test_named_arrays_without_an_input_are_ignored_as_in_keras():
    model = model_of_inputs(a="float32", b="float32")
    x = {"c": -PRICE, "a": PRICE, "b": 2 * PRICE}
    kerasfit.fit(model, x, PRICE, verbose=0)
    np.testing.assert_allclose(kerasfit.predict(model, x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)


def test_dict_inputs_are_identified_by_their_keys():
    inputs = {"u": keras.Input((1,), name="a"), "k": keras.Input((1,), name="b")}
    model = keras.Model(inputs, layers.Dense(1)(inputs["u"] - 2 * inputs["k"]))
    model.compile("sgd", "mse")
    x = {"u": PRICE, "k": PRICE**2}
    expected = model.predict(x, verbose=0)
    for given in (x, pd.DataFrame(x)):
        np.testing.assert_allclose(kerasfit.predict(model, given, verbose=0), expected, rtol=1e-5)
    with pytest.raises(DataError, match=r"`x` names `a` and `b`, but the model's inputs are `k` and `u`"):
        kerasfit.fit(model, {"a": PRICE, "b": PRICE}, PRICE, verbose=0)


@pytest.mark.parametrize("built", [True, False])
def test_a_named_list_without_the_single_input_is_an_error(built):
    model = matrix_model()
    if not built:
        model = keras.Sequential([layers.Dense(1)])
        model.compile("sgd", "mse")
    x = FRAME.to_numpy("float32")
    with pytest.raises(
        DataError, match=r"`x` is a list with the name `z`\. A named list gives inputs by name"
    ):
        kerasfit.fit(model, {"z": x}, PRICE, verbose=0)
    assert model.built == built


def test_a_first_layer_may_take_a_named_list():
    class Sum(layers.Layer):
        def call(self, inputs):
            return inputs["u"] + inputs["v"]

    model = keras.Sequential([Sum(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = {"u": FRAME.to_numpy("float32"), "v": FRAME.to_numpy("float32")}
    kerasfit.fit(model, x, PRICE, verbose=0)
    assert kerasfit.predict(model, x, verbose=0).shape == (SAMPLES, 1)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow alone has ragged tensors")
def test_ragged_rows_work_in_batches_and_are_an_error_in_memory():
    import tensorflow as tf

    inputs = keras.Input((None, 1))
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(inputs))
    rows = tf.RaggedTensor.from_row_lengths([[1.0], [2.0], [3.0], [3.0], [3.0]], [2, 3])
    expected = [[1.5], [3.0]]
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(2)
    for batches in (dataset, iter([(rows,)])):
        np.testing.assert_allclose(kerasfit.predict(model, batches, verbose=0), expected)
    with pytest.raises(DataError, match=r"`x` is a ragged tensor, .*, which cannot be used here"):
        kerasfit.predict(model, rows, verbose=0)


@pytest.mark.parametrize("alone", [lambda x: x, lambda x: [x], pd.DataFrame])
def test_a_model_without_targets_is_validated_on_inputs_alone(alone):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.ActivityRegularization(l2=0.1)(layers.Dense(2)(inputs)))
    model.compile("sgd")
    history = kerasfit.fit(model, ROWS, validation_data=alone(ROWS), verbose=0)
    expected = kerasfit.evaluate(model, ROWS, verbose=0)["loss"]
    np.testing.assert_allclose(history.metrics["val_loss"], [expected], rtol=1e-5)


def test_several_inputs_without_targets_are_validated_on_a_list():
    inputs = [keras.Input((5,)), keras.Input((5,))]
    model = keras.Model(inputs, layers.ActivityRegularization(l2=0.1)(layers.Add()(inputs)))
    model.compile("sgd")
    for data in ([ROWS, ROWS], [[ROWS, ROWS]], [[ROWS, ROWS], None]):
        history = kerasfit.fit(model, [ROWS, ROWS], validation_data=data, verbose=0)
        assert np.isfinite(history.metrics["val_loss"]).all()


@pytest.mark.parametrize("built", [True, False])
def test_class_weights_apply_to_timesteps_if_the_loss_takes_class_codes(built):
    first = [keras.Input((4, 2))] if built else []
    model = keras.Sequential([*first, layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.random.default_rng(1).normal(size=(6, 4, 2)).astype("float32")
    y = np.arange(24).reshape(6, 4) % 3
    y[0] = [1, 0, 0, 0]  # looks one-hot
    weights = np.array([1.0, 5.0, 2.0])
    samples = np.arange(1.0, 7)
    model(x[:1])
    start = model.get_weights()
    losses = []
    for arguments in (
        dict(y=y, class_weight={0: 1, 1: 5, 2: 2}, sample_weight=samples),
        dict(y=y[..., None], class_weight={0: 1, 1: 5, 2: 2}, sample_weight=samples),
        dict(y=y, sample_weight=weights[y] * samples[:, None]),
    ):
        model.set_weights(start)
        losses.append(kerasfit.fit(model, x, **arguments, verbose=0).metrics["loss"][0])
    np.testing.assert_allclose(losses, losses[-1:] * 3, rtol=1e-5)


def test_timestep_weights_need_targets_with_a_last_dimension_of_one():
    model = keras.Sequential([keras.Input((4, 2)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 4, 2)), np.ones((4, 4))
    with pytest.raises(DataError, match=r"`y` a last dimension of 1: array\(y, c\(dim\(y\), 1\)\)"):
        kerasfit.fit(model, x, y, sample_weight=y, verbose=0)
    kerasfit.fit(model, x, y[..., None], sample_weight=y, verbose=0)


def test_negative_weights_are_for_custom_losses_only():
    def loss(y, y_pred):
        return keras.ops.mean(keras.ops.square(y - y_pred), axis=-1)

    model = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    weights = np.where(np.arange(len(ROWS)) % 2, -1.0, 1.0)
    model.compile("sgd", loss)
    kerasfit.fit(model, ROWS, ROWS[:, :1], sample_weight=weights, verbose=0)
    model.compile("sgd", "mse")
    for call in (
        lambda: kerasfit.fit(model, ROWS, ROWS[:, :1], sample_weight=weights, verbose=0),
        lambda: kerasfit.fit(model, iter([(ROWS, ROWS[:, :1], weights)]), verbose=0),
    ):
        with pytest.raises(DataError, match="negative values: weights must be 0 or more"):
            call()
