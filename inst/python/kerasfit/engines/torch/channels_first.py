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


def channels_first_since_3_16(own: Callable) -> Callable:
    """The same for Keras 3.16, which may be asked for the channels where they are."""
    transpose = channels_first(own)

    def transposed(inputs: Any, channels_last_memory_format: bool = False) -> Any:
        return transpose(inputs)

    return transposed


def torch_lstm(plain: Callable) -> Callable:
    """A long short-term memory by ``torch.lstm``: what stands for ``LSTM.inner_loop``."""
    import torch

    def run(inputs: Any, h: Any, c: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple:
        weights = [kernel.t(), recurrent.t(), bias, torch.zeros_like(bias)]
        outputs, _, c = torch.lstm(inputs, [h[None], c[None]], weights, **one_layer())
        return outputs, c[0]

    return inner_loop(plain, layers.LSTMCell, run)


def torch_gru(plain: Callable) -> Callable:
    """Gated recurrent units by a loop of our own: what stands for ``GRU.inner_loop``."""
    from kerasfit.engines.torch.recurrent import GatedUnits

    return inner_loop(plain, layers.GRUCell, lambda *arrays: (GatedUnits.apply(*arrays),))


def inner_loop(plain: Callable, cell: type, run: Callable) -> Callable:
    """A layer's loop by a function of inputs, states and weights: it gives outputs and further states."""

    def loop(
        self: layers.RNN, sequences: Any, initial_state: list, mask: Any, training: bool = False
    ) -> tuple[Any, Any, list]:
        layer = self
        state = keras.tree.flatten(initial_state)
        present = mask[0] if isinstance(mask, (list, tuple)) else mask
        wants_others = len(state) > 1 and (layer.return_state or layer.stateful)
        if not suits(layer, cell, [sequences, *state], present) or (present is not None and wants_others):
            return plain(layer, sequences, initial_state, mask, training)
        sequences = dropped_out(layer, sequences, training)
        if layer.go_backwards:
            sequences, present = (
                None if array is None else ops.flip(array, 1) for array in (sequences, present)
            )
        weights = layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias
        arrays = *state, *map(ops.convert_to_tensor, weights)
        if present is None:
            outputs, *others = run(sequences, *arrays)
            return outputs[:, -1], outputs, [outputs[:, -1], *others]
        outputs, last, *others = run_where_present(
            run, present, layer.zero_output_for_mask, sequences, *arrays
        )
        return outputs[:, -1], outputs, [last, *others]

    return loop


def run_where_present(run: Callable, present: Any, zero: bool, sequences: Any, h: Any, *others: Any) -> list:
    """What ``run`` gives if it skips the times that a mask leaves out: outputs, last output and other states.

    The times that are there are put first, so what comes after them changes nothing. Where a time is left out
    the output is that of the one before, or ``zero``. The other states are those after all times.
    """
    import torch

    def at_times(array: Any, times: Any) -> Any:
        return array.take_along_dim(times[..., None], 1)

    present = present.bool()
    found, *others = run(at_times(sequences, torch.argsort(~present, dim=1, stable=True)), h, *others)
    seen = present.cumsum(1)
    last_found = at_times(found, (seen - 1).clamp(min=0))
    outputs = torch.where((present if zero else seen > 0)[..., None], last_found, 0.0)
    return [outputs, torch.where(seen[:, -1:] > 0, last_found[:, -1], h), *others]


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
