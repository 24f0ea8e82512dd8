"""The attributes of a model's parts, which its steps read in Python each time that Keras runs one."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private
from kerasfit.keras_private import is_bookkeeping

PARTS = (
    keras.layers.Layer,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
)
SMALL = 2**12  # bytes of an array that is compared by its values


class Attributes:
    """The attributes of layers, losses, metrics and the optimizer of a model, as they were at one time.

    What has been recorded or compiled then has taken them for constants. Not looked at are the values of
    variables, which are inputs of a step, and objects that are neither Keras's nor of a class made from one
    of Keras's: these count as the same as long as the same object is there.
    """

    def __init__(self, model: keras.Model):
        self._settings = settings()
        self._mappings: list[tuple[dict, itemgetter, tuple, int | None]] = []
        self._lists: list[tuple[list, tuple]] = []
        self._arrays: list[tuple[np.ndarray, bytes]] = []
        values = [variable.value for variable in model.variables]
        self._tensors = [(value, value.requires_grad) for value in values if hasattr(value, "requires_grad")]
        waiting: list[Any] = [model]
        for variable in model.variables:
            names = keras_private.settings_of_variable(variable)
            waiting.extend(self._note_mapping(vars(variable), names, None))
        seen: dict[int, Any] = {}
        while waiting:
            if id(owner := waiting.pop()) not in seen:
                seen[id(owner)] = owner
                waiting.extend(self._note(owner))

    def _note(self, owner: Any) -> tuple:
        """Note what an object has, and return it, if steps read it."""
        if isinstance(owner, np.ndarray):
            if owner.nbytes <= SMALL:
                self._arrays.append((owner, owner.tobytes()))
        elif isinstance(owner, list):
            self._lists.append((owner, tuple(owner)))
            return tuple(owner)
        elif isinstance(owner, (tuple, set, frozenset)):
            return tuple(owner)
        elif isinstance(owner, dict):
            return self._note_mapping(owner, [name for name in owner if not is_bookkeeping(name)], len(owner))
        elif has_attributes(owner):
            names = [name for name in vars(owner) if not is_bookkeeping(name)]
            # callbacks, and Keras itself, put attributes on models while they train
            length = None if isinstance(owner, keras.Model) else len(vars(owner))
            return self._note_mapping(vars(owner), names, length)
        return ()

    def _note_mapping(self, mapping: dict, names: list, length: int | None) -> tuple:
        if not names:
            return ()
        take = itemgetter(*names, names[0])  # at least two, for a tuple
        self._mappings.append((mapping, take, take(mapping), length))
        return take(mapping)

    def are_unchanged(self) -> bool:
        """Whether all attributes are what they were."""
        try:
            for mapping, take, values, length in self._mappings:
                if take(mapping) != values or (length is not None and len(mapping) != length):
                    return False
            return (
                all(len(now) == len(before) and tuple(now) == before for now, before in self._lists)
                and all(tensor.requires_grad is before for tensor, before in self._tensors)
                and all(array.tobytes() == before for array, before in self._arrays)
                and settings() == self._settings
            )
        except Exception:  # an attribute is gone, or another array is there
            return False


def settings() -> tuple:
    """Those of Keras's settings that steps read."""
    return keras.config.epsilon(), keras.config.floatx()


def has_attributes(value: Any) -> bool:
    """Whether a value is a part of a model, or belongs to one, and has attributes that steps read."""
    if isinstance(value, keras.Variable) or not hasattr(value, "__dict__"):
        return False
    return keras_private.has_settings(value) or (isinstance(value, PARTS) and not isinstance(value, type))
