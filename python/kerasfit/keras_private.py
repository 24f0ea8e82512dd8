"""The only file that touches what Keras does not export.

Everything else in the core uses public names, so that a new Keras release is a matter of this file.
Checked with Keras 3.9 to 3.15.
"""

from __future__ import annotations

import keras


def build_state(model: keras.Model, batch: tuple) -> None:
    """Create the variables of model, loss, metrics and optimizer that a batch of this shape implies."""
    model._symbolic_build(data_batch=batch)


def restored_epoch(model: keras.Model) -> int | None:
    """The 1-based epoch at which a callback (``BackupAndRestore``) wants training to start, if any."""
    return model._initial_epoch + 1 if model._initial_epoch else None
