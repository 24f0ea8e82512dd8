"""What an engine is, and the plain one: a compiled step for each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import keras

from kerasfit.errors import ArgumentError
from kerasfit.sources import IteratorSource, Source, Stream, stream_of
from kerasfit.tensors import numbers, pack, to_backend, to_numpy

Logs = dict[str, Any]

# Trains on a batch while the main thread, the only one that may run R, makes the next one. It never does:
# what is left to it is a step that has been compiled.
WORKER = ThreadPoolExecutor(1, thread_name_prefix="kerasfit")


@dataclass(frozen=True)
class ExecutionOptions:
    """How the loop wants an execution to run.

    Attributes
    ----------
    halt_on_nan
        Whether the execution ends after a step that leaves the loss infinite or not a number.
    async_steps
        Whether a step on a batch from an iterator may still run while the next batch is made, and when the
        execution returns; the logs that it returns are then those of an earlier step.
    planned_steps
        The number of steps that training has from the beginning of this epoch on, as far as is known.
    """

    halt_on_nan: bool = False
    async_steps: bool = False
    planned_steps: int = 0


DEFAULTS = ExecutionOptions()


class Engine(Protocol):
    """Runs steps of one model.

    The methods ``train`` and ``evaluate`` run one execution: at most ``steps`` steps, fewer if the stream's
    epoch ends before. They return the logs of the last step, which ``results`` makes into numbers.

    Attributes
    ----------
    model
        The model that it was built for.
    kernels
        Whether steps may compute with kerasfit's kernels in the place of Keras's functions.
    """

    model: keras.Model
    kernels: bool

    def use_plan(self, plan: str) -> None:
        """Run steps by one of the engine's ``plans``; "auto" chooses by model and device."""

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        """The source's batches, in the form in which this engine takes them."""

    def prepare(self, stream: Stream) -> None:
        """Create whatever state of model, metrics and optimizer the first batch implies."""

    def train(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs: ...

    def evaluate(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs: ...

    def train_epochs(self, stream: Stream, epochs: int) -> list[Logs]:
        """Run up to so many epochs in one go, where that is a gain: the metrics after each, as numbers."""

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        """One execution's outputs, a list with the numpy arrays of each step."""

    def reset_metrics(self) -> None:
        """Start the metrics anew, before the next step at the latest."""

    def sync(self) -> None:
        """Let the variables of model, optimizer and metrics hold the state so far, for others to see."""

    def latest(self, logs: Logs) -> Logs:
        """The logs of the last step, once it has run, where ``logs`` are what the last execution returned."""

    def results(self, logs: Logs) -> Logs:
        """The metrics so far; or the logs themselves where a model's own step returned others."""

    def state(self) -> Any:
        """What later steps depend on beside variables and data, as a plain value: random numbers, choices."""

    def restore(self, state: Any) -> None:
        """Go on as the engine that had this state, which ran the same steps of an equal model."""

    def finish(self) -> None:
        """End training: give variables their final values (an optimizer's moving averages)."""


class PlainEngine:
    """Steps batch by batch through the model's own ``train_step``, ``test_step`` and ``predict_step``.

    A subclass says how a step is compiled.
    """

    plans: tuple[str, ...] = ("step",)

    def __init__(self, model: keras.Model):
        self.model = model
        self.plan, self.plan_is_chosen = "step", True  # by the engine rather than by the caller
        self.kernels = True
        self._at_work: Future | None = None  # the step that the worker is at
        self._steps: dict[tuple[str, str, bool], tuple[Any, Callable]] = {}
        self._facts: tuple[Any, dict[Callable, Any]] = None, {}

    def use_plan(self, plan: str) -> None:
        """Follow a plan for how to run steps, one of ``plans``; "auto" chooses by model and device."""
        if plan not in ("auto", *self.plans):
            known = ", ".join(f'"{name}"' for name in ("auto", *self.plans))
            raise ArgumentError(
                "plan",
                f'`plan` must be one of {known} with this backend, not "{plan}".',
                "In R it is options(kerasfit.plan = ).",
            )
        self.plan_is_chosen = plan == "auto"
        if self.model.run_eagerly:
            self.plan = "step"
        else:
            self.plan = self.choose_plan() if self.plan_is_chosen else plan

    def choose_plan(self) -> str:
        return "step"

    def compiled(self, kind: str, step: Callable) -> Callable:
        raise NotImplementedError

    def reset_metrics(self) -> None:
        self.model.reset_metrics()

    def sync(self) -> None:
        self.finish_running()

    def step(self, kind: str) -> Callable:
        """The compiled step of a kind: "train", "test" or "predict"."""
        # Keras forgets its own function whenever what it was made from changes (compile(), layers, loading);
        # ours is good for as long as Keras's.
        getattr(self.model, f"make_{kind}_function")()
        function = getattr(self.model, f"{kind}_function")
        key = kind, self.plan, self.kernels
        if key not in self._steps or self._steps[key][0] is not function:
            self._steps[key] = function, self.compiled(kind, getattr(self.model, f"{kind}_step"))
        return self._steps[key][1]

    def fact(self, find: Callable[[keras.Model], Any]) -> Any:
        """What a function finds out about the model, good for as long as Keras's functions for its steps."""
        functions = self.model.train_function, self.model.test_function
        if not any(functions):
            return find(self.model)
        if self._facts[0] != functions:
            self._facts = functions, {}
        facts = self._facts[1]
        if find not in facts:
            facts[find] = find(self.model)
        return facts[find]

    def open(self, source: Source, steps_per_epoch: int | None = None) -> Stream:
        return stream_of(source, steps_per_epoch)

    def prepare(self, stream: Stream) -> None:
        """Create nothing: variables come to be when the first step is traced."""

    def train(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        return self._last(self.step("train"), stream, steps, options)

    def evaluate(self, stream: Stream, steps: int, options: ExecutionOptions = DEFAULTS) -> Logs:
        return self._last(self.step("test"), stream, steps, options)

    def train_epochs(self, stream: Stream, epochs: int) -> list[Logs]:
        return []

    def _last(self, step: Callable, stream: Stream, steps: int, options: ExecutionOptions) -> Logs:
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
        """What runs a step while the next batch is made; None where that could disturb it."""
        return step

    def finish_running(self) -> Logs:
        """Wait for the step that runs in the background, if any, and return its logs."""
        if self._at_work is None:
            return {}
        self._wait()
        running, self._at_work = self._at_work, None
        return running.result()

    def _wait(self) -> None:
        if self._at_work is not None:
            wait_for(self._at_work)

    def predict(self, stream: Stream, steps: int) -> list[Any]:
        step = self.step("predict")
        return [keras.tree.map_structure(to_numpy, step(data)) for data in self._batches(stream, steps)]

    def _batches(self, stream: Stream, steps: int) -> Iterator[Any]:
        """The next batches as the model's step methods take them, none of it in the memory of the user's."""
        for batch in stream.take(steps):
            yield pack(to_backend(tuple(batch)))

    def latest(self, logs: Logs) -> Logs:
        return self.finish_running() or logs

    def results(self, logs: Logs) -> Logs:
        logs = self.latest(logs)
        if not self.fact(all_logs_are_metrics):
            self.sync()
            metrics = self.model.get_metrics_result()
            logs = metrics if set(metrics) == set(logs) else logs
        if len(logs) > 2 and list(logs) == sorted(logs):  # as older versions of Keras sort them
            first = [name for name in self.fact(metric_names) if name in logs]
            logs = {name: logs[name] for name in dict.fromkeys([*first, *logs])}
        return numbers(logs)

    def state(self) -> Any:
        return None

    def restore(self, state: Any) -> None:
        pass

    def finish(self) -> None:
        self.sync()
        if isinstance(self.model.optimizer, keras.optimizers.Optimizer):
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)


def wait_for(future: Future) -> None:
    """Wait until another thread is done, but return to Python often: for Ctrl-C, and for what calls R."""
    while not wait([future], timeout=0.05).done:
        pass


def finite_loss(logs: Logs) -> bool:
    return "loss" not in logs or bool(keras.ops.isfinite(logs["loss"]))


def metric_names(model: keras.Model) -> list[str]:
    """The names of a model's metrics in the order of ``compile()``."""
    results = {metric.name: metric.result() for metric in model.metrics}
    return [
        one for name, result in results.items() for one in (result if isinstance(result, dict) else [name])
    ]


def all_logs_are_metrics(model: keras.Model) -> bool:
    return logs_are_metrics(model, "train") and logs_are_metrics(model, "test")


def logs_are_metrics(model: keras.Model, kind: str) -> bool:
    """Whether what a step ("train" or "test") returns is what the model's metrics say after it.

    So it is unless the model has a step or a ``compute_metrics`` of its own.
    """
    return all(
        getattr(type(model), method) is getattr(keras.Model, method) and method not in model.__dict__
        for method in (f"{kind}_step", "compute_metrics")
    )
