"""Calls of compiled loops, and their compilation by XLA in the background."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import tensorflow as tf

from kerasfit.engines.engine import wait_for
from kerasfit.variables import all_variables

COMPILER = ThreadPoolExecutor(1, thread_name_prefix="kerasfit-xla")


class CompiledLoop:
    """A compiled function of tensors, called without TensorFlow's checks of arguments.

    These take a tenth of a millisecond for each call, which is much if an epoch takes a millisecond.
    """

    def __init__(self, loop: Any):
        self._concrete = loop.get_concrete_function()
        structure = self._concrete.structured_outputs
        self._places = tf.nest.pack_sequence_as(structure, range(len(tf.nest.flatten(structure))))
        self._compiling: Future | None = None

    def __call__(self, *args: Any) -> Any:
        if self._compiling:
            wait_for(self._compiling)
            self._compiling = None
        outputs = self._call(args, self._concrete.captured_inputs)
        return keras.tree.map_structure(lambda place: outputs[place], self._places)

    def _call(self, args: tuple, captured: list) -> list:
        return self._concrete.inference_fn.call_flat(*keras.tree.flatten(args), *captured)

    def compile_ahead(self, model: keras.Model, *args: Any) -> None:
        """Have XLA compile the function in the background. The next call waits until this is done.

        The function is run on variables that stand in for the model's, with arguments like those of a call,
        but for no step, or for one. XLA's program is the same for all variables of these types.
        """
        variables = {id(variable.value.handle): variable.value for variable in all_variables(model)}
        inputs = self._concrete.captured_inputs
        standins = {  # for all resources; a KeyError if one is not a variable
            id(tensor): tf.Variable(tf.zeros_like(variables[id(tensor)]))
            for tensor in inputs
            if tensor.dtype == tf.resource
        }
        captured = [standins[id(t)].handle if id(t) in standins else t for t in inputs]

        def compile() -> None:
            self._call(args, captured)
            standins.clear()

        self._compiling = COMPILER.submit(compile)
