"""Sparse matrices and memory-mapped files, read a few rows at a time."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasfit.object_origin import module_of
from kerasfit.tensors import to_model_dtype


class LazyArray:
    """Rows that become a numpy array, of the model's float type or of integers, when they are indexed.

    Parameters
    ----------
    rows
        A scipy sparse matrix, in any format that can be indexed by rows, or a ``numpy.memmap``.
    """

    def __init__(self, rows: Any):
        self.rows = rows
        self.shape = rows.shape
        self.ndim = len(rows.shape)
        self.dtype = np.dtype(keras.config.floatx() if rows.dtype.kind in "fb" else rows.dtype)
        self.label: str | None = None  # its name in errors; None if values may be NaN or infinite

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        part = self.rows[rows]
        return to_model_dtype(part.toarray() if is_sparse_matrix(part) else np.asarray(part), self.label)

    def part(self, rows: slice) -> LazyArray:
        """Consecutive rows, still lazy."""
        return LazyArray(self.rows[rows])

    def checked(self, label: str) -> LazyArray:
        """Require finite values. Those of a sparse matrix are checked now, those of a file when read."""
        self.label = label
        if is_sparse_matrix(self.rows):
            to_model_dtype(self.rows.data, label)
        return self


def lazy(value: Any) -> LazyArray | None:
    """A ``LazyArray`` for a sparse matrix or memory-mapped array; None for anything else."""
    if is_sparse_matrix(value):
        return LazyArray(value.tocsr())
    return LazyArray(value) if isinstance(value, np.memmap) else None


def is_sparse_matrix(value: Any) -> bool:
    return module_of(type(value)).startswith("scipy.sparse")
