"""The levels of factors in validation targets, which are matched with those in training."""

from __future__ import annotations

import pandas as pd
import pytest

from kerasfit.data.levels import match_levels
from kerasfit.errors import DataError

Y = pd.Categorical(["a", "b"], ["a", "b"])


def test_identical_levels_are_unchanged():
    y_val = pd.Categorical(["b"], ["a", "b"])
    assert match_levels(Y, y_val) is y_val


def test_levels_are_matched_by_name():
    for levels in (["b", "a"], ["b"], ["c", "b"]):
        matched = match_levels(Y, pd.Categorical(["b"], levels))
        assert list(matched.categories) == ["a", "b"]
        assert list(matched.codes) == [1]


def test_each_of_several_outputs_is_matched_with_its_own_levels():
    other = pd.Categorical(["b"], ["b", "a"])
    tables = {
        "y": pd.DataFrame({0: [1, 2], 1: Y}),
        "y_val": pd.DataFrame({1: other, 0: [1]}),
    }
    matched = (
        match_levels({"u": 1, "v": Y}, {"v": other, "u": 1})["v"],
        match_levels([1, Y], [1, other])[1],
        match_levels(**tables)[1].array,
    )
    for one in matched:
        assert list(one.codes) == [1]


def test_level_names_are_encoded():
    assert list(match_levels(Y, ["b", "a"]).codes) == [1, 0]


def test_unknown_level_names_are_an_error():
    for y_val in (["c", "a"], pd.Categorical(["c", "a"])):
        with pytest.raises(DataError, match="a level c that `y` does not have: its levels are a and b"):
            match_levels(Y, y_val)
