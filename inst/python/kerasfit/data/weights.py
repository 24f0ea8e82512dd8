"""Converts sample weights, for each output of a model, and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasfit import keras_private
from kerasfit.data.arrays import labelled_leaves
from kerasfit.data.frames import (
    map_tables,
    to_numbers,
)
from kerasfit.data.indices import (
    is_categorical,
    is_elementwise,
    is_sparse_categorical,
)
from kerasfit.data.model_reader import ModelReader
from kerasfit.errors import DataError
from kerasfit.model_traits import (
    has_own_steps,
)


class WeightReader(ModelReader):
    """Reads sample weights for a model."""

    def weights(self, label: str, sample_weight: Any, y: Any = None) -> Any:
        """Convert sample weights to arrays: one, or one for each output by name.

        Samples have weight 1 for outputs that are not named. ``y`` are the targets that ``targets`` returned.

        Raises
        ------
        DataError
            If weights are negative, unless a loss is defined by the user.
        """
        if sample_weight is None:
            return None
        weights = self._convert_weights(label, sample_weight, y)
        losses = [loss for loss in keras.tree.flatten(getattr(self.model, "loss", None)) if loss is not None]
        if losses and all(map(keras_private.is_of_keras, losses)) and not has_own_steps(self.model):
            for path, leaf in labelled_leaves(label, weights):
                check_not_negative(path, leaf)
        return weights

    def _convert_weights(self, label: str, sample_weight: Any, y: Any) -> Any:
        weights = self._weights_by_output(label, sample_weight)
        if isinstance(weights, Mapping):
            targets = y if isinstance(y, Mapping) else dict(zip(self.outputs, as_list(y), strict=False))
            return {
                name: self._broadcast_over_time(w, targets.get(name), name) for name, w in weights.items()
            }
        if isinstance(weights, (list, tuple)):
            pairs = zip(weights, as_list(y), strict=False) if len(weights) == len(as_list(y)) else []
            return [self._broadcast_over_time(w, target, i) for i, (w, target) in enumerate(pairs)] or weights
        return self._broadcast_over_time(weights, y, 0)

    def _broadcast_over_time(self, weights: Any, y: Any, output: str | int) -> Any:
        """Broadcast a per-sample weight over time steps or pixels; Keras would match it to time steps.

        Weights for a user's loss are unchanged, since it may have one value for each sample.
        """
        is_vector = isinstance(weights, np.ndarray) and weights.ndim == 1
        if not is_vector or not has_a_value_for_each_row(self._loss(output)):
            return weights
        outputs, place = getattr(self.model, "outputs", None) or [], self._output_key(output)
        rank = getattr(y, "ndim", 0)
        if isinstance(place, int) and place < len(outputs):
            rank = max(rank, len(outputs[place].shape))
        return weights.reshape(-1, *[1] * (rank - 2))

    def _weights_by_output(self, label: str, sample_weight: Any) -> Any:
        if isinstance(sample_weight, pd.DataFrame):
            if set(sample_weight.columns) == set(self.outputs):
                return self._by_output(
                    {name: to_numbers(f"{label}${name}", column) for name, column in sample_weight.items()}
                )
            return self._matrix(label, sample_weight)
        if isinstance(sample_weight, pd.Categorical):
            sample_weight = pd.Series(sample_weight)
        if isinstance(sample_weight, pd.Series):
            return to_numbers(label, sample_weight)
        weights = map_tables(label, sample_weight, self._table_weights)
        one_each = isinstance(weights, (list, tuple)) and len(weights) == len(self.outputs) > 0
        if (
            one_each
            and isinstance(getattr(self.model, "loss", None), Mapping)
            and not np.isscalar(weights[0])
        ):
            weights = dict(zip(self.outputs, weights, strict=True))
        if isinstance(weights, Mapping):
            weights = self._by_output(self._complete_weights(label, weights))
        return weights

    def _table_weights(self, label: str, table: pd.DataFrame | pd.Categorical) -> np.ndarray:
        if isinstance(table, pd.DataFrame):
            return self._matrix(label, table)
        return to_numbers(label, pd.Series(table))  # raises an error for a factor

    def _complete_weights(self, label: str, weights: Mapping) -> Any:
        """Weights by output, with ones for outputs not given; for a model with one output, its weights."""
        self._check_output_names(label, weights)
        known = self.outputs or list(weights)
        if not set(weights) <= set(known):  # a custom train_step may use other names
            return weights
        given = {name: value for name, value in weights.items() if value is not None}
        if not given or (self._has_one_output() and len(given) == 1):
            return next(iter(given.values()), None)
        ones = np.ones(len(next(labelled_leaves(label, given))[1]), keras.config.floatx())
        return {name: given.get(name, ones) for name in known}


def check_not_negative(label: str, weights: Any) -> None:
    if isinstance(weights, np.ndarray) and weights.dtype.kind in "fi" and (count := int((weights < 0).sum())):
        raise DataError(
            label,
            f"`{label}` has {count} negative value{'s' * (count > 1)}: weights must be 0 or more.",
            "To use negative weights, give `compile()` a loss of your own.",
        )


def has_a_value_for_each_row(loss: Any) -> bool:
    """Whether a loss is known to have a value for each row along the last axis."""
    return is_categorical(loss) or is_sparse_categorical(loss) or is_elementwise(loss)


def as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]
