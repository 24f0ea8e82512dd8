"""Metrics and losses written in R."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import keras

from kerasfit.errors import DataError
from kerasfit.object_origin import package_of


def metric(function: Callable, name: str) -> Callable | keras.metrics.Metric:
    """Return a metric that calls an R function with targets of the same rank as the outputs, as for losses.

    A saved model contains the name of the function: ``name``, with ``_`` for characters that are not allowed.
    """

    value_of = with_equal_ranks(function)

    @functools.wraps(function)
    def explained(y_true: Any, y_pred: Any) -> Any:
        try:
            return value_of(y_true, y_pred)
        except Exception as error:
            if mistake := dtype_mismatch(name, y_true, y_pred, error):
                raise mistake from error
            raise

    explained.__name__ = re.sub(r"\W+", "_", name)
    if re.fullmatch("[a-z_0-9]+", name):
        return explained
    # Keras would change the name of a plain function. Other names need no wrapper, and must have none: when
    # loading a wrapper whose name is that of its function, Keras takes the name for the function
    return keras.metrics.MeanMetricWrapper(explained, name)


def metric_of_r(value: Any) -> Any:
    """Convert a Python function that calls an R function with ``metric()``; return other values unchanged.

    keras3's ``custom_metric()`` returns such Python functions.
    """
    return metric(value, value.__name__) if calls_r(value) else value


def calls_r(function: Any) -> bool:
    """Whether a Python function is reticulate's wrapper of an R function, or has one in its closure."""
    if not inspect.isfunction(function):
        return False
    inner = inspect.getclosurevars(function).nonlocals.values()
    return any(type(each).__name__ == "PyCapsule" or calls_r(each) for each in inner)


def with_equal_ranks(function: Callable) -> Callable:
    """Decorate a function of targets and outputs to get a vector of targets as a column, like the outputs.

    Keras does this itself for loss functions. Without it, each target would be compared with each output.
    """

    @functools.wraps(function)
    def call(y_true: Any, y_pred: Any) -> Any:
        ranks = [len(getattr(part, "shape", ())) for part in (y_true, y_pred)]
        if ranks[0] + 1 == ranks[1] and y_pred.shape[-1] == 1:
            y_true = keras.ops.expand_dims(y_true, -1)
        return function(y_true, y_pred)

    return call


def pass_targets_as_columns(model: keras.Model) -> None:
    """Make losses of the user's classes get vectors of targets as columns, as R's matrices are."""
    for loss in keras.tree.flatten(getattr(model, "loss", None)):
        is_users = isinstance(loss, keras.losses.Loss) and package_of(type(loss)) != "keras"
        if is_users and "call" not in vars(loss):
            vars(loss)["call"] = with_equal_ranks(loss.call)


def dtype_mismatch(name: str, y_true: Any, y_pred: Any, error: Exception) -> DataError | None:
    """Return an error if an R metric combined tensors of two types, which TensorFlow does not support."""
    types = [keras.backend.standardize_dtype(tensor.dtype) for tensor in (y_true, y_pred)]
    if types[0] == types[1] or not re.search(r"\btypes?\b|dtype", str(error)):
        return None
    return DataError(
        "metrics",
        f"The metric `{name}` combines targets of type {types[0]} with predictions of type {types[1]}.",
        "Begin it with y_true <- keras$ops$cast(y_true, y_pred$dtype).",
    )
