"""LSTM and GRU whose loops over time compute only what depends on the previous time step.

The projection of the inputs, the gradients for all weights and most factors of the chain rule are computed
for all time steps at once; XLA otherwise computes them in the loops. The logistic function is computed as (1
+ tanh(x / 2)) / 2, so that one tanh serves all gates. At time steps that are masked, the state does not
change, and the factors of its gradients are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers, ops


def lstm(original: Callable) -> Callable:
    """LSTM: a replacement for ``LSTM.inner_loop``."""
    return inner_loop(original, layers.LSTMCell, lstm_over_time)


def gru(original: Callable) -> Callable:
    """GRU: a replacement for ``GRU.inner_loop``."""
    return inner_loop(original, layers.GRUCell, gru_over_time)


def inner_loop(original: Callable, cell: type, over_time: Callable) -> Callable:
    def loop(
        self: layers.RNN, sequences: Any, initial_state: list, mask: Any, training: bool = False
    ) -> tuple[Any, Any, list]:
        """Return the last output, all outputs and the states, as Keras's function does."""
        layer = self
        state = keras.tree.flatten(initial_state)
        step_mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if not is_supported(layer, cell, [sequences, *state], step_mask):
            return original(layer, sequences, initial_state, mask, training)
        sequences = apply_input_dropout(layer, sequences, training)
        by_time = [ops.transpose(sequences, (1, 0, 2))]
        if step_mask is not None:
            by_time.append(ops.expand_dims(ops.cast(ops.transpose(step_mask), "float32"), -1))
        if layer.go_backwards:
            by_time = [ops.flip(array, 0) for array in by_time]
        inputs, *present = by_time
        weights = [ops.convert_to_tensor(v) for v in (layer.cell.kernel, layer.cell.recurrent_kernel)]
        function = partial(over_time, every=layer.return_sequences)
        states, *others = ops.custom_gradient(lambda *arrays: function(*arrays))(
            inputs, *state, *weights, ops.convert_to_tensor(layer.cell.bias), *present
        )
        outputs = masked_outputs(states, *present, zero=layer.zero_output_for_mask) if present else states
        return outputs[-1], ops.transpose(outputs, (1, 0, 2)), [states[-1], *others]

    return loop


def is_supported(layer: layers.RNN, cell: type[Any], tensors: list, mask: Any) -> bool:
    """Whether the kernels support a layer and the tensors and mask that it is called with."""
    own: Any = layer.cell
    return (
        type(own) is cell
        and own.activation is keras.activations.tanh
        and own.recurrent_activation is keras.activations.sigmoid
        and own.bias is not None
        and own.implementation == 2
        and not own.recurrent_dropout
        and getattr(own, "reset_after", True)
        and not layer.unroll
        and layer.use_cudnn is not True
        and (mask is None or len(mask.shape) == 2)
        and not any(None in tensor.shape for tensor in tensors)
        and {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors} == {"float32"}
        and own.compute_dtype == "float32"
    )


def apply_input_dropout(layer: layers.RNN, sequences: Any, training: bool) -> Any:
    """Apply a layer's input dropout, which uses the same dropout mask at all time steps."""
    if not training or not layer.cell.dropout:
        return sequences
    return sequences * ops.expand_dims(layer.cell.get_dropout_mask(sequences[:, 0, :]), 1)


def masked_outputs(states: Any, present: Any, *, zero: bool) -> Any:
    """Outputs under a mask: at masked time steps the previous output, or 0 if ``zero``.

    Before the first time step that is not masked, the output is the initial state with JAX, and 0 with
    TensorFlow.
    """
    if not zero and keras.backend.backend() == "jax":
        return states
    seen = present if zero else ops.cumsum(present, 0)
    return ops.where(seen[-states.shape[0] :] > 0, states, 0.0)


