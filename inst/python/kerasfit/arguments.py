"""Checks the caller's arguments and converts them, one function for each kind of argument.

Epochs are 1-based here and in the rest of the core, except in the hooks of callbacks, as in Keras.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private
from kerasfit.errors import ArgumentError
from kerasfit.messages import describe, either, nearest

DEFAULT_BATCH_SIZE = 32


# ---- single values ---------------------------------------------------------------------------------


LARGEST = 2**31 - 1  # the largest integer in R


def whole_number(argument: str, value: Any, *, minimum: int, allowed: tuple[int, ...] = ()) -> int:
    """Check a whole number, at least ``minimum`` or one of ``allowed``; 10 and 10.0 are both 10."""
    if is_number(value) and value == int(value) and (value >= minimum or value in allowed):
        if value > LARGEST:
            raise ArgumentError(argument, f"`{argument}` must be at most {LARGEST}, not {value:g}.")
        return int(value)
    others = "".join(f", or {number}" for number in allowed)
    raise ArgumentError(
        argument, f"`{argument}` must be a whole number, {minimum} or more{others}, not {describe(value)}."
    )


def is_number(value: Any) -> bool:
    """Whether a value is one finite number; True and False are not."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))
    return number and math.isfinite(value)


def optional_whole_number(argument: str, value: Any, **limits: Any) -> int | None:
    return None if value is None else whole_number(argument, value, **limits)


