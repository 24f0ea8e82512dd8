"""Who is told what happens: the user's Keras callbacks."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import keras

from kerasfit import interrupts, keras_private, timing
from kerasfit.error_context import add_error_context
from kerasfit.errors import ArgumentError
from kerasfit.messages import describe, listed, quoted
from kerasfit.object_origin import package_of
from kerasfit.tensors import numbers

BATCH_HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}

EPOCH_HOOKS = ("on_epoch_begin", "on_epoch_end")

HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]


class FunctionCallback(keras.callbacks.Callback):
    """Functions as a callback, by the name of its hook: on_epoch_end, on_train_batch_begin and so on.

    They are called with what Keras gives a hook, except that epochs and batches count from 1.

    Raises
    ------
    ArgumentError
        If there is no hook of a name, or no function for it.
    """

    def __init__(self, functions: Mapping[str, Callable]):
        super().__init__()
        for hook, function in functions.items():
            if hook not in HOOKS:
                raise ArgumentError(
                    "callbacks",
                    f"`callbacks` has a function for `{hook}`, which is no hook of a callback.",
                    f"There are {listed(quoted(HOOKS))}.",
                )
            if not callable(function):
                raise ArgumentError(
                    "callbacks", f"`callbacks${hook}` must be a function, not {describe(function)}."
                )
            setattr(self, hook, counting_from_1(function))


def counting_from_1(function: Callable) -> Callable:
    """A function as a hook, which Keras calls with an epoch or batch that counts from 0, and logs.

    If it returns a mapping, the logs get its values, which the callbacks after it and the history see.
    """

    def hook(*args: Any, logs: Any = None) -> None:
        args = args if logs is None else (*args, logs)
        logs = args[-1] if args else None
        new = function(*(argument + 1 if isinstance(argument, int) else argument for argument in args))
        if isinstance(new, Mapping) and isinstance(logs, MutableMapping):
            logs.update(new)

    return hook


def check_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Callbacks as a flat list; one callback may stand for a list of one, and named functions for one."""
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
                "`callbacks` must be a list of Keras callbacks, or of functions by the names of hooks; "
                f"element {position} is {describe(callback)}.",
            )
    return found


