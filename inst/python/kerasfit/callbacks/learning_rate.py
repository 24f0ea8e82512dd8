"""Callbacks that set the learning rate: a range test and the one-cycle policy."""

from __future__ import annotations

import math

import keras
import numpy as np
import pandas as pd

from kerasfit import arguments, keras_private
from kerasfit.errors import ArgumentError
from kerasfit.logs import Logs


class LearningRateFinder(keras.callbacks.Callback):
    """The learning rate range test: increases the rate with each step and records the loss.

    The rate grows exponentially from ``min_lr`` to ``max_lr``, by one value for each execution: a step, or
    the model's ``steps_per_execution``. Training ends after ``steps`` values, or when the smoothed loss
    exceeds four times its minimum or is not finite. The variables of model and optimizer are then restored.

    Source: L. N. Smith (2017), Cyclical learning rates for training neural networks, arXiv:1506.01186.

    Raises
    ------
    ArgumentError
        For an invalid argument; or by ``fit()``, if the optimizer follows a learning-rate schedule.

    Attributes
    ----------
    rates, losses
        The learning rate and the loss of each step.
    """

    def __init__(self, min_lr: float = 1e-7, max_lr: float = 1.0, steps: int = 100):
        super().__init__()
        self.min_lr = arguments.positive("min_lr", min_lr)
        self.max_lr = arguments.positive("max_lr", max_lr)
        self.steps = arguments.whole_number("steps", steps, minimum=2)
        if self.max_lr <= self.min_lr:
            raise ArgumentError("max_lr", f"`max_lr` ({max_lr}) must be larger than `min_lr` ({min_lr}).")
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        check_rate_is_settable(self.model)
        self.rates, self.losses = [], []
        self._lowest = math.inf
        variables = [*self.model.variables, *self.model.optimizer.variables]
        self._before = [
            (variable, keras.ops.convert_to_numpy(variable.value).copy()) for variable in variables
        ]
        self._loss = next(metric for metric in self.model.metrics if metric.name == "loss")

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        share = len(self.rates) / (self.steps - 1)
        self.rates.append(self.min_lr * (self.max_lr / self.min_lr) ** share)
        self.model.optimizer.learning_rate = self.rates[-1]
        self._loss.reset_state()  # so that the loss in the logs is that of this batch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.losses.append((logs or {})["loss"])
        smoothed = self.smoothed()[-1]
        self._lowest = min(self._lowest, smoothed)
        diverges = not math.isfinite(smoothed) or smoothed > 4 * self._lowest
        if diverges or len(self.rates) == self.steps:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        for variable, value in self._before:
            variable.assign(value)
        self._before = []

    def smoothed(self) -> np.ndarray:
        """Return the bias-corrected exponential moving average of the losses, with weight 0.1."""
        average, smoothed = 0.0, []
        for number, loss in enumerate(self.losses, start=1):
            average += 0.1 * (loss - average)
            smoothed.append(average / (1 - 0.9**number))
        return np.array(smoothed)

    @property
    def suggestion(self) -> float | None:
        """The rate around which the smoothed loss falls fastest; None if it never falls.

        The slope is measured over a tenth of the steps; the first tenth of the steps is left out.
        """
        smoothed, width = self.smoothed(), max(2, self.steps // 10)
        if not np.isfinite(smoothed).any():
            return None
        smoothed = smoothed[width : np.nanargmin(smoothed) + 1]
        slopes = smoothed[width:] - smoothed[:-width]
        if not len(slopes) or slopes.min() >= 0:
            return None
        return self.rates[width + int(np.argmin(slopes)) + width // 2]

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with one row for each step: learning_rate, loss, smoothed."""
        steps = len(self.losses)
        return pd.DataFrame(
            {"learning_rate": self.rates[:steps], "loss": self.losses, "smoothed": self.smoothed()}
        )


class OneCycle(keras.callbacks.Callback):
    """The one-cycle policy: the learning rate rises to ``max_lr`` and falls to nearly 0, step by step.

    The rate rises from ``max_lr / start_factor`` to ``max_lr`` during the fraction ``warmup`` of all steps,
    and falls to ``max_lr / end_factor`` in the rest, each along half a cosine. If the model has
    ``steps_per_execution``, the steps of an execution have the rate of its first one.

    Source: L. N. Smith and N. Topin (2019), Super-convergence: very fast training of neural networks using
    large learning rates, arXiv:1708.07120.

    Raises
    ------
    ArgumentError
        For an invalid argument; or by ``fit()``, if the optimizer follows a learning-rate schedule, or the
        number of steps in an epoch is unknown.
    """

    def __init__(
        self,
        max_lr: float,
        warmup: float = 0.3,
        start_factor: float = 25.0,
        end_factor: float = 10_000.0,
    ):
        super().__init__()
        self.max_lr = arguments.positive("max_lr", max_lr)
        self.warmup = arguments.fraction("warmup", warmup)
        self.start_factor = arguments.positive("start_factor", start_factor)
        self.end_factor = arguments.positive("end_factor", end_factor)
        self.total = 0  # steps of the cycle; known when its first epoch begins
        self.first_epoch = self.epoch = -1

    def on_train_begin(self, logs: Logs | None = None) -> None:
        check_rate_is_settable(self.model)
        if self.params.get("steps") is None:
            raise ArgumentError(
                "steps_per_epoch", "`steps_per_epoch` is missing: the length of the cycle depends on it."
            )
        self.total = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch
        if not self.total:
            self.first_epoch = epoch
            self.total = (self.params["epochs"] - epoch) * self.params["steps"]

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        step = (self.epoch - self.first_epoch) * self.params["steps"] + batch
        self.model.optimizer.learning_rate = self.rate(step)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        peak = self.warmup * (self.total - 1)
        start, end = self.max_lr / self.start_factor, self.max_lr / self.end_factor
        if step < peak:
            return between(start, self.max_lr, step / peak)
        return between(self.max_lr, end, min(1.0, (step - peak) / max(self.total - 1 - peak, 1)))


def between(first: float, last: float, share: float) -> float:
    """Interpolate between two values along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def check_rate_is_settable(model: keras.Model) -> None:
    if keras_private.has_rate_schedule(model):
        raise ArgumentError(
            "callbacks",
            "A callback in `callbacks` sets the learning rate, but the optimizer follows a schedule.",
            "Compile the model with a number as the learning rate.",
        )
