"""The record of a training run: one row of metrics for each epoch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kerasfit.logs import Logs, flatten_metrics


@dataclass
class History:
    """The record of a training run, made of plain values.

    Attributes
    ----------
    params
        The parameters of the run: epochs, initial_epoch, steps, samples, validation_samples, batch_size,
        verbose (None where unknown), and interrupted, whether an interrupt ended the run. Also the levels,
        if the targets are a factor.
    epochs
        The 1-based numbers of the trained epochs, one for each row.
    metrics
        Metric name → value after each epoch, None where it was not measured. Names of validation
        metrics begin with "val_".
    seconds
        The duration of each epoch, including its validation; that of the first also includes the setup.
    """

    params: dict[str, Any] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    metrics: dict[str, list[float | None]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic, repr=False, compare=False)

    def record(self, epoch: int, logs: Logs, seconds: float | None = None) -> None:
        """Add an epoch with its duration, by default the time since the previous epoch was added.

        An array metric gets a column for each element: name_1, name_2, …
        """
        for name, value in flatten_metrics(logs).items():
            self.metrics.setdefault(name, [None] * len(self.epochs)).append(value)
        self.epochs.append(epoch)
        now = time.monotonic()
        self.seconds.append(now - self._since if seconds is None else seconds)
        self._since = now
        for values in self.metrics.values():
            values.extend([None] * (len(self.epochs) - len(values)))

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with one row for each epoch, metric and data set, as ``as.data.frame()`` in R.

        The columns are epoch (1-based), value (NaN where not measured), metric (without "val_") and data
        ("training" or "validation"); the last two are categorical.
        """
        names = [name.removeprefix("val_") for name in self.metrics]
        data = ["validation" if name.startswith("val_") else "training" for name in self.metrics]
        rows = len(self.epochs)
        return pd.DataFrame(
            {
                "epoch": np.tile(self.epochs, len(names)).astype(int),
                "value": np.array(list(self.metrics.values()), float).ravel(),
                "metric": pd.Categorical(np.repeat(names, rows), categories=list(dict.fromkeys(names))),
                "data": pd.Categorical(np.repeat(data, rows), categories=["training", "validation"]),
            }
        )

    def __repr__(self) -> str:
        last = ", ".join(
            f"{name} {values[-1]:.4g}" for name, values in self.metrics.items() if values[-1] is not None
        )
        span = f"epochs {self.epochs[0]} to {self.epochs[-1]}" if self.epochs else "no epochs"
        return f"<History of {span}{': ' + last if last else ''}>"
