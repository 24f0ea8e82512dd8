"""The door: ``fit()``.

It says what the arguments mean (``arguments``), opens the data (``sources``), builds the engine
(``engines``) and lets the loop run. Nothing has happened to the model before all arguments are checked.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from kerasfit import arguments, interrupts, loop
from kerasfit.arguments import ClassWeightsByBatch, Schedule, ValidationSchedule
from kerasfit.callbacks import Callbacks, check_callbacks, check_paths
from kerasfit.checkpoint import Backup, backup_among, run_fingerprint
from kerasfit.checks import check_compiled, check_end, check_trainable, prepare
from kerasfit.data import ModelData, levels_of
from kerasfit.delegate import fit_by_model, has_its_own, overrides
from kerasfit.engines import Engine, engine_for
from kerasfit.error_context import annotate_error, error_context
from kerasfit.errors import ArgumentError
from kerasfit.extras import ProgressStyle
from kerasfit.history import History
from kerasfit.lists import check_validation
from kerasfit.live import View, viewed
from kerasfit.monitors import Monitors
from kerasfit.nesting import may_be_nested
from kerasfit.output import with_forgiving_output
from kerasfit.progress import Progress, Writer
from kerasfit.run_display import RunDisplay
from kerasfit.shapes import check_shapes, shapes_explained
from kerasfit.sources import (
    VALIDATION_NAMES,
    Reader,
    Source,
    Stream,
    check_arrays,
    is_array_like,
    is_iterator_like,
    open_source,
    split,
)

# which R users give as options
ARGUMENTS_OF_THE_BRIDGE = {
    *("model", "plan", "kernels", "allow_missing", "on_interrupt", "writer", "view", "extra")
}


@may_be_nested
@interrupts.with_sigint_deferred
@with_forgiving_output
def fit(
    model: keras.Model,
    x: Any = None,
    y: Any = None,
    *,
    batch_size: int | None = None,
    epochs: int = 1,
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: Mapping | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 1,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: Any = 1,
    verbose: int | str = "auto",
    plan: str = "auto",
    kernels: bool | None = None,
    allow_missing: bool = False,
    on_interrupt: str = "return",
    writer: Writer | None = None,
    view: View | None = None,
    **extra: Any,
) -> History:
    """Train a compiled Keras model.

    Parameters
    ----------
    model
        A compiled model.
    x
        Inputs, shape (samples, …): an array or tensor, or nested lists or dicts of them; or a
        ``tf.data.Dataset``, iterator, iterable or function that makes batches: tuples (x,), (x, y) or
        (x, y, sample_weight); anything else is all x. A function is called for one batch at a time and
        returns None at the end of a pass. A ``pandas.DataFrame`` of numbers is a matrix; if the model has
        several inputs, each column goes to the input of its name.
    y
        Targets with the same first axis; a ``pandas.Categorical`` stands for its 0-based codes, one-hot if
        the loss is a categorical crossentropy. A data frame is a matrix, or has a column for each output.
    batch_size
        Samples in a step; for arrays only. By default 32, or as many as make ``steps_per_epoch`` steps.
    epochs
        The last epoch to train, 1-based.
    callbacks
        A list of ``keras.callbacks.Callback``. A mapping from names of hooks (on_epoch_end, …) to functions
        stands for a callback; epochs and batches that these see count from 1.
    validation_split
        The share of the samples, taken from the end before any shuffling, to validate on instead.
    validation_data
        (x, y) or (x, y, sample_weight), a dataset or a generator; overrides ``validation_split``. For a model
        without targets, x alone.
    shuffle
        Whether to put the samples of arrays into a new order each epoch.
    class_weight
        Class → weight, classes being 0-based codes or, for a categorical y, levels. By code, each class
        that occurs must be there; by level, the others weigh 1. For a model with several outputs, output →
        class → weight; samples weigh 1 for outputs that are not named.
    sample_weight
        Weights, shape (samples,), or (samples, timesteps) for temporal data.
    initial_epoch
        The first epoch to train, 1-based.
    steps_per_epoch
        Steps in an epoch; by default, and with -1, an epoch goes on until the data end.
    validation_steps, validation_batch_size
        The same for validation; the batch size is the training's by default.
    validation_freq
        Validate after every so many epochs, or after the epochs (1-based) in a list.
    verbose
        0 silent, 1 progress bar, 2 one line for each epoch, "auto".
    plan
        How steps are run: "auto" chooses by model and device, never by timing. "loop": many steps in one
        call, over data that stay on the device. "step": a call for each batch and Keras's own update of
        variables. With tensorflow also "xla", the loop compiled by XLA, and "xla_step", its steps compiled by
        XLA; with torch also "recorded", the operations of the first step replayed.
    kernels
        Whether layers may compute with faster functions in the place of Keras's, on CPUs. By default they
        may, unless the environment variable KERASFIT_KERNELS is 0.
    allow_missing
        Whether x, y and weights may have NaN and infinite values, for a model that masks them.
    on_interrupt
        What Ctrl-C does, after the step that it comes in: "return" ends training and returns the history
        so far, whose ``params["interrupted"]`` is then True; "error" raises ``KeyboardInterrupt`` with the
        history in its attribute ``error_context.history``.
    writer
        Where progress is shown; standard output by default.
    view
        Who else watches: a ``live.View``.
    **extra
        For a model with a ``fit`` of its own, which gets them.

    Returns
    -------
    History

    Raises
    ------
    ArgumentError, DataError
        If an argument cannot be used, before the model has changed.
    """
    check_compiled(model, "fit")
    own_fit = has_its_own("fit", model)
    if extra and not own_fit:
        names = arguments.listed([f"`{name}`" for name in extra], "argument", "arguments")
        known = inspect.signature(fit).parameters.keys() - ARGUMENTS_OF_THE_BRIDGE
        meant = arguments.nearest_argument(next(iter(extra)), sorted(known))
        hint = f"Did you mean `{meant}`?" if meant else None
        raise ArgumentError(next(iter(extra)), f"fit() does not know the {names}.", hint)
    schedule = Schedule.of(initial_epoch, epochs)
    validation_schedule = ValidationSchedule.of(validation_freq)
    verbose = arguments.verbosity(verbose)
    shuffle = arguments.flag("shuffle", shuffle)
    batch_size = arguments.optional_whole_number("batch_size", batch_size, minimum=1)
    validation_batch_size = arguments.optional_whole_number(
        "validation_batch_size", validation_batch_size, minimum=1
    )
    validation_split = arguments.fraction("validation_split", validation_split)
    steps_per_epoch = arguments.steps("steps_per_epoch", steps_per_epoch)
    validation_steps = arguments.steps("validation_steps", validation_steps)
    callbacks = check_callbacks(callbacks)
    on_interrupt = arguments.choice("on_interrupt", on_interrupt, ("return", "error"))
    if backup_among(callbacks) and own_fit:
        raise ArgumentError(
            "callbacks", "The state of a run cannot be kept for a model that has a fit() of its own."
        )
    takes_any_data = overrides(model, "fit")
    allow_missing = arguments.flag("allow_missing", allow_missing)
    reader = ModelData(model, allow_missing=allow_missing, checked=not takes_any_data)
    reader.recall()
    y = reader.in_known_levels("y", y)
    levels = levels_of(y)
    if class_weight is not None and is_iterator_like(x):
        class_weights = ClassWeightsByBatch(
            class_weight, reader.outputs, lambda: reader.levels, reader.are_codes
        )
    else:
        class_weights = arguments.class_weights_of(class_weight, levels, reader.outputs, reader.are_codes)

    if validation_data is not None and is_array_like(validation_data):
        x_val, y_val, *weights = arguments.validation_triple(
            validation_data,
            without_targets=y is None and (is_array_like(x) or model.loss is None),
            inputs=len(reader.inputs_to_name),
        )
        check_validation(validation_data, x_val, reader.inputs_to_name)
        validation_data = (x_val, arguments.match_levels(y, y_val), *weights)
    elif validation_data is None and validation_split:
        if not is_array_like(x):
            raise ArgumentError(
                "validation_split",
                "`validation_split` needs arrays: a dataset or generator cannot be split.",
                "Give `validation_data`.",
            )
        x, y = reader.inputs("x", x), reader.targets("y", y)
        arrays = x, y, reader.weights("sample_weight", sample_weight, y)
        (x, y, sample_weight), validation_data = split(*check_arrays(*arrays), validation_split)
    training = open_source(
        x,
        y,
        sample_weight,
        batch_size=batch_size,
        steps=steps_per_epoch,
        shuffle=shuffle,
        class_weight=class_weights,
        reader=reader,
    )
    check_end(training, "steps_per_epoch", steps_per_epoch)
    validation = None
    if validation_data is not None:
        validation = open_validation(
            validation_data, validation_batch_size, batch_size, validation_steps, reader
        )
        check_end(validation, "validation_steps", validation_steps)
    elif not own_fit:
        check_paths(callbacks)
    if not takes_any_data:
        check_shapes(model, training, validation)
    check_trainable(model)

    history = History(
        params={
            "epochs": schedule.epochs,
            "initial_epoch": schedule.initial_epoch,
            "steps": None,
            "samples": training.samples,
            "validation_samples": validation.samples if validation else None,
            "batch_size": training.batch_size,
            "verbose": verbose,
            "interrupted": False,
            **({"levels": levels} if levels else {}),
        }
    )
    style = next((callback for callback in callbacks if isinstance(callback, ProgressStyle)), None)
    others = [callback for callback in callbacks if callback is not style]
    console = Progress(verbose, writer, schedule.epochs, style, prompt=bool(others) or own_fit)
    display = RunDisplay(console, view)
    with viewed(view, model, history), reader.remembering():
        if own_fit:
            fit_by_model(
                model,
                history,
                display,
                training,
                validation,
                initial_epoch=schedule.initial_epoch,
                epochs=schedule.epochs,
                callbacks=callbacks,
                validation_steps=validation_steps,
                validation_freq=validation_schedule.for_keras(),
                shuffle=shuffle,
                steps_per_epoch=steps_per_epoch,
                **extra,
            )
        else:
            engine = engine_for(model, plan, kernels)
            fit_by_engine(
                engine,
                history,
                display,
                engine.open(training, steps_per_epoch),
                validation
                and loop.Validation(engine.open(validation, validation_steps), validation_schedule),
                reader=reader,
                schedule=schedule,
                callbacks=callbacks,
                given={
                    "`steps_per_epoch`": steps_per_epoch,
                    "`initial_epoch`": schedule.initial_epoch,
                    "`validation_steps`": validation_steps,
                    "`validation_freq`": validation and validation_schedule.for_keras(),
                    "the levels of `y`": levels,
                },
            )
    if levels is None and reader.levels:  # in the batches of a generator
        history.params["levels"] = reader.levels
    return returned(history, on_interrupt)


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
    given: dict[str, Any],
) -> None:
    """Train with our loop, from where the backup among the callbacks has found a run.

    ``given`` are the arguments that must be the same when a run goes on, beside the data and callbacks.
    """
    model = engine.model
    if not any(isinstance(callback, keras.callbacks.History) for callback in callbacks):
        callbacks.append(keras.callbacks.History())
    model.history = next(c for c in callbacks if isinstance(c, keras.callbacks.History))
    validation_stream = validation and validation.stream
    backup = None
    try:
        with error_context(epoch=schedule.initial_epoch), shapes_explained(model, stream.source):
            if settings := backup_among(callbacks):
                sources = stream.source, validation_stream and validation_stream.source
                backup = Backup(
                    settings,
                    engine,
                    stream,
                    validation_stream,
                    callbacks,
                    history,
                    lambda with_state: run_fingerprint(model, *sources, with_state, given),
                    schedule.epochs,
                )
            monitors = prepare_run(engine, reader, stream, validation_stream, callbacks, backup)
            reader.remember()  # which checkpoints of the model keep too
        told = Callbacks(
            callbacks,
            model,
            engine.sync,
            verbose=display.console.verbose,
            epochs=schedule.epochs,
            steps=stream.steps,
        )
        loop.Training(engine, stream, validation, schedule, told, display, history, monitors, backup).run()
    except interrupts.AtOnce:
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
    """Create the state that a model has in a run; see whether callbacks, and a state found, fit it."""
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


def returned(history: History, on_interrupt: str) -> History:
    """A history; or the interrupt that ended the run, with the history, if that is to be an error."""
    if history.params["interrupted"] and on_interrupt == "error":
        interrupt = KeyboardInterrupt()
        annotate_error(interrupt, history=history)
        raise interrupt
    return history


def open_validation(
    validation_data: Any,
    validation_batch_size: int | None,
    batch_size: int | None,
    steps: int | None,
    reader: Reader,
) -> Source:
    if not is_array_like(validation_data):
        return open_source(
            validation_data, batch_size=validation_batch_size, names=VALIDATION_NAMES, reader=reader
        )
    return open_source(
        *validation_data,
        batch_size=validation_batch_size or batch_size,
        steps=steps,
        names=VALIDATION_NAMES,
        reader=reader,
    )
