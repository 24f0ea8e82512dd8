"""The interface of engines, and their base class, which calls a compiled step for each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

import keras

from kerasfit.devices import fits_on_device
from kerasfit.errors import ArgumentError
from kerasfit.logs import Logs, logs_to_floats
from kerasfit.model_traits import uses_keras_methods
from kerasfit.sources import IteratorSource, RowStream, Source, Stream, stream_of
from kerasfit.tensors import leaves_of, map_leaves, pack_batch, to_backend, to_numpy

# Trains on a batch while the main thread makes the next one. Only the main thread may call R: the worker
# never does, since it only runs steps that are already compiled.
WORKER = ThreadPoolExecutor(1, thread_name_prefix="kerasfit")


@dataclass(frozen=True)
class ExecutionOptions:
    """Options that the training loop passes with an execution.

    Attributes
    ----------
    halt_on_nan
        Whether the execution ends after a step that makes the loss infinite or NaN.
    async_steps
        Whether a step on a batch from an iterator may still be running while the next batch is made, and when
        the execution returns. The logs returned are then those of an earlier step.
    planned_steps
        The number of such steps from the beginning of this pass to the end of training, or of the evaluation;
        0 if it is not known.
    evaluates_on
        The stream that the model is evaluated on after this epoch, or None: an engine may compile ahead for
        it.
    """

    halt_on_nan: bool = False
    async_steps: bool = False
    planned_steps: int = 0
    evaluates_on: Stream | None = None


DEFAULTS = ExecutionOptions()


class Engine(Protocol):
    """Runs the steps of one model.

    ``train`` and ``evaluate`` run one execution: at most ``steps`` steps, fewer if the stream's epoch ends
    earlier. They return the logs of the last step; ``results`` converts these to numbers.

    Attributes
    ----------
    model
        The model that the engine was built for.
    kernels
        Whether kerasfit's kernels may replace Keras's functions in steps.
    """

    model: keras.Model
    kernels: bool

    def use_plan(self, plan: str) -> None:
        """Set how steps are run: one of the engine's ``plans``, or "auto" to choose by model and device."""

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        """Open a stream of the source's batches for this engine."""

    def prepare(self, stream: Stream) -> None:
        """Create the variables of model, metrics and optimizer, with shapes from the first batch."""

    def train(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs: ...

    def evaluate(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs: ...

    def train_epochs(self, stream: Stream, epochs: int) -> list[Logs]:
        """Run up to ``epochs`` epochs in one call; return the metrics of each as numbers.

        Returns an empty list if one call for several epochs is not possible or not faster.
        """

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        """Run one execution; return its outputs as a list of numpy arrays, in the order of the steps."""

    def reset_metrics(self) -> None:
        """Reset the metrics, now or before the next step."""

    def sync(self) -> None:
        """Write the current state to the variables of model, optimizer and metrics."""

    def latest(self, logs: Logs) -> Logs:
        """Wait for the last step and return its logs. ``logs`` are those that the last execution returned."""

    def results(self, logs: Logs) -> Logs:
        """The metrics so far as numbers; or ``logs``, if a custom step of the model returned other logs."""

    def state(self) -> Any:
        """State that later steps depend on, other than variables and data (such as a random generator's).

        It is a plain value, for a checkpoint.
        """

    def restore(self, state: Any) -> None:
        """Restore the state of an engine that had run the same steps of an equal model."""

    def finish(self) -> None:
        """End training: set variables to their final values (such as an optimizer's moving averages)."""


StepT = TypeVar("StepT")  # how an engine represents a compiled step


class BaseEngine(Generic[StepT]):
    """Runs the model's ``train_step``, ``test_step`` and ``predict_step`` on one batch after another.

    Subclasses define how a step is compiled.
    """

    plans: tuple[str, ...] = ("step",)

    def __init__(self, model: keras.Model):
        self.model = model
        self.plan, self.plan_is_chosen = "step", True  # chosen by the engine, not by the caller
        self.kernels = True
        self._at_work: Future | None = None  # the step that the worker is running
        self._steps: dict[tuple[str, str, bool], tuple[Any, StepT]] = {}
        self._traits: tuple[Any, dict[Callable, Any]] = None, {}

    def use_plan(self, plan: str) -> None:
        """Set how steps are run: one of ``plans``, or "auto" to choose by model and device."""
        if plan not in ("auto", *self.plans):
            known = ", ".join(f'"{name}"' for name in ("auto", *self.plans))
            raise ArgumentError("plan", f'`plan` must be one of {known} with this backend, not "{plan}".')
        self.plan_is_chosen = plan == "auto"
        if self.model.run_eagerly:
            self.plan = "step"
        else:
            self.plan = self.choose_plan() if self.plan_is_chosen else plan

    def choose_plan(self) -> str:
        return "step"

    def compiled(self, kind: str, step: Callable) -> StepT:
        raise NotImplementedError

    def reset_metrics(self) -> None:
        self.model.reset_metrics()

    def sync(self) -> None:
        self.finish_running()

    def step(self, kind: str) -> StepT:
        """The compiled step of a kind: "train", "test" or "predict"."""
        # Keras discards its own function when compile(), a change of layers or loading makes it invalid. Ours
        # is valid as long as Keras's is.
        getattr(self.model, f"make_{kind}_function")()
        function = getattr(self.model, f"{kind}_function")
        key = kind, self.plan, self.kernels
        if key not in self._steps or self._steps[key][0] is not function:
            self._steps[key] = function, self.compiled(kind, getattr(self.model, f"{kind}_step"))
        return self._steps[key][1]

    def cached_trait(self, find: Callable[[keras.Model], Any]) -> Any:
        """Return ``find(model)``, cached until Keras discards its functions for the model's steps."""
        functions = self.model.train_function, self.model.test_function, self.model.predict_function
        if not any(functions):
            return find(self.model)
        if self._traits[0] != functions:
            self._traits = functions, {}
        traits = self._traits[1]
        if find not in traits:
            traits[find] = find(self.model)
        return traits[find]

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        return stream_of(source, steps_per_epoch)

    def prepare(self, stream: Stream) -> None:
        """Do nothing: the first step creates the variables when it is traced."""

    def train(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        return self._last(self.step("train"), stream, steps, options)

    def evaluate(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        return self._last(self.step("test"), stream, steps, options)

    def train_epochs(self, stream: Stream, epochs: int) -> list[Logs]:
        return []

    def _last(self, step: Any, stream: Stream, steps: int, options: ExecutionOptions) -> Logs:
        """Call a step for each batch; return the last logs. For engines whose steps can be called."""
        logs: Logs = {}
        overlap = options.async_steps and isinstance(stream.source, IteratorSource) and stream.taken
        for data in self._batches(stream, steps):
            logs = self.finish_running() or logs
            if overlap and (background_step := self.background_step(step, data)):
                self._at_work = WORKER.submit(background_step, data)
            else:
                logs = step(data)
            if options.halt_on_nan and not finite_loss(logs):
                break
        return logs

    def background_step(self, step: Callable, data: Any) -> Callable | None:
        """A function that runs a step while the next batch is made; None if that is not safe."""
        return step

    def finish_running(self) -> Logs:
        """Wait for the step that runs in the background, and return its logs ({} if there is none)."""
        if self._at_work is None:
            return {}
        self._wait()
        running, self._at_work = self._at_work, None
        return running.result()

    def _wait(self) -> None:
        if self._at_work is not None:
            wait_for(self._at_work)

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        step: Any = self.step("predict")
        return [map_leaves(to_numpy, step(data)) for data in self._batches(stream, steps)]

    def _batches(self, stream: Stream, steps: int) -> Iterator[Any]:
        """The next batches as arguments of the model's step methods, sharing no memory with user arrays."""
        for batch in stream.take(steps):
            yield pack_batch(to_backend(tuple(batch)))

    def latest(self, logs: Logs) -> Logs:
        return self.finish_running() or logs

    def results(self, logs: Logs) -> Logs:
        logs = self.latest(logs)
        if not self.cached_trait(all_logs_are_metrics):
            self.sync()
            metrics = self.model.get_metrics_result()
            logs = metrics if set(metrics) == set(logs) else logs
        if len(logs) > 2 and list(logs) == sorted(logs):  # older versions of Keras sort them
            first = [name for name in self.cached_trait(metric_names) if name in logs]
            logs = {name: logs[name] for name in dict.fromkeys([*first, *logs])}
        return logs_to_floats(logs)

    def state(self) -> Any:
        return None

    def restore(self, state: Any) -> None:
        pass

    def finish(self) -> None:
        self.sync()
        if isinstance(self.model.optimizer, keras.optimizers.Optimizer):
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)


def stays_on_device(stream: Stream, devices: int = 1) -> TypeGuard[RowStream]:
    """Whether an engine keeps a stream's data on the device: arrays in memory that fit there.

    Other data are copied to the device in batches. Several devices may have a part of the rows each.
    """
    if not isinstance(stream, RowStream) or not stream.source.in_memory:
        return False
    size = sum(leaf.nbytes for leaf in leaves_of(stream.source.data) if leaf is not None)
    return fits_on_device(size // devices)


def wait_for(future: Future) -> None:
    """Wait for another thread, returning to Python often so that Ctrl-C and calls of R are handled."""
    while not wait([future], timeout=0.05).done:
        pass


def finite_loss(logs: Logs) -> bool:
    """Whether the loss is finite; True if the logs have no loss."""
    return "loss" not in logs or bool(keras.ops.isfinite(logs["loss"]))


def metric_names(model: keras.Model) -> list[str]:
    """The names of a model's metrics in the order given to ``compile()``."""
    results = {metric.name: metric.result() for metric in model.metrics}
    return [
        one for name, result in results.items() for one in (result if isinstance(result, dict) else [name])
    ]


def all_logs_are_metrics(model: keras.Model) -> bool:
    """Whether ``logs_are_metrics()`` is true of both training and evaluation."""
    return logs_are_metrics(model, "train") and logs_are_metrics(model, "test")


def logs_are_metrics(model: keras.Model, kind: str) -> bool:
    """Whether a step ("train" or "test") returns the results of the model's metrics.

    True unless the model overrides the step or ``compute_metrics``.
    """
    return uses_keras_methods(model, f"{kind}_step", "compute_metrics")
