"""Transposes images to PyTorch's order of axes without the copy that Keras makes on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def channels_first(original: Callable) -> Callable:
    """Permute a batch to channels first without moving it in memory, where channels stay last.

    Keras copies the batch to channels first in memory, which makes pooling and ReLU seven times as slow, and
    then copies it back for convolutions, which PyTorch computes with channels last. PyTorch has no
    convolutions with channels last for signals (one spatial dimension), so these are left to Keras.
    """

    def transposed(inputs: Any) -> Any:
        if inputs.ndim == 3:
            return original(inputs)
        return inputs.permute(0, inputs.ndim - 1, *range(1, inputs.ndim - 1))

    return transposed


def channels_first_since_3_16(original: Callable) -> Callable:
    """``channels_first`` for Keras 3.16, whose function has an option to keep channels last in memory."""
    transpose = channels_first(original)

    def transposed(inputs: Any, channels_last_memory_format: bool = False) -> Any:
        return transpose(inputs)

    return transposed
