"""Python counterparts of R factors, data frames, sparse matrices and generators, made by both bridges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from kerasfit.errors import DataError


def factor(codes: np.ndarray, levels: list[str]) -> pd.Categorical[str]:
    """Return a factor from R's 1-based codes, where NA is the smallest integer."""
    return pd.Categorical.from_codes(np.where(codes < 0, -1, codes - 1), categories=pd.Index(levels))


def named(names: list[str], values: list[Any]) -> dict[str, Any]:
    """Return a named list as a dict."""
    return dict(zip(names, values, strict=True))


def data_frame(
    names: list[str], columns: list[Any], rows: int, matrices: dict[str, list[str]] | None = None
) -> pd.DataFrame:
    """Return a data frame of numpy arrays or categoricals, without copying the columns.

    ``matrices`` maps the name of each matrix column in R to the names of its columns here.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError("x", f"A data frame has two columns named `{twice}`.")
    data = dict(zip(names, columns, strict=True))
    frame = pd.DataFrame(data, index=range(int(rows)), copy=False)
    frame.attrs["matrices"] = dict(matrices or {})
    return frame


def sparse_matrix(values: np.ndarray, rows: np.ndarray, starts: np.ndarray, shape: list[int]) -> Any:
    """Return a sparse matrix from the components of R's compressed column format."""
    from scipy.sparse import csc_matrix

    return csc_matrix((values, rows, starts), shape=tuple(map(int, shape)))


def random_state(state: Any) -> np.ndarray | None:
    """Return the state of R's random generator as integers; None if it has not been used."""
    return None if state is None else np.asarray(state, np.int32)


class Generator:
    """An R function that returns a batch when called, and None at the end of a pass.

    ``endless`` means that, according to R, the function can never return NULL. ``random_before`` returns the
    state that R's random generator had before the last call, if R records it.
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
