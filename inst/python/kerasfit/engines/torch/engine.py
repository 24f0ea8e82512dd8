"""The PyTorch engine: records and replays steps, or runs them eagerly or with ``torch.compile``."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import torch

from kerasfit import keras_private
from kerasfit.devices import on_cpu
from kerasfit.engines.engine import (
    DEFAULTS,
    BaseEngine,
    ExecutionOptions,
    Logs,
    finite_loss,
    logs_are_metrics,
    stays_on_device,
)
from kerasfit.engines.torch.graph_capture import (
    Recorded,
    State,
    copy_of,
    random_modules,
)
from kerasfit.engines.torch.kernels import torch_kernels
from kerasfit.engines.torch.recorder import Tensors, tensors_in
from kerasfit.sources import IteratorSource, RowStream, Source, Stream
from kerasfit.tensors import leaves_of, map_leaves, pack_batch, to_backend, to_numpy, with_leaves
from kerasfit.variables import all_variables, optimizer_of

# The number of steps after which recording one has saved its time. Recording and verifying a step cost 10 to
# 17 times what a replay saves, or 5 to 9 times without gradients. That is so for small dense networks,
# convolutional ones and transformers, because both grow with the number of operations.
RECORDING_PAYS_AFTER = {"train": 16, "test": 8, "predict": 8}


class TorchEngine(BaseEngine[Callable]):
    """Runs Keras's steps one by one, because Keras runs PyTorch eagerly.

    There are three plans. "recorded" records the PyTorch operations of steps and replays them, on data that
    stay on the device. "loop" runs the steps themselves on data that stay on the device, and reads the
    metrics once for each execution. "step" runs the steps and reads the metrics after each. Steps are
    recorded on CPUs if all parts of a model are Keras's own; steps use ``torch.compile`` if the model has
    ``jit_compile``.

    PyTorch's fused optimizers cannot be used, because they differ from Keras's: ``torch.optim.Adam`` adds
    epsilon after bias correction, Keras before it, and ``torch.optim.SGD`` keeps its momentum without the
    learning rate.
    """

    plans = ("recorded", "loop", "step")

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self._device_data: WeakKeyDictionary[RowStream, DeviceData] = WeakKeyDictionary()

    def choose_plan(self) -> str:
        return "recorded" if on_cpu() and keras_private.consists_of_keras(self.model) else "loop"

    def compiled(self, kind: str, step: Callable) -> Callable:
        step = step if kind == "train" else torch.no_grad()(step)  # in any thread
        if self.model.jit_compile:
            return torch.compile(step)
        if self.kernels:
            step = WithKernels(self.model, step)
        if self.plan == "recorded" and kind == "predict":
            return self._recorded(kind, step)
        if self.plan == "step" or kind == "predict" or not logs_are_metrics(self.model, kind):
            return step
        record = functools.partial(self._recorded, kind) if self.plan == "recorded" else None
        return UpdatingStep(self.model, step, record)

    def _recorded(self, kind: str, step: Callable) -> Recorded:
        """A step that is recorded when that pays, or at once if the caller has chosen this plan."""
        after = RECORDING_PAYS_AFTER[kind] if self.plan_is_chosen else 0
        return Recorded(self.model, kind, step, after, options=(self.kernels,))

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        stream = super().open(source, steps_per_epoch)
        if self.plan != "step" and stays_on_device(stream):
            self._device_data[stream] = DeviceData(stream.source.data)
        return stream

    def prepare(self, stream: Stream) -> None:
        if (batch := stream.example()) is not None:
            keras_private.build_state(self.model, to_backend(tuple(batch)))

    def train(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        self.model.train()
        return self._run("train", stream, steps, options)

    def evaluate(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        self.model.eval()
        return self._run("test", stream, steps, options)

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        self.model.eval()
        step = self.step("predict")
        if isinstance(step, Recorded) and not isinstance(stream.source, IteratorSource):
            step.check_attributes()
            step = functools.partial(step.run, planned=(stream.steps or 0) - stream.taken)
        return [map_leaves(to_numpy, step(data)) for data in self._batches(stream, steps)]

    def sync(self) -> None:
        super().sync()
        self.model.eval()

    def state(self) -> Any:
        """The state of PyTorch's random number generator, from which dropout draws."""
        return random_modules()[-1].get_rng_state().numpy()

    def restore(self, state: Any) -> None:
        random_modules()[-1].set_rng_state(torch.from_numpy(state))

    def background_step(self, step: Callable, data: Any) -> Callable | None:
        """Run only replays in the background: other steps read attributes, which a generator may change."""
        if not isinstance(step, UpdatingStep) or step.recorded is None:
            return None
        step.check_attributes()
        if not step.recorded.has_recording_for(data):
            return None
        READS.call_first(self._wait)
        return step.run

    def finish_running(self) -> Logs:
        try:
            return super().finish_running()
        finally:
            READS.call_no_more(self._wait)

    def _batches(self, stream: Stream, steps: int) -> Iterator[Any]:
        for batch in stream.take(steps):
            yield pack_batch(map_leaves(writable_tensor, tuple(batch)))

    def _run(self, kind: str, stream: Stream, steps: int, options: ExecutionOptions) -> Logs:
        step = self.step(kind)
        if (
            not isinstance(step, UpdatingStep)
            or not isinstance(stream, RowStream)
            or stream not in self._device_data
        ):
            return self._last(step, stream, steps, options)
        step.check_attributes()  # no user code runs between the steps of an execution
        device_data = self._device_data[stream]
        for leaves, is_own in device_data.batches(stream, steps):
            planned = options.planned_steps - stream.taken
            if len(leaves[0]) < stream.size:  # the last batch of a pass
                planned //= stream.steps or 1
            step.update(leaves, device_data.structure, is_own=is_own, planned=planned)
            if options.halt_on_nan and not finite_loss(self.model.get_metrics_result()):
                break
        return self.model.get_metrics_result()


