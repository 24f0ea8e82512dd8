"""The JAX engine: runs many steps in one compiled loop, passing state from step to step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import starmap
from typing import Any
from weakref import WeakKeyDictionary

import jax
import keras
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from kerasfit import keras_private
from kerasfit.engines.engine import DEFAULTS, BaseEngine, ExecutionOptions, Logs, finite_loss
from kerasfit.engines.jax.steps import OUTPUTS, Loop, RowsWithin, State, Steps
from kerasfit.engines.kernels import replaced
from kerasfit.runtime.memory import aligned_empty, elements_around, is_aligned
from kerasfit.sources import Rows, RowStream, Source, Stream
from kerasfit.tensors import aligned_copy, numbers_or_tensors, pack_batch, to_backend, to_numpy

# The number of steps that may be unfinished while the next batch from an iterator is made.
AHEAD = 2

SMALL = 2**16  # bytes: numpy copies smaller arrays ten times as fast as JAX
LARGE = 2**20  # bytes: smaller arrays are copied to aligned memory, which needs a simpler program


def run_no_kept_programs() -> None:
    """Turn off JAX's compilation cache.

    JAX before 0.6 runs programs from its cache wrongly on CPUs: programs with donated arguments, such as
    steps, write into memory that is in use. Losses were wrong or NaN.
    """
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # otherwise JAX would not read the setting again


if jax.__version_info__ < (0, 6):
    run_no_kept_programs()


class JaxEngine(BaseEngine):
    """Runs an execution as one compiled loop over rows of arrays on the device.

    Between executions the engine holds the state; ``sync`` writes it to the model's variables. There are two
    plans: "loop" is that loop; "step" makes a compiled call for each batch. Models with convolutions use
    "step" on CPUs, because XLA runs a convolution inside a loop on a single thread there.
    """

    plans = ("loop", "step")

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self._device_data: WeakKeyDictionary[Stream, DeviceData] = WeakKeyDictionary()
        self._metrics_at_zero: tuple[list[int], list[np.ndarray]] = [], []
        self._held = State()  # returned by programs, or values of variables that they do not change
        self._unsynced: set[str] = set()  # the parts of it that are not in the variables
        # The state that the last program returned. Programs consume the state passed to them (donation), so
        # the new state must be stored before Python can be interrupted; ``list.extend`` does so within C.
        self._returned: list[tuple[State, Any]] = []
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
        return Steps(self.model, kind, step, compiles=self._compiles, kernels=self.kernels)

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        stream = super().open(source, steps_per_epoch)
        if self.plan == "loop" and isinstance(stream, RowStream) and source.in_memory:
            self._device_data[stream] = DeviceData(source.data)
        return stream

    def prepare(self, stream: Stream) -> None:
        """Create the variables of model, loss, metrics and optimizer, because a pure step cannot."""
        if (batch := stream.example()) is not None:
            may_replace = self.kernels and not keras.distribution.distribution()
            with replaced({"numpy.zeros": zeros_for} if may_replace else {}):
                keras_private.build_state(self.model, numbers_or_tensors(tuple(batch)))

    # ---- state ---------------------------------------------------------------------------------------

    def _variables(self, name: str) -> list[keras.Variable]:
        if name == "optimizer":
            return self.model.optimizer.variables if self.model.optimizer else []
        return getattr(self.model, f"{name}_variables")

    def _state(self, step: Steps) -> tuple[State, State]:
        """Return the state that a step takes: the part that it changes, and the rest.

        The step gets a copy of the values of variables that it changes, because a program consumes them.
        """
        self._collect_returned()
        for name in (*step.changes, *step.keeps):
            if getattr(self._held, name) is None:
                values = [variable.value for variable in self._variables(name)]
                self._held = self._held._replace(**{name: values})
        if synced := [name for name in step.changes if name not in self._unsynced]:
            self._held = jax.tree.map(copy_of, self._held.only(synced)).over(self._held)
            self._unsynced.update(synced)
        return self._held.only(step.changes), self._held.only(step.keeps)

    def _collect_returned(self) -> None:
        for state, _ in self._returned:
            self._held = state.over(self._held)
        self._returned = []

    def sync(self) -> None:
        self._collect_returned()
        for name in self._unsynced:
            for variable, value in zip(self._variables(name), getattr(self._held, name), strict=True):
                if isinstance(value, jax.Array):
                    keras_private.put(variable, value)
                else:
                    variable.assign(value)
        self._held, self._unsynced = State(), set()

    def reset_metrics(self) -> None:
        if self.cached_trait(keras_private.metrics_reset_variables_only):
            self._collect_returned()
            self._held = self._held._replace(metrics=self._reset_values())
            self._unsynced.add("metrics")
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

    def train(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        return self._run("train", stream, steps, options)

    def evaluate(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        return self._run("test", stream, steps, options)

    def _run(self, kind: str, stream: Stream, steps: int, options: ExecutionOptions) -> Logs:
        step, logs, halting = self.step(kind), {}, options.halt_on_nan
        if device_data := self._device_data.get(stream):
            if kind == "test":
                step.limit_programs((stream.size, stream.source.samples))
            device_data.compile(step, stream, halting, self._state(step))
            taken = stream.take_rows(steps)
            for rows in taken.split():
                if rows.steps:
                    done, logs = self._advance(step, *device_data.program(step, rows, halting))
                    if halting and done < rows.steps:
                        stream.give_back(taken.steps - int(done))
                        break
        else:
            for data in self._batches(stream, steps):
                logs = self._advance(step, step.single_step, data)
                self._running.append(logs)
                if len(self._running) > AHEAD:
                    jax.block_until_ready(self._running.popleft())
                if halting and not finite_loss(logs):
                    break
            if options.async_steps:
                return step.in_original_order(logs)
            self._running.clear()
        return step.in_original_order(jax.block_until_ready(logs))

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        self._build_for_prediction(stream)
        step = self.step("predict")
        device_data = self._device_data.get(stream)
        if step.may_add_rows and device_data:
            outputs = self._outputs_of_chunks(step, device_data, stream, steps)
        elif step.may_add_rows:
            outputs = self._outputs_of_padded(step, stream, steps)
        elif device_data and step.outputs_join(*self._state(step), device_data.data, stream.size):
            step.limit_programs((stream.size, stream.source.samples))
            outputs = self._outputs_of_rows(step, device_data, stream.take_rows(steps))
        else:
            outputs = []
            for data in self._batches(stream, steps):
                step.limit_programs(shapes_of(data))
                outputs.append(self._advance(step, step.single_step, data))
        self.sync()
        return [keras.tree.map_structure(to_numpy, output) for output in outputs]

    def _outputs_of_chunks(
        self, step: Steps, device_data: DeviceData, stream: RowStream, steps: int
    ) -> list[Any]:
        if device_data.chunks is None:
            device_data.chunks = Chunks(stream.source.data[0], stream.source.samples, stream.size)
        chunks = device_data.chunks
        program = step.over_rows(Loop(chunks.size, halting=False, rare=False))
        outputs = []
        for data, first, samples in chunks.of(stream.take_rows(steps)):
            step.limit_programs((chunks.size, chunks.steps))
            count = np.int32(-(-samples // chunks.size))
            _, answer = self._advance(step, program, data, None, np.int32(first), count)
            outputs.append(jax.tree.map(lambda output, n=samples: to_numpy(output)[:n], answer))
        return outputs

    def _outputs_of_padded(self, step: Steps, stream: Stream, steps: int) -> list[Any]:
        """Outputs of one batch after another; the last batch of arrays is padded."""
        several = isinstance(stream, RowStream) and stream.source.samples > stream.size
        outputs = []
        for batch in stream.take(steps):
            x = numbers_or_tensors(batch.x)
            samples = next(len(leaf) for leaf in keras.tree.flatten(x) if leaf is not None)
            size = stream.size if several else rounded_up(samples)
            data = pack_batch((padded(x, size),))
            step.limit_programs(shapes_of(data))
            answer = self._advance(step, step.single_step, data)
            outputs.append(jax.tree.map(lambda output, n=samples: output[:n], answer))
        return outputs

    def _outputs_of_rows(self, step: Steps, device_data: DeviceData, rows: Rows) -> list[Any]:
        """Outputs of a model whose batches must have the same sizes as in Keras."""
        outputs = []
        for some in rows.split():
            for part in some.in_parts(OUTPUTS):
                _, answer = self._advance(step, *device_data.program(step, part, halting=False))
                samples = part.stop - part.start
                outputs.append(jax.tree.map(lambda output, n=samples: to_numpy(output)[:n], answer))
        return outputs

    def _batches(self, stream: Stream, steps: int) -> Iterator[Any]:
        """The next batches as arguments of steps: numpy arrays if steps are compiled, else backend tensors.

        A compiled step does not copy the arrays, and may still be running when they are deleted here.
        """
        as_arguments = numbers_or_tensors if self._compiles else to_backend
        for batch in stream.take(steps):
            yield pack_batch(as_arguments(tuple(batch)))

    def _advance(self, step: Steps, program: Callable, *data: Any) -> Any:
        """Run a step's program on the state, store the new state, and return its logs or outputs."""
        changing, kept = self._state(step)
        self._returned.extend(starmap(program, [(changing, kept, *data)]))
        return self._returned[-1][1]

    def _build_for_prediction(self, stream: Stream) -> None:
        """Build the layers that are not built, from a batch of inputs only."""
        model = self.model
        if (not model.built or not all(layer.built for layer in model.layers)) and stream.peek() is not None:
            with keras.StatelessScope():
                model(to_backend(stream.peek().x))


