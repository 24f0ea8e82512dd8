"""Operations of layers that are slow on CPUs, put in other words: the same values, found faster.

Layers call a function of the backend for each. While a step is traced for XLA on a CPU, or runs with PyTorch,
these stand in for it. Whatever one of them is not made for, it leaves to the backend's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kerasfit import keras_private
from kerasfit.engines.kernels.convolution import (
    depthwise_convolution,
    jax_transposed_convolution,
    ordinary_convolution,
    tensorflow_separable_convolution,
)
from kerasfit.engines.kernels.dropout import jax_dropout, tensorflow_dropout
from kerasfit.engines.kernels.pooling import average_pool, max_pool
from kerasfit.engines.kernels.products import matmul
from kerasfit.engines.kernels.recurrent import gru, lstm
from kerasfit.engines.kernels.torch_layers import channels_first, torch_gru, torch_lstm

EVERYWHERE = {
    "numpy.matmul": matmul,
    "LSTM.inner_loop": lstm,
    "GRU.inner_loop": gru,
    "nn.conv": ordinary_convolution,
    "nn.depthwise_conv": depthwise_convolution,
    "nn.max_pool": max_pool,
    "nn.average_pool": average_pool,
}
TENSORFLOW = EVERYWHERE | {
    "nn.separable_conv": tensorflow_separable_convolution,
    "random.dropout": tensorflow_dropout,
}
JAX = EVERYWHERE | {"nn.conv_transpose": jax_transposed_convolution, "random.dropout": jax_dropout}
TORCH = {
    "nn._transpose_spatial_inputs": channels_first,
    "LSTM.inner_loop": torch_lstm,
    "GRU.inner_loop": torch_gru,
}


@contextmanager
def tensorflow_kernels() -> Iterator[None]:
    """What a step is traced with for XLA with TensorFlow, on a CPU."""
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        yield
        return
    with keras_private.replaced(TENSORFLOW):
        yield


@contextmanager
def jax_kernels() -> Iterator[None]:
    """What a step is traced with with JAX, on a CPU."""
    import jax

    if jax.default_backend() != "cpu":
        yield
        return
    with keras_private.replaced(JAX):
        yield


@contextmanager
def torch_kernels() -> Iterator[None]:
    """What a step runs with with PyTorch, on a CPU."""
    import torch

    if torch.get_default_device().type != "cpu":
        yield
        return
    with keras_private.replaced(TORCH):
        yield