def check_paths(callbacks: list[keras.callbacks.Callback]) -> None:
    """Raise an ``ArgumentError`` if the path of a checkpoint has a metric of validation: there is none."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            for _, name, *_ in string.Formatter().parse(callback.filepath):
                if name and name.startswith("val_"):
                    raise ArgumentError(
                        "callbacks",
                        f"`callbacks` has a checkpoint with {{{name}}} in its path; nothing is validated.",
                        "Give `validation_data` or `validation_split`, or leave it out of the path.",
                    )


class Callbacks:
    """Keras callbacks, told of each event in the order in which they were given.

    Epochs are 1-based here and 0-based where a callback sees them; batches are 0-based. Callbacks run on
    the caller's thread, one after the other. What they put into the logs of an epoch is kept.

    Parameters
    ----------
    callbacks
        The callbacks.
    model
        The model that they are attached to.
    sync
        Called before those that may look at the model: after it, the model's variables hold the state so far.
    params
        What they see as ``self.params``: verbose, epochs, steps.

    Attributes
    ----------
    cut_short
        Whether an interrupt came up in a callback, which has not done all that it does.
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
        self._heard: dict[str, bool] = {}

    def hear_batches(self, phase: str) -> bool:
        """Whether a callback overrides a per-batch hook of a phase: "train", "test" or "predict"."""
        if phase not in self._heard:
            self._heard[phase] = any(
                overrides_any(callback, BATCH_HOOKS[phase]) for callback in self.callbacks
            )
        return self._heard[phase]

    def watch_batches(self, phase: str) -> bool:
        """Whether one of them must be told of each batch, not only of the last one of an execution."""
        return self.hear_batches(phase) and any(
            overrides_any(callback, BATCH_HOOKS[phase]) and not bears_executions(callback)
            for callback in self.callbacks
        )

    def hear_phase(self, phase: str) -> bool:
        """Whether one of them hears anything of a phase."""
        hooks = (f"on_{phase}_begin", f"on_{phase}_end", *BATCH_HOOKS[phase])
        return any(overrides_any(callback, hooks) for callback in self.callbacks)

    def users_hear(self, hook: str) -> bool:
        """Whether code of the user's is called at a hook."""
        return any(is_of_user(callback) for callback in self.callbacks if overrides(callback, hook))

    @property
    def see_epochs(self) -> bool:
        """Whether one of them hears of epochs or batches, other than Keras's history."""
        return self.hear_batches("train") or any(
            overrides_any(callback, EPOCH_HOOKS)
            for callback in self.callbacks
            if type(callback) is not keras.callbacks.History
        )

    @property
    def halt_on_nan(self) -> bool:
        """Whether training must stop after the step that makes the loss infinite or not a number."""
        return any(isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in self.callbacks)

    def begin(self, phase: str) -> None:
        self._tell(f"on_{phase}_begin", {})

    def end(self, phase: str, logs: dict[str, Any] | None = None) -> None:
        self._tell(f"on_{phase}_end", {} if logs is None else logs)

    def epoch_begin(self, epoch: int) -> None:
        self._tell("on_epoch_begin", epoch - 1, {})

    def epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self._tell("on_epoch_end", epoch - 1, logs)

    def batch_begin(self, phase: str, batch: int) -> None:
        self._tell(f"on_{phase}_batch_begin", batch, {})

    def batch_end(self, phase: str, batch: int, logs: dict[str, Any]) -> None:
        self._tell(f"on_{phase}_batch_end", batch, logs if phase == "predict" else numbers(logs))

    def _tell(self, hook: str, *args: Any) -> None:
        with timing.part("callbacks"):
            self._tell_all(hook, *args)

    def _tell_all(self, hook: str, *args: Any) -> None:
        for callback in self.callbacks:
            if not hears(callback, hook):
                continue
            if not looks_at_logs_only(callback):
                self.sync()
            try:
                getattr(callback, hook)(*args)
            except interrupts.AtOnce:
                raise
            except KeyboardInterrupt:
                self.cut_short = True
                if not interrupts.request():  # it ends the run when all callbacks have been told
                    raise
            except BaseException as error:
                batch = args[0] + 1 if "batch" in hook else None
                own = isinstance(callback, FunctionCallback)
                owner = "`callbacks`" if own else f"the callback {type(callback).__name__}"
                add_error_context(error, function=f"`{hook}()` of {owner}", batch=batch)
                raise


def is_of_user(callback: keras.callbacks.Callback) -> bool:
    """Whether code of the user's runs in a callback. A class of callbacks may say so in ``is_of_user``."""
    kind = type(callback)
    if package_of(kind) not in ("keras", "kerasfit") or vars(kind).get("is_of_user"):
        return True
    return isinstance(callback, (FunctionCallback, keras.callbacks.LambdaCallback))


def looks_at_logs_only(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback of Keras, as it was made, looks at no variable."""
    kind = type(callback)
    if kind is keras.callbacks.EarlyStopping:
        return not callback.restore_best_weights
    return kind in (keras.callbacks.CSVLogger, keras.callbacks.History, keras.callbacks.TerminateOnNaN)


def bears_executions(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback of Keras, as it was made, does the same when told of the last batch of executions
    only.

    TerminateOnNaN does because an execution ends where the loss is no longer finite. A class of callbacks
    may say so of itself, in the attribute ``bears_executions``.
    """
    kind = type(callback)
    if kind is keras.callbacks.TerminateOnNaN or vars(kind).get("bears_executions"):
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


def hears(callback: keras.callbacks.Callback, hook: str) -> bool:
    """Whether a callback does anything at a hook. Keras's own for batches call those of old names."""
    return overrides(callback, hook) or (
        "train_batch" in hook and overrides(callback, hook.replace("train_", ""))
    )


def overrides(callback: keras.callbacks.Callback, hook: str) -> bool:
    """Whether a callback has a hook of its own, by its class or set on the instance."""
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(keras.callbacks.Callback, hook)