class Reads:
    """Calls functions before each read of a variable, each only in the thread that registered it.

    While a step runs in the background, a generator that reads the model's variables must wait until the step
    is done.
    """

    def __init__(self) -> None:
        self._functions: dict[Callable[[], None], int] = {}  # and the threads that registered them

    def call_first(self, function: Callable[[], None]) -> None:
        self._functions[function] = threading.get_ident()
        if len(self._functions) == 1:
            value = keras.Variable.value

            def read(variable: keras.Variable) -> torch.Tensor:
                for first, thread in list(self._functions.items()):
                    if threading.get_ident() == thread:
                        first()
                return value.fget(variable)

            keras.Variable.value = property(read, doc=value.__doc__)  # hides the inherited property

    def call_no_more(self, function: Callable[[], None]) -> None:
        if self._functions.pop(function, None) is not None and not self._functions:
            del keras.Variable.value


READS = Reads()


class WithKernels:
    """A step in which kerasfit's kernels replace functions of Keras.

    Steps are not traced here. If the first step with data of some shapes raises an error, the variables that
    it may have changed are restored, and this step and all later ones run without kernels.
    """

    def __init__(self, model: keras.Model, step: Callable[[Any], Any]):
        self.model = model
        self._step = step
        self._kernels = True
        self._tried: set[tuple] = set()

    def __call__(self, data: Any) -> Any:
        if not self._kernels:
            return self._step(data)
        shapes = tuple(getattr(leaf, "shape", None) for leaf in leaves_of(data))
        if shapes not in self._tried:
            return self._try(shapes, data)
        with torch_kernels():
            return self._step(data)

    def _try(self, shapes: tuple, data: Any) -> Any:
        copied = copy_of(data)  # a step may write into its data
        trained, others = self._trained_and_other_variables()
        before, versions = State.of(others), versions_of(trained)
        try:
            with torch_kernels():
                outputs = self._step(data)
            self._tried.add(shapes)
            return outputs
        except Exception:
            if versions_of(trained) != versions:
                raise  # the optimizer has updated already, so no kernel is the cause
        before.restore(others)
        outputs = self._step(copied)
        self._kernels = False
        return outputs

    def _trained_and_other_variables(self) -> tuple[list[keras.Variable], list[keras.Variable]]:
        """The variables that only the optimizer's update changes, after all kernels have run, and the others.

        Copying the former would take a tenth of the time of the first steps of a large network.
        """
        variables = all_variables(self.model)
        if not keras_private.consists_of_keras(self.model):
            return [], variables
        optimizer = optimizer_of(self.model)
        trained = [*self.model.trainable_variables, *(optimizer.variables if optimizer else [])]
        numbers = {id(variable) for variable in trained}
        return trained, [variable for variable in variables if id(variable) not in numbers]


