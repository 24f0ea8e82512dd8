"""The values that arguments are translated to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kerasfit import arguments
from kerasfit.arguments import Schedule, ValidationSchedule
from kerasfit.data.class_weights import ClassWeights
from kerasfit.data.levels import match_levels
from kerasfit.errors import ArgumentError, DataError


def test_epochs_is_the_last_epoch_and_numbering_starts_at_one():
    assert list(Schedule.of(1, 3).starting_at(None)) == [1, 2, 3]
    assert list(Schedule.of(6, 10).starting_at(None)) == [6, 7, 8, 9, 10]
    assert list(Schedule.of(6.0, 6.0).starting_at(None)) == [6]


def test_a_callback_can_move_the_first_epoch():
    assert list(Schedule.of(1, 5).starting_at(4)) == [4, 5]


def test_validation_freq_is_a_period_or_a_set_of_epochs():
    assert [epoch for epoch in range(1, 7) if ValidationSchedule.of(2).due(epoch)] == [2, 4, 6]
    assert [epoch for epoch in range(1, 7) if ValidationSchedule.of([1, 5.0]).due(epoch)] == [1, 5]


@pytest.mark.parametrize(
    ("yielded", "expected"),
    [
        (("x",), ("x", None, None)),
        (("x", "y"), ("x", "y", None)),
        (("x", "y", "w"), ("x", "y", "w")),
        (["x", "y"], ("x", "y", None)),
        ("x", ("x", None, None)),
        ({"x": 1, "y": 2}, ({"x": 1, "y": 2}, None, None)),
        (({"a": 1}, "y"), ({"a": 1}, "y", None)),
        (("a", "b", "c", "d"), (("a", "b", "c", "d"), None, None)),
        ((), ((), None, None)),
    ],
)
def test_tuples_of_one_to_three_are_unpacked_and_anything_else_is_x(yielded, expected):
    assert arguments.unpack(yielded) == expected


def test_verbose_auto_is_a_bar_or_lines_on_a_distributed_worker(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert arguments.verbosity("auto") == 1
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {}}')
    assert arguments.verbosity("auto") == 2
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert arguments.verbosity("auto") == 2
    assert [arguments.verbosity(value) for value in (0, 1.0, 2)] == [0, 1, 2]


class TestClassWeights:
    def test_class_names_may_be_codes(self):
        weights = ClassWeights.of({"0": 1, "1": 5.0})
        np.testing.assert_array_equal(weights.sample_weights(np.array([1, 0, 1])), [5, 1, 5])

    def test_class_names_may_be_numbers(self):
        weights = ClassWeights.of({0: 2, 1: 3})
        np.testing.assert_array_equal(weights.sample_weights(np.array([0.0, 1.0])), [2, 3])

    def test_level_names_become_codes_and_unnamed_levels_weigh_one(self):
        weights = ClassWeights.of({"virginica": 5}, ["setosa", "versicolor", "virginica"])
        np.testing.assert_array_equal(weights.sample_weights(np.array([0, 1, 2])), [1, 1, 5])

    def test_levels_that_look_like_codes_are_levels(self):
        weights = ClassWeights.of({"1": 7}, ["1", "2"])
        np.testing.assert_array_equal(weights.sample_weights(np.array([0, 1])), [7, 1])

    def test_codes_are_accepted_instead_of_levels(self):
        weights = ClassWeights.of({"0": 1, "1": 3}, ["no", "yes"])
        np.testing.assert_array_equal(weights.sample_weights(np.array([1, 0])), [3, 1])

    def test_the_class_of_a_one_hot_target_is_its_largest_entry(self):
        weights = ClassWeights.of({0: 1, 1: 2, 2: 3})
        np.testing.assert_array_equal(weights.sample_weights(np.eye(3)[[2, 0, 1]]), [3, 1, 2])

    def test_a_last_dimension_of_one_is_dropped(self):
        weights = ClassWeights.of({0: 1, 1: 2})
        np.testing.assert_array_equal(weights.sample_weights(np.array([[1], [0]])), [2, 1])

    def test_a_class_per_timestep_gives_a_weight_per_timestep(self):
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
    def test_invalid_class_weights_raise_an_error(self, class_weight, levels, message):
        with pytest.raises(ArgumentError, match=message) as caught:
            ClassWeights.of(class_weight, levels)
        assert caught.value.argument == "class_weight"

    def test_a_class_in_the_data_without_a_weight_is_an_error(self):
        with pytest.raises(ArgumentError, match="no weight for classes 2 and 4"):
            ClassWeights.of({"0": 1, "1": 5}).sample_weights(np.array([0, 1, 2, 4]))

    def test_targets_must_be_class_codes(self):
        with pytest.raises(DataError, match="not whole numbers"):
            ClassWeights.of({"0": 1}).sample_weights(np.array([0.5]))


class TestLevelsOfValidationTargets:
    Y = pd.Categorical(["a", "b"], ["a", "b"])

    def test_identical_levels_are_unchanged(self):
        y_val = pd.Categorical(["b"], ["a", "b"])
        assert match_levels(self.Y, y_val) is y_val

    def test_levels_are_matched_by_name(self):
        for levels in (["b", "a"], ["b"], ["c", "b"]):
            matched = match_levels(self.Y, pd.Categorical(["b"], levels))
            assert list(matched.categories) == ["a", "b"]
            assert list(matched.codes) == [1]

    def test_each_of_several_outputs_is_matched_with_its_own_levels(self):
        other = pd.Categorical(["b"], ["b", "a"])
        tables = {
            "y": pd.DataFrame({0: [1, 2], 1: self.Y}),
            "y_val": pd.DataFrame({1: other, 0: [1]}),
        }
        matched = (
            match_levels({"u": 1, "v": self.Y}, {"v": other, "u": 1})["v"],
            match_levels([1, self.Y], [1, other])[1],
            match_levels(**tables)[1].array,
        )
        for one in matched:
            assert list(one.codes) == [1]

    def test_level_names_are_encoded(self):
        assert list(match_levels(self.Y, ["b", "a"]).codes) == [1, 0]

    def test_unknown_level_names_are_an_error(self):
        for y_val in (["c", "a"], pd.Categorical(["c", "a"])):
            with pytest.raises(DataError, match="a level c that `y` does not have: its levels are a and b"):
                match_levels(self.Y, y_val)


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
