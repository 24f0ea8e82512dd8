"""Arrays that are never made as a whole: sparse matrices, and arrays mapped from a file."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasfit.object_origin import module_of
from kerasfit.tensors import to_model_dtype


class LazyArray:
    """Rows that become an array when they are asked for: in the model's float type, or whole numbers.

    Parameters
    ----------
    rows
        A sparse matrix of scipy's, with any format that rows can be taken from, or a ``numpy.memmap``.
    """

    def __init__(self, rows: Any):
        self.rows = rows
        self.shape = rows.shape
        self.ndim = len(rows.shape)
        self.dtype = np.dtype(keras.config.floatx() if rows.dtype.kind in "fb" else rows.dtype)
        self.label: str | None = None  # what errors call it, if what is not finite is one

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        part = self.rows[rows]
        return to_model_dtype(part.toarray() if is_sparse(part) else np.asarray(part), self.label)

    def part(self, rows: slice) -> LazyArray:
        """Consecutive rows, which stay as they are."""
        return LazyArray(self.rows[rows])

    def checked(self, label: str) -> LazyArray:
        """The same, whose numbers must be finite. Those of a file are looked at when they are read."""
        self.label = label
        if is_sparse(self.rows):
            to_model_dtype(self.rows.data, label)
        return self


def lazy(value: Any) -> LazyArray | None:
    """A value as rows that are read when they are asked for, if it is of such a kind."""
    if is_sparse(value):
        return LazyArray(value.tocsr())
    return LazyArray(value) if isinstance(value, np.memmap) else None


def is_sparse(value: Any) -> bool:
    return module_of(type(value)).startswith("scipy.sparse")
