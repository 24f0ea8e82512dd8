"""The JAX engine: a jitted pure step of each kind, with the state passed along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import keras

from kerasfit import keras_private
from kerasfit.engines.engine import Logs, PlainEngine, tensors
from kerasfit.sources import Stream
from kerasfit.tensors import to_backend, to_numpy

Variables = tuple[list[keras.Variable], ...]
State = tuple[list[jax.Array], ...]


class JaxEngine(PlainEngine):
    """State is read from the model's variables when an execution begins and is back there when it ends.

    Nothing is donated: if an execution fails, the variables hold what the last finished step made of them.
    """

    def compiled(self, kind: str, step: Callable) -> Callable:
        return jax.jit(step) if self.model.jit_compile and not self.model.run_eagerly else step

    def prepare(self, stream: Stream) -> None:
        """Create the state of model, loss, metrics and optimizer, which a pure step cannot."""
        if (batch := stream.peek()) is not None:
            keras_private.build_state(self.model, to_backend(tuple(batch)))

    def train(self, stream: Stream, steps: int) -> Logs:
        model = self.model
        return self._last_of(
            self.step("train"),
            (
                model.trainable_variables,
                model.non_trainable_variables,
                model.optimizer.variables,
                model.metrics_variables,
            ),
            stream,
            steps,
        )

    def evaluate(self, stream: Stream, steps: int) -> Logs:
        model = self.model
        variables = (model.trainable_variables, model.non_trainable_variables, model.metrics_variables)
        return self._last_of(self.step("test"), variables, stream, steps)

    def _last_of(self, step: Callable, variables: Variables, stream: Stream, steps: int) -> Logs:
        logs: Logs = {}
        state = read(variables)
        try:
            for data in tensors(stream.take(steps)):
                logs, state = step(state, data)
            jax.block_until_ready(logs)
        finally:
            assign(variables, state)
        return logs

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        step = self.step("predict")
        self._build_for_prediction(stream)
        variables = (self.model.trainable_variables, self.model.non_trainable_variables)
        trainable, non_trainable = read(variables)
        outputs = []
        for data in tensors(stream.take(steps)):
            output, non_trainable = step((trainable, non_trainable), data)
            outputs.append(keras.tree.map_structure(to_numpy, output))
        assign(variables, (trainable, non_trainable))
        return outputs

    def _build_for_prediction(self, stream: Stream) -> None:
        """Create the variables of layers that have none, with a batch of inputs alone."""
        model = self.model
        if (not model.built or not all(layer.built for layer in model.layers)) and stream.peek() is not None:
            with keras.StatelessScope():
                model(to_backend(stream.peek().x))


def read(variables: Variables) -> State:
    return tuple([variable.value for variable in group] for group in variables)


def assign(variables: Variables, state: State) -> None:
    for group, values in zip(variables, state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)
