"""The levels of factors: coding targets by those of earlier data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from kerasfit.errors import DataError
from kerasfit.messages import listed


def match_levels(y: Any, y_val: Any) -> Any:
    """Validation targets, each coded by the levels of the training targets in its place.

    Levels are matched by their names, as R does where it predicts, so a factor that has them in another order
    or lacks some means the same. Text (a factor that R's ``tuple()`` has turned into such) is coded alike.
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
            return coded_by(list(y.categories), y_val, "validation_data", about)
    if isinstance(y, (list, tuple)) and isinstance(y_val, (list, tuple)) and len(y) == len(y_val):
        return [match_levels(one, value) for one, value in zip(y, y_val, strict=True)]
    return y_val


def coded_by(
    levels: list, factor: pd.Categorical, label: str, about: str, hint: str | None = None
) -> pd.Categorical:
    """A factor with these levels, in this order.

    Raises
    ------
    DataError
        If there are values at other levels: ``about`` them and the levels that there are.
    """
    if list(factor.categories) == levels:
        return factor
    unknown = [level for level in factor.remove_unused_categories().categories if level not in levels]
    if unknown:
        raise DataError(label, about.format(listed(unknown, "a level", "levels"), listed(levels)), hint)
    return factor.set_categories(levels)
