"""Dimensions of space, in which layers have windows and kernels."""

from __future__ import annotations

from typing import Any

import keras


def per_dimension(value: Any, inputs: Any) -> tuple[int, ...]:
    """One number for each dimension of space."""
    return (value,) * (len(inputs.shape) - 2) if isinstance(value, int) else tuple(value)


def channels_last(data_format: str | None) -> bool:
    return (data_format or keras.config.image_data_format()) == "channels_last"
