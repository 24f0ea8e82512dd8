"""The only file that touches what Keras does not export.

Everything else in the core uses public names, so that a new Keras release is a matter of this file, and so
is a name that an older one lacks.
"""

from __future__ import annotations

from typing import Any

import keras


def build_state(model: keras.Model, batch: tuple) -> None:
    """Create the variables of model, loss, metrics and optimizer that a batch of this shape implies."""
    model._symbolic_build(data_batch=batch)


def restored_epoch(model: keras.Model) -> int | None:
    """The 1-based epoch at which a callback (``BackupAndRestore``) wants training to start, if any."""
    return model._initial_epoch + 1 if model._initial_epoch else None


def max_epochs() -> int | None:
    """The cap that ``keras.config.set_max_epochs()`` has put on epochs. Keras 3.9 has none."""
    return getattr(keras.config, "max_epochs", lambda: None)()


def max_steps_per_epoch() -> int | None:
    """The cap that ``keras.config.set_max_steps_per_epoch()`` has put on steps. Keras 3.9 has none."""
    return getattr(keras.config, "max_steps_per_epoch", lambda: None)()


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers of a model, those inside other layers too."""
    return list(model._flatten_layers())


def metrics_reset_variables_only(model: keras.Model) -> bool:
    """Whether all that resetting a model's metrics does is to assign variables: no metric has its own way."""
    metrics = list(model.metrics)
    while metrics:
        metric = metrics.pop()
        if not type(metric).reset_state.__module__.startswith("keras."):
            return False
        metrics.extend(getattr(metric, "metrics", None) or [])
    return "reset_metrics" not in vars(type(model))


def adam_moments(optimizer: keras.optimizers.Adam, variable: Any) -> tuple[Any, Any]:
    """Adam's two moments of a variable, as the backend's variables."""
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index].value, optimizer._velocities[index].value


def sgd_momentum(optimizer: keras.optimizers.SGD, variable: Any) -> Any | None:
    """SGD's momentum of a variable, as the backend's variable, if it has momentum."""
    if not optimizer.momentum:
        return None
    return optimizer.momentums[optimizer._get_variable_index(variable)].value


def is_recurrent(model: keras.Model) -> bool:
    """Whether a model has recurrent layers, and no convolutions."""
    recurrent = any(isinstance(layer, keras.layers.RNN) for layer in all_layers(model))
    return recurrent and not is_convolutional(model)


def is_convolutional(model: keras.Model) -> bool:
    """Whether a model has convolutions."""
    return any("Conv" in type(layer).__name__ for layer in all_layers(model))
