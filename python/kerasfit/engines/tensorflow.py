"""The TensorFlow engine: a ``tf.function`` for each kind of step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kerasfit.engines.engine import PlainEngine


class TensorFlowEngine(PlainEngine):
    def compiled(self, step: Callable) -> Callable:
        if self.model.run_eagerly:
            return step
        return AnyBatchSize(step, self.model.jit_compile)


class AnyBatchSize:
    """A step traced once for batches of all sizes, as Keras traces it: the first dimension is left open.

    So the last batch of an epoch, or another ``batch_size``, needs no new trace; and what a model makes of a
    batch's static shape (the per-output losses among Keras's metrics do) is what it makes in Keras.
    """

    def __init__(self, step: Callable, jit_compile: bool):
        self.step = step
        self.jit_compile = jit_compile
        self.traced: dict[Any, Callable] = {}

    def __call__(self, data: Any) -> Any:
        leaves = keras.tree.flatten_with_path(data)
        open_to = all(isinstance(leaf, tf.Tensor) and leaf.shape.rank for _, leaf in leaves)
        key = tuple((path, leaf.dtype, *leaf.shape[1:]) for path, leaf in leaves) if open_to else None
        if key not in self.traced:
            self.traced[key] = self.trace([open_batch(data)] if open_to else None)
        return self.traced[key](data)

    def trace(self, signature: list | None) -> Callable:
        # Without a signature (sparse and ragged tensors, None among the data) tf.function opens what varies.
        # A partial is an object of its own to the detector that warns of too many traces of one function.
        return tf.function(
            functools.partial(self.step),
            input_signature=signature,
            jit_compile=self.jit_compile,
            reduce_retracing=signature is None,
            autograph=False,
        )


def open_batch(data: Any) -> Any:
    """The data's types with the first dimension of each tensor unknown."""
    return keras.tree.map_structure(lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype), data)
