"""The only file that touches what Keras does not export.

Everything else in the core uses public names, so that a new Keras release is a matter of this file, and so
is a name that an older one lacks.
"""

from __future__ import annotations

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
