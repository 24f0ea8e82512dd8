"""Kernels: faster implementations of Keras's layers with PyTorch on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kerasfit.devices import on_cpu
from kerasfit.engines.kernels.replace import Makers, replaced
from kerasfit.engines.torch.channels_first import channels_first, channels_first_since_3_16
from kerasfit.engines.torch.recurrent import torch_gru, torch_lstm

TORCH: dict[str, Makers] = {
    "nn._transpose_spatial_inputs": (channels_first, channels_first_since_3_16),
    "LSTM.inner_loop": torch_lstm,
    "GRU.inner_loop": torch_gru,
}


@contextmanager
def torch_kernels() -> Iterator[None]:
    """Replace Keras's functions while a step runs on a CPU; do nothing on other devices."""
    with replaced(TORCH if on_cpu() else {}):
        yield
