"""Converts inputs, such as data frames and factors, to the arrays that a model takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasfit import layer_traits
from kerasfit.data.frames import (
    USE_NUMBERS,
    align_columns,
    check_columns,
    map_tables,
    parts_of,
    to_numbers,
    to_text,
)
from kerasfit.data.levels import encode_with_schema
from kerasfit.data.lists import check_inputs
from kerasfit.data.model_reader import ModelReader
from kerasfit.errors import DataError
from kerasfit.messages import listed, quoted
from kerasfit.model_traits import (
    first_input_spec,
    has_nested_inputs,
    has_own_steps,
    is_string,
    starts_with_text,
)
from kerasfit.tensors import check_finite_columns, has_finite_norm

# layers that look up whole numbers, also if these have a float type
INDEX_LAYERS = (
    keras.layers.CategoryEncoding,
    keras.layers.Embedding,
    keras.layers.Hashing,
    keras.layers.IntegerLookup,
)


class InputReader(ModelReader):
    """Reads inputs for a model."""

    def inputs(self, label: str, x: Any) -> Any:
        """Convert data frames and factors among the inputs to arrays.

        A data frame becomes a matrix, or each column goes to the input of its name.

        Raises
        ------
        DataError
            If a column is neither numeric nor an input of the model.
        """

        def read(part: str, value: pd.DataFrame | pd.Categorical) -> np.ndarray:
            place = part[len(label) :]
            tensor = self._input_at(place)
            if is_string(tensor) or (tensor is None and starts_with_text(self.model)):
                return to_text(part, value, tensor)
            if isinstance(value, pd.Categorical):
                return self._factor_input(part, value, place)
            return self._matrix(part, align_columns(part, value, self._schema.columns_of_inputs, place))

        if self.checked and isinstance(x, (list, tuple, Mapping)) and not has_own_steps(self.model):
            self._check_list(label, x)
        if isinstance(x, (pd.DataFrame, pd.Series)):
            frame = x.to_frame() if isinstance(x, pd.Series) else x
            if not self.checked and any(map(pd.api.types.is_string_dtype, frame.dtypes)):
                columns = {name: column.to_numpy() for name, column in frame.items()}
                return columns if len(columns) > 1 else next(iter(columns.values()))
            if len(self.named_inputs) > 1 or [*frame.columns] == [*self.named_inputs] != []:
                inputs = self._columns_to_inputs(label, frame)
                by_name = len(inputs) > 1 or isinstance(self.model.input, dict)
                return inputs if by_name else next(iter(inputs.values()))
            return read(label, frame)
        x = map_tables(label, x, read)
        # a model that is built adds the axis itself
        is_vector = isinstance(x, np.ndarray) and x.ndim == 1
        takes_columns = self.checked and getattr(first_input_spec(self.model), "min_ndim", None) == 2
        return x[:, None] if is_vector and takes_columns else x

    def columns_of(self, available: list[str]) -> list[str]:
        """Which columns of a table are inputs: those that the model is known to take, or all."""
        known = self._schema.columns_of_inputs.get("", [])
        if len(self.named_inputs) > 1:
            known = list(self.named_inputs)
        return list(known) if known and {*known} <= {*available} else available

    @property
    def required_inputs(self) -> list[str]:
        """The names of the inputs that data must have; none if the model preprocesses its data."""
        return list(self.named_inputs) if self.checked else []

    def _factor_input(self, label: str, factor: pd.Categorical, place: str) -> np.ndarray:
        """The codes of a factor for an input that takes indices."""
        tensors, number = list(self.named_inputs.values()), self._number_of_input(place)
        if number is not None:
            return factor_for(
                label,
                factor,
                tensors[number],
                self._takes_indices(number),
                self._schema.levels_of_inputs,
                place,
            )
        takes_numbers = getattr(first_input_spec(self.model), "min_ndim", None) == 2
        if takes_numbers:  # a dense layer that is not built yet
            raise DataError(label, f"`{label}` is a factor, but the model takes numbers there.", USE_NUMBERS)
        return encode_with_schema(label, factor, self._schema.levels_of_inputs, place)

    def _number_of_input(self, place: str) -> int | None:
        """The number, from 0, of the input at a place: "$kind", "[[2]]", or "" for the only input."""
        names = list(self.named_inputs)
        if number := re.fullmatch(r"\[\[(\d+)\]\]", place):
            return int(number[1]) - 1 if int(number[1]) <= len(names) else None
        if place[1:] in names:
            return names.index(place[1:])
        return 0 if len(names) == 1 else None

    def _input_at(self, place: str) -> Any:
        number = self._number_of_input(place)
        return None if number is None else list(self.named_inputs.values())[number]

    def _takes_indices(self, number: int) -> bool:
        """Whether an input has an integer type, or goes to a layer that looks up indices."""
        tensor = list(self.named_inputs.values())[number]
        if "int" in keras.backend.standardize_dtype(tensor.dtype):
            return True
        is_sequential = isinstance(self.model, keras.Sequential) and self.model.layers
        if is_sequential and isinstance(self.model.layers[0], INDEX_LAYERS):
            return True
        return any(number == one for one, _ in self._input_embeddings())

    def _check_list(self, label: str, x: Any) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.named_inputs.items()}
        if has_nested_inputs(self.model):
            return
        if not shapes and isinstance(first_input_spec(self.model), keras.InputSpec):
            shapes = {"": ()}
        by_name = isinstance(getattr(self.model, "input", None), Mapping) if len(shapes) > 1 else False
        check_inputs(label, x, list(shapes), list(shapes.values()), by_name=by_name)

    def _input_embeddings(self) -> list[tuple[int, keras.layers.Embedding]]:
        if self._embeddings is not None:
            return self._embeddings
        found = layer_traits.input_embeddings(self.model)
        self._embeddings = found if self.model.built else None
        return found

    def _columns_to_inputs(self, label: str, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        parts = parts_of(frame)
        missing = [name for name in self.named_inputs if name not in parts]
        if missing:
            raise DataError(
                label,
                f"`{label}` is a data frame without {listed(quoted(missing), 'the column', 'the columns')}, "
                f"which the model has {'an input' if len(missing) == 1 else 'inputs'} for.",
                "Put several data frames, one for each input, into a list.",
            )
        check_columns(label, parts, "input", self.named_inputs)
        levels = self._schema.levels_of_inputs
        columns = {
            name: self._matrix(f"{label}${name}", part)
            if isinstance(part := parts[name], pd.DataFrame)
            else column_for(f"{label}${name}", part, tensor, self._takes_indices(number), levels, f"${name}")
            for number, (name, tensor) in enumerate(self.named_inputs.items())
        }
        floats = {name: column for name, column in columns.items() if column.dtype.kind == "f"}
        if not self.allow_missing and not all(map(has_finite_norm, floats.values())):
            check_finite_columns(label, floats)
        return columns


def column_for(
    label: str, column: pd.Series, tensor: Any, takes_indices: bool, levels: dict[str, list], place: str
) -> np.ndarray:
    """Convert a column for an input of the model: to text, the codes of a factor, or numbers."""
    if is_string(tensor):
        return to_text(label, column, tensor)
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = factor_for(label, column.array, tensor, takes_indices, levels, place)
    else:
        values = to_numbers(label, column)
    return values[:, None] if len(tensor.shape) == 2 else values


def factor_for(
    label: str,
    factor: pd.Categorical,
    tensor: Any,
    takes_indices: bool,
    levels: dict[str, list],
    place: str,
) -> np.ndarray:
    """The codes of a factor, by the known levels, for an input of the model that takes indices."""
    if takes_indices:
        return encode_with_schema(label, factor, levels, place)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    raise DataError(
        label,
        f"`{label}` is a factor, but the model's input `{tensor.name}` is of type {dtype}.",
        'An input of type "int32" takes its codes, counted from 0; one of type "string" takes its labels.',
    )
