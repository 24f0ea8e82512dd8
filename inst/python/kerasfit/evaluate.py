"""``evaluate()`` and ``predict()``, with the engines and the loop of ``fit()``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kerasfit import arguments, interrupts, loop
from kerasfit.callbacks.callback_list import CallbackList, check_callbacks
from kerasfit.checks.data import check_end, prepare
from kerasfit.checks.model import check_compiled
from kerasfit.checks.shapes import check_number_of_inputs, shapes_explained
from kerasfit.custom_fit import evaluate_by_model, has_its_own, overrides, predict_by_model
from kerasfit.data.reader import ModelData
from kerasfit.engines import Engine, engine_for
from kerasfit.error_context import annotate_error
from kerasfit.logs import flatten_metrics
from kerasfit.nesting import may_be_nested
from kerasfit.output import with_forgiving_output
from kerasfit.progress import Progress, Writer
from kerasfit.sources import Stream, open_source


@may_be_nested
@interrupts.with_sigint_deferred
@with_forgiving_output
def evaluate(
    model: keras.Model,
    x: Any = None,
    y: Any = None,
    *,
    batch_size: int | None = None,
    sample_weight: Any = None,
    steps: int | None = None,
    callbacks: Any = None,
    verbose: int | str = "auto",
    plan: str = "auto",
    kernels: bool | None = None,
    allow_missing: bool = False,
    writer: Writer | None = None,
) -> dict[str, float]:
    """Compute the loss and metrics of a compiled model on data; returns them by name.

    A metric that is an array has a name for each element, as in a history.

    Parameters
    ----------
    steps
        The number of batches; by default, and with -1, those of one pass over the data.

    The other arguments are those of ``fit``.

    Raises
    ------
    ArgumentError, DataError
        If an argument or the data are invalid.
    """
    check_compiled(model, "evaluate")
    steps = arguments.steps("steps", steps)
    batch_size = arguments.optional_whole_number("batch_size", batch_size, minimum=1)
    callbacks = check_callbacks(callbacks)
    verbose = arguments.verbosity(verbose)
    takes_any_data = overrides(model, "evaluate")
    allow_missing = arguments.flag("allow_missing", allow_missing)
    reader = ModelData(model, allow_missing=allow_missing, checked=not takes_any_data)
    reader.restore_schema()
    source = open_source(x, y, sample_weight, batch_size=batch_size, steps=steps, reader=reader)
    check_end(source, "steps", steps)
    if not takes_any_data:
        check_number_of_inputs(model, source)
    if has_its_own("evaluate", model):
        return flatten_metrics(evaluate_by_model(model, source, steps, callbacks))
    engine = engine_for(model, plan, kernels)
    stream = engine.open(source, steps)
    with shapes_explained(model, source):
        prepare(engine, reader, stream)
    with running("Evaluate", engine, stream, verbose, writer) as progress:
        logs = loop.evaluate(
            engine,
            stream,
            CallbackList(callbacks, model, engine.sync, verbose=verbose, steps=stream.steps),
            progress,
        )
        progress.end("Evaluate", logs)
    return flatten_metrics(logs)


@may_be_nested
@interrupts.with_sigint_deferred
@with_forgiving_output
def predict(
    model: keras.Model,
    x: Any,
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    callbacks: Any = None,
    verbose: int | str = "auto",
    plan: str = "auto",
    kernels: bool | None = None,
    allow_missing: bool = False,
    writer: Writer | None = None,
) -> Any:
    """Compute a model's outputs: numpy arrays, shape (samples, …), nested as the model returns them.

    Targets and weights that a dataset or generator yields are ignored.

    Parameters
    ----------
    steps
        The number of batches; by default, and with -1, those of one pass over the data.

    The other arguments are those of ``fit``.

    Raises
    ------
    ArgumentError, DataError
        If an argument or the data are invalid.
    """
    steps = arguments.steps("steps", steps)
    batch_size = arguments.optional_whole_number("batch_size", batch_size, minimum=1)
    callbacks = check_callbacks(callbacks)
    verbose = arguments.verbosity(verbose)
    takes_any_data = overrides(model, "predict")
    allow_missing = arguments.flag("allow_missing", allow_missing)
    reader = ModelData(model, allow_missing=allow_missing, checked=not takes_any_data)
    reader.restore_schema(targets=False)
    source = open_source(x, batch_size=batch_size, steps=steps, reader=reader)
    check_end(source, "steps", steps)
    if not takes_any_data:
        check_number_of_inputs(model, source)
    if has_its_own("predict", model):
        return predict_by_model(model, source, steps, callbacks)
    engine = engine_for(model, plan, kernels)
    stream = engine.open(source, steps)
    with running("Predict", engine, stream, verbose, writer) as progress:
        return loop.predict(
            engine,
            stream,
            CallbackList(callbacks, model, engine.sync, verbose=verbose, steps=stream.steps),
            progress,
        )


@contextmanager
def running(
    label: str, engine: Engine, stream: Stream, verbose: int, writer: Writer | None
) -> Iterator[Progress]:
    progress = Progress(verbose, writer)
    progress.begin(label, stream.steps)
    try:
        yield progress
        interrupts.check()  # for an interrupt after the last step
    except BaseException as error:
        annotate_error(error)
        raise
    finally:
        loop.end_run(engine, progress)
