"""What is looked at before anything happens to a model."""

from __future__ import annotations

import warnings

import keras

from kerasfit import keras_private
from kerasfit.data import ModelData
from kerasfit.engines import Engine
from kerasfit.engines.engine import logs_are_metrics
from kerasfit.error_context import error_context
from kerasfit.errors import ArgumentError
from kerasfit.shapes import check_targets
from kerasfit.sources import Source, Stream


def check_compiled(model: keras.Model, verb: str) -> None:
    if not model.compiled:
        raise ArgumentError("object", f"The model is not compiled: call compile() before {verb}().")


def check_trainable(model: keras.Model) -> None:
    """Look for layers that were frozen, unfrozen or added since the optimizer was built.

    JAX cannot train then. A step that TensorFlow has traced goes on as if nothing had changed, as Keras's
    does. Others do not train what is frozen, and no optimizer trains what it was not built for.
    """
    if not logs_are_metrics(model, "train"):
        return
    added, removed = keras_private.changes_of_trainable_weights(model)
    backend = keras.backend.backend()
    is_traced = backend == "tensorflow" and model.train_function is not None and not model.run_eagerly
    what = "Layers were frozen, unfrozen or added since the model was compiled."
    if is_traced and (added or removed):
        warnings.warn(f"{what} That has no effect before you compile() it again.", stacklevel=3)
    elif added or (removed and backend == "jax"):
        raise ArgumentError("object", what, "compile() it again.")


def check_end(source: Source, argument: str, steps: int | None) -> None:
    """Raise an error for data that never end; the argument is the one that gives the number of steps."""
    if source.endless and steps is None:
        raise ArgumentError(
            argument,
            f"`{argument}` is missing: there is no end to the data that can be seen.",
            f"Give the number of batches, or {argument} = -1 to go on for ever.",
        )


def prepare(engine: Engine, reader: ModelData, *streams: Stream) -> None:
    """Create the state that a model has in a run, and check the data with what that tells of the model.

    The first stream is the one that is trained or evaluated on.
    """
    known = reader.knows_outputs
    with error_context(batch=1):  # which it is traced with
        engine.prepare(streams[0])
    for source in [stream.source for stream in streams]:
        if source.example is not None and not known:
            reader.check(source.names, source.example.x, source.example.y)
            reader.check_weights(source.names.sample_weight, source.example.sample_weight, source.example.y)
        check_targets(reader.model, source)
