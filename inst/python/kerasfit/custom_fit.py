"""Calls a model's own ``fit``, ``evaluate`` or ``predict``, and records and shows its progress.

These are used for subclasses that override one of them, or a function that makes their steps, and for models
distributed over several devices, which need Keras's own loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import keras

from kerasfit import interrupts
from kerasfit.devices import runs_on_several_devices
from kerasfit.errors import ArgumentError
from kerasfit.history import History
from kerasfit.logs import Logs, logs_to_floats
from kerasfit.object_origin import package_of
from kerasfit.run_display import RunDisplay
from kerasfit.sources import ArraySource, DatasetSource, IteratorSource, LazyArray, Source

OVERRIDES = {
    "fit": ("fit", "evaluate", "make_train_function", "make_test_function"),
    "evaluate": ("evaluate", "make_test_function"),
    "predict": ("predict", "make_predict_function"),
}


def has_its_own(verb: str, model: keras.Model) -> bool:
    """Whether a model must use its own ``fit``, ``evaluate`` or ``predict``."""
    return any(overrides(model, method) for method in OVERRIDES[verb]) or is_distributed(model)


def overrides(model: keras.Model, method: str) -> bool:
    """Whether a model's method comes from outside Keras."""
    owner = next(cls for cls in type(model).__mro__ if method in cls.__dict__)
    return package_of(owner) != "keras"


def is_distributed(model: keras.Model) -> bool:
    """Whether a model is distributed in a way that only Keras's own loop can train."""
    if keras.distribution.distribution() is not None:
        is_compiled = model.jit_compile and not model.run_eagerly
        return not (is_compiled and runs_on_several_devices())
    strategy = getattr(model, "distribute_strategy", None)
    return strategy is not None and (strategy.num_replicas_in_sync > 1 or has_replicas(strategy))


def warn_of_uneven_batches(model: keras.Model, source: Source) -> None:
    """Warn if the replicas of a distribution strategy get parts of different sizes of the last batch.

    TensorFlow then averages the gradients of the replicas as if their parts were of the same size.
    """
    strategy = getattr(model, "distribute_strategy", None)
    replicas = strategy.num_replicas_in_sync if strategy is not None else 1
    last = source.samples % source.batch_size if isinstance(source, ArraySource) else 0
    if last % replicas:
        warnings.warn(
            f"The last batch has {last} samples, which {replicas} replicas cannot share evenly: TensorFlow"
            " gives these samples wrong weights. Choose another `batch_size`, or the backend jax with"
            " `use_devices()`, which computes as on one device.",
            stacklevel=2,
        )


def has_replicas(strategy: Any) -> bool:
    """Whether variables belong to a distribution strategy, even one with a single replica.

    Code for a single device cannot update them.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return isinstance(strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy))


def fit_by_model(
    model: keras.Model,
    history: History,
    display: RunDisplay,
    training: Source,
    validation: Source | None,
    *,
    callbacks: list[keras.callbacks.Callback],
    initial_epoch: int,
    epochs: int,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    shuffle: bool,
    **further: Any,
) -> None:
    """Call the model's own ``fit`` on the sources' data, in which class weights are sample weights already.

    Raises
    ------
    ArgumentError
        If several epochs use an iterator without a number of steps: Keras cannot start it again.
    """
    warn_of_uneven_batches(model, training)
    arguments = keras_data(training, steps_per_epoch)
    in_memory = isinstance(training, ArraySource)
    if in_memory:
        arguments["batch_size"] = training.batch_size
    arguments["shuffle"] = shuffle and in_memory  # Keras would warn that it does not shuffle other data
    if validation is not None:
        arguments["validation_data"] = tuple(keras_data(validation, validation_steps).values())
        if not isinstance(validation, ArraySource):
            (arguments["validation_data"],) = arguments["validation_data"]
        arguments["validation_batch_size"] = validation.batch_size
    if initial_epoch < epochs:
        check_steps(training, "steps_per_epoch", steps_per_epoch)
        check_steps(validation, "validation_steps", validation_steps)
    try:
        model.fit(
            **arguments,
            initial_epoch=initial_epoch - 1,
            epochs=epochs,
            steps_per_epoch=keras_steps(steps_per_epoch),
            validation_steps=keras_steps(validation_steps),
            callbacks=[*callbacks, EpochRecorder(history, display)],
            verbose=0,
            **further,
        )
    finally:
        display.console.close()


def evaluate_by_model(
    model: keras.Model, source: Source, steps: int | None, callbacks: list[keras.callbacks.Callback]
) -> dict[str, Any]:
    data = keras_data(source, steps)
    return model.evaluate(
        **data,
        batch_size=source.batch_size,
        steps=keras_steps(steps),
        callbacks=[*callbacks, InterruptCheck()],
        verbose=0,
        return_dict=True,
    )


def predict_by_model(
    model: keras.Model, source: Source, steps: int | None, callbacks: list[keras.callbacks.Callback]
) -> Any:
    x = keras_data(source, steps)["x"]
    callbacks = [*callbacks, InterruptCheck()]
    return model.predict(
        x, batch_size=source.batch_size, steps=keras_steps(steps), callbacks=callbacks, verbose=0
    )


def keras_data(source: Source, steps: int | None) -> dict[str, Any]:
    """A source's data as arguments for Keras: arrays, a dataset, or a generator."""
    if isinstance(source, ArraySource):
        data = keras.tree.map_structure(
            lambda leaf: leaf.rows if isinstance(leaf, LazyArray) else leaf, source.data
        )
        return dict(zip(("x", "y", "sample_weight"), data, strict=True))
    if isinstance(source, DatasetSource) and source.class_weight is None:
        return {"x": source.dataset}

    def batches() -> Iterator[tuple]:
        while True:
            batch = None
            for batch in source:
                yield batch[:1] if batch.y is None else keras.utils.pack_x_y_sample_weight(*batch)
            if keras_steps(steps) is None or batch is None:
                return

    return {"x": batches()}


def keras_steps(steps: int | None) -> int | None:
    """A number of steps for Keras: -1, until the data end, becomes None."""
    return None if steps == -1 else steps


def check_steps(source: Source | None, argument: str, steps: int | None) -> None:
    if isinstance(source, IteratorSource) and keras_steps(steps) is None:
        raise ArgumentError(
            argument,
            f"`{argument}` is missing: a model with its own fit() needs it if the data are a generator.",
        )


class InterruptCheck(keras.callbacks.Callback):
    """Ends an evaluation or prediction after the step in which an interrupt occurred."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        interrupts.check()

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        interrupts.check()


class EpochRecorder(keras.callbacks.Callback):
    """Records and shows the epochs of Keras's own loop."""

    def __init__(self, history: History, display: RunDisplay):
        super().__init__()
        self.record, self.display = history, display

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.display.epoch_begin(epoch + 1, self.params.get("steps"))

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if interrupts.requested():
            self.model.stop_training = self.record.params["interrupted"] = True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.record.params["interrupted"]:
            return
        logs = logs_to_floats(logs)
        self.record.record(epoch + 1, logs)
        self.record.params["steps"] = self.params.get("steps")
        self.display.epoch_end(epoch + 1, logs)
