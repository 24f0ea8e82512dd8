"""Traced loops and steps: their calls, compilation by XLA in the background, and use by later models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from kerasfit.engines.engine import wait_for
from kerasfit.engines.model_key import model_key
from kerasfit.engines.shared_programs import shared_programs
from kerasfit.variables import step_variables

COMPILER = ThreadPoolExecutor(1, thread_name_prefix="kerasfit-xla")


class Program:
    """A traced loop or step, as a function of the variables of any model with the same key.

    TensorFlow's functions capture the variables of the model that they are traced for. Here they are
    arguments.

    Attributes
    ----------
    log_names
        The names of logs in the outputs; those of another model may differ.
    used
        The numbers of the variables that it uses, in ``step_variables()``.
    serves_all
        Whether it uses nothing else of the model that it was traced for.
    nbytes
        The memory of that model's variables. TensorFlow keeps them with the function.
    compiled_ahead
        Whether XLA has compiled it, or is about to, for some arguments.
    """

    def __init__(self, traced: Any, variables: list[keras.Variable], log_names: list[str]):
        concrete = traced.get_concrete_function()
        self._function = concrete.inference_fn
        self._pack_output = concrete.function_type.pack_output
        self.log_names = log_names
        numbers = {id(variable.value.handle): number for number, variable in enumerate(variables)}
        # the number of a captured variable; other captured tensors are constants
        self._captured = [numbers.get(id(tensor), tensor) for tensor in concrete.captured_inputs]
        self.used = sorted({each for each in self._captured if isinstance(each, int)})
        self.serves_all = not any(
            isinstance(each, tf.Tensor) and each.dtype == tf.resource for each in self._captured
        )
        values = [variables[number].value for number in self.used]
        self.nbytes = sum(value.dtype.size * value.shape.num_elements() for value in values)
        self.compiled_ahead = False

    def captured(self, handles: Mapping[int, tf.Tensor]) -> list[tf.Tensor]:
        """The captured tensors for variables with these handles, by number."""
        return [handles[each] if isinstance(each, int) else each for each in self._captured]

    def call(self, args: tuple, captured: list[tf.Tensor]) -> Any:
        return self._pack_output(
            self._function.call_flat(*tf.nest.flatten(args, expand_composites=True), *captured)
        )


class BoundProgram:
    """A program with the variables of one model, called without TensorFlow's checks of arguments.

    These take a tenth of a millisecond for each call, which is much if an epoch takes a millisecond.
    """

    def __init__(self, program: Program, variables: list[keras.Variable], log_names: list[str]):
        self._program = program
        self._names = dict(zip(program.log_names, log_names, strict=True))
        self._is_renamed = program.log_names != log_names
        self._variables = {number: variables[number].value for number in program.used}
        self._captured = program.captured({n: variable.handle for n, variable in self._variables.items()})
        self._compiling: Future | None = None

    def __call__(self, *args: Any) -> Any:
        if self._compiling:
            wait_for(self._compiling)
            self._compiling = None
        outputs = self._program.call(args, self._captured)
        return renamed(outputs, self._names) if self._is_renamed else outputs

    def compile_ahead(self, *args: Any) -> None:
        """Have XLA compile the function in the background. The next call waits until this is done.

        The function is run on variables that stand in for the model's, with arguments like those of a call,
        but for no step, or for one. XLA's program is the same for all variables of these types.
        """
        program = self._program
        if program.compiled_ahead or not program.serves_all:
            return
        program.compiled_ahead = True
        stand_ins = {n: tf.Variable(tf.zeros_like(variable)) for n, variable in self._variables.items()}
        captured = program.captured({n: variable.handle for n, variable in stand_ins.items()})

        def compile() -> None:
            program.call(args, captured)
            stand_ins.clear()

        self._compiling = COMPILER.submit(compile)


def renamed(structure: Any, names: dict[str, str]) -> Any:
    """Rename the keys of dicts in nested tuples."""
    if isinstance(structure, tuple):
        return tuple(renamed(part, names) for part in structure)
    if isinstance(structure, dict):
        return {names.get(key, key): value for key, value in structure.items()}
    return structure


@dataclass
class SharedPrograms:
    """The programs of one kind of step for all models with one key.

    Attributes
    ----------
    key
        The models' key; None for the programs of a single model.
    programs
        The programs by their options and data.
    joins
        For prediction, whether the outputs of batches can be joined, by data.
    """

    kind: str
    key: str | None = None
    programs: dict[tuple, Program] = field(default_factory=dict)
    joins: dict[tuple, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, model: keras.Model, kind: str, *options: bool) -> SharedPrograms:
        """The programs that a model can use, as it is now."""
        key = model_key(model, kind)
        make = lambda: cls(kind, key)  # noqa: E731
        return shared_programs((key, kind, *options, *settings()), make) if key else make()

    def bound(self, key: tuple, model: keras.Model, trace: Callable[[], Any]) -> BoundProgram:
        """A program with a model's variables, traced now unless there is one with this key."""
        program = self.programs.get(key)
        traced = trace() if program is None else None
        variables = step_variables(model, self.kind)
        has_logs = self.kind != "predict" and self.key is not None  # otherwise they are not renamed
        log_names = list(model.get_metrics_result()) if has_logs else []
        if program is None:
            program = Program(traced, variables, log_names)
            if program.serves_all and self.serve(model):
                self.programs[key] = program
        return BoundProgram(program, variables, log_names)

    def serve(self, model: keras.Model) -> bool:
        """Whether what was just traced for a model serves all models with the key."""
        return self.key is None or model_key(model, self.kind) == self.key

    @property
    def nbytes(self) -> int:
        return sum(program.nbytes for program in self.programs.values())


def settings() -> tuple:
    """Settings of TensorFlow on which a trace depends."""
    optimizer = tf.config.optimizer
    return optimizer.get_jit(), str(optimizer.get_experimental_options()), tf.zeros(()).device


def function(python: Callable, signature: list | None = None, *, jit_compile: bool = False) -> Any:
    """A ``tf.function`` of Python code; with a signature, for arguments of these types and shapes only."""
    compiled = tf.function(
        lambda *args: python(*args),
        input_signature=signature,
        jit_compile=jit_compile,
        reduce_retracing=signature is None,
        autograph=False,
    )
    # TensorFlow's warning of functions that are traced too often counts those of different models as one.
    compiled._omit_frequent_tracing_warning = True
    return compiled