def versions_of(variables: list[keras.Variable]) -> list[int]:
    """Return PyTorch's counts of the changes in place of each variable's value."""
    return [variable.value._version for variable in variables]


class UpdatingStep:
    """A step that updates variables and metrics; results of metrics are read only if it is called or ``run``.

    ``record`` makes a recorded function of it, unless it is None. A step may write into its batch, as Keras
    does into sample weights if there is a mask. ``update`` therefore copies the batch first if it is not the
    step's own (``is_own``) but may share the user's memory.
    """

    def __init__(
        self,
        model: keras.Model,
        step: Callable[[Any], Any],
        record: Callable[[Callable[[Any], None]], Recorded] | None,
    ):
        self.model = model
        self._step = step
        self.recorded = record(self._update) if record else None

    def check_attributes(self) -> None:
        """Discard recordings if attributes of the model's parts have changed."""
        if self.recorded:
            self.recorded.check_attributes()

    def __call__(self, data: Any) -> Logs:
        self.check_attributes()  # a generator of batches may have changed some
        return self.run(data)

    def run(self, data: Any) -> Logs:
        """Run the step without checking attributes."""
        if self.recorded:
            self.recorded.run(data)
        else:
            self._update(data)
        return self.model.get_metrics_result()

    def update(self, leaves: Tensors, structure: Any, *, is_own: bool, planned: int) -> None:
        """Run the step on the tensors of a batch, without reading results.

        ``planned`` steps with batches of this size are to come.
        """

        def structured() -> Any:
            return with_leaves(structure, leaves)

        if self.recorded:
            self.recorded.run_leaves(leaves, structured, is_own=is_own, planned=planned)
        else:
            self._update(structured() if is_own else copy_of(structured()))

    def _update(self, data: Any) -> None:
        self.model.__dict__["get_metrics_result"] = dict
        try:
            self._step(data)
        finally:
            del self.model.__dict__["get_metrics_result"]


class DeviceData:
    """The arrays of a source on the device, and the order of rows in the current pass."""

    def __init__(self, data: tuple):
        self.structure = pack_batch(map_leaves(to_device, data))
        self._leaves = tensors_in(self.structure)
        self._order: tuple[np.ndarray | None, torch.Tensor | None] = None, None

    def batches(self, stream: RowStream, steps: int) -> Iterator[tuple[Tensors, bool]]:
        """Yield the tensors of the next batches of an epoch, and for each whether they are copies.

        A batch that is no copy shares the memory of the array, which may be the user's.
        """
        for _ in range(steps):
            rows = stream.take_rows(1)
            if not rows.steps:
                return
            if self._order[0] is not rows.order:
                self._order = rows.order, torch.from_numpy(rows.order).to(self._leaves[0].device)
            if (order := self._order[1]) is None:
                yield [leaf[rows.start : rows.stop] for leaf in self._leaves], False
            else:
                chosen = order[rows.start : rows.stop]
                yield [leaf.index_select(0, chosen) for leaf in self._leaves], True


def to_device(leaf: Any) -> Any:
    """Put an array on the device. On CPUs the tensor shares its memory."""
    if isinstance(leaf, np.ndarray) and leaf.flags.writeable and on_cpu():
        return torch.from_numpy(leaf)
    return to_backend(leaf)


def writable_tensor(leaf: Any) -> torch.Tensor | None:
    """Convert a part of a batch to a tensor that a step may write into, in row-major order if it is dense.

    Tensors from iterators have been copied already. Keras 3 copies arrays, but does not guarantee it.
    """
    tensor = to_backend(leaf)
    if tensor is None or tensor.layout is not torch.strided:
        return tensor
    if isinstance(leaf, np.ndarray) and tensor.data_ptr() == leaf.__array_interface__["data"][0]:
        return tensor.clone()
    return tensor.contiguous()
