"""Batches from arrays in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasfit.arguments import DEFAULT_BATCH_SIZE
from kerasfit.data.arrays import as_arrays, count_samples
from kerasfit.data.class_weights import ClassWeighting
from kerasfit.data.lazy import LazyArray
from kerasfit.data.names import NAMES, Batch, Names
from kerasfit.errors import ArgumentError
from kerasfit.sources.source import Shuffling, weighted
from kerasfit.tensors import leaves_of, map_leaves, to_model_dtype


class ArraySource:
    """Makes batches of consecutive rows, or of rows in a new random order each pass.

    Attributes
    ----------
    in_memory
        Whether all data are numpy arrays, none of them read lazily.

    Parameters
    ----------
    x, y, sample_weight
        Numpy arrays with the samples along the first axis, or nested lists and dicts of such arrays, as
        ``check_arrays`` returns them. Floats and booleans are converted to the model's float type.
    names
        The names of the arguments in errors.
    allow_missing
        Whether numbers may be NaN or infinite.
    shuffle
        Whether each pass has a new random order.
    """

    endless = passes_continue = False

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int | None = None,
        shuffle: bool = False,
        class_weight: ClassWeighting | None = None,
        names: Names = NAMES,
        allow_missing: bool = False,
    ):
        if class_weight is not None:
            if y is None:
                raise ArgumentError("class_weight", "`class_weight` needs targets: `y` is missing.")
            sample_weight = weighted(sample_weight, class_weight, y)

        def converted(label: str, leaf: np.ndarray | LazyArray) -> np.ndarray | LazyArray:
            if isinstance(leaf, LazyArray):
                return leaf if allow_missing else leaf.checked(label)
            return to_model_dtype(leaf, None if allow_missing else label)

        self.names = names
        labels = (names.x, names.y, names.sample_weight)
        self.data = tuple(map(as_arrays, labels, (x, y, sample_weight), [converted] * 3))
        self.in_memory = not any(isinstance(leaf, LazyArray) for leaf in leaves_of(self.data))
        self.samples = count_samples(x)
        self.batch_size = batch_size or DEFAULT_BATCH_SIZE
        self.batches = math.ceil(self.samples / self.batch_size)
        self.shuffling = Shuffling(shuffle)

    def __iter__(self) -> Iterator[Batch]:
        order = self.begin_pass()
        for start in range(0, self.samples, self.batch_size):
            yield self.batch(order, start)

    def begin_pass(self) -> np.ndarray | None:
        """Start a pass and return the order of its samples; None if they are not shuffled."""
        return self.shuffling.begin_pass(self.samples)

    def batch(self, order: np.ndarray | None, start: int) -> Batch:
        stop = min(start + self.batch_size, self.samples)
        rows = slice(start, stop) if order is None else order[start:stop]
        return Batch(*map_leaves(lambda leaf: None if leaf is None else leaf[rows], self.data))

    @property
    def example(self) -> Batch:
        return Batch(*self.data)
