"""What PyTorch has for layers, and Keras does not take from it on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from kerasfit.engines.kernels.recurrent import dropped_out, suits


def channels_first(own: Callable) -> Callable:
    """The axes of a batch in PyTorch's order, images' channels where they are in memory.

    Keras makes a copy in the other order, in which pooling and rectifiers are seven times as slow, and then a
    copy back for convolutions, which PyTorch computes with the channels last. Signals, of one dimension, have
    no such convolutions.
    """

    def transposed(inputs: Any) -> Any:
        if inputs.ndim == 3:
            return own(inputs)
        return inputs.permute(0, inputs.ndim - 1, *range(1, inputs.ndim - 1))

    return transposed


def torch_lstm(plain: Callable) -> Callable:
    """A long short-term memory by ``torch.lstm``: what stands for ``LSTM.inner_loop``.

    It has no derivative of its derivative.
    """
    import torch

    def loop(
        layer: layers.RNN, sequences: Any, initial_state: list, mask: Any = None, training: bool = False
    ) -> tuple[Any, Any, list]:
        h, c = keras.tree.flatten(initial_state)
        if mask is not None or not suits(layer, layers.LSTMCell, [sequences, h, c], None):
            return plain(layer, sequences, initial_state, mask, training)
        sequences = dropped_out(layer, sequences, training)
        if layer.go_backwards:
            sequences = ops.flip(sequences, 1)
        kernel, recurrent, bias = map(
            ops.convert_to_tensor, (layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias)
        )
        outputs, h, c = torch.lstm(
            sequences,
            (h[None], c[None]),
            [kernel.t(), recurrent.t(), bias, torch.zeros_like(bias)],
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=True,
        )
        return outputs[:, -1], outputs, [h[0], c[0]]

    return loop


def torch_gru(plain: Callable) -> Callable:
    """Gated recurrent units by ``torch.gru``: what stands for ``GRU.inner_loop``.

    Its gates are in the order reset, update, candidate, where Keras's begin with the update.
    """
    import torch

    def loop(
        layer: layers.RNN, sequences: Any, initial_state: list, mask: Any = None, training: bool = False
    ) -> tuple[Any, Any, list]:
        (h,) = keras.tree.flatten(initial_state)
        if mask is not None or not suits(layer, layers.GRUCell, [sequences, h], None):
            return plain(layer, sequences, initial_state, mask, training)
        sequences = dropped_out(layer, sequences, training)
        if layer.go_backwards:
            sequences = ops.flip(sequences, 1)

        def in_order(weights: Any) -> Any:
            update, reset, candidate = weights.chunk(3, -1)
            return torch.cat([reset, update, candidate], -1)

        cell = layer.cell
        kernel, recurrent, bias = map(
            in_order, map(ops.convert_to_tensor, (cell.kernel, cell.recurrent_kernel, cell.bias))
        )
        outputs, h = torch.gru(
            sequences,
            h[None],
            [kernel.t(), recurrent.t(), *bias],
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=True,
        )
        return outputs[:, -1], outputs, [h[0]]

    return loop
