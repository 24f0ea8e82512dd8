"""What the lines and the bar of a training run show."""

from __future__ import annotations

import keras

from kerasfit import arguments
from kerasfit.errors import ArgumentError
from kerasfit.messages import describe


class ProgressStyle(keras.callbacks.Callback):
    """How progress is shown, for ``verbose`` of 1 and 2.

    Parameters
    ----------
    metrics
        The names of those shown, in this order; all by default.
    digits
        Decimals of metrics.
    every
        After how many epochs there is a line; the last one has one always.
    bar
        Whether there is a bar while an epoch runs.
    """

    def __init__(self, metrics: list[str] | None = None, digits: int = 4, every: int = 1, bar: bool = True):
        super().__init__()
        names = [metrics] if isinstance(metrics, str) else metrics
        if names is not None and not all(isinstance(name, str) for name in names):
            raise ArgumentError("metrics", f"`metrics` must be names of metrics, not {describe(metrics)}.")
        self.metrics = names
        self.digits = arguments.whole_number("digits", digits, minimum=0)
        self.every = arguments.whole_number("every", every, minimum=1)
        self.bar = arguments.flag("bar", bar)
