"""Functions that the R package calls through reticulate, beyond reticulate's own conversions."""

from __future__ import annotations

import ctypes
import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import rpytools.call  # reticulate's
from rpycall import call_r_function

from kerasfit import interrupts
from kerasfit.arguments import compile_arguments, nearest_argument
from kerasfit.background import (
    advance_random_states,
    apply_keras_settings,
    end_with,
    is_as_sent,
    keras_settings,
    put_random_states,
    put_result,
    random_states,
    read_job,
    read_result,
    write_job,
    write_result,
)
from kerasfit.bridges.captured_stdout import capturing_stdout
from kerasfit.bridges.r_metrics import metric, metric_of_r, pass_targets_as_columns
from kerasfit.bridges.values import Generator, data_frame, factor, named, random_state, sparse_matrix
from kerasfit.callbacks.callback_list import FunctionCallback, counting_from_1
from kerasfit.checkpoint.packed_model import from_bytes as model_from_bytes
from kerasfit.checkpoint.packed_model import to_bytes as model_to_bytes
from kerasfit.custom_fit import overrides
from kerasfit.error_context import error_context_of
from kerasfit.evaluate import predict as core_predict
from kerasfit.history import History
from kerasfit.keras_private import metrics_forgotten, without_loading_tensorflow
from kerasfit.live import View
from kerasfit.messages import nearest
from kerasfit.model_traits import output_names
from kerasfit.output import sigpipe_ignored
from kerasfit.random_seed import set_random_seed
from kerasfit.runtime.files import IS_WINDOWS
from kerasfit.runtime.installation import report as installation
from kerasfit.runtime.variable_names import short_names
from kerasfit.sources.arrow import is_arrow, open_dataset

__all__ = [
    "FunctionCallback",
    "Generator",
    "Guards",
    "View",
    "advance_random_states",
    "apply_keras_settings",
    "call",
    "call_hook",
    "callback",
    "compile_model",
    "compiled_with",
    "data_frame",
    "end_with",
    "error_context",
    "explain",
    "factor",
    "has_metrics",
    "history_values",
    "installation",
    "is_arrow",
    "is_as_sent",
    "is_callback_class",
    "keras_settings",
    "metric",
    "metric_of_r",
    "model_from_bytes",
    "model_to_bytes",
    "named",
    "nearest_argument",
    "nearest_name",
    "open_dataset",
    "output_names",
    "overrides",
    "predict",
    "put_random_states",
    "put_result",
    "random_states",
    "read_job",
    "read_result",
    "schedule",
    "session",
    "set_random_seed",
    "sparse_matrix",
    "summary",
    "take_interrupt",
    "write_job",
    "write_result",
    "writer",
]


def writer(write: Callable, methods: list[str]) -> SimpleNamespace:
    """Return a progress writer whose methods call an R function with the method's name.

    The method ``printed`` gets what Python prints.
    """
    return SimpleNamespace(**{name: functools.partial(write, name) for name in methods})


def session(get_state: Callable, set_state: Callable) -> SimpleNamespace:
    """Return R's random generator, whose state is an integer array, or None if it has not been used."""

    def set_random_state(state: Any) -> bool:
        is_integers = isinstance(state, np.ndarray) and state.dtype == np.int32 and state.ndim == 1
        return bool(is_integers and set_state(state))

    return SimpleNamespace(get_state=lambda: random_state(get_state()), set_state=set_random_state)


def schedule(function: Callable) -> Callable:
    """Return a Keras learning-rate schedule that calls an R function with epochs that count from 1."""
    return lambda epoch, lr: float(function(epoch + 1, lr))


def nearest_name(module: str, name: str) -> str | None:
    """Suggest a name of ``keras.optimizers``, ``losses`` or ``metrics`` for an unknown one.

    None if Keras knows the name, "" if no name is similar.
    """
    there = getattr(keras, module)
    known = {other for other in dir(there) if not other.startswith("_")}
    if module != "optimizers":
        known |= {"mse", "mae", "mape", "msle"}  # aliases that dir() does not list
    if module == "metrics":
        known |= {"accuracy", "acc", "crossentropy", "ce"}
    if name in known or name.lower() in {other.lower() for other in known if module == "optimizers"}:
        return None
    try:
        there.get(name)
    except Exception:
        if module == "optimizers":
            known = {other.lower() for other in known}
        return nearest(name, sorted(known, key=str.islower)) or ""  # prefer names of functions
    return None


