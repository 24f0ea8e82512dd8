"""``fit()``: checks the arguments, opens the data, and trains with an engine or the model's own ``fit()``.

The arguments are checked before the model is changed, as far as that is possible.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from kerasfit import arguments, interrupts, loop
from kerasfit.arguments import Schedule, ValidationSchedule
from kerasfit.callbacks.callback_list import check_callbacks, check_paths
from kerasfit.callbacks.progress_style import ProgressStyle
from kerasfit.checkpoint import backup_among
from kerasfit.checks.model import check_compiled, check_trainable
from kerasfit.checks.shapes import check_shapes
from kerasfit.custom_fit import fit_by_model, has_its_own, is_distributed, overrides
from kerasfit.engine_fit import fit_by_engine
from kerasfit.engines import Engine, engine_for
from kerasfit.error_context import annotate_error
from kerasfit.errors import ArgumentError
from kerasfit.fit_data import FitData, open_fit_data
from kerasfit.history import History
from kerasfit.live import View, viewed
from kerasfit.messages import listed
from kerasfit.nesting import may_be_nested
from kerasfit.output import with_forgiving_output
from kerasfit.progress import Progress, Writer
from kerasfit.run_display import RunDisplay

# not arguments in R: options, or set by the R package
INTERNAL_ARGUMENTS = {
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
        ``tf.data.Dataset``, ``keras.utils.PyDataset``, iterator, iterable or function that makes batches:
        tuples (x,), (x, y) or (x, y, sample_weight); anything else is x alone. A function is called for one
        batch at a time and returns None at the end of a pass. A ``pandas.DataFrame`` of numbers becomes a
        matrix; if the model has several inputs, each column goes to the input of its name.
    y
        Targets with the same first axis. A ``pandas.Categorical`` becomes its 0-based codes, one-hot encoded
        if the loss is a categorical crossentropy. A data frame becomes a matrix, or has a column for each
        output.
    batch_size
        Samples in a step; for arrays only. Defaults to the model's fixed batch size, else to 32 or to what
        ``steps_per_epoch`` steps require.
    epochs
        The last epoch to train, 1-based.
    callbacks
        A list of ``keras.callbacks.Callback``. A mapping from names of hooks (on_epoch_end, …) to functions
        is also a callback; its functions get epochs and batches counted from 1.
    validation_split
        The share of the samples, taken from the end before any shuffling, to validate on.
    validation_data
        (x, y) or (x, y, sample_weight), a dataset or a generator; overrides ``validation_split``. For a model
        without targets, x alone.
    shuffle
        Whether to put the samples of arrays, or the batches of a ``PyDataset``, into a new order each epoch.
    class_weight
        Class → weight, where classes are 0-based codes or, for a categorical y, levels. By code, each class
        in the targets must have a weight; by level, the default is 1. For a model with several outputs,
        output → class → weight; samples have weight 1 for outputs that are not named.
    sample_weight
        Weights, shape (samples,), or (samples, timesteps) for temporal data.
    initial_epoch
        The first epoch to train, 1-based.
    steps_per_epoch
        Steps in an epoch; by default, and with -1, an epoch continues until the data end.
    validation_steps, validation_batch_size
        The same for validation; the batch size defaults to that of training.
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
        Whether layers may use faster functions than Keras's on CPUs. They may by default, unless the
        environment variable KERASFIT_KERNELS is 0.
    allow_missing
        Whether x, y and weights may have NaN and infinite values, for a model that masks them.
    on_interrupt
        What happens after the step in which Ctrl-C is pressed: "return" ends training and returns the history
        so far, with ``params["interrupted"]`` set to True; "error" raises ``KeyboardInterrupt`` with the
        history in its attribute ``error_context.history``.
    writer
        Where progress is shown; standard output by default.
    view
        A ``live.View``, which shows the run on a web page or writes it to a folder.
    **extra
        Further arguments for a model with its own ``fit``.

    Returns
    -------
    History

    Raises
    ------
    ArgumentError, DataError
        If an argument or the data are invalid. Most checks are made before the first step; a batch of a
        generator, and the metrics that callbacks monitor, may be checked only during training.
    StateError
        If this is called during another call for the same model, or a checkpoint cannot be saved.
    KeyboardInterrupt
        If training was interrupted and ``on_interrupt`` is "error".
    """
    check_compiled(model, "fit")
    own_fit = has_its_own("fit", model)
    if extra and not own_fit:
        raise unknown_arguments(extra)
    settings = FitSettings(
        schedule=Schedule.of(initial_epoch, epochs),
        validation_schedule=ValidationSchedule.of(validation_freq),
        verbose=arguments.verbosity(verbose),
        shuffle=arguments.flag("shuffle", shuffle),
        callbacks=check_callbacks(callbacks),
        steps_per_epoch=arguments.steps("steps_per_epoch", steps_per_epoch),
        validation_steps=arguments.steps("validation_steps", validation_steps),
        on_interrupt=arguments.choice("on_interrupt", on_interrupt, ("return", "error")),
    )
    if own_fit and backup_among(settings.callbacks):
        if is_distributed(model):
            raise ArgumentError(
                "callbacks",
                "Backups do not work for a model that a distribution strategy has spread over devices.",
                "With the backend jax and use_devices(), they do.",
            )
        raise ArgumentError("callbacks", "Backups do not work for a model with its own fit().")
    data = open_fit_data(
        model,
        x,
        y,
        sample_weight,
        class_weight,
        validation_data,
        validation_split=arguments.fraction("validation_split", validation_split),
        batch_size=arguments.optional_whole_number("batch_size", batch_size, minimum=1),
        validation_batch_size=arguments.optional_whole_number(
            "validation_batch_size", validation_batch_size, minimum=1
        ),
        steps_per_epoch=settings.steps_per_epoch,
        validation_steps=settings.validation_steps,
        shuffle=settings.shuffle,
        allow_missing=arguments.flag("allow_missing", allow_missing),
    )
    if data.validation is None and not own_fit:
        check_paths(settings.callbacks)
    if not overrides(model, "fit"):
        check_shapes(model, data.training, data.validation)
    check_trainable(model)

    history = History(params=run_params(settings, data))
    display = RunDisplay(console_for(settings, writer, unbuffered=own_fit), view)
    with viewed(view, model, history), data.reader.schema_kept():
        if own_fit:
            train_by_model(model, history, display, data, settings, extra)
        else:
            train_by_engine(engine_for(model, plan, kernels), history, display, data, settings)
    if data.levels is None and data.reader.levels:  # in the batches of a generator
        history.params["levels"] = data.reader.levels
    if settings.on_interrupt == "error":
        raise_if_interrupted(history)
    return history


