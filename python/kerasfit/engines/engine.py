"""What an engine is, and the plain one: a compiled step for each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import keras

from kerasfit.sources import Batch, Source, Stream
from kerasfit.tensors import numbers, to_backend, to_numpy

Logs = dict[str, Any]


class Engine(Protocol):
    """Runs steps of one model.

    The methods ``train`` and ``evaluate`` run one execution: at most ``steps`` steps, fewer if the stream's
    epoch ends before. They return the logs of the last step, which ``results`` makes into numbers.
    """

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        """The source's batches, in the form in which this engine takes them."""

    def prepare(self, stream: Stream) -> None:
        """Create whatever state of model, metrics and optimizer the first batch implies."""

    def train(self, stream: Stream, steps: int) -> Logs: ...

    def evaluate(self, stream: Stream, steps: int) -> Logs: ...

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        """One execution's outputs, a list with the numpy arrays of each step."""

    def results(self, logs: Logs) -> Logs:
        """The metrics so far; or the logs themselves where a model's own step returned others."""

    def finish(self) -> None:
        """End training: give variables their final values (an optimizer's moving averages)."""


class PlainEngine:
    """Steps batch by batch through the model's own ``train_step``, ``test_step`` and ``predict_step``.

    A subclass says how a step is compiled.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._steps: dict[str, tuple[Any, Callable]] = {}

    def compiled(self, step: Callable) -> Callable:
        raise NotImplementedError

    def step(self, kind: str) -> Callable:
        """The compiled step of a kind: "train", "test" or "predict"."""
        # Keras forgets its own function whenever what it was made from changes (compile(), layers, loading);
        # ours is good for as long as Keras's.
        getattr(self.model, f"make_{kind}_function")()
        function = getattr(self.model, f"{kind}_function")
        if kind not in self._steps or self._steps[kind][0] is not function:
            self._steps[kind] = function, self.compiled(getattr(self.model, f"{kind}_step"))
        return self._steps[kind][1]

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        return Stream(source, steps_per_epoch)

    def prepare(self, stream: Stream) -> None:
        """Create nothing: variables come to be when the first step is traced."""

    def train(self, stream: Stream, steps: int) -> Logs:
        return self._last(self.step("train"), stream, steps)

    def evaluate(self, stream: Stream, steps: int) -> Logs:
        return self._last(self.step("test"), stream, steps)

    def _last(self, step: Callable, stream: Stream, steps: int) -> Logs:
        logs: Logs = {}
        for data in tensors(stream.take(steps)):
            logs = step(data)
        return logs

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        step = self.step("predict")
        return [keras.tree.map_structure(to_numpy, step(data)) for data in tensors(stream.take(steps))]

    def results(self, logs: Logs) -> Logs:
        metrics = self.model.get_metrics_result()
        return numbers(metrics if set(metrics) == set(logs) else logs)

    def finish(self) -> None:
        if isinstance(self.model.optimizer, keras.optimizers.Optimizer):
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)


def tensors(batches: Iterable[Batch]) -> Iterator[Any]:
    """Batches as the model's step methods take them."""
    for batch in batches:
        yield keras.utils.pack_x_y_sample_weight(*to_backend(tuple(batch)))
