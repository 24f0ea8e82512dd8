"""Models that train in a way of their own: their own ``fit`` runs, and we watch.

That is a subclass that overrides ``fit``, ``evaluate`` or the functions that make their steps, and a model
spread over several devices, which Keras's own loop knows how to feed.
"""

from __future__ import annotations

from typing import Any

import keras

from kerasfit.history import History
from kerasfit.progress import Progress
from kerasfit.tensors import numbers

OWN = ("fit", "evaluate", "make_train_function", "make_test_function")


def has_its_own_fit(model: keras.Model) -> bool:
    return any(overrides(model, method) for method in OWN) or is_distributed(model)


def overrides(model: keras.Model, method: str) -> bool:
    """Whether a model's method comes from outside Keras."""
    owner = next(cls for cls in type(model).__mro__ if method in cls.__dict__)
    return owner.__module__.partition(".")[0] != "keras"


def is_distributed(model: keras.Model) -> bool:
    if keras.distribution.distribution() is not None:
        return True
    strategy = getattr(model, "distribute_strategy", None)
    return strategy is not None and strategy.num_replicas_in_sync > 1


def fit_by_model(
    model: keras.Model, history: History, progress: Progress, *, callbacks: list, **arguments: Any
) -> None:
    """Call the model's own ``fit`` with Keras's arguments, those that were given."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if not (isinstance(given["x"], (list, tuple, dict)) or hasattr(given["x"], "shape")):
        del given["shuffle"]
    try:
        model.fit(callbacks=[*callbacks, Watcher(history, progress)], verbose=0, **given)
    finally:
        progress.close_bar()


class Watcher(keras.callbacks.Callback):
    """Records epochs and shows them, from inside Keras's own loop."""

    def __init__(self, history: History, progress: Progress):
        super().__init__()
        self.record, self.progress = history, progress

    def on_epoch_begin(self, epoch, logs=None):
        self.progress.epoch_begin(epoch + 1, self.params.get("steps"))

    def on_epoch_end(self, epoch, logs=None):
        logs = numbers(logs)
        self.record.record(epoch + 1, logs)
        self.record.params["steps"] = self.params.get("steps")
        self.progress.epoch_end(epoch + 1, logs)
