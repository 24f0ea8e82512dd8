"""A callback that measures the time spent in each part of training."""

from __future__ import annotations

import keras
import pandas as pd

from kerasfit import timing
from kerasfit.logs import Logs


class Profile(keras.callbacks.Callback):
    """Measures the time that each epoch spends on data, steps, callbacks and validation.

    Attributes
    ----------
    epochs
        The 1-based numbers of the epochs.
    seconds
        For each epoch, seconds by part: data (making batches outside compiled steps), steps, callbacks,
        validation (including its data and callbacks), other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.seconds: list[dict[str, float]] = []
        self._epoch: int | None = None
        self._clock: timing.Clock | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epochs, self.seconds, self._epoch = [], [], None
        self._clock = timing.start()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._lap()
        self._epoch = epoch + 1

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._lap()
        timing.stop()

    def _lap(self) -> None:
        lap = self._clock.lap() if self._clock else {}
        if self._epoch is not None:
            self.epochs.append(self._epoch)
            self.seconds.append(lap)

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with one row for each epoch: epoch, and seconds by part."""
        return pd.DataFrame(
            {"epoch": self.epochs, **pd.DataFrame(self.seconds, columns=[*timing.PARTS, "other"])}
        )
