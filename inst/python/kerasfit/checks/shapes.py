"""Explains shape errors that Keras raises in a step, naming the argument whose data have the wrong shape."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kerasfit import keras_private
from kerasfit.data.arrays import labelled_leaves
from kerasfit.data.indices import (
    compares_outputs,
    in_input_order,
    in_tree_order,
    is_categorical,
    is_elementwise,
    takes_classes,
    targets_with_losses,
)
from kerasfit.data.shapes import dims, fits, shape_difference, weight_errors, wrong_names_error
from kerasfit.errors import DataError, KerasfitError
from kerasfit.messages import listed, quoted
from kerasfit.model_traits import input_names, output_names, uses_keras_methods
from kerasfit.sources import Batch, Names, Source

ABOUT_SHAPES = re.compile(
    r"shape|string|\brank\b|dimension|incompatible|broadcast|structure|expects? \d+ (named )?(input|var)|"
    r"None values|NoneType|None is not|Invalid dtype|expected .* (input|key|name|output)|missing|not found|"
    r"KeyError|but got",
    re.IGNORECASE,
)


@contextmanager
def shapes_explained(model: keras.Model, source: Source, phase: str = "train") -> Iterator[None]:
    """Turn an exception about shapes into a ``DataError``, if the source's data explain it.

    Shapes are compared only when a step has failed: Keras accepts more shapes than those of a model's inputs
    and outputs, since it broadcasts, squeezes and expands.
    """
    try:
        yield
    except KerasfitError:
        raise
    except Exception as error:
        raised = original_loss_error(error)
        if ABOUT_SHAPES.search(f"{type(raised).__name__}: {raised}"):
            for mistake in shape_errors(model, source, phase):
                raise mistake from error
            for mistake in metric_errors(model, source, failing_metric(error)):
                raise mistake from error
        raise


def failing_metric(error: BaseException) -> keras.metrics.Metric | None:
    """The Keras metric in whose code an exception was raised, if any."""
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    metrics = [owner for owner in owners if isinstance(owner, keras.metrics.Metric)]
    own = [metric for metric in metrics if not keras_private.is_container(metric)]
    return own[-1] if own and keras_private.is_of_keras(own[-1]) else None


def metric_errors(
    model: keras.Model, source: Source, metric: keras.metrics.Metric | None
) -> Iterator[DataError]:
    """Errors for targets that the loss accepts and a metric does not: a vector for an output with columns."""
    outputs = list(getattr(model, "outputs", None) or [])
    y = source.example.y if source.example else None
    if metric is None or y is None or len(outputs) != 1:
        return
    if len(getattr(y, "shape", ())) != len(outputs[0].shape) - 1:
        return
    label = source.names.y
    hint = f"Give a matrix of one column: as.matrix({label if '()' not in label else 'y'})."
    if takes_classes(model.loss):
        hint = 'With the loss "categorical_crossentropy", a factor is one-hot encoded.'
    yield DataError(
        label,
        f"`{label}` has dimensions {dims(y.shape)}, but the metric `{metric.name}` needs those of the "
        f"model's output: {dims(('samples', *outputs[0].shape[1:]))}.",
        hint,
    )


def original_loss_error(error: BaseException) -> BaseException:
    """The original error of a loss, which Keras 3.16 and later wrap in one with the arguments' shapes."""
    if error.__cause__ and str(error).startswith("Error when computing loss for output"):
        return error.__cause__
    return error


def check_shapes(model: keras.Model, training: Source, validation: Source | None = None) -> None:
    """Check before training for wrong shapes that Keras would notice late or accept silently.

    Raises
    ------
    DataError
        If there are more or fewer arrays than inputs: of more, Keras would use the first. Or if the shape of
        the validation data does not fit the model, although that of the training data does: Keras would raise
        an error only after the first epoch.
    """
    check_number_of_inputs(model, training)
    if training.example is not None:
        # when a compiled step fails because of these, it has already been counted
        for mistake in time_step_errors(model, training.example, training.names):
            raise mistake
    if validation is None or not is_strict(model) or any(shape_errors(model, training)):
        return
    for mistake in shape_errors(model, validation):
        raise mistake


def check_number_of_inputs(model: keras.Model, source: Source) -> None:
    """Raise a ``DataError`` for more or fewer arrays than inputs; named arrays may be more."""
    x = in_input_order(model, source.example.x) if source.example else None
    inputs = getattr(model, "inputs", None) or []
    several = isinstance(x, (list, tuple, dict))
    if several and inputs and len(keras.tree.flatten(x)) != len(inputs):
        for mistake in input_errors(model, x, source.names.x):
            raise mistake


def check_targets(model: keras.Model, source: Source) -> None:
    """Raise a ``DataError`` for targets that a loss would compare with outputs of another sample or column.

    A loss that is a mean over elements accepts any two shapes that broadcast.
    """
    default = type(model).compute_loss is keras.Model.compute_loss
    outputs = list(getattr(model, "outputs", None) or [])
    if not default or not outputs or source.example is None or source.example.y is None:
        return
    for name, leaf, loss, output in targets_with_losses(model, source.example.y, source.names.y, outputs):
        if is_elementwise(loss) and leaf.shape:  # the shape may be unknown in a dataset
            for mistake in target_shape_errors(name, tuple(leaf.shape), output.shape, loss):
                raise mistake


def is_strict(model: keras.Model) -> bool:
    """Whether a model accepts only the shapes of its inputs: a Sequential one may accept other image sizes.

    A model with a custom step or ``compute_loss`` may accept anything.
    """
    if not uses_keras_methods(model, "test_step", "compute_loss"):
        return False
    inputs = getattr(model, "inputs", None) or []
    return not isinstance(model, keras.Sequential) or all(len(tensor.shape) == 2 for tensor in inputs)


