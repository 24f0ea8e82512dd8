"""The training loop: runs epochs, steps, callbacks and validation in order, and records the history.

The steps of an epoch run in executions (several steps in one call), whose length ``execution_size`` chooses.
Several short epochs share one execution if the engine supports it and nothing needs to happen between them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kerasfit import interrupts, keras_private, timing
from kerasfit.arguments import Schedule, ValidationSchedule
from kerasfit.callbacks.callback_list import CallbackList
from kerasfit.callbacks.monitors import Monitors
from kerasfit.checkpoint import Backup, Position, StoredRun
from kerasfit.checks.shapes import shapes_explained
from kerasfit.engines import DEFAULTS, Engine, ExecutionOptions
from kerasfit.error_context import add_error_context, error_context
from kerasfit.errors import DataError
from kerasfit.execution_size import execution_sizer
from kerasfit.history import History
from kerasfit.logs import Logs, logs_to_floats
from kerasfit.progress import Progress
from kerasfit.run_display import RunDisplay
from kerasfit.sources import Stream

STOP_FLAGS = {"train": "stop_training", "test": "stop_evaluating", "predict": "stop_predicting"}


@dataclass
class Training:
    """A run of training, from the first epoch to the last."""

    engine: Engine
    stream: Stream
    validation: Validation | None
    schedule: Schedule
    callbacks: CallbackList
    display: RunDisplay
    history: History
    monitors: Monitors
    backup: Backup | None = None
    options: ExecutionOptions = DEFAULTS
    validation_options: ExecutionOptions = DEFAULTS

    def run(self) -> None:
        """Train all epochs and record them in the history, resuming from a checkpoint if there is one.

        An interrupt ends training after the current step and sets ``history.params["interrupted"]``.
        """
        model, backup, history = self.engine.model, self.backup, self.history
        model.stop_training = False
        self.options = ExecutionOptions(halt_on_nan=self.callbacks.halt_on_nan)
        logs: Logs = {}
        try:
            for logs in self._epochs():  # noqa: B007
                pass
            interrupts.check()  # an interrupt after the last step
            if backup:
                backup.completed(keep=self.callbacks.has_user_hook("on_train_end"))
        except interrupts.ImmediateInterrupt:
            raise
        except KeyboardInterrupt:
            self.display.console.close()
            history.params["interrupted"] = True
            if backup:
                backup.interrupted()
        self.engine.finish()
        self.callbacks.end("train", logs)
        if self.callbacks.cut_short and interrupts.take_request():
            history.params["interrupted"] = True
        if backup and not history.params["interrupted"]:
            backup.ended()

    def _epochs(self) -> Iterator[dict[str, Any]]:
        """Train and yield the logs of each epoch."""
        model, backup = self.engine.model, self.backup
        found = backup.found if backup else None
        with backup.continuing_logs() if backup else nullcontext():
            self.callbacks.begin("train")
        first = keras_private.restored_epoch(model)
        if found:
            first = found.position.epoch + (not found.position.is_within_epoch)
        if backup and found and not found.position.is_within_epoch:
            found.restore()
            backup.set_position(found.position)
            yield found.position.logs
        epochs = self.schedule.starting_at(first)
        while epochs and not model.stop_training:
            interrupts.check()
            resumed = found if found and found.position.is_within_epoch and epochs[0] == first else None
            self._plan(epochs)
            with error_context(epoch=epochs[0], history=self.history):
                if not (done := self._unobserved_epochs(epochs)):
                    logs = self._epoch(epochs[0], resumed)
                    if logs is None:
                        break
                    done = [logs]
            yield done[-1]
            epochs = epochs[len(done) :]

    def _unobserved_epochs(self, epochs: range) -> list[dict[str, Any]]:
        """Train several short epochs in one execution, if the engine can and nothing happens between them.

        Returns the logs of each epoch, or an empty list if that is not possible.
        """
        engine, stream = self.engine, self.stream
        observed = (
            self.validation
            or self.backup
            or self.callbacks.has_epoch_hooks
            or not self.display.console.may_buffer
        )
        if observed or not stream.steps:
            return []
        self.display.page_epoch_begin(epochs[0], stream.steps)
        if engine.model.stop_training:  # the user pressed stop on the live page
            return []
        sizer, began = execution_sizer(engine, "train", stream.source.batch_size), time.perf_counter()
        with timing.part("steps"), shapes_explained(engine.model, stream.source, "train"):
            logs_of_each = engine.train_epochs(stream, min(len(epochs), sizer.steps // stream.steps))
        if not logs_of_each:
            return []
        seconds = time.perf_counter() - began
        sizer.record(len(logs_of_each) * stream.steps, seconds)
        for epoch, logs in zip(epochs, logs_of_each, strict=False):
            self.callbacks.epoch_begin(epoch)
            self._end_epoch(epoch, logs, seconds / len(logs_of_each))
        return logs_of_each

    def _plan(self, epochs: Sequence[int]) -> None:
        """Note the number of steps in the epochs to come, for training and for validation."""
        self.options = replace(self.options, planned_steps=len(epochs) * (self.stream.steps or 0))
        if self.validation:
            stream, schedule = self.validation.stream, self.validation.schedule
            self.options = replace(self.options, evaluates_on=stream if schedule.due(epochs[0]) else None)
            self.validation_options = ExecutionOptions(
                planned_steps=sum(map(schedule.due, epochs)) * (stream.steps or 0)
            )

    def _epoch(self, epoch: int, resumed: StoredRun | None) -> Logs | None:
        """Train one epoch, from its beginning or from a position within it.

        Returns its logs, or None if the data have ended.
        """
        engine, stream, callbacks, backup = self.engine, self.stream, self.callbacks, self.backup
        engine.reset_metrics()
        if backup and callbacks.has_user_hook("on_epoch_begin"):
            backup.before_next_epoch()
        callbacks.epoch_begin(epoch)
        if resumed:
            resumed.restore()
        else:
            stream.reset_epoch()
        if backup and not callbacks.cut_short:
            backup.set_position(resumed.position if resumed else Position(epoch, "steps"))
        interrupts.check()
        if not stream.taken:
            stream.begin_epoch()
        self.display.epoch_begin(epoch, stream.steps)
        logs, stage = (dict(resumed.position.logs), resumed.position.stage) if resumed else ({}, "steps")
        if stage == "steps":
            trained = self._train(epoch, logs)
            if trained is None:
                return None
            logs = trained
        if stage != "callbacks" and self.validation and self.validation.schedule.due(epoch):
            logs = logs | self._validate(epoch, logs, self.validation.stream)
        if backup and callbacks.has_user_hook("on_epoch_end"):
            backup.before_callbacks(epoch, logs)
        self._end_epoch(epoch, logs)
        return logs

    def _end_epoch(self, epoch: int, logs: Logs, seconds: float | None = None) -> None:
        """Notify callbacks, history, checkpoint and display that an epoch has ended.

        ``seconds`` is the duration of an epoch that shared an execution with others.
        """
        with self.monitors.checking(logs):
            self.callbacks.epoch_end(epoch, logs)
        self.history.record(epoch, logs, seconds)
        if self.backup and not self.callbacks.cut_short:
            self.backup.epoch_end(epoch, logs)
        self.display.epoch_end(epoch, logs, seconds)

    def _train(self, epoch: int, step_logs: Logs) -> Logs | None:
        """Run the (remaining) steps of an epoch; return the metrics, or None if the data have ended."""
        engine, stream = self.engine, self.stream
        step_logs = step_logs | run_steps(
            "train", engine.train, stream, engine, self.callbacks, self.display, self.backup, self.options
        )
        if not stream.taken:
            warnings.warn(
                f"The data ended: there is no batch for epoch {epoch}, and training stops.", stacklevel=2
            )
            return None
        if not engine.model.stop_training:
            warn_of_missing_steps(stream, f"epoch {epoch}")
        return engine.results(step_logs)

    def _validate(self, epoch: int, logs: Logs, stream: Stream) -> Logs:
        """Evaluate on the validation data; return loss and metrics with the prefix ``val_``."""
        if self.backup:
            self.backup.before_validation(epoch, logs, hooks=self.callbacks.has_phase_hooks("test"))
        with timing.part("validation"):
            val_logs = evaluate(self.engine, stream, self.callbacks, options=self.validation_options)
        return {f"val_{name}": value for name, value in val_logs.items()}


def evaluate(
    engine: Engine,
    stream: Stream,
    callbacks: CallbackList,
    progress: Progress | None = None,
    options: ExecutionOptions | None = None,
) -> Logs:
    """Return loss and metrics over one pass of a stream."""
    options = options or ExecutionOptions(planned_steps=stream.steps or 0)
    engine.model.stop_evaluating = False
    callbacks.begin("test")
    engine.reset_metrics()
    stream.begin_epoch(new_pass=True)
    with ended_if_interrupted("test", engine, callbacks):
        step_logs = run_steps("test", engine.evaluate, stream, engine, callbacks, progress, options=options)
    if not stream.taken:
        warnings.warn("The data ended: there is no batch to evaluate on.", stacklevel=2)
    elif not engine.model.stop_evaluating:
        warn_of_missing_steps(stream, "evaluation")
    logs = engine.results(step_logs)
    callbacks.end("test", logs)
    return logs


def predict(engine: Engine, stream: Stream, callbacks: CallbackList, progress: Progress | None = None) -> Any:
    """Return a model's outputs for one pass of a stream: numpy arrays with samples along the first axis."""
    outputs: list[Any] = []
    has_hooks = callbacks.has_batch_hooks("predict")

    def execute(stream: Stream, steps: int, _: ExecutionOptions) -> dict[str, Any]:
        outputs.extend(new := engine.predict(stream, steps))
        return {"outputs": concatenated(new)} if has_hooks else {}

    engine.model.stop_predicting = False
    callbacks.begin("predict")
    stream.begin_epoch(new_pass=True)
    with ended_if_interrupted("predict", engine, callbacks):
        run_steps("predict", execute, stream, engine, callbacks, progress)
    if not outputs:
        raise DataError("x", "`x` has no batches to predict on.")
    if not engine.model.stop_predicting:
        warn_of_missing_steps(stream, "prediction")
    callbacks.end("predict")
    return concatenated(outputs)


