"""Properties of a model, read through Keras's public names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from kerasfit.object_origin import package_of


def output_names(model: keras.Model) -> list[str]:
    """Return the names of a model's outputs, in the order of ``model.outputs``; empty if unknown.

    Outputs in a dict are named by its keys, as in Keras's losses and predictions; others by the layers that
    they come from.
    """
    names = list(getattr(model, "output_names", None) or [])
    return (keys_of(getattr(model, "output", None)) or names) if names else []


def input_names(model: keras.Model) -> list[str]:
    """Return the names of a model's inputs, in the order of ``model.inputs``; empty if unknown.

    Inputs in a dict are named by its keys, others by their tensors.
    """
    tensors = list(getattr(model, "inputs", None) or [])
    return (keys_of(getattr(model, "input", None)) or [tensor.name for tensor in tensors]) if tensors else []


def has_nested_inputs(model: keras.Model) -> bool:
    """Whether the inputs of a model are a dict that contains lists or dicts."""
    inputs = getattr(model, "input", None) if getattr(model, "inputs", None) else None
    return isinstance(inputs, Mapping) and not keys_of(inputs)


def keys_of(tensors: Any) -> list[str]:
    """Return the keys of a dict of tensors in the order that Keras uses; empty for other structures."""
    if not isinstance(tensors, Mapping):
        return []
    paths = [path for path, _ in keras.tree.flatten_with_path(tensors)]
    return [str(key) for (key,) in paths] if all(len(path) == 1 for path in paths) else []


def has_keras_losses(model: keras.Model) -> bool:
    """Whether Keras's own steps compute a model's losses, so that each output needs a target."""
    return uses_keras_methods(model, "train_step", "test_step", "compute_loss")


def uses_keras_methods(model: keras.Model, *methods: str) -> bool:
    """Whether none of these methods is overridden, by the model's class or for this model."""
    return all(
        getattr(type(model), method) is getattr(keras.Model, method) and method not in vars(model)
        for method in methods
    )


def first_input_spec(model: keras.Model) -> Any:
    """Return the input spec of the first layer of an unbuilt Sequential model; None for other models."""
    if isinstance(model, keras.Sequential) and not model.built and model.layers:
        return model.layers[0].input_spec
    return None


def starts_with_text(model: keras.Model) -> bool:
    """Whether a model is Sequential and its first layer accepts only text."""
    takes_text = (keras.layers.TextVectorization, keras.layers.StringLookup)
    return (
        isinstance(model, keras.Sequential) and bool(model.layers) and isinstance(model.layers[0], takes_text)
    )


def is_string(tensor: Any) -> bool:
    return tensor is not None and keras.backend.standardize_dtype(tensor.dtype) == "string"


def has_own_steps(model: keras.Model) -> bool:
    """Whether a model overrides one of Keras's steps, and may use its data in any way."""
    return not uses_keras_methods(model, "train_step", "test_step", "predict_step")


def metrics_reset_variables_only(model: keras.Model) -> bool:
    """Whether resetting a model's metrics only assigns variables: model and metrics use Keras's methods."""
    metrics = list(model.metrics)
    while metrics:
        metric = metrics.pop()
        if package_of(type(metric).reset_state) != "keras":
            return False
        metrics.extend(getattr(metric, "metrics", None) or [])
    return "reset_metrics" not in vars(type(model))