def is_callback_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, keras.callbacks.Callback)


def callback(
    name: str,
    base: type,
    hooks: dict[str, Callable],
    state: dict[str, Callable],
    args: list[Any],
    kwargs: dict[str, Any],
) -> keras.callbacks.Callback:
    """Create a callback of a new class with R functions as hooks, whose epochs and batches count from 1."""

    methods = {hook: ignoring_self(counting_from_1(function)) for hook, function in hooks.items()}
    methods |= {name: ignoring_self(function) for name, function in state.items()}
    return type(name, (base,), methods | {"is_of_user": True})(*args, **kwargs)


def ignoring_self(function: Callable) -> Callable:
    """Return a method that calls a function without ``self``."""
    return lambda self, *args, **kwargs: function(*args, **kwargs)


def call_hook(cls: type, callback: keras.callbacks.Callback, hook: str, args: list[Any]) -> None:
    """Call the hook of a callback's base class, with epochs and batches that count from 1."""
    *number, logs = args
    getattr(cls, hook)(callback, *(int(n) - 1 for n in number), dict(logs or {}))


class Guards:
    """Catches R errors and jumps in R functions that Python calls, and checks for R interrupts.

    Parameters
    ----------
    guard, guard_unconverted
        Call the R function in the first argument with the other arguments, and always return its value or
        raise an exception. ``guard`` converts the arguments to R values, as for functions made by
        ``r_to_py(convert=TRUE)``.
    poll
        Raises ``KeyboardInterrupt`` if R has a reason to stop.
    """

    def __init__(self, guard: Callable, guard_unconverted: Callable, poll: Callable[[], None]):
        self.guards = {True: capsule_of(guard), False: capsule_of(guard_unconverted)}
        self.host = interrupts.Host(r_interrupts_pending(), poll)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Guard all R functions that Python calls in the block, including methods of classes written in R."""
        unguarded = rpytools.call.call_r_function

        def call_guarded(capsule: Any, *args: Any, **kwargs: Any) -> Any:
            return call_r_function(self.guards[is_converting(capsule)], capsule, *args, **kwargs)

        rpytools.call.call_r_function = call_guarded
        try:
            yield
        finally:
            rpytools.call.call_r_function = unguarded


def capsule_of(function: Callable) -> Any:
    """Return the pointer to the R function in reticulate's wrapper."""
    return inspect.getclosurevars(function).nonlocals["f"]


def is_converting(capsule: Any) -> bool:
    get_context = ctypes.pythonapi.PyCapsule_GetContext
    get_context.restype, get_context.argtypes = ctypes.c_void_p, [ctypes.py_object]
    return bool(get_context(capsule))


@dataclass
class Outcome:
    """The value of a call that had warnings for users, or was interrupted."""

    value: Any
    warnings: list[str]
    interrupted: bool


