"""Callbacks that end training."""

from __future__ import annotations

import time

import keras

from kerasfit import arguments
from kerasfit.logs import Logs


class MaxTime(keras.callbacks.Callback):
    """Ends training after a time limit, within about a tenth of a second or a step.

    A run that is resumed has the remaining time left.

    Parameters
    ----------
    seconds
        Seconds from the beginning of training.
    """

    supports_steps_per_execution = True

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = arguments.positive("seconds", seconds)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if time.monotonic() - self._began >= self.seconds:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.on_train_batch_end(0)

    def get_state(self) -> float:
        return time.monotonic() - self._began

    def set_state(self, spent: float) -> None:
        self._began = time.monotonic() - spent


class TerminateOnNaN(keras.callbacks.TerminateOnNaN):
    """Keras's ``TerminateOnNaN`` with a message in which batches count from 1."""

    supports_steps_per_execution = True

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        super().on_batch_end(batch + 1, logs)