def lstm_over_time(
    inputs: Any,
    h: Any,
    c: Any,
    kernel: Any,
    recurrent: Any,
    bias: Any,
    present: Any = None,
    *,
    every: bool,
) -> tuple[tuple[Any, Any], Callable]:
    """Return the outputs and the last carry of an LSTM, and their gradient, for ``ops.custom_gradient``.

    Inputs have shape (times, samples, features); ``present``, (times, samples, 1), is 0 at masked time steps
    and 1 elsewhere. The outputs, shape (times or 1, samples, units), are those of all time steps if
    ``every``, else of the last one. Gates are in Keras's order: input, forget, candidate, output.
    """
    times, samples, _ = inputs.shape
    units = recurrent.shape[0]
    # gates are tanh(z * scale) * scale + shift
    scale = ops.convert_to_tensor(np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), units))
    shift = 1.0 - scale
    projected = for_all_times(inputs, kernel * scale) + bias * scale
    scaled_recurrent = recurrent * scale

    def forward(time: Any, h: Any, c: Any, gates: Any, carries: Any, outputs: Any) -> tuple:
        now = ops.tanh(slice_at(projected, time) + h @ scaled_recurrent) * scale + shift
        i, f, g, o = ops.split(now, 4, -1)
        new_c = f * c + i * g
        new_h = o * ops.tanh(new_c)
        if present is not None:
            here = slice_at(present, time) > 0
            new_h, new_c = ops.where(here, new_h, h), ops.where(here, new_c, c)
            outputs = update_at(outputs, time, new_h)
        return time + 1, new_h, new_c, update_at(gates, time, now), update_at(carries, time, new_c), outputs

    kept = ops.zeros(() if present is None else (times, samples, units))
    start = (0, h, c, ops.zeros((times, samples, 4 * units)), ops.zeros((times, samples, units)), kept)
    *_, gates, carries, outputs = ops.while_loop(lambda time, *_: time < times, forward, start)
    i, f, g, o = ops.split(gates, 4, -1)
    squashed = ops.tanh(carries)
    if present is None:
        outputs = o * squashed

    def gradient(*upstream: Any) -> tuple:
        d_outputs, d_carry = keras.tree.flatten(upstream)
        carries_before = ops.concatenate([c[None], carries[:-1]])
        outputs_before = ops.concatenate([h[None], outputs[:-1]])
        to_carry = o * (1 - squashed * squashed)
        to_gates = ops.concatenate(
            [g * i * (1 - i), carries_before * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)], -1
        )
        keeps = f
        if present is not None:
            to_carry, to_gates = to_carry * present, to_gates * present
            keeps = ops.where(present > 0, f, 1.0)

        def backward(time: Any, d_h: Any, d_c: Any, d_gates: Any) -> tuple:
            if every:
                d_h = d_h + slice_at(d_outputs, time)
            d_c = d_c + d_h * slice_at(to_carry, time)
            now = ops.concatenate([d_c, d_c, d_c, d_h], -1) * slice_at(to_gates, time)
            d_before = now @ transposed
            if present is not None:
                d_before = d_before + d_h * (1 - slice_at(present, time))
            return time - 1, d_before, d_c * slice_at(keeps, time), update_at(d_gates, time, now)

        transposed = ops.transpose(recurrent)
        d_last = ops.zeros_like(h) if every else d_outputs[0]
        start = (times - 1, d_last, d_carry, ops.zeros((times, samples, 4 * units)))
        _, d_h, d_c, d_gates = ops.while_loop(lambda time, *_: time >= 0, backward, start)
        return (
            for_all_times(d_gates, ops.transpose(kernel)),
            d_h,
            d_c,
            summed_products(inputs, d_gates),
            summed_products(outputs_before, d_gates),
            ops.sum(d_gates, (0, 1)),
            *([] if present is None else [ops.zeros_like(present)]),
        )

    return (outputs if every else outputs[-1:], carries[-1]), gradient


