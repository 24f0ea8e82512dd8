"""Codes factors with the levels of earlier data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from kerasfit.data.arrays import factor_codes
from kerasfit.data.frames import is_table
from kerasfit.errors import DataError
from kerasfit.messages import listed


def match_levels(y: Any, y_val: Any) -> Any:
    """Recode each factor of the validation targets with the levels of the matching training targets.

    Levels are matched by name, as R's ``predict()`` does, so they may be in another order, or some missing.
    Text is recoded in the same way: R's ``tuple()`` turns factors into text.
    """
    if isinstance(y, Mapping) and isinstance(y_val, Mapping):
        return {name: match_levels(y.get(name), value) for name, value in y_val.items()}
    if isinstance(y, pd.DataFrame) and isinstance(y_val, pd.DataFrame):
        matched = y_val.copy(deep=False)
        for name in y.columns.intersection(y_val.columns):
            matched[name] = match_levels(y[name].array, y_val[name].array)
        return matched
    if isinstance(y, pd.Categorical):
        if isinstance(y_val, (list, np.ndarray)) and len(y_val) and all(isinstance(v, str) for v in y_val):
            y_val = pd.Categorical(y_val)
        if isinstance(y_val, pd.Categorical):
            about = "The validation targets have {} that `y` does not have: its levels are {}."
            return recode(list(y.categories), y_val, "validation_data", about)
    if isinstance(y, (list, tuple)) and isinstance(y_val, (list, tuple)) and len(y) == len(y_val):
        return [match_levels(one, value) for one, value in zip(y, y_val, strict=True)]
    return y_val


def recode(
    levels: list, factor: pd.Categorical, label: str, about: str, hint: str | None = None
) -> pd.Categorical:
    """A factor with these levels, in this order.

    Raises
    ------
    DataError
        If there are values at other levels. ``about`` is the message, with two slots: for the unknown levels,
        and for ``levels``.
    """
    if list(factor.categories) == levels:
        return factor
    unknown = [level for level in factor.remove_unused_categories().categories if level not in levels]
    if unknown:
        raise DataError(label, about.format(listed(unknown, "a level", "levels"), listed(levels)), hint)
    return factor.set_categories(levels)


def levels_of(y: Any) -> list[str] | dict[str, list[str]] | None:
    """The levels of targets that are a factor; of several targets, by output or by number from 1."""
    if isinstance(y, pd.Categorical):
        return [str(level) for level in y.categories]
    if isinstance(y, pd.Series):
        return levels_of(y.array)
    if isinstance(y, pd.DataFrame):
        if len(y.columns) == 1:
            return levels_of(y.iloc[:, 0])
        y = {name: y[name] for name in y.columns}
    if isinstance(y, (list, tuple)) and any(map(is_table, y)):
        y = {str(number): value for number, value in enumerate(y, start=1)}
    if not isinstance(y, Mapping):
        return None
    found = {str(name): levels_of(value) for name, value in y.items()}
    return {name: levels for name, levels in found.items() if levels and isinstance(levels, list)} or None


def check_levels(label: str, factor: pd.Categorical, needed: int, units: tuple[int | None, ...]) -> None:
    """Raise a ``DataError`` if a factor needs more units than the output is known to have."""
    if not units or units[0] is None or needed <= units[0]:
        return
    used = factor.remove_unused_categories().categories
    unused = [level for level in factor.categories if level not in used]
    hint = f"The output needs a unit for each level: {len(factor.categories)}."
    if "NA" in used:
        hint = "One level is NA: leave out those rows, or give the output one more unit."
    elif len(used) <= units[0]:
        hint = f"`droplevels()` leaves out {listed(unused, 'the unused level', 'the unused levels')}."
    raise DataError(
        label,
        f"`{label}` has {len(factor.categories)} levels, but the model's output has {units[0]} values.",
        hint,
    )


def encode_with_schema(label: str, factor: pd.Categorical, levels: dict[Any, list], key: Any) -> np.ndarray:
    """The codes of a factor, from 0, by the levels stored at a key; a first factor stores its own there."""
    known = levels.setdefault(key, list(factor.categories))
    return factor_codes(label, with_training_levels(label, factor, known))


def with_training_levels(label: str, factor: pd.Categorical, levels: list) -> pd.Categorical:
    """A factor with the levels that the model was trained on.

    Raises
    ------
    DataError
        If it has values at other levels.
    """
    about = f"`{label}` has {{}} that the training data did not have: the levels are {{}}."
    hint = "A model keeps the levels that it was first trained on. To use others, create a new model."
    return recode(levels, factor, label, about, hint)
