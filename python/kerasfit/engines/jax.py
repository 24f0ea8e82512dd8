"""The JAX engine: many steps in one compiled loop, with the state passed along."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import starmap
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from kerasfit import keras_private
from kerasfit.engines.engine import (
    Logs,
    PlainEngine,
    finite_loss,
    logs_are_metrics,
    wait_for,
)
from kerasfit.engines.kernels import jax_kernels
from kerasfit.sources import Rows, RowStream, Source, Stream
from kerasfit.tensors import aligned_copy, is_aligned, pack, to_backend, to_numpy

Values = list[jax.Array]


class State(NamedTuple):
    """The values of the variables of a model, its optimizer and its metrics."""

    trainable: Values
    non_trainable: Values
    optimizer: Values
    metrics: Values


# XLA compiles a program with one core: the loops over whole batches and over the rest at the same time.
COMPILERS = ThreadPoolExecutor(2, thread_name_prefix="kerasfit-compiler")

# The outputs of so many steps are put together before they go to the host.
OUTPUTS = 64

# So many steps may be unfinished while the next batch from an iterator is made.
AHEAD = 2

# What a model's step takes and gives back, in Keras's order.
PARTS = {
    "train": ("trainable", "non_trainable", "optimizer", "metrics"),
    "test": ("trainable", "non_trainable", "metrics"),
    "predict": ("trainable", "non_trainable"),
}


class JaxEngine(PlainEngine):
    """Runs an execution as one compiled loop over rows of arrays on the device.

    Between executions the engine holds the state; ``sync`` gives it to the model's variables. The plans:
    "loop" is that loop; "step" is a compiled call for each batch. Models with convolutions get "step" on
    CPUs, because XLA leaves a convolution inside a loop a single thread there.
    """

    plans = ("loop", "step")

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self._resident: WeakKeyDictionary[Stream, Resident] = WeakKeyDictionary()
        self._metrics_at_zero: tuple[list[int], list[np.ndarray]] = [], []
        # What the last program gave: the state, and logs or outputs. Programs use up the state they are
        # given; so theirs must be kept before Python can be interrupted, and ``list.extend`` does that from
        # within C.
        self._given: list[tuple[State, Any]] = []
        self._running: deque[Logs] = deque()

    def choose_plan(self) -> str:
        if not self._compiles:
            return "step"
        on_cpu = jax.default_backend() == "cpu"
        return "step" if on_cpu and keras_private.is_convolutional(self.model) else "loop"

    @property
    def _compiles(self) -> bool:
        return self.model.jit_compile and not self.model.run_eagerly

    def compiled(self, kind: str, step: Callable) -> Steps:
        return Steps(self.model, kind, step, compiles=self._compiles)

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        stream = super().open(source, steps_per_epoch)
        if self.plan == "loop" and isinstance(stream, RowStream) and source.in_memory:
            self._resident[stream] = Resident(source.data)
        return stream

    def prepare(self, stream: Stream) -> None:
        """Create the state of model, loss, metrics and optimizer, which a pure step cannot."""
        if (batch := stream.peek()) is not None:
            keras_private.build_state(self.model, to_backend(tuple(batch)))

    # ---- state ---------------------------------------------------------------------------------------

    def _variables(self) -> State:
        model = self.model
        return State(
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables if model.optimizer else [],
            model.metrics_variables,
        )

    def _state(self) -> State:
        """The state held; or else the variables' values, copied, since a program uses up what it is given."""
        if not self._given:
            values = State(*([variable.value for variable in group] for group in self._variables()))
            self._given = [(jax.device_put(values, may_alias=False), {})]
        return self._given[-1][0]

    def sync(self) -> None:
        if not self._given:
            return
        for variables, values in zip(self._variables(), self._state(), strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._given = []

    def reset_metrics(self) -> None:
        if self._given and keras_private.metrics_reset_variables_only(self.model):
            self._given = [(self._state()._replace(metrics=self._reset_values()), {})]
        else:
            self.sync()
            self.model.reset_metrics()

    def _reset_values(self) -> list[np.ndarray]:
        variables = self.model.metrics_variables
        if self._metrics_at_zero[0] != [id(variable) for variable in variables]:
            with keras.StatelessScope() as scope:
                self.model.reset_metrics()
            after = [scope.get_current_value(variable) for variable in variables]
            values = [
                np.asarray(v.value if value is None else value)
                for v, value in zip(variables, after, strict=True)
            ]
            self._metrics_at_zero = [id(variable) for variable in variables], values
        return self._metrics_at_zero[1]

    # ---- executions ----------------------------------------------------------------------------------

    def train(self, stream: Stream, steps: int) -> Logs:
        return self._run("train", stream, steps)

    def evaluate(self, stream: Stream, steps: int) -> Logs:
        return self._run("test", stream, steps)

    def _run(self, kind: str, stream: Stream, steps: int) -> Logs:
        step, logs = self.step(kind), {}
        if resident := self._resident.get(stream):
            halting = self.halt_on_nan and kind == "train"
            resident.compile(step, stream, halting, self._state())
            taken = stream.take_rows(steps)
            for rows in taken.split():
                if rows.steps:
                    done, logs = self._advance(*resident.program(step, rows, halting))
                    if halting and done < rows.steps:
                        stream.give_back(taken.steps - int(done))
                        break
        else:
            for data in self._batches(stream, steps):
                logs = self._advance(step, data)
                self._running.append(logs)
                if len(self._running) > AHEAD:
                    jax.block_until_ready(self._running.popleft())
                if self.halt_on_nan and kind == "train" and not finite_loss(logs):
                    break
            if self.overlap:
                return logs
            self._running.clear()
        return jax.block_until_ready(logs)

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        self._build_for_prediction(stream)
        step = self.step("predict")
        resident = self._resident.get(stream)
        if resident and step.outputs_join(self._state(), resident.data):
            outputs = self._outputs_of_rows(step, resident, stream.take_rows(steps))
        else:
            outputs = [self._advance(step, data) for data in self._batches(stream, steps)]
        self.sync()
        return [keras.tree.map_structure(to_numpy, output) for output in outputs]

    def _outputs_of_rows(self, step: Steps, resident: Resident, rows: Rows) -> list[Any]:
        outputs = []
        for some in rows.split():
            for part in some.in_parts(OUTPUTS):
                _, answer = self._advance(*resident.program(step, part, halting=False))
                samples = part.stop - part.start
                outputs.append(jax.tree.map(lambda output, n=samples: to_numpy(output)[:n], answer))
        return outputs

    def _batches(self, stream: Stream, steps: int) -> Iterator[Any]:
        """The next batches, as ``tensors`` gives them; but what is compiled takes numpy's arrays itself.

        It makes no copy of them, and may still run when they are forgotten here.
        """
        for batch in stream.take(steps):
            yield pack(keras.tree.map_structure(self._argument, tuple(batch)))

    def _argument(self, leaf: Any) -> Any:
        if self._compiles and isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fiub":
            return leaf
        return to_backend(leaf)

    def _advance(self, program: Callable, *data: Any) -> Any:
        """Run a program on the state, keep the state it gives, and return its logs or outputs."""
        state = self._state()
        self._given.extend(starmap(program, [(state, *data)]))
        del self._given[:-1]
        return self._given[-1][1]

    def _build_for_prediction(self, stream: Stream) -> None:
        """Create the variables of layers that have none, with a batch of inputs alone."""
        model = self.model
        if (not model.built or not all(layer.built for layer in model.layers)) and stream.peek() is not None:
            with keras.StatelessScope():
                model(to_backend(stream.peek().x))


class Resident:
    """The arrays of a source on the device, with the order of the current pass."""

    def __init__(self, data: tuple):
        self.data = pack(keras.tree.map_structure(resident, data))
        self._order: tuple[np.ndarray | None, np.ndarray | None] = None, None  # as given, as it is used
        self._begun: set[tuple[Steps, bool]] = set()

    def program(self, step: Steps, rows: Rows, halting: bool) -> tuple:
        """The loop for these rows, and what it takes besides the state."""
        return step.over_rows(self._kind(rows, halting)), *self._arguments(rows)

    def compile(self, step: Steps, stream: RowStream, halting: bool, state: State) -> None:
        """Begin to compile the loops that a pass over the stream needs, if they are new."""
        if (step, halting) in self._begun:
            return
        self._begun.add((step, halting))
        for rows in stream.whole_pass().split():
            if rows.steps:
                step.compile_over_rows(self._kind(rows, halting), state, *self._arguments(rows))

    def _kind(self, rows: Rows, halting: bool) -> Loop:
        size = min(rows.batch_size, rows.stop - rows.start)
        return Loop(size, halting, rare=size < rows.batch_size)

    def _arguments(self, rows: Rows) -> tuple:
        if self._order[0] is not rows.order:
            order = None if rows.order is None else rows.order.astype(np.int32)
            self._order = rows.order, order
        return self.data, self._order[1], np.int32(rows.start), np.int32(rows.steps)


class Loop(NamedTuple):
    """A kind of loop over batches of rows: of ``size`` rows each.

    It stops early, if ``halting``, after a step that leaves the loss infinite or not a number. If ``rare``,
    it runs but once an epoch, and is better compiled quickly than well.
    """

    size: int
    halting: bool
    rare: bool


class Steps:
    """One kind of step of a model, by itself and as a loop: functions of a state and data.

    They give the new state, and logs or outputs. They use up the state that they are given.
    """

    def __init__(self, model: keras.Model, kind: str, step: Callable, *, compiles: bool):
        self.model = model
        self.kind = kind
        self.traces = 0
        self._step = step
        self._compiles = compiles
        self._by_itself = self._compile(self._one, rare=False)
        self._loops: dict[Loop, Callable] = {}
        self._compiling: dict[Loop, Future] = {}

    def _compile(self, python: Callable, *, rare: bool) -> Callable:
        if not self._compiles:
            return python
        return jax.jit(python, donate_argnums=0, compiler_options=compiler_options(rare))

    def __call__(self, state: State, data: Any) -> tuple[State, Any]:
        return self._by_itself(state, data)

    def _one(self, state: State, data: Any) -> tuple[State, Any]:
        self.traces += 1
        parts = PARTS[self.kind]
        # A step of the user's own may want derivatives of another kind than the kernels have.
        with jax_kernels() if logs_are_metrics(self.model, self.kind) else contextlib.nullcontext():
            answer, values = self._step(tuple(getattr(state, name) for name in parts), data)
        if self.kind == "predict":
            values = (state.trainable, values)
        return state._replace(**dict(zip(parts, values, strict=True))), answer

    def over_rows(self, kind: Loop) -> Callable:
        """A loop over batches of rows: a function of state, data, order, first row and number of steps.

        ``order`` are the numbers of all rows in the order of this pass, or None if they keep their own. It
        gives the state, the number of steps done and the metrics or last logs; for "predict" the outputs of
        at most ``OUTPUTS`` steps, and zeros after them.
        """
        if kind not in self._loops:
            self._loops[kind] = self._compile(functools.partial(self._loop, kind), rare=kind.rare)
        if compiling := self._compiling.pop(kind, None):
            wait_for(compiling)
        return self._loops[kind]

    def compile_over_rows(self, kind: Loop, *arguments: Any) -> None:
        """Trace such a loop for such arguments and let a thread compile it, unless it is there already."""
        if self._compiles and kind not in self._loops:
            lowered = self.over_rows(kind).lower(*arguments)
            self._compiling[kind] = COMPILERS.submit(lowered.compile)

    def _loop(
        self, kind: Loop, state: State, data: Any, order: Any, start: Any, steps: Any
    ) -> tuple[State, tuple[Any, Logs]]:
        size = kind.size

        def batch(number: Any) -> Any:
            at = start + number * size
            rows = None if order is None else lax.dynamic_slice_in_dim(order, at, size)

            def take(leaf: Any) -> Any:
                if rows is None:
                    return lax.dynamic_slice_in_dim(leaf, at, size)
                return leaf.at[rows].get(mode="promise_in_bounds", unique_indices=True)

            return keras.tree.map_structure(lambda leaf: None if leaf is None else take(leaf), data)

        # The metrics say all that there is to say of the steps; or else the last logs are carried along. To
        # predict, the outputs of all steps are.
        predicts = self.kind == "predict"
        from_metrics = not predicts and logs_are_metrics(self.model, self.kind)
        carried: Any = {}
        if not from_metrics:
            answer = jax.eval_shape(self._one, state, batch(0))[1]
            room = (OUTPUTS * size,) if predicts else ()
            carried = jax.tree.map(lambda a: jnp.zeros((*room, *a.shape[len(room) :]), a.dtype), answer)

        def report(state: State, logs: Logs) -> Logs:
            if not from_metrics:
                return logs
            with keras.StatelessScope(list(zip(self.model.metrics_variables, state.metrics, strict=True))):
                return self.model.get_metrics_result()

        def goes_on(carry: tuple) -> Any:
            number, state, logs = carry
            loss = report(state, logs).get("loss", 0.0) if kind.halting else 0.0
            return (number < steps) & jnp.isfinite(loss)

        def advance(carry: tuple) -> tuple:
            number, state, carried = carry
            state, answer = self._one(state, batch(number))
            if predicts:
                answer = jax.tree.map(
                    lambda outputs, new: lax.dynamic_update_slice_in_dim(outputs, new, number * size, 0),
                    carried,
                    answer,
                )
            return number + 1, state, {} if from_metrics else answer

        number, state, carried = lax.while_loop(goes_on, advance, (jnp.int32(0), state, carried))
        return state, (number, report(state, carried))

    def outputs_join(self, state: State, data: Any) -> bool:
        """Whether outputs for batches of such data can be put together, samples along the first axis."""
        outputs = jax.eval_shape(self._by_itself, state, data)[1]
        samples = len(keras.tree.flatten(data)[0])
        return all(output.shape[:1] == (samples,) for output in jax.tree.leaves(outputs))


@functools.cache
def compiler_options(rare: bool) -> dict[str, Any] | None:
    """Options with which XLA compiles on CPUs.

    The last level of optimization takes longer, for an LSTM by a tenth, and steps are no faster by it.
    What is rare compiles in a third of the time, and then takes up to twice the time to run.
    """
    options = {"xla_backend_optimization_level": 2}
    if rare:
        options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # they are not among those that users are promised
        return None
    return options


def resident(leaf: Any) -> Any:
    """An array on the device: on CPUs one that shares its memory, which JAX does where it is aligned."""
    if not isinstance(leaf, np.ndarray):
        return to_backend(leaf)
    return jax.device_put(leaf if is_aligned(leaf) else aligned_copy(leaf), may_alias=True)