class DeviceData:
    """The arrays of a source on the device, and the order of rows in the current pass."""

    def __init__(self, data: tuple):
        self._arrays = data
        self._order: tuple[np.ndarray | None, np.ndarray | None] = None, None  # as given, and as int32
        self._begun: set[tuple[Steps, bool]] = set()
        self.chunks: Chunks | None = None  # for prediction

    @cached_property
    def data(self) -> Any:
        return pack_batch(keras.tree.map_structure(to_device, self._arrays))

    def program(self, step: Steps, rows: Rows, halting: bool) -> tuple:
        """The loop for these rows, and its arguments other than the state."""
        return step.over_rows(self._kind(rows, halting)), *self._arguments(rows)

    def compile(self, step: Steps, stream: RowStream, halting: bool, state: tuple[State, State]) -> None:
        """Start compiling the loops that a pass over the stream needs, unless they exist."""
        if (step, halting) in self._begun:
            return
        self._begun.add((step, halting))
        for rows in stream.whole_pass().split():
            if rows.steps:
                step.compile_over_rows(self._kind(rows, halting), *state, *self._arguments(rows))

    def _kind(self, rows: Rows, halting: bool) -> Loop:
        size = min(rows.batch_size, rows.stop - rows.start)
        return Loop(size, halting, rare=size < rows.batch_size)

    def _arguments(self, rows: Rows) -> tuple:
        if self._order[0] is not rows.order:
            order = None if rows.order is None else rows.order.astype(np.int32)
            self._order = rows.order, order
        return self.data, self._order[1], np.int32(rows.start), np.int32(rows.steps)


