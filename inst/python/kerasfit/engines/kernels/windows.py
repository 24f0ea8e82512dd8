"""Helpers for the windows of convolutions and pooling in spatial dimensions."""

from __future__ import annotations

import itertools
from typing import Any

import keras
from keras import ops


def per_dimension(value: Any, inputs: Any) -> tuple[int, ...]:
    """Expand an integer to one number for each spatial dimension; a sequence becomes a tuple."""
    return (value,) * (len(inputs.shape) - 2) if isinstance(value, int) else tuple(value)


def channels_last(data_format: str | None) -> bool:
    return (data_format or keras.config.image_data_format()) == "channels_last"


def window_slices(
    inputs: Any,
    size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str,
    dilation: tuple[int, ...] | None = None,
    outside: float = 0.0,
) -> list[Any]:
    """For each position in a window, in row-major order, the inputs at that position for all outputs.

    ``outside`` is the value of the padding.
    """
    dilation = dilation or (1,) * len(size)
    whole = [(n - 1) * step + 1 for n, step in zip(size, dilation, strict=True)]
    padded = inputs
    if padding == "same":
        pads = map(pads_for_same, inputs.shape[1:-1], whole, strides)
        padded = ops.pad(inputs, [(0, 0), *pads, (0, 0)], constant_values=outside)
    starts = [range(0, n * step, step) for n, step in zip(size, dilation, strict=True)]
    last = [n - w for n, w in zip(padded.shape[1:-1], whole, strict=True)]  # first rows of last windows
    return [
        padded[
            (
                slice(None),
                *(slice(at, at + end + 1, step) for at, end, step in zip(place, last, strides, strict=True)),
            )
        ]
        for place in itertools.product(*starts)
    ]


def pads_for_same(length: int, whole: int, stride: int) -> tuple[int, int]:
    """The padding before and after a dimension that gives one output for every ``stride`` inputs."""
    outputs = -(-length // stride)
    missing = max((outputs - 1) * stride + whole - length, 0)
    return missing // 2, missing - missing // 2
