"""Faster LSTM and GRU with PyTorch on a CPU: ``torch.lstm``, and a GRU of our own.

PyTorch has no kernel for a GRU on CPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import torch
from keras import layers, ops
from torch import Tensor

from kerasfit.engines.kernels.recurrent import apply_input_dropout, is_supported


class GatedUnits(torch.autograd.Function):
    """A GRU: computes all outputs, shape (samples, times, units), from inputs, state and Keras's weights.

    As in ``kernels.recurrent.gru_over_time``, which has the formulas, everything that does not depend on the
    previous time step is computed at once. If the gradient must be differentiable, that of ``torch.gru`` is
    used.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        first: Tensor,
        kernel: Tensor,
        recurrent: Tensor,
        bias: Tensor,
    ) -> Tensor:
        units = len(recurrent)
        given_gates, given_new = (inputs @ kernel + bias[0]).split([2 * units, units], -1)
        h = first
        kept: list[list[Tensor]] = [[], [], [], [first]]  # gates, candidates, own parts, states
        for gates_now, new_now in zip(given_gates.unbind(1), given_new.unbind(1), strict=True):
            own_gates, own_new = torch.addmm(bias[1], h, recurrent).split([2 * units, units], -1)
            both = (gates_now + own_gates).sigmoid()
            update, reset = both.split(units, -1)
            candidate = torch.addcmul(new_now, reset, own_new).tanh()
            h = torch.lerp(candidate, h, update)
            for values, now in zip(kept, (both, candidate, own_new, h), strict=True):
                values.append(now)
        gates, candidates, owns, states = (torch.stack(values, 1) for values in kept)
        ctx.save_for_backward(inputs, first, kernel, recurrent, bias, states, gates, candidates, owns)
        return states[:, 1:]

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor) -> tuple:
        inputs, first, kernel, recurrent, bias, states, gates, candidate, own = ctx.saved_tensors
        if torch.is_grad_enabled():
            return differentiable_gradients([inputs, first, kernel, recurrent, bias], d_outputs)
        before, (update, reset) = states[:, :-1], gates.chunk(2, -1)
        to_candidate = (1 - update) * (1 - candidate * candidate)
        to_reset = to_candidate * own * reset * (1 - reset)
        to_update = (before - candidate) * update * (1 - update)
        to_state = torch.stack([to_update, to_reset, to_candidate * reset], 2)  # (samples, times, 3, units)
        transposed, d_h, d_states = recurrent.t(), torch.zeros_like(before[:, 0]), []
        for d_output, keeps, factors in zip(
            *(reversed(array.unbind(1)) for array in (d_outputs, update, to_state)), strict=True
        ):
            d_h = d_h + d_output
            d_states.append(d_h)
            d_h = torch.addmm(d_h * keeps, (d_h[:, None] * factors).flatten(1), transposed)
        d_states = torch.stack(d_states[::-1], 1)
        of_state = (d_states[:, :, None] * to_state).flatten(2)
        of_inputs = torch.cat([of_state[..., : 2 * len(recurrent)], d_states * to_candidate], -1)
        flat = [array.flatten(0, 1) for array in (inputs, before, of_inputs, of_state)]
        return (
            of_inputs @ kernel.t(),
            d_h,
            flat[0].t() @ flat[2],
            flat[1].t() @ flat[3],
            torch.stack([flat[2].sum(0), flat[3].sum(0)]),
        )


def differentiable_gradients(arrays: list[Tensor], d_outputs: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiable gradients, from ``torch.gru``, whose gates are in the order reset, update, candidate."""
    inputs, first, *weights = arrays
    gates = (array.chunk(3, -1) for array in weights)
    kernel, recurrent, bias = (torch.cat([reset, update, new], -1) for update, reset, new in gates)
    outputs, _ = torch.gru(inputs, first[None], [kernel.t(), recurrent.t(), *bias], **one_layer())
    wanted = [array for array in arrays if array.requires_grad]
    found = iter(torch.autograd.grad(outputs, wanted, d_outputs, create_graph=True))
    return tuple(next(found) if array.requires_grad else None for array in arrays)


def torch_lstm(original: Callable) -> Callable:
    """LSTM by ``torch.lstm``: a replacement for ``LSTM.inner_loop``."""

    def run(inputs: Any, h: Any, c: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple:
        weights = [kernel.t(), recurrent.t(), bias, torch.zeros_like(bias)]
        outputs, _, c = torch.lstm(inputs, [h[None], c[None]], weights, **one_layer())
        return outputs, c[0]

    return inner_loop(original, layers.LSTMCell, run)


def torch_gru(original: Callable) -> Callable:
    """GRU by ``GatedUnits``: a replacement for ``GRU.inner_loop``."""
    return inner_loop(original, layers.GRUCell, lambda *arrays: (GatedUnits.apply(*arrays),))


def inner_loop(original: Callable, cell: type, run: Callable) -> Callable:
    """A layer's loop by ``run(inputs, *states, *weights)``, which returns outputs and other states."""

    def loop(
        self: layers.RNN, sequences: Any, initial_state: list, mask: Any, training: bool = False
    ) -> tuple[Any, Any, list]:
        layer = self
        state = keras.tree.flatten(initial_state)
        present = mask[0] if isinstance(mask, (list, tuple)) else mask
        wants_others = len(state) > 1 and (layer.return_state or layer.stateful)
        if not is_supported(layer, cell, [sequences, *state], present) or (
            present is not None and wants_others
        ):
            return original(layer, sequences, initial_state, mask, training)
        sequences = apply_input_dropout(layer, sequences, training)
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
    """Call ``run`` so that it skips masked time steps; return outputs, last output and other states.

    Time steps that are not masked are moved to the front, so that the masked ones do not affect them. At a
    masked time step, the output is the previous one, or 0 if ``zero``. The other states are those after all
    time steps, masked ones included.
    """

    def at_times(array: Any, times: Any) -> Any:
        return array.take_along_dim(times[..., None], 1)

    present = present.bool()
    found, *others = run(at_times(sequences, torch.argsort(~present, dim=1, stable=True)), h, *others)
    seen = present.cumsum(1)
    last_found = at_times(found, (seen - 1).clamp(min=0))
    outputs = torch.where((present if zero else seen > 0)[..., None], last_found, 0.0)
    return [outputs, torch.where(seen[:, -1:] > 0, last_found[:, -1], h), *others]


def one_layer() -> dict[str, Any]:
    """Arguments of PyTorch's functions for one layer in one direction, with samples on the first axis."""
    return {
        "has_biases": True,
        "num_layers": 1,
        "dropout": 0.0,
        "train": torch.is_grad_enabled(),
        "bidirectional": False,
        "batch_first": True,
    }
