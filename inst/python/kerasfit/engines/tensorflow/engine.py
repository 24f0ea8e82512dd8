"""The TensorFlow engine: runs many steps in one ``tf.function``, on data that stay on the device."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from kerasfit import keras_private, layer_traits
from kerasfit.devices import on_cpu
from kerasfit.engines.engine import (
    DEFAULTS,
    BaseEngine,
    ExecutionOptions,
    all_logs_are_metrics,
    stays_on_device,
)
from kerasfit.engines.tensorflow.dataset_stream import DatasetStream
from kerasfit.engines.tensorflow.programs import BoundProgram
from kerasfit.engines.tensorflow.rows import constants
from kerasfit.engines.tensorflow.steps import MAX_PASSES, EpochLoop, Steps, XlaLoop
from kerasfit.logs import Logs, logs_to_floats
from kerasfit.model_traits import metrics_reset_variables_only
from kerasfit.runtime import compilation_cache
from kerasfit.runtime.cpu import cpu_flags
from kerasfit.runtime.memory import aligned_empty, is_aligned
from kerasfit.sources import DatasetSource, Rows, RowStream, Source, Stream
from kerasfit.tensors import aligned_copy, numbers_or_tensors, pack_batch, to_backend, to_numpy

FEW_BATCHES = 100  # XLA's loop makes several passes over data of at most this many batches
COPIED_PARAMETERS = 10_000_000  # at most; compiling in the background needs a copy of the variables


class TensorFlowEngine(BaseEngine[Steps]):
    """Runs an execution as one compiled loop over rows of arrays or elements of a dataset.

    There are four plans. "loop" runs the loop as a graph. With "xla", XLA compiles the loop for whole
    batches, and the graph runs the smaller batch at the end of an epoch. With "xla_step", XLA compiles the
    steps for whole batches, but not the loop. "step" makes a compiled call for each batch.

    On CPUs, XLA is the default for arrays, because it fuses operations that a graph runs one by one. It
    compiles the loop too, unless the model has convolutions: inside a loop, XLA runs these on one thread. A
    graph's convolutions are oneDNN's, which are faster on processors with AVX-512. XLA takes a second or more
    to compile a loop. Therefore a model's first steps run as a graph, and XLA takes over when the optimizer
    has counted ``xla_pays_after`` steps. Small jobs are done by then, and a run that is interrupted and
    resumed is computed like one that is not. In longer jobs the loop is compiled in the background, starting
    after a fifth of those steps. On GPUs, the model's ``jit_compile`` decides.

    If the data have few batches and steps are short, calling a loop takes longer than the steps. Then XLA's
    loop includes the smaller last batch, and runs several epochs if no callback needs to run between them.
    """

    plans = ("loop", "xla", "xla_step", "step")

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self._device_data: WeakKeyDictionary[RowStream, DeviceData] = WeakKeyDictionary()
        self._reset_due = False
        self._ahead: Steps | None = None  # its loop is compiled by XLA, or was, while the graph trains
        self._failed_in_xla: dict[str, Any] = {}  # Keras's functions for steps that XLA failed to compile

    def choose_plan(self) -> str:
        if not on_cpu():
            return "xla" if self.model.jit_compile else "loop"
        if self._xla_has_failed() or not layer_traits.compiles_with_xla(self.model):
            return "loop"
        if not layer_traits.is_convolutional(self.model):
            return "xla"
        return "loop" if "avx512f" in cpu_flags() else "xla_step"

    def _xla_has_failed(self) -> bool:
        """Whether XLA failed to compile a step, and Keras has not made a new function for it since."""
        return any(
            function is getattr(self.model, f"{kind}_function")
            for kind, function in self._failed_in_xla.items()
        )

    def compiled(self, kind: str, step: Callable) -> Steps:
        fuse = self.kernels and kind == "train" and self.plan != "step"
        return Steps(self.model, kind, step, fuse=fuse, kernels=self.kernels)

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        if self.plan == "step":
            return super().open(source, steps_per_epoch)
        if isinstance(source, DatasetSource) and not source.looks_at_batches:
            return DatasetStream(source, steps_per_epoch)
        stream = super().open(source, steps_per_epoch)
        if stays_on_device(stream):
            self._device_data[stream] = DeviceData(stream.source.data)
        return stream

    def prepare(self, stream: Stream) -> None:
        """Create the variables of model, loss, metrics and optimizer, so that a step is traced only once."""
        if self.plan != "step" and (batch := stream.example()) is not None:
            with contextlib.suppress(Exception):  # then the trace creates them, or raises the error
                keras_private.build_state(self.model, numbers_or_tensors(tuple(batch)))

    def reset_metrics(self) -> None:
        if self.cached_trait(metrics_reset_variables_only):
            self._reset_due = True  # in the next execution
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
        if isinstance(stream, RowStream) and stream in self._device_data:
            by_xla, steps = self._choose_compiler(step, stream, steps, options)
            rows = stream.take_rows(steps)
            run = self._run_by_xla if by_xla else self._run_as_graph
            done, logs = run(step, stream, rows, halting=halting)
            if halting:
                stream.return_batches(rows.steps - done)
            return logs
        if self._reset_due:
            self.sync()
        return self._last(step, stream, steps, options)

    def _choose_compiler(
        self, step: Steps, stream: RowStream, steps: int, options: ExecutionOptions
    ) -> tuple[bool, int]:
        """Decide whether XLA compiles the loop over the next steps, and how many steps it runs.

        XLA does not take over a step if attributes of layers or the optimizer have changed since it was
        traced. Keras ignores these changes until the model is compiled again, and a new trace would not.
        """
        if not self.plan.startswith("xla"):
            return False, steps
        if not self.plan_is_chosen:
            return True, steps
        if self.step("train").has_run:
            return step.has_run or step.is_up_to_date, steps
        enough = self.cached_trait(layer_traits.xla_pays_after)
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
            with contextlib.suppress(Exception):  # the error is raised again, and handled, when the loop runs
                self._device_data[stream].compile_ahead(
                    step,
                    self._loop_of_xla(step, stream),
                    stream.size,
                    shuffled=stream.source.shuffling.seed is not None,
                    halting=halting,
                )

    def _run_as_graph(self, step: Steps, stream: RowStream, rows: Rows, *, halting: bool) -> tuple[int, Logs]:
        """Run a step over rows as a graph; return the number of steps and the logs."""
        return self._device_data[stream].run(step, rows, reset=self._take_reset(), halting=halting)

    def _run_by_xla(self, step: Steps, stream: RowStream, rows: Rows, *, halting: bool) -> tuple[int, Logs]:
        """Run a step over rows, whole batches with XLA; return the number of steps and the logs.

        If XLA cannot compile the step, run it as a graph.
        """
        reset = self._take_reset()
        finished = None if step.has_run else self._finished_steps()
        loop = self._loop_of_xla(step, stream)
        try:
            done, logs = self._device_data[stream].run(step, rows, loop, reset=reset, halting=halting)
        except tf.errors.OpError:
            if self._finished_steps() != finished:
                raise
            # The error was raised before the first step: XLA could not compile it.
            if compilation_cache.remove_damaged():
                self._reset_due = reset
                step.forget_shared_programs()  # TensorFlow would raise this function's error again
                self._steps.clear()
                return self._run_by_xla(self.step(step.kind), stream, rows, halting=halting)
            if not self.plan_is_chosen:
                raise
            # If the cause is another one, running the graph raises it.
            self._failed_in_xla[step.kind] = getattr(self.model, f"{step.kind}_function")
            self.plan, self._reset_due = "loop", reset
            return self._run_as_graph(self.step(step.kind), stream, rows, halting=halting)
        step.has_run = True
        return done, logs

    def _loop_of_xla(self, step: Steps, stream: RowStream) -> XlaLoop | EpochLoop:
        if step.kind == "train" and self._in_passes(stream):
            return EpochLoop(stream.size, stream.source.samples % stream.size)
        return XlaLoop(stream.size, around_loop=self.plan == "xla")

    def _in_passes(self, stream: RowStream) -> bool:
        """Whether XLA's loop runs whole passes: if the data have few batches and steps are short."""
        few = stream.source.samples <= FEW_BATCHES * stream.size
        return few and self.plan == "xla" and self.cached_trait(has_plain_short_steps)

    def train_epochs(self, stream: Stream, epochs: int) -> list[Logs]:
        step, epochs = self.step("train"), min(epochs, MAX_PASSES)
        if epochs < 2 or not step.has_run:
            return []
        if not isinstance(stream, RowStream) or stream not in self._device_data:
            return []
        loop = self._loop_of_xla(step, stream)
        if stream.limit is not None or not isinstance(loop, EpochLoop):
            return []
        passes = []
        for _ in range(epochs):
            stream.begin_epoch()
            passes.append(stream.take_rows(stream.source.batches))
        self._reset_due = False
        logs = self._device_data[stream].run_passes(step, passes, loop, reset=True)[-1]
        logs = keras.tree.map_structure(to_numpy, logs)
        return [logs_to_floats(keras.tree.map_structure(lambda of: of[i], logs)) for i in range(epochs)]  # noqa: B023

    def _finished_steps(self) -> int:
        optimizer = self.model.optimizer
        return int(keras.ops.convert_to_numpy(optimizer.iterations)) if optimizer is not None else 0

    def state(self) -> Any:
        """Whether XLA has taken over; validation then uses XLA too."""
        return bool(self.step("train").has_run) if self.plan.startswith("xla") else None

    def restore(self, state: Any) -> None:
        if state is not None:
            self.step("train").has_run = state

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        if isinstance(stream, RowStream) and (device_data := self._device_data.get(stream)):
            step = self.step("predict")
            if step.outputs_join(device_data.data):
                _, outputs = device_data.run(step, stream.take_rows(steps))
                return [keras.tree.map_structure(to_numpy, outputs)]
        return super().predict(stream, steps)


