"""Class weights: how they become sample weights, and which are refused."""

from __future__ import annotations

import numpy as np
import pytest

from kerasfit.data.class_weights import ClassWeights
from kerasfit.errors import ArgumentError, DataError


def test_class_names_may_be_codes():
    weights = ClassWeights.of({"0": 1, "1": 5.0})
    np.testing.assert_array_equal(weights.sample_weights(np.array([1, 0, 1])), [5, 1, 5])


def test_class_names_may_be_numbers():
    weights = ClassWeights.of({0: 2, 1: 3})
    np.testing.assert_array_equal(weights.sample_weights(np.array([0.0, 1.0])), [2, 3])


def test_level_names_become_codes_and_unnamed_levels_weigh_one():
    weights = ClassWeights.of({"virginica": 5}, ["setosa", "versicolor", "virginica"])
    np.testing.assert_array_equal(weights.sample_weights(np.array([0, 1, 2])), [1, 1, 5])


def test_levels_that_look_like_codes_are_levels():
    weights = ClassWeights.of({"1": 7}, ["1", "2"])
    np.testing.assert_array_equal(weights.sample_weights(np.array([0, 1])), [7, 1])


def test_codes_are_accepted_instead_of_levels():
    weights = ClassWeights.of({"0": 1, "1": 3}, ["no", "yes"])
    np.testing.assert_array_equal(weights.sample_weights(np.array([1, 0])), [3, 1])


def test_the_class_of_a_one_hot_target_is_its_largest_entry():
    weights = ClassWeights.of({0: 1, 1: 2, 2: 3})
    np.testing.assert_array_equal(weights.sample_weights(np.eye(3)[[2, 0, 1]]), [3, 1, 2])


def test_a_last_dimension_of_one_is_dropped():
    weights = ClassWeights.of({0: 1, 1: 2})
    np.testing.assert_array_equal(weights.sample_weights(np.array([[1], [0]])), [2, 1])


def test_a_class_per_timestep_gives_a_weight_per_timestep():
    weights = ClassWeights.of({0: 1, 1: 2})
    np.testing.assert_array_equal(weights.sample_weights(np.array([[[1], [0]]])), [[2, 1]])


@pytest.mark.parametrize(
    ("class_weight", "levels", "message"),
    [
        ([1, 2], None, "named list"),
        ({}, None, "named list"),
        ({"a": 1}, None, "does not exist"),
        ({"-1": 1}, None, "does not exist"),
        ({"sertosa": 1}, ["setosa"], "levels setosa"),
        ({"5": 1}, ["no", "yes"], "does not exist"),
        ({"0": "heavy"}, None, "must be a number"),
        ({"0": True}, None, "must be a number"),
        ({"0": float("nan")}, None, "must be a number"),
    ],
)
def test_invalid_class_weights_raise_an_error(class_weight, levels, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        ClassWeights.of(class_weight, levels)
    assert caught.value.argument == "class_weight"


def test_a_class_in_the_data_without_a_weight_is_an_error():
    with pytest.raises(ArgumentError, match="no weight for classes 2 and 4"):
        ClassWeights.of({"0": 1, "1": 5}).sample_weights(np.array([0, 1, 2, 4]))


def test_targets_must_be_class_codes():
    with pytest.raises(DataError, match="not whole numbers"):
        ClassWeights.of({"0": 1}).sample_weights(np.array([0.5]))


def test_true_and_false_are_the_classes_of_logical_targets():
    weights = ClassWeights.of({"TRUE": 5})
    np.testing.assert_array_equal(weights.sample_weights(np.array([True, False])), [5, 1])
    both = ClassWeights.of({"FALSE": 2, "TRUE": 3})
    np.testing.assert_array_equal(both.sample_weights(np.array([[1.0], [0.0]])), [3, 2])
    with pytest.raises(ArgumentError, match="the targets have the class 2"):
        weights.sample_weights(np.array([0, 2]))


@pytest.mark.parametrize(
    "weights, wrong, meant",
    [({"setosa": 1, "virginca": 2}, "virginca", "virginica"), ({"virginca": 2}, "virginca", "virginica"),
     ({"setosa": 1, "1": 2}, "1", None), ({"3": 1}, "3", None)],
)  # fmt: skip
def test_an_unknown_class_is_named_wherever_it_occurs(weights, wrong, meant):
    levels = ["setosa", "versicolor", "virginica"]
    with pytest.raises(ArgumentError, match=f'names a class "{wrong}"') as raised:
        ClassWeights.of(weights, levels)
    assert raised.value.hint == (f'Did you mean "{meant}"?' if meant else None)
