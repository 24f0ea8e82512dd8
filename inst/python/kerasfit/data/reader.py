"""What data mean to a model: the columns of a data frame as its inputs, the levels of a factor as classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasfit import keras_private
from kerasfit.data.arrays import factor_codes, is_text, labelled_leaves
from kerasfit.data.batch_size import (
    batch_size_of_model,
    check_batch,
    check_batch_size,
    check_whole_batches,
    needs_whole_batches,
)
from kerasfit.data.indices import (
    check_indices,
    in_input_order,
    is_categorical,
    is_elementwise,
    is_sparse,
    takes_classes,
)
from kerasfit.data.levels import coded_by
from kerasfit.data.lists import check_inputs, check_targets
from kerasfit.data.names import Names
from kerasfit.data.plain_reader import Reader
from kerasfit.data.schema import DataSchema, restore_schema, save_schema
from kerasfit.data.shapes import mistakes_of_weights
from kerasfit.errors import DataError
from kerasfit.messages import listed, quoted
from kerasfit.model_traits import has_keras_losses, has_nested_inputs, input_names, output_names
from kerasfit.tensors import check_finite_columns, has_finite_norm, matrix_of_columns

USE_NUMBERS = (
    "Make numbers of it, for example by model.matrix(), or give the model an input of that name with a Keras "
    "preprocessing layer."
)

# layers that look up whole numbers, of whatever type
TAKE_INDICES = (
    keras.layers.CategoryEncoding,
    keras.layers.Embedding,
    keras.layers.Hashing,
    keras.layers.IntegerLookup,
)


class ModelData(Reader):
    """Reads inputs, targets and weights for one model.

    Arrays, tensors and nested lists of them are left as they are; data frames and factors among them are
    read.
    """

    def __init__(self, model: keras.Model, *, allow_missing: bool = False, checked: bool = True):
        self.model = model
        self.checked = checked
        self.allow_missing = allow_missing
        self.named_inputs = dict(zip(input_names(model), getattr(model, "inputs", None) or [], strict=True))
        self.outputs = output_names(model)
        self._known = DataSchema()
        self._output_shapes: list[Sequence[int | None]] = []
        self._embeddings: list[tuple[int, keras.layers.Embedding]] | None = None
        self._fitting_weights: list[list[tuple]] = []

    def inputs(self, label: str, x: Any) -> Any:
        """Inputs without data frames: a matrix, or each column goes to the input of its name.

        Raises
        ------
        DataError
            If a column is neither numeric nor an input of the model.
        """

        def read(part: str, value: pd.DataFrame | pd.Categorical) -> np.ndarray:
            place = part[len(label) :]
            tensor = self._input_at(place)
            if is_string(tensor) or (tensor is None and starts_with_text(self.model)):
                return text_of(part, value, tensor)
            if isinstance(value, pd.Categorical):
                return self._factor_input(part, value, place)
            return self._matrix(part, in_order(part, value, self._known.columns_of_inputs, place))

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
        x = nested(label, x, read)
        # one that is built adds the axis by itself
        is_vector = isinstance(x, np.ndarray) and x.ndim == 1
        takes_columns = self.checked and getattr(first_input_spec(self.model), "min_ndim", None) == 2
        return x[:, None] if is_vector and takes_columns else x

    @property
    def inputs_to_name(self) -> list[str]:
        """The names of the inputs that data must have; none where a model makes its inputs itself."""
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
                self._known.levels_of_inputs,
                place,
            )
        takes_numbers = getattr(first_input_spec(self.model), "min_ndim", None) == 2
        if takes_numbers:  # a dense layer that is not built yet
            raise DataError(label, f"`{label}` is a factor, and the model takes numbers there.", USE_NUMBERS)
        return codes_as_before(label, factor, self._known.levels_of_inputs, place)

    def _number_of_input(self, place: str) -> int | None:
        """The number, counted from 0, of the input at a place: "$kind", "[[2]]", "" for the only one."""
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
        """Whether an input has an integer type, or is looked up whatever type it has."""
        tensor = list(self.named_inputs.values())[number]
        if "int" in keras.backend.standardize_dtype(tensor.dtype):
            return True
        is_sequential = isinstance(self.model, keras.Sequential) and self.model.layers
        if is_sequential and isinstance(self.model.layers[0], TAKE_INDICES):
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

    def check(self, names: Names, x: Any, y: Any) -> None:
        """Raise a ``DataError`` for text where the model takes numbers, and for indices that it cannot have.

        Before a model is built it has no outputs to say how many classes there are: ``knows_outputs``.
        What a model takes that makes its inputs of data itself is its own to say.
        """
        if not self.checked:
            return
        self._check_parts(names.x, x)
        self._check_text(names.x, x)
        if y is not None and not self.knows_outputs:
            self._output_shapes = self._find_output_shapes(x)
        check_indices(self.model, x, y, (names.x, names.y), self._input_embeddings(), self._output_shapes)

    def _input_embeddings(self) -> list[tuple[int, keras.layers.Embedding]]:
        if self._embeddings is not None:
            return self._embeddings
        found = keras_private.input_embeddings(self.model)
        self._embeddings = found if self.model.built else None
        return found

    def check_weights(self, label: str, sample_weight: Any, y: Any) -> None:
        """Raise a ``DataError`` for weights that do not fit the values of the losses.

        A weight for each sample fits any.
        """
        shapes = [tuple(leaf.shape)[1:] for leaf in keras.tree.flatten(sample_weight) if leaf is not None]
        if any(shapes) and shapes not in self._fitting_weights and has_keras_losses(self.model):
            for mistake in mistakes_of_weights(self.model, sample_weight, y, label):
                raise mistake
            self._fitting_weights.append(shapes)

    @cached_property
    def samples_in_batch(self) -> int | None:
        size = keras_private.fixed_batch_size(self.model)
        return size if size and needs_whole_batches(self.model) else None

    def batch_size_for(self, names: Names, given: int | None, samples: int) -> int | None:
        size = batch_size_of_model(self.model, given)
        if size is None:
            return given
        check_batch_size(names.batch_size, given, size)
        if samples % size and needs_whole_batches(self.model):
            check_whole_batches(names.x, samples, size)
        return size

    def check_batch(self, label: str, x: Any) -> None:
        if self.samples_in_batch is not None:
            check_batch(label, x, self.samples_in_batch)

    @property
    def knows_outputs(self) -> bool:
        return bool(self._output_shapes)

    def _find_output_shapes(self, x: Any) -> list[Sequence[int | None]]:
        if outputs := getattr(self.model, "outputs", None):
            return [output.shape for output in outputs]
        # only JAX trains on classes that are not there without a word
        losses = keras.tree.flatten(getattr(self.model, "loss", None))
        if self.model.built and any(map(is_sparse, losses)) and keras.backend.backend() == "jax":
            return keras_private.output_shapes(self.model, x)
        return []

    def _check_parts(self, label: str, x: Any) -> None:
        """Raise a ``DataError`` if one of several inputs is None that the model needs."""
        if not isinstance(x, (list, tuple, Mapping)) or not self.named_inputs:
            return
        optional = keras_private.optional_inputs(self.model)
        parts = x.items() if isinstance(x, Mapping) else enumerate(x)
        for number, (key, part) in enumerate(parts):
            if part is None and key not in optional:
                name = f"{label}${key}" if isinstance(x, Mapping) else f"{label}[[{number + 1}]]"
                raise DataError(name, f"`{name}` is missing (NULL or None), and is not optional.")

    def _check_text(self, label: str, x: Any) -> None:
        types = [tensor.dtype for tensor in self.named_inputs.values()]
        text_only = "string" in types or starts_with_text(self.model)
        if not text_only and not any(map(is_text, keras.tree.flatten(x))):
            return
        leaves = list(labelled_leaves(label, in_input_order(self.model, x)))
        if not types:  # no other backend has tensors of text, and layers that take it have no specification
            takes_text = keras.backend.backend() == "tensorflow" and not first_input_spec(self.model)
            types = ["string" if takes_text else "float32"] * len(leaves)
        for (name, leaf), dtype in zip(leaves, types, strict=False):
            if is_text(leaf) and dtype != "string":
                raise DataError(
                    name,
                    f"`{name}` is text, and the model takes numbers there.",
                    "Make numbers of it, for example by match() or model.matrix().",
                )
            if dtype == "string" and text_only and isinstance(leaf, np.ndarray) and not is_text(leaf):
                raise numbers_for_text(name)

    def _matrix(self, label: str, frame: pd.DataFrame) -> np.ndarray:
        """The columns of a data frame as a matrix of the model's float type, shape (rows, columns)."""
        columns = {name: numbers_of(f"{label}${name}", column) for name, column in frame.items()}
        if not columns:
            raise DataError(label, f"`{label}` is a data frame without columns.")
        matrix = matrix_of_columns(list(columns.values()), np.dtype(keras.config.floatx()))
        if not self.allow_missing and not has_finite_norm(matrix):
            check_finite_columns(label, columns)
        return matrix

    def _columns_to_inputs(self, label: str, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        parts = parts_of(frame)
        missing = [name for name in self.named_inputs if name not in parts]
        if missing:
            raise DataError(
                label,
                f"`{label}` is a data frame without {listed(quoted(missing), 'the column', 'the columns')}, "
                f"which the model has {'an input' if len(missing) == 1 else 'inputs'} for.",
                "Several data frames, one for each input, go into a list.",
            )
        check_columns(label, parts, "input", self.named_inputs)
        levels = self._known.levels_of_inputs
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

    def targets(self, label: str, y: Any) -> Any:
        """Targets without data frames and factors: the codes of a factor, one-hot if the loss wants that.

        A data frame with a column for each of several outputs, by name, is taken apart; otherwise it is a
        matrix of numbers, or the one column it has.
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
                    label, f"`{label}` names {listed(quoted(y) or ['nothing'])}, and the model's {known}."
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

    def are_codes(self, output: str | int, y: np.ndarray) -> bool:
        """Whether targets of an output are classes of several times, (samples, times), and not one-hot."""
        if not takes_classes(self._loss(output)):
            return False
        if shape := self._shape_of(output):
            return y.ndim == len(shape) - 1
        return y.shape[-1] != 1 and bool((y.sum(axis=-1) != 1).any())

    def weights(self, label: str, sample_weight: Any, y: Any = None) -> Any:
        """Sample weights without data frames: a vector, or one for each output by its name.

        Samples weigh 1 for outputs that are not named. ``y`` are the targets, as ``targets`` has read them.

        Raises
        ------
        DataError
            If some are negative, unless the loss is the user's own.
        """
        weights = self._all_weights(label, sample_weight, y)
        losses = [loss for loss in keras.tree.flatten(getattr(self.model, "loss", None)) if loss is not None]
        if losses and all(map(keras_private.is_of_keras, losses)) and not has_own_steps(self.model):
            for path, leaf in labelled_leaves(label, weights):
                check_not_negative(path, leaf)
        return weights

    def _all_weights(self, label: str, sample_weight: Any, y: Any) -> Any:
        weights = self._weights_by_output(label, sample_weight)
        if isinstance(weights, Mapping):
            targets = y if isinstance(y, Mapping) else dict(zip(self.outputs, as_list(y), strict=False))
            return {name: self._of_all_times(w, targets.get(name), name) for name, w in weights.items()}
        if isinstance(weights, (list, tuple)):
            pairs = zip(weights, as_list(y), strict=False) if len(weights) == len(as_list(y)) else []
            return [self._of_all_times(w, target, i) for i, (w, target) in enumerate(pairs)] or weights
        return self._of_all_times(weights, y, 0)

    def _of_all_times(self, weights: Any, y: Any, output: str | int) -> Any:
        """The weight of a sample as that of all its times or pixels; Keras would take it for one of a time.

        A loss of the user's may have one value for each sample.
        """
        is_vector = isinstance(weights, np.ndarray) and weights.ndim == 1
        if not is_vector or not has_a_value_for_each_row(self._loss(output)):
            return weights
        outputs, place = getattr(self.model, "outputs", None) or [], self._place_of(output)
        known = isinstance(place, int) and place < len(outputs)
        rank = max(len(outputs[place].shape) if known else 0, getattr(y, "ndim", 0))
        return weights.reshape(-1, *[1] * (rank - 2))

    def _weights_by_output(self, label: str, sample_weight: Any) -> Any:
        if isinstance(sample_weight, pd.DataFrame):
            if set(sample_weight.columns) == set(self.outputs):
                return self._by_output(
                    {name: numbers_of(f"{label}${name}", column) for name, column in sample_weight.items()}
                )
            return self._matrix(label, sample_weight)
        if isinstance(sample_weight, pd.Categorical):
            sample_weight = pd.Series(sample_weight)
        if isinstance(sample_weight, pd.Series):
            return numbers_of(label, sample_weight)
        weights = nested(label, sample_weight, self._weights_of_table)
        one_each = isinstance(weights, (list, tuple)) and len(weights) == len(self.outputs) > 0
        if (
            one_each
            and isinstance(getattr(self.model, "loss", None), Mapping)
            and not np.isscalar(weights[0])
        ):
            weights = dict(zip(self.outputs, weights, strict=True))
        if isinstance(weights, Mapping):
            weights = self._by_output(self._weights_of_all(label, weights))
        return weights

    def _weights_of_table(self, label: str, table: pd.DataFrame | pd.Categorical) -> np.ndarray:
        if isinstance(table, pd.DataFrame):
            return self._matrix(label, table)
        return numbers_of(label, pd.Series(table))  # which a factor is none of

    def _weights_of_all(self, label: str, weights: Mapping) -> Any:
        """Weights by output with those that are not given; or those of the one output there is."""
        self._check_output_names(label, weights)
        known = self.outputs or list(weights)
        if not set(weights) <= set(known):  # which a step of the model's own may know
            return weights
        given = {name: value for name, value in weights.items() if value is not None}
        if not given or (self._has_one_output() and len(given) == 1):
            return next(iter(given.values()), None)
        ones = np.ones(len(next(labelled_leaves(label, given))[1]), keras.config.floatx())
        return {name: given.get(name, ones) for name in known}

    def _by_output(self, values: Any) -> Any:
        """Values with outputs as names; a list in the order of the outputs where the losses are one."""
        losses = getattr(self.model, "loss", None)
        if (
            isinstance(losses, (list, tuple))
            and isinstance(values, Mapping)
            and set(values) == set(self.outputs)
        ):
            return [values[name] for name in self.outputs]
        return values

    def _check_output_names(self, label: str, values: Mapping) -> None:
        """Raise a ``DataError`` for a name that is not an output's: Keras would go by the order of names."""
        unknown = [name for name in values if name not in self.outputs] if self.outputs else []
        if unknown and has_keras_losses(self.model):
            outputs = listed(quoted(self.outputs), "output is", "outputs are")
            raise DataError(label, f"`{label}` names {listed(quoted(unknown))}, and the model's {outputs}.")

    def _has_one_output(self) -> bool:
        return len(self.outputs) == 1 or isinstance(self.model, keras.Sequential)

    def _target(self, label: str, value: Any, output: str | int) -> Any:
        if isinstance(value, pd.DataFrame):
            columns = self._known.columns_of_targets
            return self._matrix(label, in_order(label, value, columns, self._place_of(output)))
        if isinstance(value, pd.Series):
            if not isinstance(value.dtype, pd.CategoricalDtype):
                return value.to_numpy()[:, None]  # a column, as by Keras
            value = value.array
        if not isinstance(value, pd.Categorical):
            return value
        place = self._place_of(output)
        codes = codes_as_before(label, value, self._known.levels_of_targets, place)
        classes = len(self._known.levels_of_targets[place])
        one_hot = is_categorical(self._loss(output))
        if one_hot or is_sparse(self._loss(output)):
            count = classes if one_hot else codes.max(initial=0) + 1
            check_levels(label, value, count, self._shape_of(output)[-1:])
        if not one_hot:
            return codes
        return np.eye(classes, dtype=keras.config.floatx())[codes]

    def _shape_of(self, output: str | int) -> tuple[int | None, ...]:
        """The shape of an output, by its name or number; () if it is not known."""
        shapes = [tuple(tensor.shape) for tensor in getattr(self.model, "outputs", None) or []]
        number = self.outputs.index(output) if output in self.outputs else output
        if self._has_one_output():
            number = 0
        return shapes[number] if isinstance(number, int) and number < len(shapes) else ()

    def remember(self) -> None:
        """Keep what is known for those who read data to go on with training, to evaluate or to predict."""
        save_schema(self.model, self._known)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Keep what is known when training has ended, unless an error came before its first step."""
        before, steps = restore_schema(self.model), self._finished_steps()
        try:
            yield
        except BaseException:
            if self._finished_steps() == steps:
                save_schema(self.model, before)
            raise
        self.remember()

    def _finished_steps(self) -> int | None:
        iterations = getattr(self.model.optimizer, "iterations", None)
        return None if iterations is None else int(keras.ops.convert_to_numpy(iterations))

    def recall(self, *, targets: bool = True) -> None:
        """Have data be read as those that the model was trained on."""
        self._known = restore_schema(self.model)
        if not targets:
            self._known.levels_of_targets, self._known.columns_of_targets = {}, {}

    def in_known_levels(self, label: str, y: Any) -> Any:
        """Targets in which each factor has the levels that the model was trained on, in their order.

        Raises
        ------
        DataError
            If a factor has values at other levels.
        """
        if not self._known.levels_of_targets:
            return y

        def recoded(part: str, value: Any, output: str | int) -> Any:
            if isinstance(value, pd.Series) and isinstance(value.dtype, pd.CategoricalDtype):
                value = value.array
            known = self._known.levels_of_targets.get(self._place_of(output))
            if known is None or not isinstance(value, pd.Categorical):
                return value
            return with_levels(part, value, known)

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
        """The levels of the factors that targets were, as ``levels_of`` gives them."""
        levels = {
            place: [str(level) for level in levels] for place, levels in self._known.levels_of_targets.items()
        }
        if list(levels) == [0] and len(self.outputs) <= 1:
            return levels[0]
        return {self._name_of(place): each for place, each in levels.items()} or None

    def _place_of(self, output: str | int) -> str | int:
        """The number of an output, counted from 0, by which targets are known; its name if it has none."""
        if isinstance(output, str) and output in self.outputs:
            return self.outputs.index(output)
        return 0 if self._has_one_output() else output

    def _name_of(self, place: str | int) -> str:
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


def levels_of(y: Any) -> list[str] | dict[str, list[str]] | None:
    """The levels of the factor that targets are; by output, or by number from 1, if they are several."""
    if isinstance(y, pd.Categorical):
        return [str(level) for level in y.categories]
    if isinstance(y, pd.Series):
        return levels_of(y.array)
    if isinstance(y, pd.DataFrame):
        if len(y.columns) == 1:
            return levels_of(y.iloc[:, 0])
        y = {name: y[name] for name in y.columns}
    if isinstance(y, (list, tuple)) and any(map(is_table, y)):
        y = {str(number): value for number, value in enumerate(y, start=1)}
    if not isinstance(y, Mapping):
        return None
    found = {str(name): levels_of(value) for name, value in y.items()}
    return {name: levels for name, levels in found.items() if levels} or None


def first_input_spec(model: keras.Model) -> Any:
    """What the first layer of a Sequential model that is not built yet says of its input, if anything."""
    if isinstance(model, keras.Sequential) and not model.built and model.layers:
        return model.layers[0].input_spec
    return None


def starts_with_text(model: keras.Model) -> bool:
    """Whether a Sequential model that is not built yet begins with a layer that takes text only."""
    takes_text = (keras.layers.TextVectorization, keras.layers.StringLookup)
    return (
        isinstance(model, keras.Sequential) and bool(model.layers) and isinstance(model.layers[0], takes_text)
    )


def is_string(tensor: Any) -> bool:
    return tensor is not None and keras.backend.standardize_dtype(tensor.dtype) == "string"


def has_own_steps(model: keras.Model) -> bool:
    """Whether a model has a step of its own, which may do with its data what it likes."""
    steps = ("train_step", "test_step", "predict_step")
    return any(getattr(type(model), step) is not getattr(keras.Model, step) for step in steps)


def is_table(value: Any) -> bool:
    return isinstance(value, (pd.DataFrame, pd.Series, pd.Categorical))


# ---- data frames -------------------------------------------------------------------------------------


def as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def check_levels(label: str, factor: pd.Categorical, needed: int, units: tuple[int | None, ...]) -> None:
    """Raise a ``DataError`` for a factor whose codes need more units than an output has, if that is known."""
    if not units or units[0] is None or needed <= units[0]:
        return
    used = factor.remove_unused_categories().categories
    unused = [level for level in factor.categories if level not in used]
    hint = f"The output needs a unit for each level: {len(factor.categories)}."
    if "NA" in used:
        hint = "One level is NA: leave out those rows, or give the output a unit more."
    elif len(used) <= units[0]:
        hint = f"`droplevels()` leaves out {listed(unused, 'the level', 'the levels')}, which occurs nowhere."
    raise DataError(
        label,
        f"`{label}` has {len(factor.categories)} levels, and the model's output has {units[0]} values.",
        hint,
    )


def check_not_negative(label: str, weights: Any) -> None:
    if isinstance(weights, np.ndarray) and weights.dtype.kind in "fi" and (count := int((weights < 0).sum())):
        raise DataError(
            label,
            f"`{label}` has {count} negative value{'s' * (count > 1)}: weights are 0 or more.",
            "Give `compile()` a loss of your own if signs are to count.",
        )


def has_a_value_for_each_row(loss: Any) -> bool:
    """Whether a loss has a value for each row of the last axis, as far as that is known."""
    return is_categorical(loss) or is_sparse(loss) or is_elementwise(loss)


def nested(label: str, value: Any, read: Callable[[str, Any], Any]) -> Any:
    """A nested value with each data frame and factor in it read."""
    if isinstance(value, (pd.DataFrame, pd.Categorical)):
        return read(label, value)
    if isinstance(value, pd.Series):
        return read(label, value.to_frame())
    if isinstance(value, Mapping):
        return {name: nested(f"{label}${name}", element, read) for name, element in value.items()}
    if isinstance(value, (list, tuple)) and any(map(is_table, value)):
        return type(value)(nested(f"{label}[[{i}]]", element, read) for i, element in enumerate(value, 1))
    return value


def in_order(label: str, frame: pd.DataFrame, columns: dict[Any, list[str]], place: Any) -> pd.DataFrame:
    """A data frame with its columns in the order they have at a place, or else its own from now on.

    Raises
    ------
    DataError
        If they have other names.
    """
    names = list(frame.columns)
    known = columns.setdefault(place, names)
    if names == known or len(names) != len(known) or len(known) == 1:
        return frame  # a wrong number is a mistake of shape
    if set(names) != set(known):
        raise DataError(
            label,
            f"`{label}` has the columns {listed(names)}, and the model was trained on {listed(known)}.",
            "A matrix has its columns taken as they come.",
        )
    return frame[known]


def parts_of(frame: pd.DataFrame) -> dict[str, pd.Series | pd.DataFrame]:
    """The columns of a data frame by name; those that were one matrix in R as a data frame."""
    matrices = frame.attrs.get("matrices", {})
    of_matrices = {column for columns in matrices.values() for column in columns}
    parts = {name: frame[name] for name in frame.columns if name not in of_matrices}
    return parts | {name: frame[list(columns)] for name, columns in matrices.items()}


def check_columns(label: str, columns: Collection[str], noun: str, known: Collection[str]) -> None:
    """Raise a ``DataError`` for a column that is none of the model's inputs, or outputs."""
    for name in columns:
        if name not in known:
            raise DataError(
                f"{label}${name}",
                f"`{label}${name}` has no {noun} in the model, whose {noun}s are {listed(quoted(known))}.",
                f"Leave the column out, or give the model an {noun} of that name.",
            )


def numbers_of(label: str, column: pd.Series) -> np.ndarray:
    """A column as numbers; a logical one as 0 and 1."""
    if column.dtype.kind in "fiub" and not isinstance(column.dtype, pd.CategoricalDtype):
        return column.to_numpy()
    raise DataError(label, f"`{label}` is {kind_of(column)}, and the model takes numbers there.", USE_NUMBERS)


def codes_as_before(label: str, factor: pd.Categorical, levels: dict[Any, list], key: Any) -> np.ndarray:
    """The codes of a factor, from 0, by the levels at a key; if there are none, its own are from now on."""
    known = levels.setdefault(key, list(factor.categories))
    return factor_codes(label, with_levels(label, factor, known))


def with_levels(label: str, factor: pd.Categorical, levels: list) -> pd.Categorical:
    """A factor with the levels that the model was trained on.

    Raises
    ------
    DataError
        If it has values at other levels.
    """
    about = f"`{label}` has {{}} that there was not before: the levels are {{}}."
    hint = (
        "A model keeps the levels that it was first trained on. To begin anew with others, make a new model."
    )
    return coded_by(levels, factor, label, about, hint)


def numbers_for_text(label: str) -> DataError:
    reason = f"`{label}` is numbers, and the model takes text there."
    return DataError(
        label, reason, f"`as.character({label})` makes text of them." if "()" not in label else None
    )


def text_of(label: str, value: pd.DataFrame | pd.Series | pd.Categorical, tensor: Any) -> np.ndarray:
    """Text, or the labels of a factor, as an input of the model takes it; of a data frame, all columns.

    Raises
    ------
    DataError
        If there are numbers, or a factor with missing values.
    """
    if isinstance(value, pd.DataFrame):
        columns = [text_of(f"{label}${name}", column, None) for name, column in value.items()]
        return columns[0] if tensor is not None and len(tensor.shape) == 1 else np.column_stack(columns)
    column = pd.Series(value)
    if isinstance(column.dtype, pd.CategoricalDtype):
        factor_codes(label, column.array)  # raises an error if some are missing
    elif kind_of(column) != "text":
        raise numbers_for_text(label)
    values = np.asarray(column.astype(object), dtype=str)
    return values[:, None] if tensor is not None and len(tensor.shape) == 2 else values


def column_for(
    label: str, column: pd.Series, tensor: Any, takes_indices: bool, levels: dict[str, list], place: str
) -> np.ndarray:
    """A column as an input of the model takes it: text, the codes of a factor by the levels, or numbers."""
    if is_string(tensor):
        return text_of(label, column, tensor)
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = factor_for(label, column.array, tensor, takes_indices, levels, place)
    else:
        values = numbers_of(label, column)
    return values[:, None] if len(tensor.shape) == 2 else values


def factor_for(
    label: str,
    factor: pd.Categorical,
    tensor: Any,
    takes_indices: bool,
    levels: dict[str, list],
    place: str,
) -> np.ndarray:
    """The codes of a factor, by the levels, for an input of the model that takes indices."""
    if takes_indices:
        return codes_as_before(label, factor, levels, place)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    raise DataError(
        label,
        f"`{label}` is a factor, and the model's input `{tensor.name}` is of type {dtype}.",
        'An input of type "int32" gets its codes, counted from 0; one of type "string" its labels.',
    )


def kind_of(column: pd.Series) -> str:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "a factor"
    return "text" if column.dtype.kind in "OUST" else f"of type {column.dtype}"
