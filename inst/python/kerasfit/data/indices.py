"""Checks the indices in data: each class needs an output, each word an embedding.

For an index out of range, TensorFlow and PyTorch raise an error in the middle of a step; XLA, and so JAX,
silently trains on something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private
from kerasfit.data.arrays import labelled_leaves
from kerasfit.errors import DataError
from kerasfit.model_traits import input_names, output_names

HINTS = {
    "from one": "Indices count from 0: subtract 1 if yours count from 1. For a factor, that is done "
    "automatically; droplevels() leaves out levels that do not occur.",
    "negative target": "To ignore some targets, give SparseCategoricalCrossentropy an `ignore_class`.",
    "negative input": "Indices count from 0.",
    "other": None,
}


def check_indices(
    model: keras.Model,
    x: Any,
    y: Any,
    labels: tuple[str, str],
    embeddings: Sequence[tuple[int, keras.layers.Embedding]],
    output_shapes: Sequence[Sequence[int | None]],
) -> None:
    """Check the whole numbers that a model uses as indices.

    Parameters
    ----------
    x, y
        Inputs and targets: nested numpy arrays, y possibly None.
    labels
        The names of x and y in errors.
    embeddings
        The embeddings that look up values of an input, each with the number of the input.
    output_shapes
        The shape of each of the model's outputs; empty if unknown.

    Raises
    ------
    DataError
        If an index is negative, or not less than the number of classes or of embedded values.
    """
    inputs = list(labelled_leaves(labels[0], in_input_order(model, x))) if embeddings else []
    if embeddings and len(inputs) == len(model.inputs):
        for number, layer in embeddings:
            check_range(*inputs[number], layer.input_dim, f"the embedding `{layer.name}` has", is_input=True)
    for label, codes, loss, shape in targets_with_losses(model, y, labels[1], output_shapes):
        if is_sparse_categorical(loss) and shape and shape[-1]:
            check_range(label, codes, shape[-1], "the model's output has", is_input=False)
        elif is_binary(loss):
            check_two_classes(label, codes)


def targets_with_losses(
    model: keras.Model, y: Any, label: str, outputs: Sequence[Any]
) -> list[tuple[str, Any, Any, Any]]:
    """Each target's name in errors, its value, loss and output, in the order of the targets.

    Empty if the targets cannot be matched to losses and outputs.
    """
    known = output_names(model)
    leaves = list(labelled_leaves(label, in_tree_order(y)))
    names = sorted(y) if isinstance(y, dict) else known
    if known and not set(names) <= set(known):
        return []
    losses = losses_of_outputs(model, names, len(outputs))
    if len(outputs) == len(known):
        outputs = [outputs[known.index(name)] for name in names]
    if not len(leaves) == len(losses) == len(outputs):
        return []
    return [(*leaf, loss, output) for leaf, loss, output in zip(leaves, losses, outputs, strict=True)]


def losses_of_outputs(model: keras.Model, names: Sequence[str], count: int) -> list[Any]:
    """The loss of each named output, of a model with ``count`` outputs."""
    losses, known = model.loss, output_names(model)
    if isinstance(losses, dict):
        return [losses.get(name) for name in names]
    losses = keras.tree.flatten(losses)
    if len(losses) == 1:
        return losses * count
    return [losses[known.index(name)] for name in names] if len(losses) == len(known) else losses


def in_input_order(model: keras.Model, x: Any) -> Any:
    """Named inputs in the model's order, or in the order of their names if the model has other names."""
    names = input_names(model)
    if names and isinstance(x, dict) and set(x) >= set(names):
        return {name: x[name] for name in names}
    return in_tree_order(x)


def in_tree_order(values: Any) -> Any:
    """Named values sorted by name, as Keras sorts them."""
    return dict(sorted(values.items())) if isinstance(values, dict) else values


def is_categorical(loss: Any) -> bool:
    """Whether a loss takes a probability for each class as its target."""
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    return isinstance(
        loss, (keras.losses.CategoricalCrossentropy, keras.losses.CategoricalFocalCrossentropy)
    ) or loss in (keras.losses.categorical_crossentropy, keras.losses.categorical_focal_crossentropy)