@contextmanager
def ended_if_interrupted(phase: str, engine: Engine, callbacks: CallbackList) -> Iterator[None]:
    """Call the callbacks' end hook of a phase even if an interrupt ends the phase.

    Some callbacks change the model at the beginning of a phase and change it back at the end.
    """
    try:
        yield
    except interrupts.GracefulInterrupt:
        engine.sync()
        callbacks.end(phase, logs_to_floats(engine.model.get_metrics_result()) if phase == "test" else None)
        raise


def run_steps(
    phase: str,
    execute: Callable[[Stream, int, ExecutionOptions], dict[str, Any]],
    stream: Stream,
    engine: Engine,
    callbacks: CallbackList,
    display: RunDisplay | Progress | None,
    backup: Backup | None = None,
    options: ExecutionOptions = DEFAULTS,
) -> dict[str, Any]:
    """Run one pass of a stream in executions, until the data end or a callback stops it.

    Returns the logs of the last execution.
    """
    fixed = engine.model.steps_per_execution if callbacks.needs_every_batch(phase) else None
    sizer = execution_sizer(engine, phase, stream.source.batch_size, fixed)
    has_hooks = callbacks.has_batch_hooks(phase)
    options = replace(options, async_steps=not has_hooks)
    logs: Logs = {}
    while not stream.exhausted:
        if has_hooks:
            callbacks.batch_begin(phase, stream.taken)
        steps = sizer.steps
        if backup:
            steps = backup.steps_at_once(steps, fixed=fixed is not None)
            backup.in_step = True
        taken, began = stream.taken, time.perf_counter()
        try:
            with timing.part("steps"), shapes_explained(engine.model, stream.source, phase):
                logs = execute(stream, steps, options) or logs
        except BaseException as error:
            if stream.taken <= taken + 1:  # else the batch that failed is one of several
                add_error_context(error, batch=taken + 1)
            raise
        sizer.record(stream.taken - taken, time.perf_counter() - began)
        if has_hooks:
            callbacks.batch_end(phase, stream.taken - 1, logs)
        if display:
            display.step(stream.taken, logs)
        if getattr(engine.model, STOP_FLAGS[phase]):
            break
        if backup:
            logs = backup.steps_done(stream.taken - taken, logs)
        interrupts.check()
    else:
        stream.end_epoch()
    return logs


@interrupts.uninterrupted
def end_run(engine: Engine, progress: Progress, backup: Backup | None = None) -> None:
    """Copy the engine's state to the model's variables, then close progress and backup."""
    try:
        engine.sync()
    finally:
        progress.close()
        if backup:
            backup.close()


@dataclass
class Validation:
    """The validation data, and the epochs after which to validate."""

    stream: Stream
    schedule: ValidationSchedule


def warn_of_missing_steps(stream: Stream, what: str) -> None:
    if stream.ended_early:
        warnings.warn(f"The data ended: {what} has {stream.taken} of {stream.limit} steps.", stacklevel=3)


def concatenated(outputs: list[Any]) -> Any:
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)
