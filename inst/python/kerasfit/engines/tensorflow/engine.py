"""The TensorFlow engine: many steps in one ``tf.function``, over data that stay on the device."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from kerasfit import keras_private
from kerasfit.engines.engine import DEFAULTS, ExecutionOptions, Logs, PlainEngine, all_logs_are_metrics
from kerasfit.engines.tensorflow.steps import PASSES, CompiledLoop, Passes, Steps, XlaLoop
from kerasfit.runtime import compilation_cache
from kerasfit.runtime.cpu import abilities
from kerasfit.runtime.memory import aligned_empty, is_aligned
from kerasfit.sources import Batch, DatasetSource, Rows, RowStream, Source, Stream
from kerasfit.tensors import aligned_copy, numbers, numbers_or_tensors, pack, to_backend, to_numpy

FEW_BATCHES = 100  # at most, in data over which XLA's loop makes several passes
COPIED_PARAMETERS = 10_000_000  # at most; XLA compiles ahead on a copy of the variables


class TensorFlowEngine(PlainEngine):
    """Runs an execution as one compiled loop over rows of arrays or elements of a dataset.

    The plans: "loop" is the loop as a graph; "xla" has XLA compile it for whole batches, and leaves the rest
    at the end of an epoch to the graph; "xla_step" has XLA compile the steps for whole batches, and not the
    loop; "step" is a compiled call for each batch.

    On CPUs, XLA makes one fused loop of what a graph does operation by operation, so it is the choice for
    arrays; around the loop where there are no convolutions, to which XLA gives all threads outside of its
    loops only. A graph's convolutions are oneDNN's, which does them better where the processor has AVX-512.
    XLA takes a second or more to compile a loop. So a model's first steps go through the graph, and XLA takes
    over when the optimizer has counted as many as ``xla_pays_after``: small jobs are done by then, and a run
    that is interrupted and resumed is computed as one that is not. Longer ones have their loop compiled in
    the background before then, from a fifth of those steps on. On GPUs the choice is the model's
    ``jit_compile``.

    Where data make few batches of short steps, the call of a loop takes longer than the steps. There XLA's
    loop has the rest in it, too, and goes over several epochs if nobody looks between them.
    """

    plans = ("loop", "xla", "xla_step", "step")

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self._resident: WeakKeyDictionary[Stream, Resident] = WeakKeyDictionary()
        self._reset_due = False
        self._ahead: Steps | None = None  # whose loop XLA compiles, or has, while the graph trains
        self._beyond_xla: dict[str, Any] = {}  # Keras's functions for steps that XLA could not compile

    def choose_plan(self) -> str:
        if not on_cpu():
            return "xla" if self.model.jit_compile else "loop"
        if self._xla_has_failed() or not keras_private.compiles_with_xla(self.model):
            return "loop"
        if not keras_private.is_convolutional(self.model):
            return "xla"
        return "loop" if "avx512f" in abilities() else "xla_step"

    def _xla_has_failed(self) -> bool:
        """Whether XLA could not compile a step of the model as it is now: Keras has made no new function."""
        return any(
            function is getattr(self.model, f"{kind}_function") for kind, function in self._beyond_xla.items()
        )

    def compiled(self, kind: str, step: Callable) -> Callable:
        if self.model.run_eagerly:
            return step
        fuse = self.kernels and kind == "train" and self.plan != "step"
        return Steps(self.model, kind, step, fuse=fuse, kernels=self.kernels)

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        if self.plan == "step":
            return super().open(source, steps_per_epoch)
        if isinstance(source, DatasetSource) and not source.looks_at_batches:
            return DatasetStream(source, steps_per_epoch)
        stream = super().open(source, steps_per_epoch)
        if isinstance(stream, RowStream) and source.in_memory:
            self._resident[stream] = Resident(source.data)
        return stream

    def prepare(self, stream: Stream) -> None:
        """Create the state of model, loss, metrics and optimizer, so that one trace of a step is enough."""
        if self.plan != "step" and (batch := stream.example()) is not None:
            with contextlib.suppress(Exception):  # then a trace creates it, or says what is wrong
                keras_private.build_state(self.model, numbers_or_tensors(tuple(batch)))

    def reset_metrics(self) -> None:
        if self.fact(keras_private.metrics_reset_variables_only):
            self._reset_due = True  # by the next execution
        else:
            self.model.reset_metrics()

    def sync(self) -> None:
        super().sync()
        if self._take_reset():
            self.model.reset_metrics()

    def _take_reset(self) -> bool:
        due, self._reset_due = self._reset_due, False
        return due

    def train(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        return self._run("train", stream, steps, options)

    def evaluate(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        return self._run("test", stream, steps, options)

    def _run(self, kind: str, stream: Stream, steps: int, options: ExecutionOptions) -> Logs:
        step, halting = self.step(kind), options.halt_on_nan
        if isinstance(stream, DatasetStream):
            return stream.run(step, steps, reset=self._take_reset(), halting=halting)
        if stream in self._resident:
            by_xla, steps = self._who_compiles(step, stream, steps, options)
            rows = stream.take_rows(steps)
            run = self._run_by_xla if by_xla else self._run_as_graph
            done, logs = run(step, stream, rows, halting=halting)
            if halting:
                stream.give_back(rows.steps - done)
            return logs
        if self._reset_due:
            self.sync()
        return self._last(step, stream, steps, options)

    def _who_compiles(
        self, step: Steps, stream: RowStream, steps: int, options: ExecutionOptions
    ) -> tuple[bool, int]:
        """Whether XLA compiles the loop over the next steps, and how many of them are for that loop.

        XLA takes over no step whose layers or optimizer have other attributes than it was traced with: Keras
        goes on with what it has traced, until the model is compiled again.
        """
        if not self.plan.startswith("xla"):
            return False, steps
        if not self.plan_is_chosen:
            return True, steps
        if self.step("train").has_run:
            return step.has_run or step.is_up_to_date, steps
        enough = keras_private.xla_pays_after(self.model)
        if step.kind == "train":
            before = enough - self._finished_steps()
            if 0 < before < min(0.8 * enough, options.planned_steps - stream.taken):
                self._compile_ahead(step, stream, halting=options.halt_on_nan)
            if before <= 0:
                return step.is_up_to_date, steps
            return False, min(steps, before)
        return (stream.steps or 0) >= enough and step.is_up_to_date, steps

    def _compile_ahead(self, step: Steps, stream: RowStream, *, halting: bool) -> None:
        """Have XLA compile its loop while the graph trains."""
        if self._ahead is step or self.model.count_params() > COPIED_PARAMETERS:
            return
        self._ahead = step
        if step.is_up_to_date:
            with contextlib.suppress(Exception):  # which comes up, and is seen to, when the loop is to run
                self._resident[stream].compile_ahead(
                    step,
                    self._loop_of_xla(step, stream),
                    stream.size,
                    shuffled=stream.source.shuffling.seed is not None,
                    halting=halting,
                )

    def _run_as_graph(self, step: Steps, stream: RowStream, rows: Rows, *, halting: bool) -> tuple[int, Logs]:
        """Run a kind of step over rows: how many steps there were, and the logs."""
        return self._resident[stream].run(step, rows, reset=self._take_reset(), halting=halting)

    def _run_by_xla(self, step: Steps, stream: RowStream, rows: Rows, *, halting: bool) -> tuple[int, Logs]:
        """The same with XLA for whole batches."""
        reset = self._take_reset()
        finished = None if step.has_run else self._finished_steps()
        loop = self._loop_of_xla(step, stream)
        try:
            done, logs = self._resident[stream].run(step, rows, loop, reset=reset, halting=halting)
        except tf.errors.OpError:
            if self._finished_steps() != finished:
                raise
            # Before its first step, so XLA did not compile it.
            if compilation_cache.remove_damaged():
                self._reset_due = reset
                self._steps.clear()  # TensorFlow remembers the error of this one
                return self._run_by_xla(self.step(step.kind), stream, rows, halting=halting)
            if not self.plan_is_chosen:
                raise
            # If something else was wrong, the graph says it.
            self._beyond_xla[step.kind] = getattr(self.model, f"{step.kind}_function")
            self.plan, self._reset_due = "loop", reset
            return self._run_as_graph(self.step(step.kind), stream, rows, halting=halting)
        step.has_run = True
        return done, logs

    def _loop_of_xla(self, step: Steps, stream: RowStream) -> XlaLoop | Passes:
        if step.kind == "train" and self._in_passes(stream):
            return Passes(stream.size, stream.source.samples % stream.size)
        return XlaLoop(stream.size, around_loop=self.plan == "xla")

    def _in_passes(self, stream: RowStream) -> bool:
        """Whether XLA compiles passes over the data: where those have few batches, of short steps."""
        few = stream.source.samples <= FEW_BATCHES * stream.size
        return few and self.plan == "xla" and self.fact(has_plain_short_steps)

    def train_epochs(self, stream: Stream, epochs: int) -> list[Logs]:
        in_passes = stream in self._resident and stream.limit is None and self._in_passes(stream)
        step, epochs = self.step("train"), min(epochs, PASSES)
        if epochs < 2 or not (in_passes and step.has_run):
            return []
        passes = []
        for _ in range(epochs):
            stream.begin_epoch()
            passes.append(stream.take_rows(stream.steps))
        self._reset_due = False
        logs = self._resident[stream].run_passes(step, passes, self._loop_of_xla(step, stream), reset=True)[
            -1
        ]
        logs = keras.tree.map_structure(to_numpy, logs)
        return [numbers(keras.tree.map_structure(lambda of: of[i], logs)) for i in range(epochs)]  # noqa: B023

    def _finished_steps(self) -> int:
        optimizer = self.model.optimizer
        return int(keras.ops.convert_to_numpy(optimizer.iterations)) if optimizer is not None else 0

    def state(self) -> Any:
        """Whether XLA has taken over, which validation follows."""
        return bool(self.step("train").has_run) if self.plan.startswith("xla") else None

    def restore(self, state: Any) -> None:
        if state is not None:
            self.step("train").has_run = state

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        resident = self._resident.get(stream)
        if resident and self.step("predict").outputs_join(resident.data):
            _, outputs = resident.run(self.step("predict"), stream.take_rows(steps))
            return [keras.tree.map_structure(to_numpy, outputs)]
        return super().predict(stream, steps)


class Resident:
    """The arrays of a source as tensors on the device, with the order of the current pass."""

    def __init__(self, data: tuple):
        self.data = pack(keras.tree.map_structure(resident, data))
        self.leaves = [leaf for leaf in keras.tree.flatten(self.data) if leaf is not None]
        self.samples = int(self.leaves[0].shape[0])
        self._order = None, no_order()  # of the current pass, as given and on the device
        self._loops: dict[tuple, CompiledLoop] = {}

    def order(self, rows: Rows) -> tf.Tensor:
        if self._order[0] is not rows.order:
            self._order = rows.order, resident(rows.order)
        return self._order[1]

    def loop(
        self, step: Steps, by: XlaLoop | Passes | None, batch_size: int, *, shuffled: bool, halting: bool
    ) -> CompiledLoop:
        """The loop for a step, by XLA or as a graph."""
        rest = self.samples % batch_size > 0
        key = step, by, rest, shuffled, halting
        if key not in self._loops:
            if isinstance(by, Passes):
                self._loops[key] = step.over_passes(self.data, by, shuffled=shuffled, halting=halting)
            else:
                self._loops[key] = step.over_rows(
                    self.data, shuffled=shuffled, xla=by, rest=rest, halting=halting
                )
        return self._loops[key]

    def run(
        self,
        step: Steps,
        rows: Rows,
        by: XlaLoop | Passes | None = None,
        *,
        reset: bool = False,
        halting: bool = False,
    ) -> tuple[int, Any]:
        """Run a step over the rows: how many there were, and the metrics or last logs, or all outputs."""
        if isinstance(by, Passes):
            return self.run_passes(step, [rows], by, reset=reset, halting=halting)[:2]
        loop = self.loop(step, by, rows.batch_size, shuffled=rows.order is not None, halting=halting)
        bounds = constants(rows.start, rows.stop, rows.batch_size, reset)
        done, result = loop(self.leaves, self.order(rows), bounds)
        return int(done) if halting else rows.steps, result

    def run_passes(
        self, step: Steps, passes: list[Rows], by: Passes, *, reset: bool, halting: bool = False
    ) -> tuple[int, Any, Any]:
        """Run a step over rows of several passes, the same of each: as ``Steps.over_passes``."""
        rows = passes[-1]
        loop = self.loop(step, by, by.size, shuffled=rows.order is not None, halting=halting)
        orders = no_order()
        if rows.order is not None:
            orders = aligned_empty((PASSES * self.samples,), rows.order.dtype)
            np.concatenate([each.order for each in passes], out=orders[: len(passes) * self.samples])
            orders = resident(orders)
        bounds = constants(rows.start, rows.stop, reset, len(passes))
        done, logs, of_each = loop(self.leaves, orders, bounds)
        return int(done) if halting else rows.steps, logs, of_each

    def compile_ahead(
        self, step: Steps, by: XlaLoop | Passes, batch_size: int, *, shuffled: bool, halting: bool
    ) -> None:
        """Have XLA compile in the background what ``run`` will call."""
        passes = isinstance(by, Passes)
        order = tf.zeros(self.samples * (PASSES if passes else 1), tf.int64) if shuffled else no_order()
        # no step, unless XLA compiles the step and not the loop
        stop = 0 if passes or by.around_loop else batch_size
        bounds = constants(0, 0, 0, 1) if passes else constants(0, stop, batch_size, 0)
        loop = self.loop(step, by, batch_size, shuffled=shuffled, halting=halting)
        loop.compile_ahead(step.model, self.leaves, order, bounds)


class DatasetStream(Stream):
    """The elements of a dataset, which a compiled loop pulls by itself."""

    source: DatasetSource

    def __init__(self, source: DatasetSource, steps_per_epoch: int | None = None):
        super().__init__(source, steps_per_epoch)
        self._iterator: Any = None
        self._ahead: Any = None  # the next element as an optional; None if it has not been drawn

    def _next(self) -> Any:
        if self._ahead is None:
            if self._iterator is None:
                self._iterator = iter(self.source.dataset)
            self._ahead = self._iterator.get_next_as_optional()
        return self._ahead

    @property
    def in_pass(self) -> bool:
        return self._iterator is not None

    def has_next(self) -> bool:
        return bool(self._next().has_value())

    def peek(self) -> Batch | None:
        return self.source.batch(self._next().get_value()) if self.has_next() else None

    def advance(self) -> None:
        super().advance()
        self._ahead = None

    def leave_pass(self) -> None:
        self._iterator = self._ahead = None
        self.passed = 0

    def skip(self, steps: int) -> None:
        self._iterator, self._ahead = iter(self.source.dataset.skip(steps)), None
        self.passed = steps

    def run(self, step: Steps, steps: int, *, reset: bool, halting: bool) -> Logs:
        """Up to ``steps`` steps in one call. Draws no element that this epoch does not take."""
        if self.limit is not None:
            steps = min(steps, self.limit - self.taken)
        loop = step.over_elements(self.source.dataset.element_spec, halting=halting)
        taken, ahead, logs = loop(self._iterator, self._next(), constants(steps, reset))
        self.taken += int(taken)
        self.passed += int(taken)
        self._ahead = ahead if taken < steps else None
        return logs


@functools.lru_cache
def constants(*numbers: int) -> tf.Tensor:
    return tf.constant(numbers, tf.int64)


@functools.cache
def no_order() -> tf.Tensor:
    return tf.zeros(0, tf.int64)


def has_plain_short_steps(model: keras.Model) -> bool:
    """Whether steps are short, and XLA may begin an epoch and end it: metrics are all that there is to it."""
    return (
        not keras_private.has_long_steps(model)
        and keras_private.metrics_reset_variables_only(model)
        and all_logs_are_metrics(model)
    )


def on_cpu() -> bool:
    return not tf.config.list_logical_devices("GPU")


def resident(leaf: Any) -> Any:
    """An array as a tensor, which shares its memory on CPUs (what tf.constant() makes there is a copy)."""
    if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "fiu" or not on_cpu():
        return to_backend(leaf)
    shareable = is_aligned(leaf) and leaf.flags.writeable  # DLPack has no word for memory that is read-only
    return tf.experimental.dlpack.from_dlpack((leaf if shareable else aligned_copy(leaf)).__dlpack__())
