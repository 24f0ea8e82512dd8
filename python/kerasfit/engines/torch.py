"""The PyTorch engine: eager steps, through ``torch.compile`` where the model asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kerasfit import keras_private
from kerasfit.engines.engine import Logs, PlainEngine
from kerasfit.sources import Stream
from kerasfit.tensors import to_backend


class TorchEngine(PlainEngine):
    def compiled(self, kind: str, step: Callable) -> Callable:
        return torch.compile(step) if self.model.jit_compile else step

    def prepare(self, stream: Stream) -> None:
        if (batch := stream.peek()) is not None:
            keras_private.build_state(self.model, to_backend(tuple(batch)))

    def train(self, stream: Stream, steps: int) -> Logs:
        self.model.train()
        try:
            return super().train(stream, steps)
        finally:
            self.model.eval()

    def evaluate(self, stream: Stream, steps: int) -> Logs:
        self.model.eval()
        with torch.no_grad():
            return super().evaluate(stream, steps)

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        self.model.eval()
        with torch.no_grad():
            return super().predict(stream, steps)
