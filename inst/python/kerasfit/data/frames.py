"""Converts data frames and their columns to arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from kerasfit.data.arrays import factor_codes
from kerasfit.errors import DataError
from kerasfit.messages import listed, quoted

USE_NUMBERS = (
    "Convert it to numbers, for example with model.matrix(), or give the model an input of that name with a "
    "Keras preprocessing layer."
)


def is_table(value: Any) -> bool:
    return isinstance(value, (pd.DataFrame, pd.Series, pd.Categorical))


def map_tables(label: str, value: Any, read: Callable[[str, Any], Any]) -> Any:
    """A nested value in which each data frame and factor is replaced with the result of ``read``."""
    if isinstance(value, (pd.DataFrame, pd.Categorical)):
        return read(label, value)
    if isinstance(value, pd.Series):
        return read(label, value.to_frame())
    if isinstance(value, Mapping):
        return {name: map_tables(f"{label}${name}", element, read) for name, element in value.items()}
    if isinstance(value, (list, tuple)) and any(map(is_table, value)):
        return type(value)(map_tables(f"{label}[[{i}]]", element, read) for i, element in enumerate(value, 1))
    return value


def align_columns(label: str, frame: pd.DataFrame, columns: dict[Any, list[str]], place: Any) -> pd.DataFrame:
    """Reorder a data frame's columns as in the first data frame for the same input (``place``).

    Raises
    ------
    DataError
        If the columns have other names.
    """
    names = list(frame.columns)
    known = columns.setdefault(place, names)
    if names == known or len(names) != len(known) or len(known) == 1:
        return frame  # checks of shape report a wrong number of columns
    if set(names) != set(known):
        raise DataError(
            label,
            f"`{label}` has the columns {listed(names)}, but the model was trained on {listed(known)}.",
            "Give a matrix if the columns are in the right order: their names are then ignored.",
        )
    return frame[known]


def parts_of(frame: pd.DataFrame) -> dict[str, pd.Series | pd.DataFrame]:
    """The columns of a data frame by name; columns that were one matrix in R are one data frame."""
    matrices = frame.attrs.get("matrices", {})
    of_matrices = {column for columns in matrices.values() for column in columns}
    parts = {name: frame[name] for name in frame.columns if name not in of_matrices}
    return parts | {name: frame[list(columns)] for name, columns in matrices.items()}


def check_columns(label: str, columns: Collection[str], noun: str, known: Collection[str]) -> None:
    """Raise a ``DataError`` for a column that is not one of the model's inputs, or outputs."""
    for name in columns:
        if name not in known:
            raise DataError(
                f"{label}${name}",
                f"`{label}${name}` is not an {noun} of the model, whose {noun}s are {listed(quoted(known))}.",
                f"Leave the column out, or give the model an {noun} of that name.",
            )


def to_numbers(label: str, column: pd.Series) -> np.ndarray:
    """The values of a numeric column, or of a logical one; raises a ``DataError`` for any other."""
    if column.dtype.kind in "fiub" and not isinstance(column.dtype, pd.CategoricalDtype):
        return column.to_numpy()
    raise DataError(label, f"`{label}` is {kind_of(column)}, but the model takes numbers there.", USE_NUMBERS)


def to_text(label: str, value: pd.DataFrame | pd.Series | pd.Categorical, tensor: Any) -> np.ndarray:
    """Text, or the labels of a factor, in the shape of a model's input; all columns of a data frame.

    Raises
    ------
    DataError
        If a column is numeric, or a factor has missing values.
    """
    if isinstance(value, pd.DataFrame):
        columns = [to_text(f"{label}${name}", column, None) for name, column in value.items()]
        return columns[0] if tensor is not None and len(tensor.shape) == 1 else np.column_stack(columns)
    column = pd.Series(value)
    if isinstance(column.dtype, pd.CategoricalDtype):
        factor_codes(label, column.array)  # raises an error if values are missing
    elif kind_of(column) != "text":
        raise numbers_for_text(label)
    values = np.asarray(column.astype(object), dtype=str)
    return values[:, None] if tensor is not None and len(tensor.shape) == 2 else values


def numbers_for_text(label: str) -> DataError:
    reason = f"`{label}` is numbers, but the model takes text there."
    return DataError(
        label, reason, f"`as.character({label})` converts them to text." if "()" not in label else None
    )


def kind_of(column: pd.Series) -> str:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "a factor"
    return "text" if column.dtype.kind in "OUST" else f"of type {column.dtype}"
