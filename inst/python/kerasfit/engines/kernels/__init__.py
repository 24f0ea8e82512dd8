"""Kernels: faster implementations of operations that are slow on CPUs.

They give the backend's results, except TensorFlow's dropout, which draws different random numbers.

Kernels replace functions of Keras's backend while a step is traced for XLA on a CPU, or runs with PyTorch on
a CPU. For inputs that it does not support, a kernel calls the original function. A step that cannot be traced
with kernels is traced without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kerasfit.devices import on_cpu
from kerasfit.engines.kernels.convolution import (
    depthwise_convolution,
    jax_transposed_convolution,
    ordinary_convolution,
    tensorflow_separable_convolution,
)
from kerasfit.engines.kernels.dropout import jax_dropout, tensorflow_dropout
from kerasfit.engines.kernels.matmul import narrow_matmul
from kerasfit.engines.kernels.pooling import average_pool, average_pool_of_jax_3_9, max_pool
from kerasfit.engines.kernels.recurrent import gru, lstm
from kerasfit.engines.kernels.replace import Makers, kernels_wanted, replaced

__all__ = ["jax_kernels", "kernels_wanted", "replaced", "tensorflow_kernels"]

EVERYWHERE: dict[str, Makers] = {
    "LSTM.inner_loop": lstm,
    "GRU.inner_loop": gru,
    "nn.conv": ordinary_convolution,
    "nn.depthwise_conv": depthwise_convolution,
    "nn.max_pool": max_pool,
    "nn.average_pool": average_pool,
}
TENSORFLOW: dict[str, Makers] = EVERYWHERE | {
    "nn.separable_conv": tensorflow_separable_convolution,
    "random.dropout": tensorflow_dropout,
}
JAX: dict[str, Makers] = EVERYWHERE | {
    "numpy.matmul": narrow_matmul,
    "nn.average_pool": (average_pool, average_pool_of_jax_3_9),
    "nn.conv_transpose": jax_transposed_convolution,
    "random.dropout": jax_dropout,
}


@contextmanager
def tensorflow_kernels() -> Iterator[None]:
    """Replace Keras's functions while TensorFlow traces a step for XLA on a CPU."""
    with replaced(TENSORFLOW if on_cpu() else {}):
        yield


@contextmanager
def jax_kernels() -> Iterator[None]:
    """Replace Keras's functions while JAX traces a step on a CPU."""
    with replaced(JAX if on_cpu() else {}):
        yield
