"""Arrays on the device: the rows of a source, and chunks of them for prediction."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import keras
import numpy as np

from kerasfit.engines.jax.placement import OneDevice
from kerasfit.engines.jax.programs import Loop
from kerasfit.engines.jax.steps import OUTPUTS
from kerasfit.runtime.memory import aligned_empty
from kerasfit.sources import Rows
from kerasfit.tensors import pack_batch

SMALL = 2**16  # bytes: JAX copies smaller arrays faster as arguments of a program than before it


class DeviceData:
    """The arrays of a source on the device, and the order of rows in the current pass."""

    def __init__(self, data: tuple, placement: OneDevice):
        self._arrays, self._placement = data, placement
        self._order: tuple[np.ndarray | None, np.ndarray | None] = None, None  # as given, and as int32
        self.chunks: Chunks | None = None  # for prediction

    @cached_property
    def data(self) -> Any:
        return pack_batch(keras.tree.map_structure(self._placement.rows, self._arrays))

    def call(self, rows: Rows, halting: bool) -> tuple:
        """The loop for these rows, and its arguments other than the state."""
        return self._loop(rows, halting), *self._arguments(rows)

    def _loop(self, rows: Rows, halting: bool) -> Loop:
        size = min(rows.batch_size, rows.stop - rows.start)
        return Loop(size, halting, rare=size < rows.batch_size)

    def _arguments(self, rows: Rows) -> tuple:
        if self._order[0] is not rows.order:
            order = None if rows.order is None else rows.order.astype(np.int32)
            self._order = rows.order, order
        return self.data, self._order[1], np.int32(rows.start), np.int32(rows.steps)


class Chunks:
    """Inputs for prediction in chunks of one shape, so that few programs serve all numbers of samples.

    A chunk has ``steps`` batches of ``size`` rows, and the last chunk is padded. The caller drops the outputs
    for padding rows.
    """

    def __init__(self, x: Any, samples: int, batch_size: int, placement: OneDevice):
        self._placement = placement
        self.size = batch_size if samples > batch_size else rounded_up(samples)
        self.steps = min(OUTPUTS, power_of_two(-(-samples // self.size)))
        self._x = x
        self._at: tuple[int | None, Any] = None, None

    def of(self, rows: Rows) -> Iterator[tuple[Any, int, int]]:
        """For each chunk with some of these rows: its data, the first of the rows in it, and their number."""
        length, at = self.size * self.steps, rows.start
        while at < rows.stop:
            begin = at - at % length
            end = min(rows.stop, begin + length)
            yield self._part(begin, length), at - begin, end - at
            at = end

    def _part(self, begin: int, length: int) -> Any:
        if self._at[0] != begin:

            def part(leaf: Any) -> Any:
                return None if leaf is None else leaf[begin : begin + length]

            data = padded(keras.tree.map_structure(part, self._x), length)
            if any(leaf is not None and leaf.nbytes >= SMALL for leaf in keras.tree.flatten(data)):
                data = keras.tree.map_structure(self._placement.chunk, data)
            self._at = begin, pack_batch((data,))
        return self._at[1]


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least ``number``."""
    return 1 << (number - 1).bit_length()


def rounded_up(rows: int) -> int:
    """Round a number of rows up to a power of two or, above 64, to one of three values between two powers."""
    power = power_of_two(rows)
    unit = power if power <= 64 else power // 8
    return -(-rows // unit) * unit


def padded(data: Any, size: int) -> Any:
    """Pad arrays to ``size`` rows by repeating the last row."""

    def fill(leaf: Any) -> Any:
        if leaf is None or len(leaf) == size:
            return leaf
        array = np.asarray(leaf)
        filled = aligned_empty((size, *array.shape[1:]), array.dtype)
        filled[: len(array)], filled[len(array) :] = array, array[-1]
        return filled

    return keras.tree.map_structure(fill, data)
