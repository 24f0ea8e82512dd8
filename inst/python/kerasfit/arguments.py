"""What the caller's values mean: each function takes one argument as it was given, checks it, and
answers in the core's own terms. Epochs are 1-based here and everywhere in the core.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
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


LARGEST = 2**31 - 1  # which R has as an integer


def whole_number(argument: str, value: Any, *, minimum: int, allowed: tuple[int, ...] = ()) -> int:
    """A whole number, at least ``minimum`` or one of ``allowed``; 10 and 10.0 are the same number."""
    if is_number(value) and value == int(value) and (value >= minimum or value in allowed):
        if value > LARGEST:
            raise ArgumentError(argument, f"`{argument}` must be at most {LARGEST}, not {value:g}.")
        return int(value)
    raise ArgumentError(
        argument, f"`{argument}` must be a whole number, {minimum} or more, not {describe(value)}."
    )


def is_number(value: Any) -> bool:
    """Whether a value is one finite number; true and false are none."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))
    return number and math.isfinite(value)


def optional_whole_number(argument: str, value: Any, **limits: Any) -> int | None:
    return None if value is None else whole_number(argument, value, **limits)


def flag(argument: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(argument, f"`{argument}` must be TRUE or FALSE, not {describe(value)}.")
    return bool(value)


def fraction(argument: str, value: Any) -> float:
    """A number at least 0 and below 1."""
    if not (is_number(value) and 0 <= value < 1):
        raise ArgumentError(
            argument, f"`{argument}` must be a number at least 0 and below 1, not {describe(value)}."
        )
    return float(value)


def positive(argument: str, value: Any) -> float:
    """A finite number above 0."""
    if not (is_number(value) and 0 < value < float("inf")):
        raise ArgumentError(argument, f"`{argument}` must be a number above 0, not {describe(value)}.")
    return float(value)


def verbosity(value: Any) -> int:
    """0 silent, 1 progress bar, 2 one line for each epoch; "auto" is 2 on a distributed worker, else 1."""
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
    """The absolute path of a file or folder, which the system must be able to write in its encoding."""
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
    """Whether this process is one of several that train together, by the launchers' environment variables."""
    return bool(os.environ.get("TF_CONFIG")) or os.environ.get("WORLD_SIZE", "1") != "1"


# ---- when things happen ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """Which epochs to train: 1-based, ``epochs`` being the last one, not their number."""

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
        """The epochs to train, from ``epoch`` if a callback asked for that."""
        return range(epoch or self.initial_epoch, self.epochs + 1)


@dataclass(frozen=True)
class ValidationSchedule:
    """After which epochs validation runs: every so many, or those named."""

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
        """The same as Keras's ``validation_freq``, which counts from 1 too."""
        return sorted(self.epochs) or self.every

    def due(self, epoch: int) -> bool:
        return epoch in self.epochs if self.epochs else epoch % self.every == 0


def steps(argument: str, value: Any) -> int | None:
    """A number of steps, or None; -1 stays -1: go on until the data end."""
    limit = optional_whole_number(argument, value, minimum=1, allowed=(-1,))
    capped = keras_private.max_steps_per_epoch()
    return min(limit, capped) if capped and limit and limit > 0 else capped or limit


# ---- data ------------------------------------------------------------------------------------------


def unpack(data: Any) -> tuple[Any, Any, Any]:
    """What an iterator yielded, as (x, y, sample_weight).

    A tuple or unnamed list of length 1, 2 or 3 is taken apart; anything else is all x.
    """
    if isinstance(data, (tuple, list)) and not is_named_tuple(data) and 1 <= len(data) <= 3:
        return (*data, None, None)[:3]
    return data, None, None


def is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def validation_triple(
    validation_data: Any, *, without_targets: bool = False, inputs: int = 1
) -> tuple[Any, Any, Any]:
    """``validation_data`` given as arrays: (x_val, y_val) or (x_val, y_val, weights).

    For a model that is trained without targets it may be x_val alone, of as many arrays as there are inputs.
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
        "Give list(x, y) without names; several inputs are a list of their own." if named_or_long else None,
    )


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


# ---- class weights ---------------------------------------------------------------------------------


LOGICAL = ["FALSE", "TRUE"]  # the classes of logical targets, by the codes that these have in the model


def compile_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """What ``compile()`` was given, beside optimizer, loss and metrics, with whole numbers as such.

    Raises
    ------
    ArgumentError
        For a value that Keras would take, and fail of later or never look at.
    """
    checks = {
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
    """Numbers, one for each output, by name or in order."""
    for leaf in keras.tree.flatten(value):
        if leaf is not None and not is_number(leaf):
            raise ArgumentError(
                argument, f"`{argument}` must be numbers, one for each output, not {describe(leaf)}."
            )
    return value


# what other packages of R, and older versions of Keras, call them
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
    """The argument that a caller may have meant by one that does not exist, None if that cannot be told."""
    known = list(known)
    meant = OTHER_NAMES.get(name.lower().replace(".", "_"))
    return meant if meant in known else nearest(name, known)
