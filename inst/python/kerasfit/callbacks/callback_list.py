"""Calls the user's Keras callbacks in order."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import nullcontext
from typing import Any

import keras

from kerasfit import interrupts, keras_private, timing
from kerasfit.error_context import add_error_context
from kerasfit.errors import ArgumentError
from kerasfit.logs import Logs, logs_to_floats
from kerasfit.messages import describe, listed, quoted
from kerasfit.object_origin import package_of

BATCH_HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}

EPOCH_HOOKS = ("on_epoch_begin", "on_epoch_end")

HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]


class FunctionCallback(keras.callbacks.Callback):
    """A callback made of functions, given by hook name: on_epoch_end, on_train_batch_begin and so on.

    A function gets the arguments that Keras passes to the hook, but epochs and batches count from 1.

    Raises
    ------
    ArgumentError
        If a name is not that of a hook, or its value is not a function.
    """

    def __init__(self, functions: Mapping[str, Callable]):
        super().__init__()
        for hook, function in functions.items():
            if hook not in HOOKS:
                raise ArgumentError(
                    "callbacks",
                    f"`callbacks` has a function for `{hook}`, which is not a callback hook.",
                    f"The hooks are {listed(quoted(HOOKS))}.",
                )
            if not callable(function):
                raise ArgumentError(
                    "callbacks", f"`callbacks${hook}` must be a function, not {describe(function)}."
                )
            setattr(self, hook, counting_from_1(function))


def counting_from_1(function: Callable) -> Callable:
    """Return a Keras hook that calls a function with epochs and batches that count from 1.

    If the function returns a mapping, its values are added to the logs, for later callbacks and the history.
    """

    def hook(*args: Any, logs: Any = None) -> None:
        args = args if logs is None else (*args, logs)
        logs = args[-1] if args else None
        new = function(*(argument + 1 if isinstance(argument, int) else argument for argument in args))
        if isinstance(new, Mapping) and isinstance(logs, MutableMapping):
            logs.update(new)

    return hook


def check_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return a flat list of callbacks; a single callback becomes a list, named functions a callback."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    elements = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    found: list[keras.callbacks.Callback] = []
    for position, callback in enumerate(elements, start=1):
        if isinstance(callback, (list, tuple)):
            found += check_callbacks(callback)
        elif isinstance(callback, Mapping):
            found.append(FunctionCallback(callback))
        elif isinstance(callback, keras.callbacks.Callback):
            found.append(callback)
        elif callback is not None:
            raise ArgumentError(
                "callbacks",
                "`callbacks` must be a list of Keras callbacks, or of functions named after hooks; "
                f"element {position} is {describe(callback)}.",
            )
    return found


def check_paths(callbacks: list[keras.callbacks.Callback]) -> None:
    """Raise an ``ArgumentError`` if a checkpoint's path contains a validation metric.

    For runs without validation.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            for _, name, *_ in string.Formatter().parse(callback.filepath):
                if name and name.startswith("val_"):
                    field = f"{{{name}}}"
                    raise ArgumentError(
                        "callbacks",
                        f"`callbacks` has a checkpoint with {field} in its path, but nothing is validated.",
                        "Give `validation_data` or `validation_split`, or remove it from the path.",
                    )