class DeviceData:
    """The arrays of a source as tensors on the device, and the order of rows in the current pass."""

    def __init__(self, data: tuple):
        self.data = pack_batch(keras.tree.map_structure(to_device, data))
        self.leaves = [leaf for leaf in keras.tree.flatten(self.data) if leaf is not None]
        self.samples = int(self.leaves[0].shape[0])
        self._order: tuple[np.ndarray | None, Any] = None, no_order()  # as given, and on the device
        self._loops: dict[tuple, BoundProgram] = {}

    def order(self, rows: Rows) -> tf.Tensor:
        if self._order[0] is not rows.order:
            self._order = rows.order, to_device(rows.order)
        return self._order[1]

    def loop(
        self, step: Steps, by: XlaLoop | EpochLoop | None, batch_size: int, *, shuffled: bool, halting: bool
    ) -> BoundProgram:
        """The compiled loop for a step, by XLA or as a graph; built at the first call."""
        rest = self.samples % batch_size > 0
        key = step, by, rest, shuffled, halting
        if key not in self._loops:
            if isinstance(by, EpochLoop):
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
        by: XlaLoop | EpochLoop | None = None,
        *,
        reset: bool = False,
        halting: bool = False,
    ) -> tuple[int, Any]:
        """Run a step over rows; return the number of steps, and the metrics, last logs or all outputs."""
        if isinstance(by, EpochLoop):
            return self.run_passes(step, [rows], by, reset=reset, halting=halting)[:2]
        loop = self.loop(step, by, rows.batch_size, shuffled=rows.order is not None, halting=halting)
        bounds = constants(rows.start, rows.stop, rows.batch_size, reset)
        done, result = loop(self.leaves, self.order(rows), bounds)
        return int(done) if halting else rows.steps, result

    def run_passes(
        self, step: Steps, passes: list[Rows], by: EpochLoop, *, reset: bool, halting: bool = False
    ) -> tuple[int, Any, Any]:
        """Run a step over the same rows in several passes; return the values of ``Steps.over_passes``."""
        rows = passes[-1]
        loop = self.loop(step, by, by.size, shuffled=rows.order is not None, halting=halting)
        orders = no_order()
        if rows.order is not None:
            orders = aligned_empty((MAX_PASSES * self.samples,), rows.order.dtype)
            np.concatenate(
                [each.order for each in passes if each.order is not None],
                out=orders[: len(passes) * self.samples],
            )
            orders = to_device(orders)
        bounds = constants(rows.start, rows.stop, reset, len(passes))
        done, logs, of_each = loop(self.leaves, orders, bounds)
        return int(done) if halting else rows.steps, logs, of_each

    def compile_ahead(
        self, step: Steps, by: XlaLoop | EpochLoop, batch_size: int, *, shuffled: bool, halting: bool
    ) -> None:
        """Have XLA compile in the background the loop that ``run`` will call."""
        if isinstance(by, EpochLoop):
            passes, bounds = MAX_PASSES, constants(0, 0, 0, 1)
        else:  # run no step, except if XLA compiles the step but not the loop: that takes one
            stop = 0 if by.around_loop else batch_size
            passes, bounds = 1, constants(0, stop, batch_size, 0)
        order = tf.zeros(self.samples * passes, tf.int64) if shuffled else no_order()
        loop = self.loop(step, by, batch_size, shuffled=shuffled, halting=halting)
        loop.compile_ahead(self.leaves, order, bounds)


@functools.cache
def no_order() -> tf.Tensor:
    return tf.zeros(0, tf.int64)


def has_plain_short_steps(model: keras.Model) -> bool:
    """Whether XLA can run whole epochs: steps are short, and epochs otherwise only reset and read metrics."""
    return (
        not layer_traits.is_recurrent(model)
        and not layer_traits.is_convolutional(model)
        and metrics_reset_variables_only(model)
        and all_logs_are_metrics(model)
    )


def to_device(leaf: Any) -> Any:
    """Convert an array to a tensor that shares its memory on CPUs, where tf.constant() would copy it."""
    if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "fiu" or not on_cpu():
        return to_backend(leaf)
    shareable = is_aligned(leaf) and leaf.flags.writeable  # DLPack has no flag for read-only memory
    return tf.experimental.dlpack.from_dlpack((leaf if shareable else aligned_copy(leaf)).__dlpack__())