@dataclass(frozen=True)
class FitSettings:
    """The checked arguments of a call of ``fit()``, except data."""

    schedule: Schedule
    validation_schedule: ValidationSchedule
    verbose: int
    shuffle: bool
    callbacks: list[keras.callbacks.Callback]
    steps_per_epoch: int | None
    validation_steps: int | None
    on_interrupt: str


def train_by_engine(
    engine: Engine, history: History, display: RunDisplay, data: FitData, settings: FitSettings
) -> None:
    """Train with kerasfit's loop."""
    validation = None
    if data.validation is not None:
        stream = engine.open(data.validation, settings.validation_steps)
        validation = loop.Validation(stream, settings.validation_schedule)
    fit_by_engine(
        engine,
        history,
        display,
        engine.open(data.training, settings.steps_per_epoch),
        validation,
        reader=data.reader,
        schedule=settings.schedule,
        callbacks=settings.callbacks,
        resume_arguments=resume_arguments(settings, data),
    )


def train_by_model(
    model: keras.Model,
    history: History,
    display: RunDisplay,
    data: FitData,
    settings: FitSettings,
    extra: Mapping[str, Any],
) -> None:
    """Train with the model's own ``fit()``."""
    fit_by_model(
        model,
        history,
        display,
        data.training,
        data.validation,
        initial_epoch=settings.schedule.initial_epoch,
        epochs=settings.schedule.epochs,
        callbacks=settings.callbacks,
        validation_steps=settings.validation_steps,
        validation_freq=settings.validation_schedule.for_keras(),
        shuffle=settings.shuffle,
        steps_per_epoch=settings.steps_per_epoch,
        **extra,
    )


def unknown_arguments(extra: Mapping[str, Any]) -> ArgumentError:
    """The error for arguments that ``fit()`` does not have; suggests the nearest one that it has."""
    names = listed([f"`{name}`" for name in extra], "argument", "arguments")
    known = inspect.signature(fit).parameters.keys() - INTERNAL_ARGUMENTS
    meant = arguments.nearest_argument(next(iter(extra)), sorted(known))
    hint = f"Did you mean `{meant}`?" if meant else None
    return ArgumentError(next(iter(extra)), f"fit() has no {names}.", hint)


def run_params(settings: FitSettings, data: FitData) -> dict[str, Any]:
    """The ``params`` of a history: the settings of the run."""
    return {
        "epochs": settings.schedule.epochs,
        "initial_epoch": settings.schedule.initial_epoch,
        "steps": None,
        "samples": data.training.samples,
        "validation_samples": data.validation.samples if data.validation else None,
        "batch_size": data.training.batch_size,
        "verbose": settings.verbose,
        "interrupted": False,
        **({"levels": data.levels} if data.levels else {}),
    }


def console_for(settings: FitSettings, writer: Writer | None, *, unbuffered: bool) -> Progress:
    """The console display of a run; it writes without delay if callbacks may write to the console too."""
    style = next((callback for callback in settings.callbacks if isinstance(callback, ProgressStyle)), None)
    others = [callback for callback in settings.callbacks if callback is not style]
    return Progress(
        settings.verbose, writer, settings.schedule.epochs, style, unbuffered=bool(others) or unbuffered
    )


def resume_arguments(settings: FitSettings, data: FitData) -> dict[str, Any]:
    """The arguments that must be the same when a run is resumed, apart from data and callbacks."""
    return {
        "`steps_per_epoch`": settings.steps_per_epoch,
        "`initial_epoch`": settings.schedule.initial_epoch,
        "`validation_steps`": settings.validation_steps,
        "`validation_freq`": data.validation and settings.validation_schedule.for_keras(),
        "the levels of `y`": data.levels,
    }


def raise_if_interrupted(history: History) -> None:
    """Raise ``KeyboardInterrupt``, with the history attached, if an interrupt ended the run."""
    if history.params["interrupted"]:
        interrupt = KeyboardInterrupt()
        annotate_error(interrupt, history=history)
        raise interrupt
