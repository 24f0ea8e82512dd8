"""Text as inputs: columns of data frames, factors, and TensorFlow's tensors, with any backend."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

import kerasfit
from kerasfit.errors import DataError

tf = pytest.importorskip("tensorflow")
WORDS = ["good film", "bad film", "gut, schön", "bad"]
Y = np.array([1.0, 0.0, 1.0, 0.0])


def reader_of_words(shape: tuple | None = (1,)) -> keras.Model:
    vectors = layers.TextVectorization(max_tokens=10, output_sequence_length=3)
    vectors.adapt(WORDS)
    first = [] if shape is None else [keras.Input(shape, dtype="string")]
    model = keras.Sequential([*first, vectors, layers.Embedding(10, 2), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def with_a_number() -> keras.Model:
    number, text = keras.Input((1,), name="number"), keras.Input((1,), name="text", dtype="string")
    known = layers.StringLookup(vocabulary=WORDS, output_mode="one_hot")(text)
    model = keras.Model(
        {"number": number, "text": text}, layers.Dense(1)(layers.Concatenate()([number, known]))
    )
    model.compile("sgd", "mse")
    return model


runs_with_text = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it has no text")


@runs_with_text
@pytest.mark.parametrize("shape", [(1,), (), None])
def test_text_gives_the_same_results_in_every_form(shape):
    model = reader_of_words(shape)
    plain = np.array(WORDS)
    expected = kerasfit.predict(model, plain if shape == () else plain[:, None], verbose=0)
    forms = [
        tf.constant(WORDS) if shape == () else tf.constant(WORDS)[:, None],
        pd.DataFrame({"review": WORDS}),
        pd.DataFrame({"review": pd.Categorical(WORDS)}),
    ]
    if shape is not None:
        forms += [plain, pd.Categorical(WORDS), np.array(WORDS, dtype=object)]
    for form in forms:
        np.testing.assert_array_equal(kerasfit.predict(model, form, verbose=0), expected)
        loss = kerasfit.evaluate(model, form, Y, verbose=0)["loss"]
        validation = (form, Y)
        history = kerasfit.fit(
            model, form, Y, sample_weight=np.zeros(4), validation_data=validation, verbose=0
        )
        np.testing.assert_allclose(history.metrics["val_loss"], [loss], rtol=1e-5)


@runs_with_text
def test_text_tensors_work_together_with_numbers_in_memory_and_in_batches():
    model = with_a_number()
    x = {"number": np.arange(4.0)[:, None], "text": np.array(WORDS)[:, None]}
    tensors = {"number": tf.constant(x["number"]), "text": tf.constant(x["text"])}
    expected = kerasfit.predict(model, x, verbose=0)
    np.testing.assert_array_equal(kerasfit.predict(model, tensors, verbose=0), expected)
    np.testing.assert_array_equal(kerasfit.predict(model, iter([(tensors,)]), verbose=0), expected)
    kerasfit.fit(model, tensors, Y, validation_split=0.5, epochs=2, verbose=0)


@runs_with_text
def test_bytes_that_are_not_text_reach_the_model_unchanged():
    class Lengths(layers.Layer):
        def call(self, x):
            return tf.cast(tf.strings.length(x), "float32")

    model = keras.Sequential([keras.Input((1,), dtype="string"), Lengths()])
    lengths = kerasfit.predict(model, tf.constant([[b"\xff\x00\xfe"], [b"a\x00"]]), verbose=0)
    np.testing.assert_array_equal(lengths, [[3], [2]])


def test_text_tensors_are_an_error_where_the_model_takes_numbers():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    text = tf.constant(WORDS)[:, None]
    for x in (text, iter([(text, Y)])):
        with pytest.raises(DataError, match="is text, but the model takes numbers there"):
            kerasfit.fit(model, x, None if x is not text else Y, verbose=0)
    with pytest.raises(DataError, match="`y` is text"):
        kerasfit.fit(model, np.arange(4.0)[:, None], tf.constant(WORDS), verbose=0)


@runs_with_text
@pytest.mark.parametrize("shape", [(1,), None])
def test_numbers_are_an_error_where_the_model_takes_text(shape):
    model = reader_of_words(shape)
    for x in (np.arange(4), pd.DataFrame({"a": np.arange(4)})):
        with pytest.raises(DataError, match=r"is numbers, but the model takes text there. `as.character"):
            kerasfit.predict(model, x, verbose=0)
    with pytest.raises(DataError, match=r"`x\$text` is numbers"):
        kerasfit.fit(with_a_number(), pd.DataFrame({"number": Y, "text": Y}), Y, verbose=0)