class Chunks:
    """Inputs for prediction in chunks of one shape, so that few programs serve all numbers of samples.

    A chunk has ``steps`` batches of ``size`` rows, and the last chunk is padded. The caller drops the outputs
    for padding rows.
    """

    def __init__(self, x: Any, samples: int, batch_size: int):
        self.size = batch_size if samples > batch_size else rounded_up(samples)
        self.steps = min(OUTPUTS, power_of_two(-(-samples // self.size)))
        self._x = x
        self._at: tuple[int | None, Any] = None, None

    def of(self, rows: Rows) -> Iterator[tuple[Any, int, int]]:
        """For each chunk with some of these rows: its data, the first of the rows in it, and their number."""
        length, at = self.size * self.steps, rows.start
        while at < rows.stop:
            begin = at - at % length
            end = min(rows.stop, begin + length)
            yield self._part(begin, length), at - begin, end - at
            at = end

    def _part(self, begin: int, length: int) -> Any:
        if self._at[0] != begin:

            def part(leaf: Any) -> Any:
                return None if leaf is None else leaf[begin : begin + length]

            data = padded(keras.tree.map_structure(part, self._x), length)
            self._at = begin, pack_batch((keras.tree.map_structure(to_device_aligned, data),))
        return self._at[1]


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least ``number``."""
    return 1 << (number - 1).bit_length()


def rounded_up(rows: int) -> int:
    """Round a number of rows up to a power of two or, above 64, to one of three values between two powers."""
    power = power_of_two(rows)
    unit = power if power <= 64 else power // 8
    return -(-rows // unit) * unit


def padded(data: Any, size: int) -> Any:
    """Pad arrays to ``size`` rows by repeating the last row."""

    def fill(leaf: Any) -> Any:
        if leaf is None or len(leaf) == size:
            return leaf
        array = np.asarray(leaf)
        filled = aligned_empty((size, *array.shape[1:]), array.dtype)
        filled[: len(array)], filled[len(array) :] = array, array[-1]
        return filled

    return keras.tree.map_structure(fill, data)


def to_device_aligned(leaf: Any) -> Any:
    """Put an array on the device. On CPUs it shares the memory of aligned arrays."""
    if leaf is None or jax.default_backend() != "cpu":
        return to_backend(leaf)
    return jax.device_put(leaf if is_aligned(leaf) else aligned_copy(leaf), may_alias=True)


def shapes_of(data: Any) -> tuple:
    """The shapes of the leaves of some data, None where a leaf has no shape."""
    return tuple(getattr(leaf, "shape", None) for leaf in keras.tree.flatten(data))


def zeros_for(original: Callable) -> Callable:
    """A replacement for ``numpy.zeros``, for which JAX compiles a program for each shape.

    Optimizers call it to create their variables.
    """

    def zeros(shape: tuple[int, ...], dtype: Any = None) -> jax.Array:
        return jax.device_put(np.zeros(shape, jax.dtypes.canonicalize_dtype(dtype or keras.config.floatx())))

    return zeros


def copy_of(value: jax.Array) -> jax.Array | np.ndarray:
    """A copy that a program may consume."""
    if value.nbytes < SMALL and jax.default_backend() == "cpu":
        return np.array(value)
    return jax.device_put(value, may_alias=False)


def to_device(leaf: Any) -> Any:
    """Put an array on the device. On CPUs it shares the memory of large or aligned arrays."""
    if not isinstance(leaf, np.ndarray) or jax.default_backend() != "cpu":
        return to_backend(leaf)
    if leaf.nbytes >= LARGE and jax.dtypes.canonicalize_dtype(leaf.dtype) == leaf.dtype:
        elements, first = elements_around(leaf) or (None, 0)
        if elements is not None and elements.size <= np.iinfo(np.int32).max:
            return RowsWithin(jax.device_put(elements, may_alias=True), np.int32(first), leaf.shape)
    return to_device_aligned(leaf)
