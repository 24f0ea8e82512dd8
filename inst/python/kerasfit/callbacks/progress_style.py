"""A callback that configures the progress lines and the progress bar."""

from __future__ import annotations

import keras

from kerasfit import arguments
from kerasfit.errors import ArgumentError
from kerasfit.messages import describe


class ProgressStyle(keras.callbacks.Callback):
    """Configures how progress is shown with ``verbose`` of 1 and 2.

    Parameters
    ----------
    metrics
        The names of the metrics to show, in this order; all by default.
    digits
        The number of decimals of metrics.
    every
        Print a line after every so many epochs, and after the last one.
    bar
        Whether to show a progress bar during an epoch.
    """

    def __init__(self, metrics: list[str] | None = None, digits: int = 4, every: int = 1, bar: bool = True):
        super().__init__()
        names = [metrics] if isinstance(metrics, str) else metrics
        is_list = isinstance(names, (list, tuple))
        if names is not None and not (is_list and all(isinstance(name, str) for name in names)):
            raise ArgumentError("metrics", f"`metrics` must be names of metrics, not {describe(metrics)}.")
        self.metrics = names
        self.digits = arguments.whole_number("digits", digits, minimum=0)
        self.every = arguments.whole_number("every", every, minimum=1)
        self.bar = arguments.flag("bar", bar)
