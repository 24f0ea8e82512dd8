"""Lists all variables of a model that training may change."""

from __future__ import annotations

from typing import Any

import keras

from kerasfit import keras_private


def all_variables(model: keras.Model) -> list[keras.Variable]:
    """Variables of layers (with seeds and states), optimizers and metrics, each once, in a fixed order."""
    variables = [
        *model.variables,
        *recurrent_states(model),
        *(optimizer.variables if (optimizer := optimizer_of(model)) else []),
        *(variable for optimizer in own_optimizers(model) for variable in optimizer.variables),
        *model.metrics_variables,
    ]
    return list({id(variable): variable for variable in variables}.values())


def step_variables(model: keras.Model, kind: str) -> list[keras.Variable]:
    """The variables that a step ("train", "test" or "predict") may use, in a fixed order."""
    if kind != "predict":
        return all_variables(model)
    variables = [*model.trainable_variables, *model.non_trainable_variables, *recurrent_states(model)]
    return list({id(variable): variable for variable in variables}.values())


def optimizer_of(model: keras.Model) -> keras.optimizers.Optimizer | None:
    """The optimizer given to ``compile()``. A functional model that is not compiled lacks the attribute."""
    return getattr(model, "optimizer", None)


def own_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """The other optimizers among a model's attributes, such as those of a custom ``train_step``."""
    values: list[Any] = []
    for attribute in vars(model).values():
        inside = attribute.values() if isinstance(attribute, dict) else attribute
        values.extend(inside if isinstance(attribute, (dict, list, tuple)) else [attribute])
    found = {id(value): value for value in values if isinstance(value, keras.optimizers.Optimizer)}
    found.pop(id(optimizer_of(model)), None)
    return list(found.values())


def recurrent_states(model: keras.Model) -> list[keras.Variable]:
    """States that stateful recurrent layers keep between batches; Keras does not list them as variables."""
    layers = [layer for layer in keras_private.all_layers(model) if getattr(layer, "stateful", False)]
    states = keras.tree.flatten([getattr(layer, "states", None) for layer in layers])
    return [state for state in states if isinstance(state, keras.Variable)]
