"""The PyTorch engine: eager steps, through ``torch.compile`` where the model asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import torch

from kerasfit import keras_private
from kerasfit.engines.engine import Logs, PlainEngine, logs_are_metrics
from kerasfit.sources import Rows, RowStream, Source, Stream
from kerasfit.tensors import pack, to_backend


class TorchEngine(PlainEngine):
    """Runs Keras's own steps, one by one: PyTorch on Keras is eager.

    The plans: "loop" keeps the data on the device and reads the metrics once for each execution; "step" does
    neither. PyTorch's fused optimizers are not Keras's: ``torch.optim.Adam`` adds epsilon after the
    correction of the bias, Keras before it, and ``torch.optim.SGD`` keeps its momentum without the learning
    rate.
    """

    plans = ("loop", "step")

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self._resident: WeakKeyDictionary[Stream, Resident] = WeakKeyDictionary()

    def choose_plan(self) -> str:
        return "loop"

    def compiled(self, kind: str, step: Callable) -> Callable:
        step = torch.compile(step) if self.model.jit_compile else step
        return step if kind == "train" else torch.no_grad()(step)  # in whatever thread it runs

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        stream = super().open(source, steps_per_epoch)
        if self.plan == "loop" and isinstance(stream, RowStream):
            self._resident[stream] = Resident(source.data)
        return stream

    def prepare(self, stream: Stream) -> None:
        if (batch := stream.peek()) is not None:
            keras_private.build_state(self.model, to_backend(tuple(batch)))

    def train(self, stream: Stream, steps: int) -> Logs:
        self.model.train()
        return self._run("train", stream, steps)

    def evaluate(self, stream: Stream, steps: int) -> Logs:
        self.model.eval()
        return self._run("test", stream, steps)

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        self.model.eval()
        return super().predict(stream, steps)

    def sync(self) -> None:
        super().sync()
        self.model.eval()

    def _run(self, kind: str, stream: Stream, steps: int) -> Logs:
        step = self.step(kind)
        halting = self.halt_on_nan and kind == "train"
        if stream not in self._resident:
            return self._last(step, stream, steps)
        if halting or self.model.jit_compile or not logs_are_metrics(self.model, kind):
            return self._last(step, stream, steps)
        with without_metrics(self.model):
            for data in self._resident[stream].batches(stream.take_rows(steps)):
                step(data)
        return self.model.get_metrics_result()


class Resident:
    """The arrays of a source on the device, with the order of the current pass."""

    def __init__(self, data: tuple):
        self.data = pack(keras.tree.map_structure(resident, data))
        self._order: tuple[np.ndarray | None, torch.Tensor | None] = None, None

    def batches(self, rows: Rows) -> Iterator[Any]:
        if self._order[0] is not rows.order:
            device = keras.tree.flatten(self.data)[0].device
            self._order = rows.order, torch.from_numpy(rows.order).to(device)
        order = self._order[1]
        for start in range(rows.start, rows.stop, rows.batch_size):
            stop = min(start + rows.batch_size, rows.stop)
            chosen = None if order is None else order[start:stop]

            def take(leaf: Any, start: int = start, stop: int = stop, chosen: Any = chosen) -> Any:
                return leaf[start:stop] if chosen is None else leaf.index_select(0, chosen)

            yield keras.tree.map_structure(lambda leaf, t=take: None if leaf is None else t(leaf), self.data)


def resident(leaf: Any) -> Any:
    """An array on the device: on CPUs one that shares its memory."""
    if isinstance(leaf, np.ndarray) and leaf.flags.writeable and torch.get_default_device().type == "cpu":
        return torch.from_numpy(leaf)
    return to_backend(leaf)


@contextmanager
def without_metrics(model: keras.Model) -> Iterator[None]:
    """Have a model's steps update its metrics and not compute what they say."""
    model.__dict__["get_metrics_result"] = dict
    try:
        yield
    finally:
        del model.__dict__["get_metrics_result"]
