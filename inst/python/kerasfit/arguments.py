"""What the caller's values mean: each function takes one argument as it was given, checks it, and
answers in the core's own terms. Epochs are 1-based here and everywhere in the core.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd

from kerasfit import keras_private
from kerasfit.errors import ArgumentError, DataError
from kerasfit.tensors import to_numpy

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


def either(choices: tuple[str, ...]) -> str:
    *first, last = (f'"{choice}"' for choice in choices)
    return f"{', '.join(first)} or {last}"


def on_distributed_worker() -> bool:
    """Whether this process is one of several that train together, by the launchers' environment variables."""
    return bool(os.environ.get("TF_CONFIG")) or os.environ.get("WORLD_SIZE", "1") != "1"


def describe(value: Any) -> str:
    """A value as an error names it: short, and without the words of either language."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (bool, np.bool_)):
        return "a logical value"
    if isinstance(value, (int, float, np.number)):
        return (
            f"{value:g}" if math.isfinite(value) else str(value).replace("inf", "Inf").replace("nan", "NaN")
        )
    if isinstance(value, np.ndarray):
        if value.size == 1 and value.ndim < 2:
            return describe(value.item())
        if value.ndim == 1:
            return f"a vector of length {len(value)}"
        return f"an array of dimensions ({', '.join(map(str, value.shape))})"
    if isinstance(value, (list, tuple)):
        kind = "vector" if value and all(map(np.isscalar, value)) else "list"
        return f"a {kind} of length {len(value)}"
    if isinstance(value, Mapping):
        return "a named list"
    if isinstance(value, type):
        return f"the class {value.__name__}, which must be called"
    if callable(value):
        return "a function"
    return f"an object of class {type(value).__name__}"


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


def match_levels(y: Any, y_val: Any) -> Any:
    """Validation targets, each coded by the levels of the training targets in its place.

    Levels are matched by their names, as R does where it predicts, so a factor that has them in another order
    or lacks some means the same. Text (a factor that R's ``tuple()`` has turned into such) is coded alike.
    """
    if isinstance(y, Mapping) and isinstance(y_val, Mapping):
        return {name: match_levels(y.get(name), value) for name, value in y_val.items()}
    if isinstance(y, pd.DataFrame) and isinstance(y_val, pd.DataFrame):
        matched = y_val.copy(deep=False)
        for name in y.columns.intersection(y_val.columns):
            matched[name] = match_levels(y[name].array, y_val[name].array)
        return matched
    if isinstance(y, pd.Categorical):
        if isinstance(y_val, (list, np.ndarray)) and len(y_val) and all(isinstance(v, str) for v in y_val):
            y_val = pd.Categorical(y_val)
        if isinstance(y_val, pd.Categorical):
            about = "The validation targets have {} that `y` does not have: its levels are {}."
            return coded_by(list(y.categories), y_val, "validation_data", about)
    if isinstance(y, (list, tuple)) and isinstance(y_val, (list, tuple)) and len(y) == len(y_val):
        return [match_levels(one, value) for one, value in zip(y, y_val, strict=True)]
    return y_val


def coded_by(
    levels: list, factor: pd.Categorical, label: str, about: str, hint: str | None = None
) -> pd.Categorical:
    """A factor with these levels, in this order.

    Raises
    ------
    DataError
        If there are values at other levels: ``about`` them and the levels that there are.
    """
    if list(factor.categories) == levels:
        return factor
    unknown = [level for level in factor.remove_unused_categories().categories if level not in levels]
    if unknown:
        raise DataError(label, about.format(listed(unknown, "a level", "levels"), listed(levels)), hint)
    return factor.set_categories(levels)


# ---- class weights ---------------------------------------------------------------------------------


LOGICAL = ["FALSE", "TRUE"]  # the classes of logical targets, by the codes that these have in the model


def example_of_weights(levels: Sequence[str]) -> str:
    first, second = levels[:2] if len(levels) > 1 else ("0", "1")
    return f'list("{first}" = 1, "{second}" = 5)'


class ClassWeighting(Protocol):
    """Class weights of some form, as sources of batches take them."""

    def sample_weights(self, y: Any) -> Any:
        """The weight of each sample for targets y, nested as these if the model has several outputs."""


@dataclass(frozen=True)
class ClassWeights:
    """The weight of each class, looked up by its 0-based code.

    Attributes
    ----------
    weights
        Class code → weight.
    complete
        Whether a class that is not named is a mistake. It is where classes are given by number, as in
        Keras 2; where they are given by the names of levels, the others weigh 1.
    label
        What errors call them.
    levels
        The levels of the targets, if they are a factor, or ``LOGICAL``.
    is_codes
        Whether targets with a last axis are class codes all the same, as a class for each timestep.
    """

    weights: Mapping[int, float]
    complete: bool
    label: str = "class_weight"
    levels: Sequence[str] = ()
    is_codes: Callable[[np.ndarray], bool] = lambda y: False

    @classmethod
    def of(
        cls,
        class_weight: Any,
        levels: Iterable[str] | None = None,
        label: str = "class_weight",
        is_codes: Callable[[np.ndarray], bool] = lambda y: False,
    ) -> ClassWeights | None:
        """Class weights from a mapping with classes (or levels of a factor) as names.

        A name is a level where all names are levels; otherwise all must be class codes. Targets that are no
        factor may be logical, and have the classes FALSE and TRUE.
        """
        if class_weight is None:
            return None
        levels = [] if levels is None else [str(level) for level in levels]
        if not isinstance(class_weight, Mapping) or not class_weight:
            raise ArgumentError(
                label,
                f"`{label}` must be a named list or vector with a weight for each class, such as "
                f"{example_of_weights(levels)}, not {describe(class_weight)}.",
            )
        if not levels and set(class_weight) <= set(LOGICAL):
            levels = LOGICAL
        by_level = bool(levels) and all(str(name) in levels for name in class_weight)
        if any(str(name) in levels for name in class_weight):  # then others are meant to be levels too
            for name in class_weight:
                if str(name) not in levels:
                    raise unknown_class(label, name, levels)
        weights = {}
        for name, weight in class_weight.items():
            code = levels.index(str(name)) if by_level else class_code(label, name, levels)
            weights[code] = class_weight_value(label, name, weight)
        return cls(weights, not by_level, label, levels, is_codes)

    def sample_weights(self, y: Any) -> np.ndarray:
        """The weight of each sample: float, shape (samples,).

        y of rank 1, or with a last axis of 1, holds class codes; with a longer last axis, y is one-hot,
        unless ``is_codes`` says otherwise. A class for each timestep has a weight for each.
        """
        codes = class_codes(self.label, y, self.is_codes)
        present = np.unique(codes)
        unknown = [int(code) for code in present if code not in self.weights]
        if unknown and self.complete:
            by_level = f"By level, those without a name weigh 1: {example_of_weights(self.levels)}."
            raise ArgumentError(
                self.label,
                f"`{self.label}` has no weight for {listed(unknown, 'class', 'classes')}, "
                f"which {'occurs' if len(unknown) == 1 else 'occur'} in the targets; it names "
                f"{listed(sorted(self.weights), 'class', 'classes')}.",
                by_level if self.levels else None,
            )
        if self.levels is LOGICAL and present.max(initial=0) > 1:
            raise ArgumentError(
                self.label,
                f"`{self.label}` names TRUE and FALSE, and the targets have the class {present.max()}.",
                f"Name the classes by their numbers: {example_of_weights([])}.",
            )
        table = np.array([self.weights.get(int(code), 1.0) for code in present], keras.config.floatx())
        return table[np.searchsorted(present, codes)]


@dataclass(frozen=True)
class ClassWeightsByOutput:
    """The class weights of some of a model's outputs; for the others, all samples weigh 1.

    By definition they are sample weights for each output, found by its targets.
    """

    outputs: tuple[str, ...]
    weights: Mapping[str, ClassWeights]

    @classmethod
    def of(
        cls,
        class_weight: Mapping,
        levels: Mapping[str, Sequence[str]],
        outputs: Sequence[str],
        is_codes: Callable[[str | int, np.ndarray], bool],
    ) -> ClassWeightsByOutput:
        """Class weights from a mapping with outputs as names; ``levels`` of the factors among the targets."""
        weights = {}
        for name, of_output in class_weight.items():
            label = f"class_weight${name}"
            if name not in outputs:
                known = listed(outputs, "its only output is", "its outputs are") if outputs else "it has one"
                raise ArgumentError(
                    label, f"`{label}` is for an output that the model does not have by name: {known}."
                )
            weights[name] = ClassWeights.of(of_output, levels.get(name), label, partial(is_codes, name))
        return cls(tuple(outputs), weights)

    def sample_weights(self, y: Any) -> Any:
        """The weight of each sample for each output, nested as the targets are."""
        if isinstance(y, Mapping):
            return {name: self._of_output(name, target) for name, target in y.items()}
        if isinstance(y, (list, tuple)):
            return [self._of_output(name, target) for name, target in zip(self.outputs, y, strict=False)]
        return self._of_output(self.outputs[0], y)

    def _of_output(self, name: str, y: Any) -> np.ndarray:
        if name in self.weights:
            return self.weights[name].sample_weights(y)
        return np.ones(len(y), keras.config.floatx())


@dataclass
class ClassWeightsByBatch:
    """Class weights of a generator, whose first batch says of which levels its targets are, if any."""

    class_weight: Any
    outputs: Sequence[str]
    levels_so_far: Callable[[], Any]
    is_codes: Callable[[str | int, np.ndarray], bool] = lambda output, y: False
    found: ClassWeighting | None = None

    def sample_weights(self, y: Any) -> Any:
        if self.found is None:
            self.found = class_weights_of(
                self.class_weight, self.levels_so_far(), self.outputs, self.is_codes
            )
        return self.found.sample_weights(y)


def class_weights_of(
    class_weight: Any,
    levels: Any,
    outputs: Sequence[str],
    is_codes: Callable[[str | int, np.ndarray], bool] = lambda output, y: False,
) -> ClassWeighting | None:
    """Class weights for the targets of a model, whose levels are as ``levels_of`` gives them.

    ``is_codes`` tells of an output and its targets whether these are codes, as ``ClassWeights`` asks.
    """
    if isinstance(class_weight, Mapping):
        of_outputs = levels.values() if isinstance(levels, Mapping) else [levels or ()]
        known = {str(level) for each in of_outputs for level in each} - set(outputs)
        class_weight = {name: number_itself(name, weight, known) for name, weight in class_weight.items()}
    if isinstance(class_weight, Mapping) and any(isinstance(w, Mapping) for w in class_weight.values()):
        if not isinstance(levels, Mapping):
            levels = {} if levels is None else dict.fromkeys(outputs, levels)
        by_number = {name: levels[str(i)] for i, name in enumerate(outputs, start=1) if str(i) in levels}
        return ClassWeightsByOutput.of(class_weight, by_number | dict(levels), outputs, is_codes)
    if isinstance(class_weight, Mapping) and class_weight and len(outputs) > 1:
        of_output = levels.get(outputs[0], ()) if isinstance(levels, Mapping) else ()
        raise ArgumentError(
            "class_weight",
            f"`class_weight` needs a model with one output, and this one has {listed(quoted(outputs))}.",
            f"Give weights by output: list({outputs[0]} = {example_of_weights(of_output)}).",
        )
    if isinstance(levels, Mapping):
        levels = next(iter(levels.values())) if len(outputs) == len(levels) == 1 else None
    return ClassWeights.of(class_weight, levels, is_codes=partial(is_codes, 0))


def number_itself(name: Any, weight: Any, levels: set[str]) -> Any:
    """A class's weight that has a name of its own, as in ``list("0" = 1 / counts["0"])``, without it."""
    is_class = str(name) in levels or str(name).isdigit()
    if is_class and isinstance(weight, Mapping) and len(weight) == 1:
        (value,) = weight.values()
        return weight if isinstance(value, Mapping) else value
    return weight


def class_code(label: str, name: Any, levels: list[str]) -> int:
    try:
        code = int(str(name))
    except ValueError:
        code = -1
    if code < 0 or (levels and code >= len(levels)):
        raise unknown_class(label, name, levels)
    return code


def unknown_class(label: str, name: Any, levels: list[str]) -> ArgumentError:
    known = "classes are 0, 1, 2, …, since `y` is no factor"
    if levels:
        known = f"`y` has the levels {listed(levels)}"
    meant = nearest(str(name), levels)
    hint = f'Did you mean "{meant}"?' if meant else None
    return ArgumentError(label, f'`{label}` names a class "{name}" that does not exist: {known}.', hint)


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


def class_weight_value(label: str, name: Any, weight: Any) -> float:
    if not is_number(weight) or weight < 0:
        raise ArgumentError(
            label, f'`{label}` of class "{name}" must be a number, 0 or more, not {describe(weight)}.'
        )
    with np.errstate(over="ignore"):
        if np.isinf(np.array(weight).astype(dtype := keras.config.floatx())):
            raise ArgumentError(
                label, f'`{label}` of class "{name}" is {describe(weight)}, which is infinite as {dtype}.'
            )
    return float(weight)


def class_codes(label: str, y: Any, is_codes: Callable[[np.ndarray], bool]) -> np.ndarray:
    if isinstance(y, Mapping) and len(y) == 1:
        y = next(iter(y.values()))
    if isinstance(y, (list, tuple, Mapping)):
        raise ArgumentError(
            label,
            f"`{label}` needs a model with one output; the targets are a list of {len(y)}.",
            'Give weights by output: list(output = list("0" = 1, "1" = 5)).',
        )
    y = to_numpy(y)
    if y.ndim >= 2 and not is_codes(y):
        if y.shape[-1] != 1 and not (np.abs(y.sum(axis=-1) - 1) < 0.01).all():
            times = ", ".join(map(str, ("samples", *y.shape[1:], 1)))
            raise DataError(
                label,
                f"`{label}` needs classes as targets, and the rows of `y` are not one-hot.",
                f"Classes at several times are an array of dimensions ({times}).",
            )
        y = y.argmax(axis=-1) if y.shape[-1] != 1 else y[..., 0]
    if y.dtype.kind == "f" and not np.array_equal(y, np.floor(y)):
        raise DataError(label, f"`{label}` needs classes as targets: `y` is not whole numbers.")
    return y.astype(np.int64)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name among those known that is most like another one, "did you mean"; None if none is."""
    plain = {re.sub(r"[^a-z0-9]", "", other.lower()): other for other in known}
    found = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else None


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


def listed(values: Iterable[Any], one: str = "", many: str = "") -> str:
    """Values as an error lists them: "classes 1, 2 and 5"; at most eight."""
    words = [str(value) for value in values]
    noun = one if len(words) == 1 else many
    if len(words) > 8:
        words = [*words[:7], f"{len(words) - 7} more"]
    text = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{noun} {text}".strip()


def quoted(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]
