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

    def run(inputs: Any, state: list, kernel: Any, recurrent: Any, bias: Any) -> tuple:
        return torch.lstm(
            inputs, state, [kernel.t(), recurrent.t(), bias, torch.zeros_like(bias)], **one_layer()
        )

    return inner_loop(plain, layers.LSTMCell, run)


def torch_gru(plain: Callable) -> Callable:
    """Gated recurrent units by ``torch.gru``: what stands for ``GRU.inner_loop``.

    Its gates are in the order reset, update, candidate, where Keras's begin with the update.
    """
    import torch

    def run(inputs: Any, state: list, *weights: Any) -> tuple:
        gates = (array.chunk(3, -1) for array in weights)
        kernel, recurrent, bias = (torch.cat([reset, update, new], -1) for update, reset, new in gates)
        return torch.gru(inputs, *state, [kernel.t(), recurrent.t(), *bias], **one_layer())

    return inner_loop(plain, layers.GRUCell, run)


def inner_loop(plain: Callable, cell: type, run: Callable) -> Callable:
    """A layer's loop by one of PyTorch's, a function of inputs, states and weights: outputs and states."""

    def loop(
        layer: layers.RNN, sequences: Any, initial_state: list, mask: Any = None, training: bool = False
    ) -> tuple[Any, Any, list]:
        state = keras.tree.flatten(initial_state)
        if mask is not None or not suits(layer, cell, [sequences, *state], None):
            return plain(layer, sequences, initial_state, mask, training)
        sequences = dropped_out(layer, sequences, training)
        if layer.go_backwards:
            sequences = ops.flip(sequences, 1)
        weights = layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias
        outputs, *state = run(sequences, [s[None] for s in state], *map(ops.convert_to_tensor, weights))
        return outputs[:, -1], outputs, [s[0] for s in state]

    return loop


def one_layer() -> dict[str, Any]:
    """How PyTorch's functions are to see what Keras has: one layer, in one direction, its samples first."""
    import torch

    return {
        "has_biases": True,
        "num_layers": 1,
        "dropout": 0.0,
        "train": torch.is_grad_enabled(),
        "bidirectional": False,
        "batch_first": True,
    }
