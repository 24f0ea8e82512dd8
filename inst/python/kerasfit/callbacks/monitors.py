"""Checks that the metrics that Keras's callbacks monitor are in the logs of epochs."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import keras

from kerasfit import keras_private
from kerasfit.callbacks.callback_list import is_of_user
from kerasfit.engines.engine import logs_are_metrics
from kerasfit.errors import ArgumentError
from kerasfit.logs import Logs
from kerasfit.messages import listed, quoted

CLOSE = 0.5  # minimum similarity of a suggestion; equal names have 1


class Monitors:
    """Raises an error for callbacks that monitor a metric that the logs never have.

    Checks what can be checked before training; the remaining callbacks are checked with the logs of epochs.

    Parameters
    ----------
    model
        A model with all variables that it has in training.
    callbacks
        All callbacks.
    validates
        Whether there are validation data.

    Raises
    ------
    ArgumentError
        Before training, if the logs cannot have the metric of a callback. This is known if the model's steps
        report its metrics, and no callback runs the user's code, which may add anything to the logs.
    """

    def __init__(self, model: keras.Model, callbacks: list[keras.callbacks.Callback], *, validates: bool):
        self.validates = validates
        self.has_user_code = any(map(is_of_user, callbacks))
        self.known = ["loss", "val_loss"] if validates else ["loss"]
        self.unchecked = {  # callback → the metric that it monitors
            callback: name
            for callback in callbacks
            if (name := monitored(callback)) is not None and name not in self.known
        }
        if not self.unchecked:
            return
        train, test = (metrics_of_steps(model, kind) for kind in ("train", "test"))
        self.known = [*(train or []), *(name for callback in callbacks for name in names_added_by(callback))]
        if validates:
            self.known += [f"val_{name}" for name in test or []]
        self.unchecked = {each: name for each, name in self.unchecked.items() if name not in self.known}
        for callback, name in self.unchecked.items():
            from_test = validates and name.startswith("val_")
            if not (self.has_user_code or train is None or (test is None and from_test)):
                raise self.mistake(callback, name)

    @contextmanager
    def checking(self, logs: Logs) -> Iterator[None]:
        """Check the logs of an epoch; the block calls the callbacks' ``on_epoch_end``.

        Raises
        ------
        ArgumentError
            If the logs lack a metric, and no callback can add it in a later epoch; or if a callback fails
            without it, when it infers from the metric whether to minimize or maximize it.
        """
        try:
            yield
        except ValueError as error:
            for callback, name in self.unchecked.items():
                if name not in logs and name in str(error):
                    raise self.mistake(callback, name, logs) from error
            raise
        if self.unchecked:
            self._decide(logs)

    def _decide(self, logs: Logs) -> None:
        has_validated = any(name.startswith("val_") for name in logs) or not self.validates
        for callback, name in list(self.unchecked.items()):
            if not has_validated and name.startswith("val_"):
                continue
            del self.unchecked[callback]
            if name in logs:
                continue
            mistake = self.mistake(callback, name, logs)
            if not self.has_user_code:
                raise mistake
            warnings.warn(str(mistake), stacklevel=2)

    def mistake(
        self, callback: keras.callbacks.Callback, name: str, logs: Iterable[str] = ()
    ) -> ArgumentError:
        """Return the error for a metric that does not exist, with a suggestion."""
        known = list(dict.fromkeys([*self.known, *logs]))
        hint = None
        if name.startswith("val_") and not self.validates:
            hint = "Nothing is validated: give `validation_data` or `validation_split`."
        elif nearest := difflib.get_close_matches(name, known, 1, CLOSE):
            hint = f'Did you mean monitor = "{nearest[0]}"?'
        return ArgumentError(
            "callbacks",
            f"The callback {type(callback).__name__} monitors `{name}`, but "
            f"{listed(quoted(known), 'the only metric is', 'the metrics are')}.",
            hint,
        )


def monitored(callback: keras.callbacks.Callback) -> str | None:
    """Return the metric that a callback of Keras reads in the logs of every epoch, given its arguments."""
    kind = type(callback)
    if kind is keras.callbacks.ModelCheckpoint:
        return callback.monitor if callback.save_best_only and callback.save_freq == "epoch" else None
    if kind in (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau):
        return callback.monitor
    return None


def names_added_by(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    """Return the names that a callback of Keras adds to the logs."""
    sets_rate = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
    return ("learning_rate",) if isinstance(callback, sets_rate) else ()


def metrics_of_steps(model: keras.Model, kind: str) -> list[str] | None:
    """Return the names that steps of a kind report; None if they are unknown before the first step."""
    if not logs_are_metrics(model, kind) or not keras_private.metrics_are_built(model):
        return None
    with suppress(Exception):  # raised by a user's metric that has seen no data
        return list(model.get_metrics_result())
    return None