def shape_errors(model: keras.Model, source: Source, phase: str = "train") -> Iterator[DataError]:
    """Errors for data whose shapes do not fit a model's inputs, outputs and losses.

    A loss defined by the user may take targets of any shape.
    """
    if source.example is not None:
        x, y, sample_weight = source.example
        yield from input_errors(model, x, source.names.x)
        if phase != "predict":
            yield from target_errors(model, y, source.names.y)
            yield from time_step_errors(model, source.example, source.names)
            yield from weight_errors(model, sample_weight, y, source.names.sample_weight)
            yield from length_errors(source.example, source.names)


def length_errors(batch: Batch, names: Names) -> Iterator[DataError]:
    """Errors for parts of a generator's batch whose number of samples differs from the first part's."""
    leaves = [
        leaf for label, part in zip(names, batch, strict=False) for leaf in labelled_leaves(label, part)
    ]
    first, shape = leaves[0][0], leaves[0][1].shape
    for label, leaf in leaves[1:]:
        if leaf.shape[:1] != shape[:1]:
            yield DataError(
                label,
                f"`{label}` has dimensions {dims(leaf.shape)}, but `{first}` {dims(shape)}: "
                "they must have equal numbers of samples.",
            )


def input_errors(model: keras.Model, x: Any, label: str) -> Iterator[DataError]:
    inputs = list(getattr(model, "inputs", None) or [])
    if not inputs:
        return
    x, known = in_input_order(model, x), input_names(model)
    leaves = list(labelled_leaves(label, x))
    if mistake := structure_error(label, x, len(leaves), known, "input"):
        yield mistake
        return
    for (name, leaf), tensor in zip(leaves, inputs, strict=True):
        if not fits(leaf.shape[1:], tensor.shape[1:]):
            is_row = len(leaf.shape) == 1 and tuple(tensor.shape[1:]) == tuple(leaf.shape)
            hint = "Give one sample as a matrix of one row: matrix(x, nrow = 1)." if is_row else None
            yield DataError(name, shape_difference(name, leaf.shape, tensor.shape, "the model takes"), hint)


def target_errors(model: keras.Model, y: Any, label: str) -> Iterator[DataError]:
    losses, outputs = model.loss, list(getattr(model, "outputs", None) or [])
    if losses is not None and y is None:
        yield DataError(label, f"`{label}` is missing: the model's loss needs targets.")
    if losses is None or not outputs:
        return
    known = output_names(model) or [tensor.name for tensor in outputs]
    leaves = list(labelled_leaves(label, in_tree_order(y)))
    if mistake := structure_error(label, y, len(leaves), known, "output"):
        yield mistake
    else:
        for name, leaf, loss, output in targets_with_losses(model, y, label, outputs):
            if takes_classes(loss) or compares_outputs(loss):
                yield from target_shape_errors(name, tuple(leaf.shape), output.shape, loss)


def time_step_errors(model: keras.Model, batch: Batch, names: Names) -> Iterator[DataError]:
    """Errors for weights of time steps, if the loss takes the targets' time steps for columns of a sample.

    Keras does so with targets of shape (samples, steps) for an output of shape (samples, steps, 1).
    """
    outputs, y, weights = list(getattr(model, "outputs", None) or []), batch.y, batch.sample_weight
    if len(outputs) != 1 or not (hasattr(y, "shape") and hasattr(weights, "shape")):
        return
    output = tuple(outputs[0].shape)
    by_sample = is_elementwise(model.loss) and output[-1] == 1 and len(y.shape) == len(output) - 1 > 1
    if by_sample and len(weights.shape) == len(y.shape) and set(weights.shape[1:]) != {1}:
        yield DataError(
            names.sample_weight,
            f"`{names.sample_weight}` has dimensions {dims(weights.shape)}, but the loss has one value for "
            f"each sample: `{names.y}` has dimensions {dims(y.shape)} and the model's output {dims(output)}.",
            f"Give `{names.y}` a last dimension of 1: array(y, c(dim(y), 1)).",
        )


def structure_error(label: str, value: Any, count: int, known: list[str], noun: str) -> DataError | None:
    """The error for names that are not those of the inputs or outputs, or another number of arrays."""
    names = set(value) if isinstance(value, dict) else set(known)
    if names != set(known) and (noun == "input" or len(known) > 1):
        return wrong_names_error(label, value, known, noun)
    if count != len(known):
        return DataError(
            label,
            f"`{label}` has {count} array{'s' * (count != 1)}, but the model has {len(known)} "
            f"{listed(quoted(known), noun, f'{noun}s')}.",
        )
    return None


def target_shape_errors(label: str, given: tuple, output: tuple, loss: Any) -> Iterator[DataError]:
    hint = None
    if takes_classes(loss):
        if not fits(given[1:], output[1:-1]):
            if given[-1] == output[-1]:
                hint = 'For one-hot targets, use the loss "categorical_crossentropy".'
            yield DataError(
                label,
                f"`{label}` has dimensions {dims(given)}, but the loss takes a class for each sample: "
                f"{dims(('samples', *output[1:-1]))}.",
                hint,
            )
    elif not fits(given[1:], output[1:]):
        if (len(given) == 1 or given[-1] == 1) and output[-1] != 1:
            hint = 'compile with the loss "sparse_categorical_crossentropy".'
            hint = f"Give a factor, or {hint}" if is_categorical(loss) else f"For classes, {hint}"
        yield DataError(label, shape_difference(label, given, output, "the model's output has"), hint)
