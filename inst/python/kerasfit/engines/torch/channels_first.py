"""What PyTorch has for layers, and Keras does not take from it on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def channels_first(own: Callable) -> Callable:
    """The axes of a batch in PyTorch's order, images' channels where they are in memory.

    Keras makes a copy in the other order, in which pooling and rectifiers are seven times as slow, and then a
    copy back for convolutions, which PyTorch computes with the channels last. Signals, of one dimension, have
    no such convolutions.
    """

    def transposed(inputs: Any) -> Any:
        if inputs.ndim == 3:
            return own(inputs)
        return inputs.permute(0, inputs.ndim - 1, *range(1, inputs.ndim - 1))

    return transposed


def channels_first_since_3_16(own: Callable) -> Callable:
    """The same for Keras 3.16, which may be asked for the channels where they are."""
    transpose = channels_first(own)

    def transposed(inputs: Any, channels_last_memory_format: bool = False) -> Any:
        return transpose(inputs)

    return transposed
