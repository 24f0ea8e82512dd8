"""The JAX engine: runs many steps in one compiled loop, passing state from step to step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import starmap
from typing import Any
from weakref import WeakKeyDictionary

import jax
import keras
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from kerasfit import keras_private, layer_traits
from kerasfit.devices import on_cpu
from kerasfit.engines.engine import DEFAULTS, BaseEngine, ExecutionOptions, finite_loss, stays_on_device
from kerasfit.engines.jax.device_data import Chunks, DeviceData, padded, rounded_up
from kerasfit.engines.jax.placement import ONE_DEVICE, OneDevice, current_placement
from kerasfit.engines.jax.programs import Kind, Loop, Single
from kerasfit.engines.jax.steps import OUTPUTS, State, Steps, variables_of
from kerasfit.engines.kernels import replaced
from kerasfit.logs import Logs
from kerasfit.model_traits import metrics_reset_variables_only
from kerasfit.sources import Rows, RowStream, Source, Stream
from kerasfit.tensors import leaves_of, map_leaves, numbers_or_tensors, pack_batch, to_backend, to_numpy

# The number of steps that may be unfinished while the next batch from an iterator is made.
AHEAD = 2


def disable_compilation_cache() -> None:
    """Turn off JAX's compilation cache.

    JAX before 0.6 runs programs from its cache wrongly on CPUs: programs with donated arguments, such as
    steps, write into memory that is in use. Losses were wrong or NaN.
    """
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # otherwise JAX would not read the setting again


if jax.__version_info__ < (0, 6):
    disable_compilation_cache()


class JaxEngine(BaseEngine[Steps]):
    """Runs an execution as one compiled loop over rows of arrays on the device.

    Between executions the engine holds the state; ``sync`` writes it to the model's variables. There are two
    plans: "loop" is that loop; "step" makes a compiled call for each batch. Models with convolutions use
    "step" on CPUs, because XLA runs a convolution inside a loop on a single thread there.
    """

    plans = ("loop", "step")

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self._device_data: WeakKeyDictionary[RowStream, DeviceData] = WeakKeyDictionary()
        self._begun: WeakKeyDictionary[RowStream, set[tuple[Steps, bool]]] = WeakKeyDictionary()
        self._metrics_at_zero: tuple[list[int], list[np.ndarray]] = [], []
        self.placement: OneDevice = ONE_DEVICE
        self._held = State()  # returned by programs, or values of variables that they do not change
        self._unsynced: set[str] = set()  # the parts of it that are not in the variables
        # The state that the last program returned. Programs consume the state passed to them (donation), so
        # the new state must be stored before Python can be interrupted; ``list.extend`` does so within C.
        self._returned: list[tuple[State, Any]] = []
        self._running: deque[Logs] = deque()

    def use_plan(self, plan: str) -> None:
        placement = current_placement() if self._compiles else ONE_DEVICE
        if placement is not self.placement and placement.key != self.placement.key:
            self.sync()
            self._steps.clear()
            self.placement = placement
        super().use_plan(plan)

    def choose_plan(self) -> str:
        if not self._compiles:
            return "step"
        return "step" if on_cpu() and self.cached_trait(layer_traits.is_convolutional) else "loop"

    @property
    def _compiles(self) -> bool:
        return self.model.jit_compile and not self.model.run_eagerly

    def compiled(self, kind: str, step: Callable) -> Steps:
        return Steps(
            self.model,
            kind,
            step,
            compiles=self._compiles,
            kernels=self.kernels,
            placement=self.placement,
        )

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        stream = super().open(source, steps_per_epoch)
        if self.plan == "loop" and stays_on_device(stream, self.placement.parts):
            self._device_data[stream] = DeviceData(stream.source.data, self.placement)
        return stream

    def prepare(self, stream: Stream) -> None:
        """Create the variables of model, loss, metrics and optimizer, because a pure step cannot."""
        if (batch := stream.example()) is not None:
            may_replace = self.kernels and not keras.distribution.distribution()
            with replaced({"numpy.zeros": zeros_for} if may_replace else {}):
                keras_private.build_state(self.model, numbers_or_tensors(tuple(batch)))

    # ---- state ---------------------------------------------------------------------------------------

    def _state(self, step: Steps) -> tuple[State, State]:
        """Return the state that a step takes: the part that it changes, and the rest.

        The step gets a copy of the values of variables that it changes, because a program consumes them.
        """
        self._collect_returned()
        for name in (*step.changes, *step.keeps):
            if getattr(self._held, name) is None:
                values = self.placement.values(variables_of(self.model, name))
                self._held = self._held._replace(**{name: values})
        if synced := [name for name in step.changes if name not in self._unsynced]:
            copies = {name: [*map(self.placement.copy, getattr(self._held, name))] for name in synced}
            self._held = self._held._replace(**copies)
            self._unsynced.update(synced)
        return self._held.only(step.changes), self._held.only(step.keeps)

    def _types(self, step: Steps) -> tuple[State, State]:
        """The shapes and types of the state that a step takes: the part that it changes, and the rest."""
        names = (*step.changes, *step.keeps)
        types = State(
            **{name: [*map(self.placement.type_of, variables_of(self.model, name))] for name in names}
        )
        return types.only(step.changes), types.only(step.keeps)

    def _collect_returned(self) -> None:
        for state, _ in self._returned:
            self._held = state.over(self._held)
        self._returned = []

    def sync(self) -> None:
        self._collect_returned()
        for name in self._unsynced:
            values = getattr(self._held, name)
            for variable, value in zip(variables_of(self.model, name), values, strict=True):
                if isinstance(value, jax.Array):
                    keras_private.put(variable, self.placement.for_variable(variable, value))
                else:
                    variable.assign(value)
        self._held, self._unsynced = State(), set()

    def reset_metrics(self) -> None:
        if self.cached_trait(metrics_reset_variables_only):
            self._collect_returned()
            self._held = self._held._replace(metrics=[*map(self.placement.put, self._reset_values())])
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
        step, halting = self.step(kind), options.halt_on_nan
        logs: Logs = {}
        self._compile_ahead(step, stream, halting=halting)
        if options.evaluates_on:
            with suppress(Exception):  # the evaluation will raise it
                self._compile_ahead(self.step("test"), options.evaluates_on)
        if isinstance(stream, RowStream) and (device_data := self._device_data.get(stream)):
            taken = stream.take_rows(steps)
            for rows in taken.split():
                if rows.steps:
                    done, values = self._advance(step, *device_data.call(rows, halting))
                    logs = step.named(values)
                    if halting and done < rows.steps:
                        stream.return_batches(taken.steps - int(done))
                        break
        else:
            for data in self._batches(stream, steps):
                logs = step.named(self._advance(step, self._single_step(stream, data), data))
                self._running.append(logs)
                if len(self._running) > AHEAD:
                    jax.block_until_ready(self._running.popleft())
                if halting and not finite_loss(logs):
                    break
            if options.async_steps:
                return logs
            self._running.clear()
        return jax.block_until_ready(logs)

    def _compile_ahead(self, step: Steps, stream: Stream, *, halting: bool = False) -> None:
        """Start compiling the programs that a pass over rows needs, unless that has been done."""
        if not isinstance(stream, RowStream) or not self._compiles:
            return
        begun = self._begun.setdefault(stream, set())
        if (step, halting) in begun:
            return
        begun.add((step, halting))
        step.limit_programs((stream.size, stream.source.samples))
        for rows in stream.whole_pass().split():
            if rows.steps:
                program, *data = self._program_for(stream, rows, halting)
                step.compile_ahead(program, *self._types(step), *data)

    def _program_for(self, stream: RowStream, rows: Rows, halting: bool) -> tuple:
        """The program that runs these rows, and its arguments other than the state, or their types."""
        if device_data := self._device_data.get(stream):
            return device_data.call(rows, halting)
        size = min(rows.batch_size, rows.stop - rows.start)
        types = map_leaves(
            lambda leaf: None if leaf is None else self.placement.type_of_batch(leaf, size),
            tuple(stream.source.example),
        )
        return Single(size), pack_batch(types)

    def _single_step(self, stream: Stream, data: Any) -> Single | None:
        """The program for a batch of a stream; None if it is not compiled ahead."""
        if not isinstance(stream, RowStream):
            return None
        return Single(next(len(leaf) for leaf in leaves_of(data) if leaf is not None))

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        self._build_for_prediction(stream)
        step = self.step("predict")
        if isinstance(stream, RowStream) and (device_data := self._device_data.get(stream)):
            outputs = self._outputs_of_data(step, device_data, stream, steps)
        elif step.may_add_rows:
            outputs = self._outputs_of_padded(step, stream, steps)
        else:
            outputs = self._outputs_of_batches(step, stream, steps)
        self.sync()
        return [keras.tree.map_structure(to_numpy, output) for output in outputs]

    def _outputs_of_data(
        self, step: Steps, device_data: DeviceData, stream: RowStream, steps: int
    ) -> list[Any]:
        """Outputs for data on the device, of many batches at once if that is possible."""
        if step.may_add_rows:
            return self._outputs_of_chunks(step, device_data, stream, steps)
        if step.outputs_join(*self._state(step), device_data.data, stream.size):
            step.limit_programs((stream.size, stream.source.samples))
            return self._outputs_of_rows(step, device_data, stream.take_rows(steps))
        return self._outputs_of_batches(step, stream, steps)

    def _outputs_of_batches(self, step: Steps, stream: Stream, steps: int) -> list[Any]:
        outputs = []
        for data in self._batches(stream, steps):
            step.limit_programs(shapes_of(data))
            outputs.append(self._advance(step, None, data))
        return outputs

    def _outputs_of_chunks(
        self, step: Steps, device_data: DeviceData, stream: RowStream, steps: int
    ) -> list[Any]:
        if device_data.chunks is None:
            device_data.chunks = Chunks(
                stream.source.data[0], stream.source.samples, stream.size, self.placement
            )
        chunks = device_data.chunks
        loop = Loop(chunks.size, halting=False, rare=False)
        outputs = []
        for data, first, samples in chunks.of(stream.take_rows(steps)):
            step.limit_programs((chunks.size, chunks.steps))
            count = np.int32(-(-samples // chunks.size))
            _, answer = self._advance(step, loop, data, None, np.int32(first), count)
            outputs.append(map_leaves(partial(first_rows, samples), answer))
        return outputs

    def _outputs_of_padded(self, step: Steps, stream: Stream, steps: int) -> list[Any]:
        """Outputs of one batch after another; the last batch of arrays is padded."""
        size_of_all = None
        if isinstance(stream, RowStream) and stream.source.samples > stream.size:
            size_of_all = stream.size
        outputs = []
        for batch in stream.take(steps):
            x = numbers_or_tensors(batch.x)
            samples = next(len(leaf) for leaf in keras.tree.flatten(x) if leaf is not None)
            size = size_of_all or rounded_up(samples)
            data = pack_batch((self.placement.batch(padded(x, size)),))
            step.limit_programs(shapes_of(data))
            answer = self._advance(step, None, data)
            outputs.append(jax.tree.map(lambda output, n=samples: output[:n], answer))
        return outputs

    def _outputs_of_rows(self, step: Steps, device_data: DeviceData, rows: Rows) -> list[Any]:
        """Outputs of a model whose batches must have the same sizes as in Keras."""
        outputs = []
        for some in rows.split():
            for part in some.in_parts(OUTPUTS):
                _, answer = self._advance(step, *device_data.call(part, halting=False))
                samples = part.stop - part.start
                outputs.append(jax.tree.map(lambda output, n=samples: to_numpy(output)[:n], answer))
        return outputs

    def _batches(self, stream: Stream, steps: int) -> Iterator[Any]:
        """The next batches as arguments of steps: numpy arrays if steps are compiled, else backend tensors.

        A compiled step does not copy the arrays, and may still be running when they are deleted here.
        """
        as_arguments = numbers_or_tensors if self._compiles else to_backend
        for batch in stream.take(steps):
            yield pack_batch(self.placement.batch(as_arguments(tuple(batch))))

    def _advance(self, step: Steps, kind: Kind, *data: Any) -> Any:
        """Run a program, store the new state, and return logs or outputs."""
        changing, kept = self._state(step)
        step.tracing(lambda: self._returned.extend(starmap(step.program(kind), [(changing, kept, *data)])))
        return self.placement.answer(self._returned[-1][1])

    def _build_for_prediction(self, stream: Stream) -> None:
        """Build the layers that are not built, from a batch of inputs only."""
        model = self.model
        if model.built and all(layer.built for layer in model.layers):
            return
        if (batch := stream.peek()) is not None:
            with keras.StatelessScope():
                model(to_backend(batch.x))


def first_rows(count: int, output: Any) -> np.ndarray:
    return to_numpy(output)[:count]


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
