"""R values that have no plain counterpart, as the core takes them. Both bridges make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from kerasfit.errors import DataError


def factor(codes: np.ndarray, levels: list[str]) -> pd.Categorical:
    """A factor from R's codes: 1-based, with R's smallest integer for NA."""
    return pd.Categorical.from_codes(np.where(codes < 0, -1, codes - 1), categories=levels)


def named(names: list[str], values: list[Any]) -> dict[str, Any]:
    """A list with names."""
    return dict(zip(names, values, strict=True))


def data_frame(
    names: list[str], columns: list[Any], rows: int, matrices: dict[str, list[str]] | None = None
) -> pd.DataFrame:
    """A data frame of columns that are numpy arrays or categoricals, which it does not copy.

    ``matrices`` are the names of the columns that were one matrix in R, by the name of that.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError("x", f"A data frame has two columns of the name `{twice}`.")
    data = dict(zip(names, columns, strict=True))
    frame = pd.DataFrame(data, index=range(int(rows)), copy=False)
    frame.attrs["matrices"] = dict(matrices or {})
    return frame


def sparse_matrix(values: np.ndarray, rows: np.ndarray, starts: np.ndarray, shape: list[int]) -> Any:
    """A sparse matrix from what R keeps of one, column by column."""
    from scipy.sparse import csc_matrix

    return csc_matrix((values, rows, starts), shape=tuple(map(int, shape)))


def random_state(state: Any) -> np.ndarray | None:
    """The state of R's random generator, which is integers; None if it has not been used."""
    return None if state is None else np.asarray(state, np.int32)


class Generator:
    """An R function that returns a batch when called, and None at the end of a pass.

    ``endless`` says that R has seen no way for the function to return NULL. ``random_before`` returns the
    state that R's random generator had before the last call, where R keeps that.
    """

    def __init__(
        self, next_batch: Callable[[], Any], endless: bool, random_before: Callable[[], Any] | None = None
    ):
        self.next_batch = next_batch
        self.endless = endless
        if random_before:
            self.random_before = lambda: random_state(random_before())

    def __call__(self) -> Any:
        return self.next_batch()
