"""Models that train in a way of their own: their own ``fit`` runs, and we watch.

That is a subclass that overrides ``fit``, ``evaluate`` or the functions that make their steps, and a model
spread over several devices, which Keras's own loop knows how to feed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from kerasfit.history import History
from kerasfit.progress import Progress
from kerasfit.sources import ArraySource, Source
from kerasfit.sources.dataset import DatasetSource
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
    model: keras.Model,
    history: History,
    progress: Progress,
    training: Source,
    validation: Source | None,
    *,
    callbacks: list[keras.callbacks.Callback],
    steps_per_epoch: int | None,
    shuffle: bool,
    **arguments: Any,
) -> None:
    """Call the model's own ``fit`` on the sources' data, with Keras's arguments.

    Class weights are sample weights by then. Data that are not arrays keep no pass: an iterator goes on from
    epoch to epoch.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    if isinstance(training, ArraySource):
        given |= dict(zip(("x", "y", "sample_weight"), training.data, strict=True))
        given |= {"batch_size": training.batch_size, "shuffle": shuffle}
    else:
        given["x"] = keras_data(training, steps_per_epoch)
    if validation is not None:
        given["validation_data"] = keras_data(validation, arguments["validation_steps"])
        given["validation_batch_size"] = validation.batch_size
    callbacks = [*callbacks, Watcher(history, progress)]
    try:
        model.fit(callbacks=callbacks, steps_per_epoch=steps_per_epoch, verbose=0, **given)
    finally:
        progress.close_bar()


def keras_data(source: Source, steps: int | None) -> Any:
    """A source's data as Keras takes them: arrays in a tuple, a dataset, or a generator."""
    if isinstance(source, ArraySource):
        return source.data
    if isinstance(source, DatasetSource) and source.class_weight is None:
        return source.dataset

    def batches() -> Iterator[tuple]:
        while True:
            count = 0
            for count, batch in enumerate(source, start=1):  # noqa: B007
                yield keras.utils.pack_x_y_sample_weight(*batch)
            if steps is None or not count:
                return

    return batches()


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
