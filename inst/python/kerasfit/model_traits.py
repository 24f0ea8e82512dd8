"""What a model is made of, by the names that Keras exports."""

from __future__ import annotations

from collections.abc import Mapping

import keras


def output_names(model: keras.Model) -> list[str]:
    """The names of a model's outputs, in the order of ``model.outputs``; none where they are not known.

    Outputs in a dict have its keys as names, as in Keras's losses and predictions; others those of the layers
    that they come from.
    """
    names = list(getattr(model, "output_names", None) or [])
    outputs = getattr(model, "output", None) if names else None
    if not isinstance(outputs, Mapping):
        return names
    paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
    return [str(key) for (key,) in paths] if all(len(path) == 1 for path in paths) else names


def has_keras_losses(model: keras.Model) -> bool:
    """Whether a model's losses are computed by Keras's own steps, which take a target for each output."""
    return all(
        getattr(type(model), method) is getattr(keras.Model, method) and method not in vars(model)
        for method in ("train_step", "test_step", "compute_loss")
    )
