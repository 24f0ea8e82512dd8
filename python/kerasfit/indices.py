"""Indices in data that a model cannot have: classes without an output, words without an embedding.

TensorFlow's kernels raise an error in the middle of a step, PyTorch too; XLA, and so JAX, trains on
something else without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private
from kerasfit.errors import DataError
from kerasfit.sources.arrays import labelled_leaves

HINTS = {
    "from one": "Indices count from 0: subtract 1 if yours count from 1. A factor does that itself.",
    "negative": "For targets that are not to count, SparseCategoricalCrossentropy has `ignore_class`.",
    "other": None,
}


def check_indices(
    model: keras.Model,
    x: Any,
    y: Any,
    labels: tuple[str, str],
    output_shapes: Sequence[Sequence[int | None]],
) -> None:
    """Look at the whole numbers in arrays that a model takes as indices.

    Parameters
    ----------
    x, y
        Inputs and targets: nested numpy arrays, y possibly None.
    labels
        What errors call them.
    output_shapes
        The shape of each of the model's outputs; none if that is not known.

    Raises
    ------
    DataError
        If one is negative, or not less than the number of classes or of embedded values.
    """
    inputs = list(labelled_leaves(labels[0], in_input_order(model, x)))
    embeddings = keras_private.input_embeddings(model)
    if embeddings and len(inputs) == len(model.inputs):
        for number, layer in embeddings:
            check_range(*inputs[number], layer.input_dim, f"the embedding `{layer.name}` has")
    targets = list(labelled_leaves(labels[1], in_tree_order(y)))
    losses = keras.tree.flatten(model.loss)
    if same_kind(y, model.loss) and len(targets) == len(losses) == len(output_shapes):
        for (label, codes), loss, shape in zip(targets, losses, output_shapes, strict=True):
            if is_sparse(loss) and shape and shape[-1]:
                check_range(label, codes, shape[-1], "the model's output has")


def in_input_order(model: keras.Model, x: Any) -> Any:
    """Named inputs in the order of the model's, which have those names or are sorted by others."""
    names = [tensor.name for tensor in getattr(model, "inputs", None) or []]
    if isinstance(x, dict) and set(x) == set(names):
        return {name: x[name] for name in names}
    return in_tree_order(x)


def in_tree_order(values: Any) -> Any:
    """Named values in the order of their names, in which Keras puts them."""
    return dict(sorted(values.items())) if isinstance(values, dict) else values


def same_kind(y: Any, loss: Any) -> bool:
    """Whether targets and losses are given alike, so that it is plain which goes with which."""
    if isinstance(y, dict) or isinstance(loss, dict):
        return isinstance(y, dict) and isinstance(loss, dict) and set(y) == set(loss)
    return isinstance(y, (list, tuple)) == isinstance(loss, (list, tuple))


def is_categorical(loss: Any) -> bool:
    """Whether a loss wants a probability for each class as its target."""
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    return isinstance(
        loss, (keras.losses.CategoricalCrossentropy, keras.losses.CategoricalFocalCrossentropy)
    ) or loss in (keras.losses.categorical_crossentropy, keras.losses.categorical_focal_crossentropy)


def is_sparse(loss: Any) -> bool:
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return loss.ignore_class is None
    return loss is keras.losses.sparse_categorical_crossentropy


def check_range(label: str, indices: Any, count: int, owner: str) -> None:
    if not isinstance(indices, np.ndarray) or indices.dtype.kind not in "fiu" or not indices.size:
        return
    low, high = indices.min(), indices.max()
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        raise DataError(
            label,
            f"`{label}` has the value {wrong:g}, and {owner} {count} values: 0 to {count - 1}.",
            HINTS["from one" if low > 0 and high == count else "negative" if low < 0 else "other"],
        )
