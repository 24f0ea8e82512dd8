"""Keys of models: models with equal keys have steps that compute the same.

A step is Keras's Python code, compiled with the attributes of the model's parts as constants and with the
values of its variables as arguments. A key therefore describes everything that can be reached from the model,
except the values of variables and the attributes in ``bookkeeping.NOT_IN_KEYS``. Only what can be described
completely has a key: objects and functions of Keras, plain values, arrays and tensors. A model with anything
else, such as a user's layer or function, has none.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

import keras
import numpy as np

from kerasfit.engines.bookkeeping import COMPILED, NOT_IN_KEYS, OF_BASE_CLASSES, REFER_TO_NAMES
from kerasfit.keras_private import INITIALIZER_SEED
from kerasfit.model_traits import input_names, output_names
from kerasfit.object_origin import module_of, package_of
from kerasfit.tensors import to_numpy
from kerasfit.variables import step_variables

LARGE = 2**20  # bytes: a model with a larger array as a constant has no key

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})

# Objects of Keras that may call anything, or that treat variables or layers differently by their names.
UNKNOWN = tuple(
    found
    for found in (
        keras.layers.Lambda,
        keras.dtype_policies.DTypePolicyMap,
        getattr(keras.optimizers, "Muon", None),
        getattr(keras.optimizers, "MultiOptimizer", None),
    )
    if found is not None
)
SEEDS = frozenset({"seed", INITIALIZER_SEED})  # attributes of initializers
CHOSEN_BY_KERAS = re.compile(r"(input_layer|keras_tensor)(_\d+)?")  # names of inputs without a user's name

_numbers: dict[FunctionType, int] = {}


def number_of(function: FunctionType) -> int:
    """A number that identifies this function object.

    A method of Keras that the user has replaced therefore has a different one.
    """
    return _numbers.setdefault(function, len(_numbers))


class NoKey(Exception):
    """Raised if an object cannot be described completely."""


def model_key(model: keras.Model, kind: str) -> str | None:
    """Return a key of a model's step ("train", "test" or "predict"); None if it has none.

    All variables must exist. The names of layers, and those that Keras chose for metrics, are not part of a
    key.
    """
    try:
        description = Description(step_variables(model, kind))
        description.add(settings())
        description.add_model(model, with_compiled=kind != "predict")
    except NoKey:
        return None
    return description.digest()


def settings() -> tuple:
    """Versions and global settings of Keras that steps depend on."""
    if keras.distribution.distribution() is not None:
        raise NoKey
    return (
        keras.version(),
        keras.backend.backend(),
        keras.config.epsilon(),
        keras.config.floatx(),
        keras.config.image_data_format(),
        keras.config.is_flash_attention_enabled(),
    )


class Description:
    """Describes objects by plain values, numbering the objects so that it matters which are the same."""

    def __init__(self, variables: list[keras.Variable]):
        self._tokens: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no number is that of an object that has been deleted
        self._metric_names: dict[str, int] = {}
        self._variables = {id(variable): number for number, variable in enumerate(variables)}

    def digest(self) -> str:
        return hashlib.sha256(repr(self._tokens).encode("utf-8", "surrogatepass")).hexdigest()

    def add_model(self, model: keras.Model, *, with_compiled: bool) -> None:
        """Describe a model and the lists of its variables."""
        parts = [model.trainable_variables, model.non_trainable_variables]
        left_out: frozenset[str] = frozenset()
        if with_compiled:
            parts += [getattr(model.optimizer, "variables", ()), model.metrics_variables]
        else:
            left_out = COMPILED
        for variables in parts:
            self.add([self._number_of(variable) for variable in variables])
        self._add_names(model)
        self._add_attributes(model, left_out)

    def _add_names(self, model: keras.Model) -> None:
        """Describe the names of several inputs or outputs, which data, losses and logs refer to."""
        names = input_names(model)
        if all(map(CHOSEN_BY_KERAS.fullmatch, names)):  # only their order matters, for inputs in a dict
            names = [str(sorted(names).index(name)) for name in names]
        for some in (names, output_names(model)):
            self.add(some if len(some) > 1 else len(some))

    def add(self, value: Any) -> None:
        """Describe a value, or raise ``NoKey``."""
        kind = type(value)
        if kind in PLAIN:
            self._tokens.append(value)
        elif isinstance(value, keras.Variable):
            self._add_variable(value)
        elif isinstance(value, (list, tuple)):
            self._add_sequence(value)
        elif isinstance(value, (dict, Mapping)):
            self._add_mapping(value)
        elif isinstance(value, (set, frozenset)):
            self._add_set(value)
        elif isinstance(value, keras.KerasTensor):
            if self._is_new(value):
                self.add((tuple(value.shape), value.dtype, bool(value.sparse)))
        elif kind.__name__ == "_DefaultDistributionStrategy":  # TensorFlow's, for one device
            self._tokens.append((kind.__name__,))
        elif isinstance(value, (type, FunctionType)):
            self._add_defined(value)
        elif isinstance(value, MethodType):
            self._add_defined(value.__func__)
            self.add(value.__self__)
        elif kind is functools.partial:
            self.add((value.func, value.args, value.keywords))
        elif isinstance(value, np.dtype):
            self._tokens.append(("dtype", value.str))
        elif isinstance(value, (np.ndarray, np.generic)) or keras.ops.is_tensor(value):
            self._add_array(value)
        elif package_of(kind) == "keras" and hasattr(value, "__dict__"):
            if self._is_new(value):
                self._add_attributes(value)
        else:
            raise NoKey(repr(value))

    def _is_new(self, value: Any) -> bool:
        """Describe an object by its number; return whether it has not been described before."""
        number = self._numbers.setdefault(id(value), len(self._numbers))
        self._tokens.append(("number", number))
        if number < len(self._kept):
            return False
        self._kept.append(value)
        return True

    def _add_metric_name(self, metric: keras.metrics.Metric) -> None:
        """Describe the name of a metric; of one chosen by Keras, only which other metrics have it."""
        kind, name = type(metric).__name__.lower(), metric.name
        number = self._metric_names.setdefault(name, len(self._metric_names))
        is_chosen_by_keras = re.fullmatch(rf"{kind}\d*", name.replace("_", ""))
        self._tokens.append(("metric", number, None if is_chosen_by_keras else name))

    def _number_of(self, variable: keras.Variable) -> int:
        if id(variable) not in self._variables:
            raise NoKey(variable.path)
        return self._variables[id(variable)]

    def _add_variable(self, variable: keras.Variable) -> None:
        self._tokens.append(("variable", self._number_of(variable)))
        if self._is_new(variable):
            if getattr(variable.value, "requires_grad", False):
                self._tokens.append(("requires_grad",))
            self._add_attributes(variable)

    def _add_sequence(self, values: list | tuple) -> None:
        if isinstance(values, tuple) or self._is_new(values):
            self._tokens.append((type(values).__name__, len(values)))
            fields = getattr(values, "_fields", ())  # of a named tuple
            for number, value in enumerate(values):
                if number >= len(fields) or fields[number] not in NOT_IN_KEYS:
                    self.add(value)

    def _add_mapping(self, mapping: Mapping) -> None:
        if self._is_new(mapping):
            self._tokens.append(("mapping", len(mapping)))
            for key, value in mapping.items():
                self.add(key)
                self.add(value)

    def _add_set(self, values: set | frozenset) -> None:
        if not all(type(value) in PLAIN for value in values):
            raise NoKey(repr(values))
        self._tokens.append(("set", sorted(map(repr, values))))

    def _add_array(self, value: Any) -> None:
        if package_of(type(value)) != "numpy":
            self._tokens.append(("device", str(getattr(value, "device", ""))))
            try:
                value = to_numpy(value)
            except Exception as error:  # the tensor belongs to an unfinished trace
                raise NoKey from error
        if value.nbytes > LARGE or value.dtype.hasobject:
            raise NoKey
        self._tokens.append(("array", value.dtype.str, value.shape, value.tobytes()))

    def _add_defined(self, value: Any) -> None:
        """Describe a class or function by its module and name, under which it must be found."""
        module, name = module_of(value), value.__qualname__
        if package_of(value) not in ("keras", "numpy", "builtins"):
            raise NoKey(name)
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not value:
            raise NoKey(name)
        self._tokens.append((module, name))
        if isinstance(value, type) and self._is_new(value):
            for base in value.__mro__:
                functions = [each for each in vars(base).values() if isinstance(each, FunctionType)]
                self._tokens.append(tuple(map(number_of, functions)))

    def _add_attributes(self, owner: Any, left_out: frozenset[str] = frozenset()) -> None:
        self._add_defined(type(owner))
        if isinstance(owner, UNKNOWN):
            raise NoKey
        if isinstance(owner, keras.metrics.Metric):
            self._add_metric_name(owner)
        if isinstance(owner, keras.initializers.Initializer):
            left_out = SEEDS  # the variables exist already
        for name, value in vars(owner).items():
            if name in NOT_IN_KEYS or name in left_out or name.startswith(OF_BASE_CLASSES):
                continue
            if name in REFER_TO_NAMES and value:
                raise NoKey
            self._tokens.append(("attribute", name))
            self.add(value)
        self._tokens.append(("end",))
