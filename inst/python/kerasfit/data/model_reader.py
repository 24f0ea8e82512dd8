"""The base class of data readers: a model's inputs, outputs and losses, and the schema of its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasfit.data.frames import (
    to_numbers,
)
from kerasfit.data.plain_reader import Reader
from kerasfit.data.schema import DataSchema, restore_schema, save_schema
from kerasfit.errors import DataError
from kerasfit.messages import listed, quoted
from kerasfit.model_traits import (
    has_keras_losses,
    input_names,
    output_names,
)
from kerasfit.tensors import check_finite_columns, has_finite_norm, matrix_of_columns


class ModelReader(Reader):
    """Knows a model's inputs, outputs and losses, and the levels and columns of its training data.

    Parameters
    ----------
    model
        The model that the data are for.
    allow_missing
        Whether numbers may be NaN or infinite.
    checked
        Whether data must fit the model's inputs. False for a model that preprocesses its data.
    """

    def __init__(self, model: keras.Model, *, allow_missing: bool = False, checked: bool = True):
        self.model = model
        self.checked = checked
        self.allow_missing = allow_missing
        self.named_inputs = dict(zip(input_names(model), getattr(model, "inputs", None) or [], strict=True))
        self.outputs = output_names(model)
        self._schema = DataSchema()
        self._output_shapes: Sequence[Sequence[int | None]] = []
        self._embeddings: list[tuple[int, keras.layers.Embedding]] | None = None
        self._checked_weight_shapes: list[list[tuple]] = []

    def _has_one_output(self) -> bool:
        return len(self.outputs) == 1 or isinstance(self.model, keras.Sequential)

    def _shape_of(self, output: str | int) -> tuple[int | None, ...]:
        """The shape of an output, by its name or number; () if it is not known."""
        shapes = [tuple(tensor.shape) for tensor in getattr(self.model, "outputs", None) or []]
        number = self.outputs.index(output) if output in self.outputs else output
        if self._has_one_output():
            number = 0
        return shapes[number] if isinstance(number, int) and number < len(shapes) else ()

    def _output_key(self, output: str | int) -> str | int:
        """The key of an output in the schema: its number from 0, or its name if the number is unknown."""
        if isinstance(output, str) and output in self.outputs:
            return self.outputs.index(output)
        return 0 if self._has_one_output() else output

    def _output_name(self, place: str | int) -> str:
        if isinstance(place, int):
            return self.outputs[place] if place < len(self.outputs) else str(place + 1)
        return place

    def _loss(self, output: str | int) -> Any:
        loss = getattr(self.model, "loss", None)
        if isinstance(output, str):
            output = self.outputs.index(output) if output in self.outputs else 0
        if isinstance(loss, Mapping):
            return loss.get(self.outputs[output]) if output < len(self.outputs) else None
        if isinstance(loss, (list, tuple)):
            return loss[output] if output < len(loss) else None
        return loss

    def _by_output(self, values: Any) -> Any:
        """Values by output; as a list, in the order of the outputs, if the losses are a list."""
        losses = getattr(self.model, "loss", None)
        if (
            isinstance(losses, (list, tuple))
            and isinstance(values, Mapping)
            and set(values) == set(self.outputs)
        ):
            return [values[name] for name in self.outputs]
        return values

    def _check_output_names(self, label: str, values: Mapping) -> None:
        """Raise a ``DataError`` for a name that no output has: Keras would match values by their order."""
        unknown = [name for name in values if name not in self.outputs] if self.outputs else []
        if unknown and has_keras_losses(self.model):
            outputs = listed(quoted(self.outputs), "output is", "outputs are")
            raise DataError(label, f"`{label}` names {listed(quoted(unknown))}, but the model's {outputs}.")

    def _matrix(self, label: str, frame: pd.DataFrame) -> np.ndarray:
        """The columns of a data frame as a matrix of the model's float type, shape (rows, columns)."""
        columns = {str(name): to_numbers(f"{label}${name}", column) for name, column in frame.items()}
        if not columns:
            raise DataError(label, f"`{label}` is a data frame without columns.")
        matrix = matrix_of_columns(list(columns.values()), np.dtype(keras.config.floatx()))
        if not self.allow_missing and not has_finite_norm(matrix):
            check_finite_columns(label, columns)
        return matrix

    def save_schema(self) -> None:
        """Store the schema with the model, for later calls of fit, evaluate and predict."""
        save_schema(self.model, self._schema)

    @contextmanager
    def schema_kept(self) -> Iterator[None]:
        """Store the schema with the model after training, unless an error occurred before the first step."""
        before, steps = restore_schema(self.model), self._finished_steps()
        try:
            yield
        except BaseException:
            if self._finished_steps() == steps:
                save_schema(self.model, before)
            raise
        self.save_schema()

    def _finished_steps(self) -> int | None:
        iterations = getattr(self.model.optimizer, "iterations", None)
        return None if iterations is None else int(keras.ops.convert_to_numpy(iterations))

    def restore_schema(self, *, targets: bool = True) -> None:
        """Use the schema of the data that the model was trained on."""
        self._schema = restore_schema(self.model)
        if not targets:
            self._schema.levels_of_targets, self._schema.columns_of_targets = {}, {}
