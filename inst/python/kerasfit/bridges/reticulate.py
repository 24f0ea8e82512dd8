"""What the R package hands over that plain conversion by reticulate cannot say, and what it gets back."""

from __future__ import annotations

import ctypes
import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import rpytools.call  # reticulate's
from rpycall import call_r_function

from kerasfit import interrupts
from kerasfit.arguments import compile_arguments, nearest_argument
from kerasfit.bridges.captured_stdout import printing_by
from kerasfit.bridges.values import Generator, data_frame, factor, named, random_state, sparse_matrix
from kerasfit.callbacks.callback_list import FunctionCallback, counting_from_1
from kerasfit.custom_fit import overrides
from kerasfit.error_context import error_context_of
from kerasfit.errors import DataError
from kerasfit.history import History
from kerasfit.keras_private import metrics_forgotten
from kerasfit.live import View
from kerasfit.messages import nearest
from kerasfit.model_traits import output_names
from kerasfit.object_origin import package_of
from kerasfit.output import sigpipe_ignored
from kerasfit.runtime.files import IS_WINDOWS
from kerasfit.runtime.keras_loading import quiet

__all__ = [
    "FunctionCallback",
    "Generator",
    "Guards",
    "View",
    "call",
    "call_hook",
    "callback",
    "compile_model",
    "compiled_with",
    "data_frame",
    "explain",
    "factor",
    "has_metrics",
    "history_values",
    "is_callback_class",
    "metric",
    "named",
    "nearest_argument",
    "nearest_name",
    "output_names",
    "output_values",
    "overrides",
    "place",
    "schedule",
    "session",
    "set_random_seed",
    "sparse_matrix",
    "summary",
    "take_interrupt",
    "writer",
]


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy and the backend; Keras loads TensorFlow for it where that is installed."""
    with quiet():
        keras.utils.set_random_seed(seed)


def writer(functions: dict[str, Callable]) -> SimpleNamespace:
    """A progress writer made of R functions; and ``printed``, which takes what Python prints meanwhile."""
    return SimpleNamespace(**functions)


def session(get_state: Callable, set_state: Callable) -> SimpleNamespace:
    """R's random generator, whose state is an array of integers, or None if it has not been used."""

    def set_random_state(state: Any) -> bool:
        is_integers = isinstance(state, np.ndarray) and state.dtype == np.int32 and state.ndim == 1
        return bool(is_integers and set_state(state))

    return SimpleNamespace(get_state=lambda: random_state(get_state()), set_state=set_random_state)


def schedule(function: Callable) -> Callable:
    """A learning-rate schedule of R, whose epochs count from 1, as Keras calls it."""
    return lambda epoch, lr: float(function(epoch + 1, lr))


def metric(function: Callable, name: str) -> Callable | keras.metrics.Metric:
    """A metric that is a function of R's, and gets targets of the rank of the outputs, as a loss does.

    A saved model names the function: by the name, with ``_`` for what names of functions cannot have.
    """

    value_of = of_equal_ranks(function)

    @functools.wraps(function)
    def explained(y_true: Any, y_pred: Any) -> Any:
        try:
            return value_of(y_true, y_pred)
        except Exception as error:
            if mistake := mistake_of_types(name, y_true, y_pred, error):
                raise mistake from error
            raise

    explained.__name__ = re.sub(r"\W+", "_", name)
    if re.fullmatch("[a-z_0-9]+", name):
        return explained
    # Keras would write another name; where it loads this, it takes a name that is the function's for that
    return keras.metrics.MeanMetricWrapper(explained, name)


def metric_of_r(value: Any) -> Any:
    """A metric as ``metric()`` makes it, if it is a Python function that calls one of R's; else as it is.

    keras3's ``custom_metric()`` makes such functions.
    """
    return metric(value, value.__name__) if calls_r(value) else value


def calls_r(function: Any) -> bool:
    """Whether a Python function is one that reticulate makes of R's, or has such a one in its closure."""
    if not inspect.isfunction(function):
        return False
    inner = inspect.getclosurevars(function).nonlocals.values()
    return any(type(each).__name__ == "PyCapsule" or calls_r(each) for each in inner)


