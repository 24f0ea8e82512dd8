"""Rows of arrays on the device, and how a program takes some of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclass(frozen=True)
class RowsWithin:
    """Rows stored in a flat array, starting at the element ``first``."""

    elements: jax.Array
    first: np.int32
    shape: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        return self.elements.dtype


@dataclass(frozen=True)
class SplitRows:
    """Rows of which each device has a part."""

    array: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> Any:
        return self.array.dtype


jax.tree_util.register_dataclass(RowsWithin, data_fields=["elements", "first"], meta_fields=["shape"])
jax.tree_util.register_dataclass(SplitRows, data_fields=["array"], meta_fields=[])

Rows: TypeAlias = jax.Array | RowsWithin | SplitRows


def is_rows(leaf: Any) -> bool:
    return isinstance(leaf, (RowsWithin, SplitRows))


def consecutive(data: Rows, at: Any, size: int) -> jax.Array:
    """Take ``size`` consecutive rows, starting at row ``at``."""
    if isinstance(data, SplitRows):  # a slice would make each device collect all rows in each step
        return gathered(data, at + jnp.arange(size, dtype=jnp.int32))
    if not isinstance(data, RowsWithin):
        return lax.dynamic_slice_in_dim(data, at, size)
    length = math.prod(data.shape[1:])
    rows = lax.dynamic_slice_in_dim(data.elements, data.first + at * length, size * length)
    return rows.reshape(size, *data.shape[1:])


def gathered(data: Rows, rows: jax.Array) -> jax.Array:
    """Take the rows with these numbers, which must be unique."""
    if isinstance(data, SplitRows):
        data = data.array
    if not isinstance(data, RowsWithin):
        return data.at[rows].get(mode="promise_in_bounds", unique_indices=True)
    length = math.prod(data.shape[1:])
    found = lax.gather(
        data.elements,
        (data.first + rows * length)[:, None],
        lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(), start_index_map=(0,)),
        (length,),
        unique_indices=True,
        mode="promise_in_bounds",
    )
    return found.reshape(len(rows), *data.shape[1:])