def gru_over_time(
    inputs: Any, h: Any, kernel: Any, recurrent: Any, bias: Any, present: Any = None, *, every: bool
) -> tuple[tuple[Any], Callable]:
    """Return the outputs of a GRU and their gradient, as ``lstm_over_time`` does for an LSTM.

    Gates are in Keras's order: update, reset, candidate. The reset gate is applied after the matrix product
    (Keras's ``reset_after``). The bias has two rows, for the inputs and for the state.
    """
    times, samples, _ = inputs.shape
    units = recurrent.shape[0]
    scale = ops.convert_to_tensor(np.repeat(np.array([0.5, 0.5, 1.0], np.float32), units))
    projected = for_all_times(inputs, kernel * scale) + bias[0] * scale
    scaled_recurrent, scaled_bias = recurrent * scale, bias[1] * scale

    def forward(time: Any, h: Any, gates: Any, outputs: Any) -> tuple:
        given, own = slice_at(projected, time), h @ scaled_recurrent + scaled_bias
        both = 0.5 * ops.tanh(given[:, : 2 * units] + own[:, : 2 * units]) + 0.5
        update, reset = ops.split(both, 2, -1)
        own = own[:, 2 * units :]
        candidate = ops.tanh(given[:, 2 * units :] + reset * own)
        new_h = update * h + (1 - update) * candidate
        if present is not None:
            new_h = ops.where(slice_at(present, time) > 0, new_h, h)
        now = ops.concatenate([both, candidate, own], -1)
        return time + 1, new_h, update_at(gates, time, now), update_at(outputs, time, new_h)

    start = (0, h, ops.zeros((times, samples, 4 * units)), ops.zeros((times, samples, units)))
    *_, gates, outputs = ops.while_loop(lambda time, *_: time < times, forward, start)
    update, reset, candidate, own = ops.split(gates, 4, -1)

    def gradient(*upstream: Any) -> tuple:
        (d_outputs,) = keras.tree.flatten(upstream)
        before = ops.concatenate([h[None], outputs[:-1]])
        to_candidate = (1 - update) * (1 - candidate * candidate)
        to_reset = to_candidate * own * reset * (1 - reset)
        to_update = (before - candidate) * update * (1 - update)
        to_state = ops.concatenate([to_update, to_reset, to_candidate * reset], -1)
        keeps = update
        if present is not None:
            to_candidate, to_state = to_candidate * present, to_state * present
            keeps = ops.where(present > 0, update, 1.0)

        def backward(time: Any, d_h: Any, d_state: Any) -> tuple:
            if every:
                d_h = d_h + slice_at(d_outputs, time)
            now = ops.concatenate([d_h, d_h, d_h], -1) * slice_at(to_state, time)
            return time - 1, d_h * slice_at(keeps, time) + now @ transposed, update_at(d_state, time, d_h)

        transposed = ops.transpose(recurrent)
        d_last = ops.zeros_like(h) if every else d_outputs[0]
        start = (times - 1, d_last, ops.zeros((times, samples, units)))
        _, d_h, d_state = ops.while_loop(lambda time, *_: time >= 0, backward, start)
        of_state = ops.concatenate([d_state, d_state, d_state], -1) * to_state
        of_inputs = ops.concatenate([of_state[..., : 2 * units], d_state * to_candidate], -1)
        return (
            for_all_times(of_inputs, ops.transpose(kernel)),
            d_h,
            summed_products(inputs, of_inputs),
            summed_products(before, of_state),
            ops.stack([ops.sum(of_inputs, (0, 1)), ops.sum(of_state, (0, 1))]),
            *([] if present is None else [ops.zeros_like(present)]),
        )

    return (outputs if every else outputs[-1:],), gradient


def for_all_times(array: Any, matrix: Any) -> Any:
    """Multiply the rows of all time steps by a matrix, in one product."""
    times, samples, columns = array.shape
    return ops.reshape(ops.reshape(array, (times * samples, columns)) @ matrix, (times, samples, -1))


def summed_products(a: Any, b: Any) -> Any:
    """The sum over time steps and samples of the outer products of rows of a and b: a' b."""
    a, b = (ops.reshape(array, (-1, array.shape[-1])) for array in (a, b))
    return ops.transpose(a) @ b


def slice_at(array: Any, time: Any) -> Any:
    """The slice of an array at a time step (its first axis)."""
    return ops.squeeze(ops.slice(array, (time, 0, 0), (1, *array.shape[1:])), 0)


def update_at(array: Any, time: Any, value: Any) -> Any:
    """Return the array with a new slice at a time step."""
    return ops.slice_update(array, (time, 0, 0), value[None])