def as_keras_loss(loss: Any) -> Any:
    """A loss, found by name if need be, if it is one of Keras's; None for a loss defined by the user.

    A subclass of one of Keras's losses is defined by the user, too: it may take any targets.
    """
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    return loss if keras_private.is_of_keras(loss) else None


def is_sparse_categorical(loss: Any) -> bool:
    loss = as_keras_loss(loss)
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return (keras_private.loss_arguments(loss) or {}).get("ignore_class") is None
    return loss is keras.losses.sparse_categorical_crossentropy


# some are missing from Keras 3.9
CLASS_LOSSES = [
    getattr(keras.losses, name)
    for name in (
        *("SparseCategoricalCrossentropy", "sparse_categorical_crossentropy", "Circle", "circle"),
        *("CategoricalGeneralizedCrossEntropy", "categorical_generalized_cross_entropy"),
    )
    if hasattr(keras.losses, name)
]


def takes_classes(loss: Any) -> bool:
    """Whether one of Keras's losses takes a class code for each sample, whatever the length of the output."""
    loss = as_keras_loss(loss)
    return any(loss is one or type(loss) is one for one in CLASS_LOSSES)


def compares_outputs(loss: Any) -> bool:
    """Whether one of Keras's losses takes targets of the output's shape."""
    loss = as_keras_loss(loss)
    is_ctc = loss is keras.losses.ctc or type(loss) is keras.losses.CTC
    return loss is not None and not is_ctc and not takes_classes(loss)


def is_binary(loss: Any) -> bool:
    """Whether a loss is a binary crossentropy, which accepts targets of any value."""
    loss = as_keras_loss(loss)
    return isinstance(
        loss, (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
    ) or loss in (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)


ELEMENTWISE = (
    keras.losses.mean_squared_error,
    keras.losses.mean_absolute_error,
    keras.losses.mean_absolute_percentage_error,
    keras.losses.mean_squared_logarithmic_error,
    keras.losses.log_cosh,
    keras.losses.huber,
    keras.losses.poisson,
    keras.losses.kl_divergence,
    keras.losses.hinge,
    keras.losses.squared_hinge,
    keras.losses.binary_crossentropy,
)


def is_elementwise(loss: Any) -> bool:
    """Whether one of Keras's losses compares elements, so that any shapes that broadcast are accepted."""
    loss = as_keras_loss(loss)
    function = getattr(loss, "fn", loss)
    return any(function is one for one in ELEMENTWISE)


def check_two_classes(label: str, targets: Any) -> None:
    """Raise a ``DataError`` for classes other than 0 and 1; values between them are probabilities.

    -1 is accepted beside 0 and 1: it marks samples with weight 0.
    """
    if not isinstance(targets, np.ndarray) or targets.dtype.kind not in "fiu" or not targets.size:
        return
    low, high = targets.min(), targets.max()
    if (high > 1 and (targets == np.floor(targets)).all()) or (low == -1 and (np.abs(targets) == 1).all()):
        raise DataError(
            label,
            f"`{label}` has the value {high if high > 1 else low:g}, but the loss takes classes 0 and 1.",
            "A factor needs two levels; droplevels() leaves out those that do not occur. "
            'For more classes, use the loss "sparse_categorical_crossentropy".',
        )


def check_range(label: str, indices: Any, count: int, owner: str, *, is_input: bool) -> None:
    if not isinstance(indices, np.ndarray) or indices.dtype.kind not in "fiu" or not indices.size:
        return
    low, high = indices.min(), indices.max()
    if indices.dtype.kind == "f" and np.isfinite([low, high]).all() and (parts := indices % 1).any():
        raise DataError(
            label, f"`{label}` has the value {indices[parts != 0][0]:g}: indices must be whole numbers."
        )
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        hint = "from one" if low > 0 and high == count else "other"
        if low < 0:
            hint = "negative input" if is_input else "negative target"
        raise DataError(
            label,
            f"`{label}` has the value {wrong:g}, but {owner} {count} values: 0 to {count - 1}.",
            HINTS[hint],
        )