def of_equal_ranks(function: Callable) -> Callable:
    """A function of targets and outputs that gets a vector of targets as a column, as the outputs are.

    Keras does so for losses that are functions. Others would compare each target with each output.
    """

    @functools.wraps(function)
    def call(y_true: Any, y_pred: Any) -> Any:
        ranks = [len(getattr(part, "shape", ())) for part in (y_true, y_pred)]
        if ranks[0] + 1 == ranks[1] and y_pred.shape[-1] == 1:
            y_true = keras.ops.expand_dims(y_true, -1)
        return function(y_true, y_pred)

    return call


def give_columns(model: keras.Model) -> None:
    """Have losses of classes that are the user's get vectors of targets as columns, as R's matrices are."""
    for loss in keras.tree.flatten(getattr(model, "loss", None)):
        is_users = isinstance(loss, keras.losses.Loss) and package_of(type(loss)) != "keras"
        if is_users and "call" not in vars(loss):
            vars(loss)["call"] = of_equal_ranks(loss.call)


def mistake_of_types(name: str, y_true: Any, y_pred: Any, error: Exception) -> DataError | None:
    """What is wrong where a metric of R's has put numbers of two types together, as TensorFlow does not."""
    types = [keras.backend.standardize_dtype(tensor.dtype) for tensor in (y_true, y_pred)]
    if types[0] == types[1] or not re.search(r"\btypes?\b|dtype", str(error)):
        return None
    return DataError(
        "metrics",
        f"The metric `{name}` puts targets of type {types[0]} and predictions of type {types[1]} together.",
        "Let it begin with y_true <- keras$ops$cast(y_true, y_pred$dtype).",
    )


def nearest_name(module: str, name: str) -> str | None:
    """What Keras has for a name of ``keras.optimizers``, ``losses`` or ``metrics`` that it does not know.

    None if it knows the name, "" if nothing is like it.
    """
    there = getattr(keras, module)
    known = {other for other in dir(there) if not other.startswith("_")}
    if module != "optimizers":
        known |= {"mse", "mae", "mape", "msle"}  # names that the modules do not show
    if module == "metrics":
        known |= {"accuracy", "acc", "crossentropy", "ce"}
    if name in known or name.lower() in {other.lower() for other in known if module == "optimizers"}:
        return None
    try:
        there.get(name)
    except Exception:
        if module == "optimizers":
            known = {other.lower() for other in known}
        return nearest(name, sorted(known, key=str.islower)) or ""  # of two, the name of a function
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
    """A callback of a new class with R functions as hooks, whose epochs and batches count from 1."""

    methods = {hook: ignoring_self(counting_from_1(function)) for hook, function in hooks.items()}
    methods |= {name: ignoring_self(function) for name, function in state.items()}
    return type(name, (base,), methods | {"is_of_user": True})(*args, **kwargs)


def ignoring_self(function: Callable) -> Callable:
    """A function as a method that does not need the object it belongs to."""
    return lambda self, *args, **kwargs: function(*args, **kwargs)


def call_hook(cls: type, callback: keras.callbacks.Callback, hook: str, args: list[Any]) -> None:
    """A hook of a class, for a callback of a class that inherits from it; numbers count from 1."""
    *number, logs = args
    getattr(cls, hook)(callback, *(int(n) - 1 for n in number), dict(logs or {}))


class Guards:
    """What watches over R functions that Python calls.

    Parameters
    ----------
    guard, guard_unconverted
        Call an R function, the first argument, with the others, and end in no other way than by its value or
        an exception. The one converts arguments to R's values, as ``r_to_py(convert=TRUE)`` makes functions.
    poll
        Raises ``KeyboardInterrupt`` if R has a reason to end what runs.
    """

    def __init__(self, guard: Callable, guard_unconverted: Callable, poll: Callable[[], None]):
        self.guards = {True: capsule_of(guard), False: capsule_of(guard_unconverted)}
        self.host = interrupts.Host(r_interrupts_pending(), poll)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Guard all R functions that Python calls, those of classes that the user has written in R too."""
        unguarded = rpytools.call.call_r_function

        def call_guarded(capsule: Any, *args: Any, **kwargs: Any) -> Any:
            return call_r_function(self.guards[is_converting(capsule)], capsule, *args, **kwargs)

        rpytools.call.call_r_function = call_guarded
        try:
            yield
        finally:
            rpytools.call.call_r_function = unguarded


def capsule_of(function: Callable) -> Any:
    """The pointer to R's function in what reticulate makes of it."""
    return inspect.getclosurevars(function).nonlocals["f"]


