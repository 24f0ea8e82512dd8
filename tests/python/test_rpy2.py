"""R's values mean the same through rpy2 as in R: results are bit-identical to those with Python's values."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import kerasfit

if not shutil.which("R"):
    pytest.skip("R is not installed", allow_module_level=True)
ro = pytest.importorskip("rpy2.robjects")
if not ro.r["requireNamespace"]("kerasfit", quietly=True)[0]:
    pytest.skip("the R package kerasfit is not installed where R looks", allow_module_level=True)
from kerasfit.bridges.rpy2 import data_from_r, history_to_r, plain_from_r  # noqa: E402

CASES_DIR = Path(__file__).parents[1] / "cases"
sys.path.insert(0, str(CASES_DIR))
import cases  # noqa: E402

ro.r["source"](str(CASES_DIR / "world.R"))


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case["name"])
def test_a_case_trains_as_with_python_values(case):
    arguments = ro.r(case["r"])
    names = list(arguments.names) if arguments.names != ro.NULL else [""] * len(arguments)
    given = [value for name, value in zip(names, arguments, strict=True) if not name]
    named = {name: value for name, value in zip(names, arguments, strict=True) if name}
    model = cases.build(case["model"])
    kerasfit.fit(model, *given, **cases.options(case), **named)
    for expected, weights in zip(cases.train(case), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)


def test_arrays_share_the_memory_of_r():
    matrix = ro.r("matrix(as.double(1:6), 2)")
    array = data_from_r("x", matrix)
    np.testing.assert_array_equal(array, [[1, 3, 5], [2, 4, 6]])
    matrix[0] = 9
    assert array[0, 0] == 9


def test_raw_arrays_and_scaled_columns_are_numbers():
    raw = data_from_r("x", ro.r("matrix(as.raw(1:6), 2)"))
    np.testing.assert_array_equal(raw, [[1, 3, 5], [2, 4, 6]])
    frame = data_from_r("x", ro.r("within(data.frame(a = 1:3), a <- scale(a))"))
    np.testing.assert_array_equal(frame["a"], [-1, 0, 1])


@pytest.mark.parametrize(
    "code",
    ["I(m)", "ts(m)", "as.table(m)", "structure(m, class = 'own')", "Matrix::Matrix(m, sparse = FALSE)"],
)
def test_numbers_with_a_class_are_numbers(code):
    array = data_from_r("x", ro.r(f"m <- matrix(as.double(1:6), 2); {code}"))
    np.testing.assert_array_equal(array, [[1, 3, 5], [2, 4, 6]])


def test_a_matrix_in_a_data_frame_becomes_one_column_for_each_of_its_own():
    frame = data_from_r("x", ro.r("data.frame(a = 7:8, m = I(matrix(1:4, 2)))"))
    np.testing.assert_array_equal(frame, [[7, 1, 3], [8, 2, 4]])
    assert frame.attrs["matrices"] == {"m": ["m.1", "m.2"]}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("NULL", None),
        ("3L", 3),
        ("'auto'", "auto"),
        ("c(1, 3)", [1, 3]),
        ("list(a = 1)", {"a": 1}),
        ("TRUE", True),
        ("table(c('a', 'b', 'a'))", {"a": 2, "b": 1}),
        ("structure(4.94065645841247e-324, class = 'integer64')", 1.0),
        ("structure(4.94065645841247e-324, class = 'integer64', names = 'a')", {"a": 1.0}),
    ],
)
def test_other_arguments_become_plain_python_values(code, value):
    assert plain_from_r("verbose", ro.r(code)) == value


MISTAKES = {
    "x + 1i": "`x` is an object of class complex",
    "Sys.Date()": "`x` is an object of class Date",
    "c(1L, NA)": "`x` has 1 missing value",
    "c(TRUE, NA)": "`x` has 1 missing value",
    "c('a', NA, NA)": "`x` has 2 missing values",
    "list(a = x, x)": "some elements named and others not",
    "list(a = x, a = x)": '`x` names "a" more than once',
    "data.frame(a = c(1L, NA))": r"`x\$a` has 1 missing value",
    "data.frame(a = c(1L, NA), b = c(NA, 1))": r"missing values in the columns `a` \(1\) and `b` \(1\)",
    "y ~ x": "`x` is an object of class formula",
    "quote(f(x))": "`x` is an object of class call",
}


@pytest.mark.parametrize("code", MISTAKES)
def test_invalid_data_raise_the_same_error_as_in_r(code):
    with pytest.raises(kerasfit.ArgumentError, match=MISTAKES[code]):
        kerasfit.fit(cases.build("classifier"), ro.r(code), ro.r("species"))


def test_missing_values_as_arguments_are_errors():
    with pytest.raises(kerasfit.ArgumentError, match="`epochs` must not be NA"):
        kerasfit.fit(cases.build("classifier"), ro.r("x"), ro.r("species"), epochs=ro.r("NA_integer_"))


def test_a_history_becomes_the_history_class_of_r():
    history = kerasfit.fit(
        cases.build("classifier"),
        ro.r("x"),
        ro.r("species"),
        validation_split=0.2,
        epochs=3,
        validation_freq=2,
        verbose=0,
    )
    value = history_to_r(history)
    assert list(value.rclass) == ["kerasfit_history", "keras_training_history"]
    printed = "\n".join(ro.r["capture.output"](ro.r["print"](value)))
    assert "Training history: epochs 1 to 3" in printed
    frame, expected = ro.r["as.data.frame"](value), history.to_pandas()
    assert list(frame.names) == list(expected.columns)
    np.testing.assert_array_equal(data_from_r("x", frame[0]), expected["epoch"])
    np.testing.assert_array_equal(np.asarray(frame[1]), expected["value"])
    for column in (2, 3):
        assert list(ro.r["as.character"](frame[column])) == list(expected.iloc[:, column])
    assert list(value.rx2("params").rx2("levels")) == ["setosa", "versicolor", "virginica"]
    assert ro.r["inherits"](ro.r["plot"](value), "ggplot")[0]


def test_a_python_generator_may_yield_r_values():
    def batches():
        yield ro.r("x[1:60, ]"), ro.r("species[1:60]")
        yield ro.r("list(x[61:150, ], species[61:150])")

    trained, expected = cases.build("classifier"), cases.build("classifier")
    kerasfit.fit(trained, batches(), verbose=0)
    plain = [(cases.X[:60], cases.SPECIES[:60]), (cases.X[60:], cases.SPECIES[60:])]
    kerasfit.fit(expected, iter(plain), verbose=0)
    for theirs, weights in zip(expected.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, theirs)


def test_r_functions_are_callbacks():
    seen = ro.r("seen <- new.env(); seen")
    kerasfit.fit(
        cases.build("classifier"),
        ro.r("x"),
        ro.r("species"),
        epochs=2,
        verbose=0,
        callbacks=ro.r(
            "list(on_epoch_end = function(epoch, logs) seen$loss[epoch] <- logs$loss,"
            " on_epoch_begin = function() seen$begun <- TRUE,"
            " on_train_end = function(logs) seen$end <- is.null(names(logs)))"
        ),
    )
    assert len(seen["loss"]) == 2
    assert list(seen["begun"]) == [True]
    assert np.isfinite(list(seen["loss"])).all()


def test_predict_and_evaluate_accept_r_values():
    model = cases.build("classifier")
    np.testing.assert_array_equal(
        kerasfit.predict(model, ro.r("x"), verbose=0), kerasfit.predict(model, cases.X, verbose=0)
    )
    assert kerasfit.evaluate(model, ro.r("x"), ro.r("species"), verbose=0) == kerasfit.evaluate(
        model, cases.X, cases.SPECIES, verbose=0
    )
