"""Trains a model with an engine, and handles checkpoints and interrupts."""

from __future__ import annotations

from typing import Any

import keras

from kerasfit import interrupts, loop
from kerasfit.arguments import Schedule
from kerasfit.callbacks.callback_list import CallbackList
from kerasfit.callbacks.monitors import Monitors
from kerasfit.checkpoint import Backup, backup_among, run_fingerprint
from kerasfit.checks.data import prepare
from kerasfit.checks.shapes import shapes_explained
from kerasfit.data.reader import ModelData
from kerasfit.engines import Engine
from kerasfit.error_context import annotate_error, error_context
from kerasfit.history import History
from kerasfit.run_display import RunDisplay
from kerasfit.sources import Stream


def fit_by_engine(
    engine: Engine,
    history: History,
    display: RunDisplay,
    stream: Stream,
    validation: loop.Validation | None,
    *,
    reader: ModelData,
    schedule: Schedule,
    callbacks: list[keras.callbacks.Callback],
    resume_arguments: dict[str, Any],
) -> None:
    """Run kerasfit's training loop, resuming from a checkpoint if a backup callback has found one.

    ``resume_arguments`` must be the same when a run is resumed, as must data and callbacks.
    """
    model = engine.model
    if not any(isinstance(callback, keras.callbacks.History) for callback in callbacks):
        callbacks.append(keras.callbacks.History())
    model.history = next(c for c in callbacks if isinstance(c, keras.callbacks.History))
    validation_stream = validation.stream if validation else None
    backup = None
    try:
        with error_context(epoch=schedule.initial_epoch), shapes_explained(model, stream.source):
            if settings := backup_among(callbacks):
                sources = stream.source, validation_stream.source if validation_stream else None
                backup = Backup(
                    settings,
                    engine,
                    stream,
                    validation_stream,
                    callbacks,
                    history,
                    lambda with_state: run_fingerprint(model, *sources, with_state, resume_arguments),
                    schedule.epochs,
                )
            monitors = prepare_run(engine, reader, stream, validation_stream, callbacks, backup)
            reader.save_schema()  # so that checkpoints of the model contain the schema
        callback_list = CallbackList(
            callbacks,
            model,
            engine.sync,
            verbose=display.console.verbose,
            epochs=schedule.epochs,
            steps=stream.steps,
        )
        loop.Training(
            engine, stream, validation, schedule, callback_list, display, history, monitors, backup
        ).run()
    except interrupts.ImmediateInterrupt:
        raise
    except KeyboardInterrupt:
        history.params["interrupted"] = True
    except BaseException as error:
        annotate_error(error, history=history)
        raise
    finally:
        loop.end_run(engine, display.console, backup)
        history.params["steps"] = stream.steps


def prepare_run(
    engine: Engine,
    reader: ModelData,
    stream: Stream,
    validation: Stream | None,
    callbacks: list[keras.callbacks.Callback],
    backup: Backup | None,
) -> Monitors:
    """Create the model's training state, and check the callbacks and any checkpoint found against it."""
    try:
        prepare(engine, reader, stream, *([validation] if validation else []))
        monitors = Monitors(engine.model, callbacks, validates=validation is not None)
        if backup:
            backup.check_variables()
    except BaseException:
        if backup:
            backup.abandon()
        raise
    return monitors