def is_converting(capsule: Any) -> bool:
    get_context = ctypes.pythonapi.PyCapsule_GetContext
    get_context.restype, get_context.argtypes = ctypes.c_void_p, [ctypes.py_object]
    return bool(get_context(capsule))


def call(guards: Guards, function: Callable, *args: Any, **kwargs: Any) -> tuple[Any, list[str], bool]:
    """A function's value; what users were warned of meanwhile, each warning once; whether it was interrupted.

    A step that is compiled for several sizes of batch warns of the same with other sizes in it. R has its
    interrupts suspended meanwhile, but for functions of the user's.
    """
    value, interrupted = None, False
    if args and isinstance(args[0], keras.Model):
        give_columns(args[0])
    writer = kwargs.get("writer")
    printing = printing_by(writer.printed) if writer else nullcontext()
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
    return value, list(once.values())[::-1], interrupted


def take_interrupt() -> bool:
    """Whether R has an interrupt that is not dealt with, which it has no longer then."""
    flag = r_interrupts_pending()
    return flag is not None and interrupts.test_and_clear(flag)


@functools.cache
def r_interrupts_pending() -> ctypes.c_int | None:
    """R's own flag of an interrupt to come, or None if R does not show it."""
    library, name = ("R.dll", "UserBreak") if IS_WINDOWS else (None, "R_interrupts_pending")
    try:
        return ctypes.c_int.in_dll(ctypes.CDLL(library), name)
    except (OSError, ValueError):
        return None


def summary(model: keras.Model, show_trainable: bool | None, layer_range: list[str], **options: Any) -> str:
    """The table of a model's layers, with a column of what is trained; if None, where not all is."""
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
    """Compile a model; without metrics it has none, where Keras keeps those of an earlier ``compile()``."""
    if not overrides(model, "compile"):  # one of the model's own may mean something else by them
        arguments = compile_arguments(arguments)
    with metrics_forgotten(model):
        model.compile(**arguments)


def compiled_with(model: keras.Model) -> dict[str, Any]:
    """The name and the learning rate of a model's optimizer, and its loss as ``compile()`` got it."""
    optimizer = model.optimizer
    return {
        "optimizer": optimizer.name,
        "learning_rate": float(keras.ops.convert_to_numpy(optimizer.learning_rate)),
        "loss": model.get_compile_config().get("loss"),
    }


def has_metrics(model: keras.Model) -> bool:
    """Whether a model was compiled with metrics, beside the mean of its loss."""
    return len(model.metrics) > 1


def output_values(outputs: Any) -> Any:
    """A model's outputs with half-precision floats, which R does not know, as 32-bit ones."""

    def widen(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float32) if array.dtype.itemsize == 2 else array

    return keras.tree.map_structure(widen, outputs)


def place(error: BaseException) -> dict[str, Any]:
    """Where in a run an exception came up: in words and numbers, with the history of the epochs before."""
    context = error_context_of(error)
    return {"text": str(context), **vars(context)}


def explain(error: BaseException) -> str:
    """What an exception of Keras or a backend says, without the source lines and arguments around it."""
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
    """A shape as Python writes it, in R's words: NA where any size will do."""
    return f"({shape[1].replace('None', 'NA')})"


def history_values(history: History) -> dict[str, Any]:
    """A history in values that reticulate makes into R vectors.

    Returns
    -------
    dict
        params: as in the history. epoch, seconds: the 1-based epoch of each row, and how long it took.
        values: metric → floats, NaN where not measured. measured: metric → booleans, which tell a NaN from
        what R calls NA.
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