def flag(argument: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(argument, f"`{argument}` must be TRUE or FALSE, not {describe(value)}.")
    return bool(value)


def fraction(argument: str, value: Any) -> float:
    """Check a number that must be at least 0 and below 1."""
    if not (is_number(value) and 0 <= value < 1):
        raise ArgumentError(
            argument, f"`{argument}` must be a number at least 0 and below 1, not {describe(value)}."
        )
    return float(value)


def positive(argument: str, value: Any) -> float:
    """Check a number that must be finite and above 0."""
    if not (is_number(value) and 0 < value < float("inf")):
        raise ArgumentError(argument, f"`{argument}` must be a number above 0, not {describe(value)}.")
    return float(value)


def verbosity(value: Any) -> int:
    """Check ``verbose``: 0 silent, 1 bar, 2 line per epoch; "auto" is 2 on a distributed worker, else 1."""
    if isinstance(value, str) and value == "auto":
        return 2 if on_distributed_worker() else 1
    if value not in (0, 1, 2):
        raise ArgumentError("verbose", f'`verbose` must be "auto", 0, 1 or 2, not {describe(value)}.')
    return int(value)


def choice(argument: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ArgumentError(argument, f"`{argument}` must be {either(choices)}, not {describe(value)}.")
    return value


def path(argument: str, value: Any, what: str) -> Path:
    """The absolute path of a file or folder; the system's encoding must have its characters."""
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise ArgumentError(argument, f"`{argument}` must be the path of {what}, not {describe(value)}.")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise ArgumentError(
            argument,
            f"`{argument}` has characters that paths cannot have in this locale: {str(value)!a}.",
            "Use a UTF-8 locale, such as C.UTF-8, or a path of ASCII letters.",
        ) from error
    return Path(value).expanduser().absolute()


def on_distributed_worker() -> bool:
    """Whether this process is a distributed training worker, by the launchers' environment variables."""
    return bool(os.environ.get("TF_CONFIG")) or os.environ.get("WORLD_SIZE", "1") != "1"


# ---- epochs and steps ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """The epochs to train, 1-based: ``epochs`` is the last one, not their number."""

    initial_epoch: int
    epochs: int

    @classmethod
    def of(cls, initial_epoch: Any, epochs: Any) -> Schedule:
        epochs = whole_number("epochs", epochs, minimum=1)
        initial_epoch = whole_number("initial_epoch", initial_epoch, minimum=1)
        if initial_epoch > epochs:
            raise ArgumentError(
                "initial_epoch",
                f"`initial_epoch` ({initial_epoch}) is past `epochs` ({epochs}).",
                "`epochs` is the last epoch to train, not the number of epochs.",
            )
        capped = keras_private.max_epochs()
        return cls(initial_epoch, min(epochs, capped) if capped else epochs)

    def starting_at(self, epoch: int | None) -> range:
        """The epochs to train, from ``epoch`` if a callback has set it."""
        return range(epoch or self.initial_epoch, self.epochs + 1)


@dataclass(frozen=True)
class ValidationSchedule:
    """The epochs after which to validate: every ``every`` epochs, or those in ``epochs``."""

    every: int = 1
    epochs: frozenset[int] = frozenset()

    @classmethod
    def of(cls, validation_freq: Any) -> ValidationSchedule:
        if isinstance(validation_freq, (list, tuple, set, frozenset, np.ndarray)):
            named = [whole_number("validation_freq", epoch, minimum=1) for epoch in validation_freq]
            if not named:
                raise ArgumentError("validation_freq", "`validation_freq` names no epoch.")
            return cls(epochs=frozenset(named))
        return cls(every=whole_number("validation_freq", validation_freq, minimum=1))

    def for_keras(self) -> int | list[int]:
        """The schedule as Keras's ``validation_freq``, which is also 1-based."""
        return sorted(self.epochs) or self.every

    def due(self, epoch: int) -> bool:
        return epoch in self.epochs if self.epochs else epoch % self.every == 0


def steps(argument: str, value: Any) -> int | None:
    """Check a number of steps: None, or -1 to continue until the data end, or at least 1."""
    limit = optional_whole_number(argument, value, minimum=1, allowed=(-1,))
    capped = keras_private.max_steps_per_epoch()
    return min(limit, capped) if capped and limit and limit > 0 else capped or limit


# ---- data ------------------------------------------------------------------------------------------


def unpack(data: Any) -> tuple[Any, Any, Any]:
    """Unpack what an iterator yielded to (x, y, sample_weight).

    A tuple or unnamed list of length 1, 2 or 3 is unpacked; anything else is x alone.
    """
    if isinstance(data, (tuple, list)) and not is_named_tuple(data) and 1 <= len(data) <= 3:
        return (*data, None, None)[:3]
    return data, None, None


def is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def validation_triple(
    validation_data: Any, *, without_targets: bool = False, inputs: int = 1
) -> tuple[Any, Any, Any]:
    """Unpack ``validation_data`` given as arrays, (x_val, y_val) or (x_val, y_val, weights), to three values.

    For a model trained without targets it may be x_val alone, with one array for each input.
    """
    is_list = isinstance(validation_data, (tuple, list))
    is_triple = is_list and len(validation_data) in (2, 3)
    are_inputs = is_list and len(validation_data) == inputs > 1 and all(map(is_array, validation_data))
    if without_targets and (are_inputs or not is_triple):
        alone = is_list and len(validation_data) == 1
        return (validation_data[0] if alone else validation_data), None, None
    if is_list and len(validation_data) in (2, 3):
        return (*validation_data, None)[:3]
    named_or_long = isinstance(validation_data, Mapping) or (is_list and len(validation_data) > 3)
    raise ArgumentError(
        "validation_data",
        "`validation_data` must be a list of two or three, (x, y) or (x, y, sample_weight), "
        f"a dataset or a generator, not {describe(validation_data)}.",
        "Give list(x, y) without names; put several inputs into a list of their own."
        if named_or_long
        else None,
    )


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


# ---- class weights ---------------------------------------------------------------------------------


LOGICAL = ["FALSE", "TRUE"]  # the classes of logical targets, in the order of their codes


# ---- compile() -------------------------------------------------------------------------------------


def compile_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Check the arguments of ``compile()`` other than optimizer, loss and metrics; converts whole numbers.

    Raises
    ------
    ArgumentError
        For an invalid value that Keras would accept, to fail later or ignore it.
    """
    checks: dict[str, Callable[[str, Any], Any]] = {
        "run_eagerly": flag,
        "auto_scale_loss": flag,
        "jit_compile": flag_or_auto,
        "steps_per_execution": partial(whole_number, minimum=1),
        "loss_weights": loss_weights,
    }
    return {
        name: checks[name](name, value) if name in checks and value is not None else value
        for name, value in given.items()
    }


def flag_or_auto(argument: str, value: Any) -> bool | str:
    if isinstance(value, str) and value == "auto":
        return value
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(argument, f'`{argument}` must be TRUE, FALSE or "auto", not {describe(value)}.')
    return bool(value)


def loss_weights(argument: str, value: Any) -> Any:
    """Check loss weights: numbers, one for each output, by name or in order."""
    for leaf in keras.tree.flatten(value):
        if leaf is not None and not is_number(leaf):
            raise ArgumentError(
                argument, f"`{argument}` must be numbers, one for each output, not {describe(leaf)}."
            )
    return value


# argument names in other R packages and in older versions of Keras
OTHER_NAMES = {
    "newdata": "x",
    "new_data": "x",
    "data": "x",
    "inputs": "x",
    "labels": "y",
    "targets": "y",
    "weights": "sample_weight",
    "val_data": "validation_data",
    "val_split": "validation_split",
    "nb_epoch": "epochs",
    "batch": "batch_size",
    "lr": "optimizer",
    "learning_rate": "optimizer",
}


def nearest_argument(name: str, known: Iterable[str]) -> str | None:
    """The argument that a caller may have meant by an unknown one; None if there is no likely one."""
    known = list(known)
    meant = OTHER_NAMES.get(name.lower().replace(".", "_"))
    return meant if meant in known else nearest(name, known)
