"""The TensorFlow engine: a ``tf.function`` for each kind of step."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kerasfit.engines.engine import PlainEngine


class TensorFlowEngine(PlainEngine):
    def compiled(self, step: Callable) -> Callable:
        if self.model.run_eagerly:
            return step
        return tf.function(step, jit_compile=self.model.jit_compile, reduce_retracing=True)
