"""The data reader for a model: converts inputs, targets and weights, and checks their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private, layer_traits
from kerasfit.data.arrays import is_text, labelled_leaves
from kerasfit.data.batch_size import (
    batch_size_of_model,
    check_batch,
    check_batch_size,
    check_whole_batches,
    needs_whole_batches,
)
from kerasfit.data.frames import numbers_for_text
from kerasfit.data.indices import (
    check_indices,
    in_input_order,
    is_sparse_categorical,
)
from kerasfit.data.inputs import InputReader
from kerasfit.data.names import Names
from kerasfit.data.shapes import weight_errors
from kerasfit.data.targets import TargetReader
from kerasfit.data.weights import WeightReader
from kerasfit.errors import DataError
from kerasfit.model_traits import (
    first_input_spec,
    has_keras_losses,
    starts_with_text,
)


class ModelData(InputReader, TargetReader, WeightReader):
    """Reads inputs, targets and weights for one model.

    Data frames and factors become arrays; arrays, tensors and nested lists of them are unchanged.
    """

    def check(self, names: Names, x: Any, y: Any) -> None:
        """Raise a ``DataError`` for text where the model takes numbers, and for indices out of range.

        The number of classes is known only when the model is built: see ``knows_outputs``. Data for a model
        that preprocesses its data are not checked.
        """
        if not self.checked:
            return
        self._check_missing_inputs(names.x, x)
        self._check_text(names.x, x)
        if y is not None and not self.knows_outputs:
            self._output_shapes = self._find_output_shapes(x)
        check_indices(self.model, x, y, (names.x, names.y), self._input_embeddings(), self._output_shapes)

    def check_weights(self, label: str, sample_weight: Any, y: Any) -> None:
        """Raise a ``DataError`` for weights whose shape does not fit the values of the losses.

        One weight for each sample fits any loss.
        """
        shapes = [tuple(leaf.shape)[1:] for leaf in keras.tree.flatten(sample_weight) if leaf is not None]
        if any(shapes) and shapes not in self._checked_weight_shapes and has_keras_losses(self.model):
            for mistake in weight_errors(self.model, sample_weight, y, label):
                raise mistake
            self._checked_weight_shapes.append(shapes)

    @cached_property
    def samples_in_batch(self) -> int | None:
        size = layer_traits.fixed_batch_size(self.model)
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

    def _find_output_shapes(self, x: Any) -> Sequence[Sequence[int | None]]:
        if outputs := getattr(self.model, "outputs", None):
            return [output.shape for output in outputs]
        # only JAX trains silently on classes out of range
        losses = keras.tree.flatten(getattr(self.model, "loss", None))
        if self.model.built and any(map(is_sparse_categorical, losses)) and keras.backend.backend() == "jax":
            return keras_private.output_shapes(self.model, x)
        return []

    def _check_missing_inputs(self, label: str, x: Any) -> None:
        """Raise a ``DataError`` if one of several inputs is None and not optional."""
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
        if not types:  # only TensorFlow has string tensors, and layers that take them have no input spec
            takes_text = keras.backend.backend() == "tensorflow" and not first_input_spec(self.model)
            types = ["string" if takes_text else "float32"] * len(leaves)
        for (name, leaf), dtype in zip(leaves, types, strict=False):
            if is_text(leaf) and dtype != "string":
                raise DataError(
                    name,
                    f"`{name}` is text, but the model takes numbers there.",
                    "Convert it to numbers, for example with match() or model.matrix().",
                )
            if dtype == "string" and text_only and isinstance(leaf, np.ndarray) and not is_text(leaf):
                raise numbers_for_text(name)