class CallbackList:
    """Calls the hooks of Keras callbacks, in the order in which the callbacks were given.

    Epochs are 1-based here and 0-based in the arguments of hooks; batches are 0-based. Callbacks run on the
    caller's thread, one after the other. Values that they add to the logs of an epoch are kept.

    Parameters
    ----------
    callbacks
        The callbacks.
    model
        The model that they are attached to.
    sync
        Copies the current state to the model's variables; called before callbacks that may read them.
    params
        The values of ``self.params`` in callbacks: verbose, epochs, steps.

    Attributes
    ----------
    cut_short
        Whether an interrupt ended a callback before it was finished.
    """

    def __init__(
        self,
        callbacks: list[keras.callbacks.Callback],
        model: keras.Model,
        sync: Callable[[], None] = lambda: None,
        **params: Any,
    ):
        self.callbacks = callbacks
        self.sync = sync
        self.cut_short = False
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)
        self._batch_hooks: dict[str, bool] = {}

    def has_batch_hooks(self, phase: str) -> bool:
        """Whether a callback overrides a batch hook of a phase: "train", "test" or "predict"."""
        if phase not in self._batch_hooks:
            self._batch_hooks[phase] = any(
                overrides_any(callback, BATCH_HOOKS[phase]) for callback in self.callbacks
            )
        return self._batch_hooks[phase]

    def needs_every_batch(self, phase: str) -> bool:
        """Whether a callback must be called for every batch, not only for the last one of an execution."""
        return self.has_batch_hooks(phase) and any(
            overrides_any(callback, BATCH_HOOKS[phase]) and not supports_steps_per_execution(callback)
            for callback in self.callbacks
        )

    def has_phase_hooks(self, phase: str) -> bool:
        """Whether a callback overrides any hook of a phase."""
        hooks = (f"on_{phase}_begin", f"on_{phase}_end", *BATCH_HOOKS[phase])
        return any(overrides_any(callback, hooks) for callback in self.callbacks)

    def has_user_hook(self, hook: str) -> bool:
        """Whether a hook runs the user's code."""
        return any(is_of_user(callback) for callback in self.callbacks if overrides(callback, hook))

    @property
    def has_epoch_hooks(self) -> bool:
        """Whether a callback other than Keras's history overrides an epoch or batch hook of training."""
        return self.has_batch_hooks("train") or any(
            overrides_any(callback, EPOCH_HOOKS)
            for callback in self.callbacks
            if type(callback) is not keras.callbacks.History
        )

    @property
    def halt_on_nan(self) -> bool:
        """Whether training must stop after a step whose loss is NaN or infinite."""
        return any(isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in self.callbacks)

    def begin(self, phase: str) -> None:
        self._call_hook(f"on_{phase}_begin", {})

    def end(self, phase: str, logs: Logs | None = None) -> None:
        self._call_hook(f"on_{phase}_end", {} if logs is None else logs)

    def epoch_begin(self, epoch: int) -> None:
        self._call_hook("on_epoch_begin", epoch - 1, {})

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        self._call_hook("on_epoch_end", epoch - 1, logs)

    def batch_begin(self, phase: str, batch: int) -> None:
        self._call_hook(f"on_{phase}_batch_begin", batch, {})

    def batch_end(self, phase: str, batch: int, logs: Logs) -> None:
        self._call_hook(f"on_{phase}_batch_end", batch, logs if phase == "predict" else logs_to_floats(logs))

    def _call_hook(self, hook: str, *args: Any) -> None:
        with timing.part("callbacks"):
            self._call_all(hook, *args)

    def _call_all(self, hook: str, *args: Any) -> None:
        for callback in self.callbacks:
            if not implements(callback, hook):
                continue
            if not reads_only_logs(callback):
                self.sync()
            saves = isinstance(callback, keras.callbacks.ModelCheckpoint)
            try:
                with keras_private.without_loading_tensorflow() if saves else nullcontext():
                    getattr(callback, hook)(*args)
            except interrupts.ImmediateInterrupt:
                raise
            except KeyboardInterrupt:
                self.cut_short = True
                if not interrupts.request():  # the interrupt ends the run once all callbacks were called
                    raise
            except BaseException as error:
                batch = args[0] + 1 if "batch" in hook else None
                own = isinstance(callback, FunctionCallback)
                owner = "`callbacks`" if own else f"the callback {type(callback).__name__}"
                add_error_context(error, function=f"`{hook}()` of {owner}", batch=batch)
                raise


def is_of_user(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback runs the user's code. A callback class may declare it as ``is_of_user``."""
    kind = type(callback)
    if package_of(kind) not in ("keras", "kerasfit") or vars(kind).get("is_of_user"):
        return True
    return isinstance(callback, (FunctionCallback, keras.callbacks.LambdaCallback))


def reads_only_logs(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback is one of Keras's that, with its arguments, reads no variable of the model."""
    kind = type(callback)
    if kind is keras.callbacks.EarlyStopping:
        return not callback.restore_best_weights
    return kind in (keras.callbacks.CSVLogger, keras.callbacks.History, keras.callbacks.TerminateOnNaN)


def supports_steps_per_execution(callback: keras.callbacks.Callback) -> bool:
    """Whether it is enough to call a callback's batch hooks for the last batch of each execution.

    True for those of Keras's callbacks that, with their arguments, then do the same. TerminateOnNaN does,
    because an execution ends where the loss is no longer finite. Other classes may set the attribute
    ``supports_steps_per_execution``.
    """
    kind = type(callback)
    if kind is keras.callbacks.TerminateOnNaN or vars(kind).get("supports_steps_per_execution"):
        return True
    if kind in (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore):
        return callback.save_freq == "epoch"
    if kind is keras.callbacks.TensorBoard:
        return (
            callback.update_freq == "epoch"
            and not callback.write_steps_per_second
            and not keras_private.profiles(callback)
        )
    return False


def overrides_any(callback: keras.callbacks.Callback, hooks: tuple[str, ...]) -> bool:
    return any(overrides(callback, hook) for hook in hooks)


def implements(callback: keras.callbacks.Callback, hook: str) -> bool:
    """Whether a callback implements a hook, also under its old name, which Keras's batch hooks call."""
    return overrides(callback, hook) or (
        "train_batch" in hook and overrides(callback, hook.replace("train_", ""))
    )


def overrides(callback: keras.callbacks.Callback, hook: str) -> bool:
    """Whether a callback overrides a hook, in its class or on the instance."""
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(keras.callbacks.Callback, hook)
