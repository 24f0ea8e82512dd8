"""Compiles a model's steps as JAX functions of state and data: single steps, and loops over batches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import keras
from jax import lax

from kerasfit import keras_private, layer_traits
from kerasfit.engines.engine import logs_are_metrics
from kerasfit.engines.jax.placement import OneDevice
from kerasfit.engines.jax.programs import Kind, Loop, ModelHasChanged, Programs, Single
from kerasfit.engines.jax.rows import consecutive, gathered, is_rows
from kerasfit.engines.kernels import jax_kernels
from kerasfit.engines.model_key import model_key
from kerasfit.engines.shared_programs import shared_programs
from kerasfit.logs import Logs

T = TypeVar("T")
Values = list[jax.Array]

# The number of steps whose outputs are joined before they are copied to the host.
OUTPUTS = 64


class State(NamedTuple):
    """The values of the variables of a model, its optimizer and its metrics; absent parts are None."""

    trainable: Values | None = None
    non_trainable: Values | None = None
    optimizer: Values | None = None
    metrics: Values | None = None

    def only(self, names: Iterable[str]) -> State:
        """Keep only the named parts."""
        return State(**{name: getattr(self, name) for name in names})

    def over(self, other: State) -> State:
        """Fill absent parts from another state."""
        return State(*(b if a is None else a for a, b in zip(self, other, strict=True)))


# The parts of the state that a model's step takes and returns, in Keras's order, and those that it changes.
TAKEN = {
    "train": ("trainable", "non_trainable", "optimizer", "metrics"),
    "test": ("trainable", "non_trainable", "metrics"),
    "predict": ("trainable", "non_trainable"),
}
CHANGED = {"train": TAKEN["train"], "test": ("non_trainable", "metrics"), "predict": ("non_trainable",)}


def variables_of(model: keras.Model, name: str) -> list[keras.Variable]:
    """The variables whose values are a part of the state."""
    if name == "optimizer":
        return model.optimizer.variables if model.optimizer else []
    return getattr(model, f"{name}_variables")


class Steps:
    """One kind of step of a model, as a single step and as a loop: functions of state and data.

    Their arguments are the part of the state that they change, which they consume (donation), the other part,
    and data. They return the part that they changed, and logs or outputs.

    Attributes
    ----------
    changes, keeps
        The names of the two parts of the state.
    may_add_rows
        Whether a batch for prediction may be padded with rows without changing the outputs of the others.
    """

    def __init__(
        self,
        model: keras.Model,
        kind: str,
        step: Callable,
        *,
        compiles: bool,
        kernels: bool,
        placement: OneDevice,
    ):
        self.model = model
        self.placement = placement
        self.kind = kind
        # A custom step may change any part of the state, and may need kinds of derivatives that kernels lack.
        self._is_keras_step = logs_are_metrics(model, kind)
        self.changes = CHANGED[kind] if self._is_keras_step else TAKEN[kind]
        self.keeps = tuple(name for name in TAKEN[kind] if name not in self.changes)
        self._step = step
        self._log_names: list[str] = []
        self._joins: dict[tuple, bool] = {}  # whether outputs join, by the data's shapes
        self.may_add_rows = compiles and kind == "predict" and layer_traits.rows_are_separate(model)
        options = {"compiles": compiles, "kernels": kernels and compiles and self._is_keras_step}
        self._own_programs = functools.partial(Programs, None, **options)
        key = model_key(model, kind) if compiles else None
        self._programs = (
            shared_programs(
                (key, kind, *options.values(), placement.key), functools.partial(Programs, key, **options)
            )
            if key
            else self._own_programs()
        )

    @property
    def traces(self) -> int:
        """How often the step has been traced, for this model or one that shares its programs."""
        return self._programs.traces

    def limit_programs(self, shapes: tuple) -> None:
        """Discard all programs before a call with new shapes of data if there are ``PROGRAMS`` of them."""
        self._programs.limit(shapes)

    def program(self, kind: Kind = None) -> Any:
        """The compiled single step, a function of state (both parts) and data; or a loop over rows.

        A loop is a function of state, data, order, first row and steps. ``order`` has the numbers of all rows
        in the order of this pass, or is None if rows are not shuffled. The loop returns the state, the number
        of steps run, and the metrics or last logs; for "predict" the outputs of at most ``OUTPUTS`` steps,
        followed by zeros.
        """
        return self._programs.function(kind, self)

    def compile_ahead(self, kind: Loop | Single, *arguments: Any) -> None:
        """Trace a program for these arguments and compile it in the background, unless that has been done."""
        self.tracing(lambda: self._programs.compile_ahead(kind, self, *arguments))

    def tracing(self, call: Callable[[], T]) -> T:
        """Call a function that may trace a program; if the model has changed, trace programs of its own."""
        try:
            return call()
        except ModelHasChanged:
            self._programs = self._own_programs()
            return call()

    def traced(self, kind: Kind, *arguments: Any) -> Any:
        """Trace a program with kernels; if that raises an error, trace it without kernels from then on.

        JAX has several errors for a layer that needs a derivative which kernels do not have.
        """
        programs = self._programs
        if programs.key and model_key(self.model, self.kind) != programs.key:
            raise ModelHasChanged
        function = functools.partial(self._loop, kind) if isinstance(kind, Loop) else self._one
        if programs.kernels:
            with suppress(Exception), jax_kernels():
                return function(*arguments)
        answer = function(*arguments)
        programs.kernels = False
        return answer

    def _one(self, changing: State, kept: State, data: Any) -> tuple[State, Any]:
        self._programs.traces += 1
        keras_private.record_shardings(self.model)
        state = changing.over(kept)
        answer, values = self._step(tuple(getattr(state, name) for name in TAKEN[self.kind]), data)
        if self.kind == "predict":
            values = (state.trainable, values)
        else:
            self._log_names, answer = list(answer), list(answer.values())
        after = State(**dict(zip(TAKEN[self.kind], values, strict=True)))
        return after.only(self.changes), answer

    def shardings(self) -> Any:
        """Where a program returns the new state, and logs or outputs; None to let JAX choose."""
        everywhere = self.placement.everywhere
        if everywhere is None:
            return None
        state = {name: self.placement.shardings(variables_of(self.model, name)) for name in self.changes}
        return State(**state), everywhere

    def named(self, logs: list[Any]) -> Logs:
        """Logs by name, in this model, from those that a program returned."""
        if not self._log_names:  # the program was traced for another model
            self._log_names = list(self.model.get_metrics_result())
        return dict(zip(self._log_names, logs, strict=True))

    def _loop(
        self, loop: Loop, changing: State, kept: State, data: Any, order: Any, start: Any, steps: Any
    ) -> tuple[State, tuple[Any, Any]]:
        size = loop.size

        def batch(number: Any) -> Any:
            at = start + number * size
            rows = None if order is None else lax.dynamic_slice_in_dim(order, at, size)

            def take(leaf: Any) -> Any:
                taken = consecutive(leaf, at, size) if rows is None else gathered(leaf, rows)
                return self.placement.in_program(taken)

            return keras.tree.map_structure(lambda leaf: None if leaf is None else take(leaf), data)

        # The loop carries nothing if logs are the results of metrics, else the last logs. For prediction, it
        # carries the outputs of all steps.
        predicts = self.kind == "predict"
        from_metrics = not predicts and self._is_keras_step
        carried: Any = ()
        if not from_metrics:
            answer = jax.eval_shape(self._one, changing, kept, batch(0))[1]
            rows = jax.tree.leaves(data, is_leaf=is_rows)[0].shape[0]
            room = (min(OUTPUTS, -(-rows // size)) * size,) if predicts else ()
            carried = jax.tree.map(lambda a: jnp.zeros((*room, *a.shape[len(room) :]), a.dtype), answer)

        def report(state: State, logs: Any) -> Logs:
            if not from_metrics:
                return self.named(logs)
            metrics = zip(self.model.metrics_variables, state.metrics or (), strict=True)
            with keras.StatelessScope(list(metrics)):
                return self.model.get_metrics_result()

        def continues(carry: tuple) -> Any:
            number, state, logs = carry
            loss = report(state, logs).get("loss", 0.0) if loop.halting else 0.0
            return (number < steps) & jnp.isfinite(loss)

        def advance(carry: tuple) -> tuple:
            number, state, carried = carry
            state, answer = self._one(state, kept, batch(number))
            if predicts:
                answer = jax.tree.map(
                    lambda outputs, new: lax.dynamic_update_slice_in_dim(outputs, new, number * size, 0),
                    carried,
                    answer,
                )
            return number + 1, state, () if from_metrics else answer

        number, state, carried = lax.while_loop(continues, advance, (jnp.int32(0), changing, carried))
        return state, (number, carried if predicts else list(report(state, carried).values()))

    def outputs_join(self, changing: State, kept: State, data: Any, size: int) -> bool:
        """Whether outputs for batches of ``size`` of these rows can be joined along the first axis."""
        leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
        key = size, *((tuple(leaf.shape[1:]), str(leaf.dtype)) for leaf in leaves)
        if key not in self._joins:
            self._joins[key] = self._find_whether_outputs_join(changing, kept, data, size)
        return self._joins[key]

    def _find_whether_outputs_join(self, changing: State, kept: State, data: Any, size: int) -> bool:
        batch = keras.tree.map_structure(
            lambda leaf: None if leaf is None else jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype),
            data,
        )
        outputs = self.tracing(lambda: jax.eval_shape(self.program(), changing, kept, batch))[1]
        return all(output.shape[:1] == (size,) for output in jax.tree.leaves(outputs))
