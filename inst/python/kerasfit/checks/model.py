"""Checks a model before a run."""

from __future__ import annotations

import warnings

import keras

from kerasfit import keras_private
from kerasfit.engines.engine import logs_are_metrics
from kerasfit.errors import ArgumentError


def check_compiled(model: keras.Model, verb: str) -> None:
    if not model.compiled:
        raise ArgumentError("object", f"The model is not compiled: call compile() before {verb}().")


def check_trainable(model: keras.Model) -> None:
    """Warn or raise an error if layers were frozen, unfrozen or added since the optimizer was built.

    JAX cannot train then. A step traced by TensorFlow ignores the change, as in Keras. Otherwise frozen
    layers are not trained, and no optimizer trains weights that it was not built for.
    """
    if not logs_are_metrics(model, "train"):
        return
    added, removed = keras_private.changes_of_trainable_weights(model)
    backend = keras.backend.backend()
    is_traced = backend == "tensorflow" and model.train_function is not None and not model.run_eagerly
    what = "Layers were frozen, unfrozen or added since the model was compiled."
    if is_traced and (added or removed):
        warnings.warn(f"{what} This has no effect until you call compile() again.", stacklevel=3)
    elif added or (removed and backend == "jax"):
        raise ArgumentError("object", what, "Call compile() again.")
