"""Images as they lie in memory, for PyTorch."""

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
