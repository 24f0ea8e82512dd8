"""Detects changes to attributes of layers, losses, metrics and optimizers after steps were compiled.

Keras reads these attributes in Python each time that it runs a step; a compiled step has them as constants.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import keras
import numpy as np

from kerasfit.engines.bookkeeping import has_settings, is_bookkeeping, settings_of_variable

PARTS = (
    keras.layers.Layer,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
)
SMALL = 2**12  # bytes: smaller arrays are compared by their values


class Attributes:
    """A snapshot of the attributes of a model's layers, losses, metrics and optimizer.

    Steps that were recorded or compiled at that time have them as constants. The values of variables are not
    part of it, because they are inputs of a step. An object whose class is neither Keras's nor derived from a
    class of Keras's counts as unchanged as long as it is the same object.
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
            names = settings_of_variable(variable)
            waiting.extend(self._note_mapping(vars(variable), names, None))
        seen: dict[int, Any] = {}
        while waiting:
            if id(owner := waiting.pop()) not in seen:
                seen[id(owner)] = owner
                waiting.extend(self._note(owner))

    def _note(self, owner: Any) -> tuple:
        """Record the values that an object holds, and return them, if steps read them."""
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
            # callbacks and Keras itself add attributes to models during training
            length = None if isinstance(owner, keras.Model) else len(vars(owner))
            return self._note_mapping(vars(owner), names, length)
        return ()

    def _note_mapping(self, mapping: dict, names: list, length: int | None) -> tuple:
        if not names:
            return ()
        take = itemgetter(*names, names[0])  # two names at least, so that it returns a tuple
        self._mappings.append((mapping, take, take(mapping), length))
        return take(mapping)

    def are_unchanged(self) -> bool:
        """Whether all attributes are the same as in the snapshot."""
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
        except Exception:  # an attribute was removed, or replaced by an array
            return False


def settings() -> tuple:
    """Keras's global settings that steps read."""
    return keras.config.epsilon(), keras.config.floatx()


def has_attributes(value: Any) -> bool:
    """Whether a value is a part of a model, or belongs to a part, and has attributes that steps read."""
    if isinstance(value, keras.Variable) or not hasattr(value, "__dict__"):
        return False
    return has_settings(value) or (isinstance(value, PARTS) and not isinstance(value, type))
