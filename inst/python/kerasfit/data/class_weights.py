"""Class weights, by the codes or the levels of the targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import keras
import numpy as np

from kerasfit.arguments import LOGICAL, is_number
from kerasfit.errors import ArgumentError, DataError
from kerasfit.messages import describe, listed, nearest, quoted
from kerasfit.tensors import to_numpy


def example_weights(levels: Sequence[str]) -> str:
    first, second = levels[:2] if len(levels) > 1 else ("0", "1")
    return f'list("{first}" = 1, "{second}" = 5)'


class ClassWeighting(Protocol):
    """Anything that turns class weights into sample weights."""

    def sample_weights(self, y: Any) -> Any:
        """The weight of each sample; nested like the targets y if the model has several outputs."""


@dataclass(frozen=True)
class ClassWeights:
    """The weight of each class, looked up by its 0-based code.

    Attributes
    ----------
    weights
        Class code → weight.
    complete
        Whether each class in the targets must have a weight. It must if classes are given by number, as in
        Keras 2; if they are given by level, those not named have weight 1.
    label
        The argument's name in errors.
    levels
        The levels of the targets, if they are a factor, or ``LOGICAL``.
    is_codes
        Whether targets with a last axis longer than 1 are class codes, one for each time step, not one-hot.
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
    ) -> ClassWeights:
        """Class weights from a mapping of class codes, or levels of a factor, to weights.

        If all names are levels, they are taken as levels; otherwise all must be class codes. Targets that are
        not a factor may be logical, with the classes FALSE and TRUE.
        """
        levels = [] if levels is None else [str(level) for level in levels]
        if not isinstance(class_weight, Mapping) or not class_weight:
            raise ArgumentError(
                label,
                f"`{label}` must be a named list or vector with a weight for each class, such as "
                f"{example_weights(levels)}, not {describe(class_weight)}.",
            )
        if not levels and set(class_weight) <= set(LOGICAL):
            levels = LOGICAL
        by_level = bool(levels) and all(str(name) in levels for name in class_weight)
        if any(str(name) in levels for name in class_weight):  # then all names must be levels
            for name in class_weight:
                if str(name) not in levels:
                    raise unknown_class(label, name, levels)
        weights = {}
        for name, weight in class_weight.items():
            code = levels.index(str(name)) if by_level else class_code(label, name, levels)
            weights[code] = class_weight_value(label, name, weight)
        return cls(weights, not by_level, label, levels, is_codes)

    def sample_weights(self, y: Any) -> np.ndarray:
        """The weight of each sample: float, shape (samples,); (samples, steps) for a class per time step.

        y of rank 1, or with a last axis of 1, holds class codes; with a longer last axis, y is one-hot,
        unless ``is_codes`` returns True for it.
        """
        codes = class_codes(self.label, y, self.is_codes)
        present = np.unique(codes)
        unknown = [int(code) for code in present if code not in self.weights]
        if unknown and self.complete:
            by_level = f"If you name levels, the others have weight 1: {example_weights(self.levels)}."
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
                f"`{self.label}` names TRUE and FALSE, but the targets have the class {present.max()}.",
                f"Name the classes by their numbers: {example_weights([])}.",
            )
        table = np.array([self.weights.get(int(code), 1.0) for code in present], keras.config.floatx())
        return table[np.searchsorted(present, codes)]


@dataclass(frozen=True)
class ClassWeightsByOutput:
    """Class weights for some of a model's outputs; all samples have weight 1 for the others.

    They become sample weights for each output, looked up by that output's targets.
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
        """Class weights from a mapping by output; ``levels`` are those of the targets that are factors."""
        weights = {}
        for name, of_output in class_weight.items():
            label = f"class_weight${name}"
            if name not in outputs:
                known = "its only output has no name"
                if outputs:
                    known = listed(outputs, "its only output is", "its outputs are")
                raise ArgumentError(
                    label, f"`{label}` names an output that the model does not have: {known}."
                )
            if of_output is not None:
                weights[name] = ClassWeights.of(of_output, levels.get(name), label, partial(is_codes, name))
        return cls(tuple(outputs), weights)

    def sample_weights(self, y: Any) -> Any:
        """The weight of each sample for each output, nested like the targets."""
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
class DeferredClassWeights:
    """Class weights for a generator, resolved when its first batch has shown the levels of the targets."""

    class_weight: Any
    outputs: Sequence[str]
    current_levels: Callable[[], Any]
    is_codes: Callable[[str | int, np.ndarray], bool] = lambda output, y: False
    resolved: ClassWeighting | None = None

    def sample_weights(self, y: Any) -> Any:
        if self.resolved is None:
            self.resolved = class_weights_of(
                self.class_weight, self.current_levels(), self.outputs, self.is_codes
            )
            assert self.resolved is not None  # as class_weight is not None
        return self.resolved.sample_weights(y)


def class_weights_of(
    class_weight: Any,
    levels: Any,
    outputs: Sequence[str],
    is_codes: Callable[[str | int, np.ndarray], bool] = lambda output, y: False,
) -> ClassWeighting | None:
    """Class weights for a model's targets, by output if ``class_weight`` is nested.

    ``levels`` are what ``levels_of`` returns for the targets. ``is_codes`` is called with an output and its
    targets; for what it returns, see ``ClassWeights``.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, Mapping):
        of_outputs = levels.values() if isinstance(levels, Mapping) else [levels or ()]
        known = {str(level) for each in of_outputs for level in each} - set(outputs)
        class_weight = {name: unwrap_weight(name, weight, known) for name, weight in class_weight.items()}
    if isinstance(class_weight, Mapping) and any(isinstance(w, Mapping) for w in class_weight.values()):
        if not isinstance(levels, Mapping):
            levels = {} if levels is None else dict.fromkeys(outputs, levels)
        by_number = {name: levels[str(i)] for i, name in enumerate(outputs, start=1) if str(i) in levels}
        return ClassWeightsByOutput.of(class_weight, by_number | dict(levels), outputs, is_codes)
    if isinstance(class_weight, Mapping) and class_weight and len(outputs) > 1:
        of_output = levels.get(outputs[0], ()) if isinstance(levels, Mapping) else ()
        raise ArgumentError(
            "class_weight",
            f"`class_weight` needs a model with one output, but this one has {listed(quoted(outputs))}.",
            f"Give weights by output: list({outputs[0]} = {example_weights(of_output)}).",
        )
    if isinstance(levels, Mapping):
        levels = next(iter(levels.values())) if len(outputs) == len(levels) == 1 else None
    return ClassWeights.of(class_weight, levels, is_codes=partial(is_codes, 0))


def unwrap_weight(name: Any, weight: Any, levels: set[str]) -> Any:
    """A class's weight as a plain number, if R gave it a name of its own: ``list("0" = 1 / counts["0"])``."""
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
    known = "classes are 0, 1, 2, …, since `y` is not a factor"
    if levels:
        known = f"`y` has the levels {listed(levels)}"
    meant = nearest(str(name), levels)
    hint = f'Did you mean "{meant}"?' if meant else None
    return ArgumentError(label, f'`{label}` names a class "{name}" that does not exist: {known}.', hint)


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
                f"`{label}` needs classes as targets, but the rows of `y` are not one-hot.",
                f"Classes for several time steps must be an array of dimensions ({times}).",
            )
        y = y.argmax(axis=-1) if y.shape[-1] != 1 else y[..., 0]
    if y.dtype.kind == "f" and not np.array_equal(y, np.floor(y)):
        raise DataError(
            label, f"`{label}` needs classes as targets: the values of `y` are not whole numbers."
        )
    return y.astype(np.int64)
