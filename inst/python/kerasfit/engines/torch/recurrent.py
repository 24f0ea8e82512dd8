"""Gated recurrent units with PyTorch on a CPU, for which it has no kernel of its own."""

from __future__ import annotations

from typing import Any

import torch

from kerasfit.engines.torch.channels_first import one_layer

Tensor = torch.Tensor


class GatedUnits(torch.autograd.Function):
    """All outputs, shape (samples, times, units), of inputs, state, weights and biases as Keras has them.

    As in ``recurrent.gru_over_time``, which has the formulas, what need not be in order is done at once.
    Where the gradient is to have a derivative itself, it is that of ``torch.gru``.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, first: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor
    ) -> Tensor:
        units = len(recurrent)
        given_gates, given_new = (inputs @ kernel + bias[0]).split([2 * units, units], -1)
        h, gates, candidates, owns, states = first, [], [], [], [first]
        for gates_now, new_now in zip(given_gates.unbind(1), given_new.unbind(1), strict=True):
            own_gates, own_new = torch.addmm(bias[1], h, recurrent).split([2 * units, units], -1)
            both = (gates_now + own_gates).sigmoid()
            update, reset = both.split(units, -1)
            candidate = torch.addcmul(new_now, reset, own_new).tanh()
            h = torch.lerp(candidate, h, update)
            for kept, now in zip(
                (gates, candidates, owns, states), (both, candidate, own_new, h), strict=True
            ):
                kept.append(now)
        states = torch.stack(states, 1)
        gates, candidates, owns = (torch.stack(kept, 1) for kept in (gates, candidates, owns))
        ctx.save_for_backward(inputs, first, kernel, recurrent, bias, states, gates, candidates, owns)
        return states[:, 1:]

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor) -> tuple:
        inputs, first, kernel, recurrent, bias, states, gates, candidate, own = ctx.saved_tensors
        if torch.is_grad_enabled():
            return derivable_gradients([inputs, first, kernel, recurrent, bias], d_outputs)
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


def derivable_gradients(arrays: list[Tensor], d_outputs: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by PyTorch's own function, whose gates are in the order reset, update, candidate."""
    inputs, first, *weights = arrays
    gates = (array.chunk(3, -1) for array in weights)
    kernel, recurrent, bias = (torch.cat([reset, update, new], -1) for update, reset, new in gates)
    outputs, _ = torch.gru(inputs, first[None], [kernel.t(), recurrent.t(), *bias], **one_layer())
    wanted = [array for array in arrays if array.requires_grad]
    found = iter(torch.autograd.grad(outputs, wanted, d_outputs, create_graph=True))
    return tuple(next(found) if array.requires_grad else None for array in arrays)