def call(guards: Guards, function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call a function; return its value, or an ``Outcome`` if there is more to tell, which is rare.

    Each warning is returned once. Those that differ only in numbers count as the same: a step compiled for
    several batch sizes repeats its warnings with each size. R suspends its interrupts during the call, except
    in the user's functions.
    """
    value, interrupted = None, False
    if args and isinstance(args[0], keras.Model):
        pass_targets_as_columns(args[0])
    writer = kwargs.get("writer")
    printing = capturing_stdout(writer.printed) if writer else nullcontext()
    watched = guards.watching(), interrupts.hosted(guards.host)
    with (
        sigpipe_ignored(),
        watched[0],
        watched[1],
        printing,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            value = function(*args, **kwargs)
        except KeyboardInterrupt:
            interrupted = True
    messages = [str(warning.message) for warning in reversed(caught)]
    once = {re.sub(r"\d+|None", "", message): message for message in messages}  # the first of each
    if not once and not interrupted:
        return value  # which R converts faster than an Outcome
    return Outcome(value, list(once.values())[::-1], interrupted)


def take_interrupt() -> bool:
    """Return whether R has a pending interrupt, and clear it."""
    flag = r_interrupts_pending()
    return flag is not None and interrupts.test_and_clear(flag)


@functools.cache
def r_interrupts_pending() -> ctypes.c_int | None:
    """Return R's flag of a pending interrupt, or None if R does not export it."""
    library, name = ("R.dll", "UserBreak") if IS_WINDOWS else (None, "R_interrupts_pending")
    try:
        return ctypes.c_int.in_dll(ctypes.CDLL(library), name)
    except (OSError, ValueError):
        return None


def summary(model: keras.Model, show_trainable: bool | None, layer_range: list[str], **options: Any) -> str:
    """Return the table of a model's layers.

    ``show_trainable`` adds a column with which layers are trained; None adds it if not all are.
    """
    if show_trainable is None:
        show_trainable = bool(model.built and model.non_trainable_weights)
    printed: list[str] = []
    model.summary(
        print_fn=lambda text, **_: printed.append(text),
        show_trainable=show_trainable,
        layer_range=layer_range or None,
        **options,
    )
    return "\n".join(printed).strip()


def compile_model(model: keras.Model, **arguments: Any) -> None:
    """Compile a model; without metrics, it forgets those of an earlier ``compile()``, which Keras keeps."""
    if not overrides(model, "compile"):  # a model's own compile() may use the arguments differently
        arguments = compile_arguments(arguments)
    with metrics_forgotten(model), short_names():
        model.compile(**arguments)


def compiled_with(model: keras.Model) -> dict[str, Any]:
    """Return the name and learning rate of a model's optimizer, and the loss passed to ``compile()``."""
    optimizer = model.optimizer
    with without_loading_tensorflow():
        loss = model.get_compile_config().get("loss")
    return {
        "optimizer": optimizer.name,
        "learning_rate": float(keras.ops.convert_to_numpy(optimizer.learning_rate)),
        "loss": loss,
    }


def has_metrics(model: keras.Model) -> bool:
    """Whether a model was compiled with metrics besides the mean of its loss."""
    return len(model.metrics) > 1


def predict(*args: Any, **kwargs: Any) -> Any:
    """Call ``predict()`` and convert half-precision outputs, which R does not support, to 32-bit floats."""

    def widen(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float32) if array.dtype.itemsize == 2 else array

    return keras.tree.map_structure(widen, core_predict(*args, **kwargs))


def error_context(error: BaseException) -> dict[str, Any]:
    """Return where in a run an exception was raised, as text and numbers, with the history before."""
    context = error_context_of(error)
    return {"text": str(context), **vars(context)}


def explain(error: BaseException) -> str:
    """Return the message of a Keras or backend exception, without source lines and argument listings."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = re.sub(r'^ *File ".*\n.*\n', "", text, flags=re.MULTILINE)
    text = text.partition("Arguments received by")[0]
    text = re.sub(
        r"^ *(in user code:|Exception encountered when calling .*|Graph execution error:)$",
        "",
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(r"^ *\w*Error: (Exception encountered when calling .*)?", "", text, flags=re.MULTILINE)
    text = re.sub(r"\(((?:None|\d+)(?:, (?:None|\d+))*),?\)", dims_in_r, text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines) or f"{type(error).__name__}: {error}"


def dims_in_r(shape: re.Match) -> str:
    """Write a Python shape in R's notation: NA for dimensions of any size."""
    return f"({shape[1].replace('None', 'NA')})"


def history_values(history: History) -> dict[str, Any]:
    """Convert a history to values that reticulate converts to R vectors.

    Returns
    -------
    dict
        params: as in the history. epoch, seconds: the 1-based number and the duration of each epoch.
        values: metric → floats, NaN where not measured. measured: metric → booleans, which distinguish NaN
        from NA in R.
    """
    return {
        "params": history.params,
        "epoch": np.array(history.epochs, np.int32),
        "seconds": np.array(history.seconds, float),
        "values": {name: np.array(values, float) for name, values in history.metrics.items()},
        "measured": {
            name: np.array([v is not None for v in values]) for name, values in history.metrics.items()
        },
    }
