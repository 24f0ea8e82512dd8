"""What a model is made of, by the names that Keras exports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


def output_names(model: keras.Model) -> list[str]:
    """The names of a model's outputs, in the order of ``model.outputs``; none where they are not known.

    Outputs in a dict have its keys as names, as in Keras's losses and predictions; others those of the layers
    that they come from.
    """
    names = list(getattr(model, "output_names", None) or [])
    return (keys_of(getattr(model, "output", None)) or names) if names else []


def input_names(model: keras.Model) -> list[str]:
    """The names of a model's inputs, in the order of ``model.inputs``; none where they are not known.

    Inputs in a dict have its keys as names, others those of their tensors.
    """
    tensors = list(getattr(model, "inputs", None) or [])
    return (keys_of(getattr(model, "input", None)) or [tensor.name for tensor in tensors]) if tensors else []


def has_nested_inputs(model: keras.Model) -> bool:
    """Whether a model was made of inputs in lists or dicts within a dict."""
    inputs = getattr(model, "input", None) if getattr(model, "inputs", None) else None
    return isinstance(inputs, Mapping) and not keys_of(inputs)


def keys_of(tensors: Any) -> list[str]:
    """The keys of a dict of tensors in the order in which Keras takes them; none of other structures."""
    if not isinstance(tensors, Mapping):
        return []
    paths = [path for path, _ in keras.tree.flatten_with_path(tensors)]
    return [str(key) for (key,) in paths] if all(len(path) == 1 for path in paths) else []


def has_keras_losses(model: keras.Model) -> bool:
    """Whether a model's losses are computed by Keras's own steps, which take a target for each output."""
    return all(
        getattr(type(model), method) is getattr(keras.Model, method) and method not in vars(model)
        for method in ("train_step", "test_step", "compute_loss")
    )


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
