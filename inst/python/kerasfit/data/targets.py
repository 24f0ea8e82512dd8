"""Converts targets, such as data frames and factors, to the arrays that a model's losses take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasfit.data.frames import (
    align_columns,
    check_columns,
    is_table,
    parts_of,
)
from kerasfit.data.indices import (
    is_categorical,
    is_sparse_categorical,
    takes_classes,
)
from kerasfit.data.levels import check_levels, encode_with_schema, with_training_levels
from kerasfit.data.lists import check_targets
from kerasfit.data.model_reader import ModelReader
from kerasfit.errors import DataError
from kerasfit.messages import listed, quoted
from kerasfit.model_traits import (
    has_own_steps,
)


class TargetReader(ModelReader):
    """Reads targets for a model."""

    def targets(self, label: str, y: Any) -> Any:
        """Convert data frames and factors among the targets to arrays.

        A factor becomes its codes, one-hot encoded if the loss takes that. A data frame with a column for
        each of several outputs, by name, is split into those; any other becomes a matrix, or its only column.
        """
        if isinstance(y, (list, tuple)) and self._has_one_output() and not has_own_steps(self.model):
            shapes = [tuple(tensor.shape) for tensor in getattr(self.model, "outputs", None) or []]
            check_targets(label, y, shapes[0] if shapes else ())
        if isinstance(y, pd.DataFrame):
            parts = parts_of(y)
            if len(self.outputs) > 1 and set(parts) >= set(self.outputs):
                check_columns(label, parts, "output", self.outputs)
                y = {name: parts[name] for name in self.outputs}
            elif len(y.columns) == 1:
                return self._target(f"{label}${y.columns[0]}", y.iloc[:, 0], 0)
            else:
                return self._target(label, y, 0)
        if isinstance(y, Mapping) and self._has_one_output():
            name = next(iter(y), "")
            if len(y) != 1 or self.outputs not in ([], [name]):
                known = f"output is `{self.outputs[0]}`" if self.outputs else "only output has no name"
                raise DataError(
                    label, f"`{label}` names {listed(quoted(y) or ['nothing'])}, but the model's {known}."
                )
            target = self._target(f"{label}${name}", y[name], name)
            return {name: target} if isinstance(getattr(self.model, "output", None), Mapping) else target
        if isinstance(y, Mapping):
            self._check_output_names(label, y)
            return self._by_output(
                {name: self._target(f"{label}${name}", value, name) for name, value in y.items()}
            )
        if isinstance(y, (list, tuple)) and any(map(is_table, y)):
            return [self._target(f"{label}[[{i + 1}]]", value, i) for i, value in enumerate(y)]
        return self._target(label, y, 0)

    def _target(self, label: str, value: Any, output: str | int) -> Any:
        if isinstance(value, pd.DataFrame):
            columns = self._schema.columns_of_targets
            return self._matrix(label, align_columns(label, value, columns, self._output_key(output)))
        if isinstance(value, pd.Series):
            if not isinstance(value.dtype, pd.CategoricalDtype):
                return value.to_numpy()[:, None]  # a column, as in Keras
            value = value.array
        if not isinstance(value, pd.Categorical):
            return value
        place = self._output_key(output)
        codes = encode_with_schema(label, value, self._schema.levels_of_targets, place)
        classes = len(self._schema.levels_of_targets[place])
        one_hot = is_categorical(self._loss(output))
        if one_hot or is_sparse_categorical(self._loss(output)):
            count = classes if one_hot else codes.max(initial=0) + 1
            check_levels(label, value, count, self._shape_of(output)[-1:])
        if not one_hot:
            return codes
        return np.eye(classes, dtype=keras.config.floatx())[codes]

    def are_codes(self, output: str | int, y: np.ndarray) -> bool:
        """Whether targets of an output are class codes of shape (samples, time steps), not one-hot."""
        if not takes_classes(self._loss(output)):
            return False
        if shape := self._shape_of(output):
            return y.ndim == len(shape) - 1
        return y.shape[-1] != 1 and bool((y.sum(axis=-1) != 1).any())

    def with_known_levels(self, label: str, y: Any) -> Any:
        """Recode each factor among the targets with the levels that the model was trained on.

        Raises
        ------
        DataError
            If a factor has values at other levels.
        """
        if not self._schema.levels_of_targets:
            return y

        def recoded(part: str, value: Any, output: str | int) -> Any:
            if isinstance(value, pd.Series) and isinstance(value.dtype, pd.CategoricalDtype):
                value = value.array
            known = self._schema.levels_of_targets.get(self._output_key(output))
            if known is None or not isinstance(value, pd.Categorical):
                return value
            return with_training_levels(part, value, known)

        if isinstance(y, pd.DataFrame):
            one = len(y.columns) == 1
            parts = {name: recoded(f"{label}${name}", y[name], 0 if one else name) for name in y.columns}
            return pd.DataFrame(parts, index=y.index)
        if isinstance(y, Mapping):
            return {name: recoded(f"{label}${name}", value, name) for name, value in y.items()}
        if isinstance(y, (list, tuple)) and any(map(is_table, y)):
            return [recoded(f"{label}[[{i + 1}]]", value, i) for i, value in enumerate(y)]
        return recoded(label, y, 0)

    @property
    def levels(self) -> list[str] | dict[str, list[str]] | None:
        """The levels of targets that were factors, in the form that ``levels_of`` returns."""
        levels = {
            place: [str(level) for level in levels]
            for place, levels in self._schema.levels_of_targets.items()
        }
        if list(levels) == [0] and len(self.outputs) <= 1:
            return levels[0]
        return {self._output_name(place): each for place, each in levels.items()} or None
