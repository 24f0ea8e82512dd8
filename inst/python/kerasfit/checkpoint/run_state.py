"""Collects the state of a run as plain values, and defines the positions at which it can be resumed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import keras
import numpy as np

from kerasfit.checkpoint import store
from kerasfit.checkpoint.callback_state import callback_state, check_callback_methods, plain_attributes
from kerasfit.checkpoint.fingerprint import learning_rates, optimizers, rate_variable
from kerasfit.checkpoint.random_state import Session, get_random_states
from kerasfit.data.arrays import labelled_leaves
from kerasfit.engines import Engine
from kerasfit.engines.engine import logs_are_metrics
from kerasfit.history import History
from kerasfit.logs import Logs, logs_to_floats
from kerasfit.sources import Batch, BatchStream, IteratorSource, Source, Stream
from kerasfit.tensors import to_numpy
from kerasfit.variables import all_variables

STAGES = ("steps", "validation", "callbacks", "done")


@dataclass
class Position:
    """A position of a run from which it can be resumed.

    Attributes
    ----------
    epoch
        1-based.
    stage
        "steps": after the steps whose batches were taken from the stream, possibly none. "validation": after
        all steps and before validation. "callbacks": before ``on_epoch_end`` of the callbacks. "done": after
        the end of the epoch.
    logs
        The logs of the last step or of the epoch.
    before
        Copies of those parts of the state, as of this position, that later code may change.
    """

    epoch: int
    stage: str
    logs: Logs = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def is_within_epoch(self) -> bool:
        return self.stage != "done"


class RunState:
    """The parts of a run, and their state as plain values.

    Attributes
    ----------
    model, engine, stream, validation, history, session
        The parts; ``validation`` is the stream of the validation data or None.
    callbacks
        The callbacks whose state is saved.
    rates
        The learning rates at the beginning of the run.
    """

    def __init__(
        self,
        engine: Engine,
        stream: Stream,
        validation: Stream | None,
        callbacks: Sequence[keras.callbacks.Callback],
        history: History,
        session: Session | None,
    ):
        self.model = engine.model
        self.engine = engine
        self.stream = stream
        self.validation = validation
        self.history = history
        self.session = session
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            check_callback_methods(callback)
        self._at_first = [plain_attributes(callback) for callback in self.callbacks]
        self.rates = learning_rates(self.model)
        self._before_draw: dict[Stream, dict[str, Any]] = {}
        for each in (stream, validation):
            if isinstance(each, BatchStream):
                each.before_draw = self._keep_state_before_draw(each)

    def _keep_state_before_draw(self, stream: BatchStream) -> Callable[[], None]:
        """Return a function that is called before a batch is drawn, so that it can be drawn again."""

        kept = getattr(stream.source, "random_before", None)

        def before_draw() -> None:
            random = get_random_states(None if kept else self.session)
            self._before_draw[stream] = {"stream": stream.state(within_epoch=True), "random": random}

        return before_draw

    def _random_before_draw(self, stream: BatchStream) -> dict[str, Any]:
        """Return the states of random generators before the last batch was drawn."""
        kept, random = getattr(stream.source, "random_before", None), self._before_draw[stream]["random"]
        return random | {"session": kept()} if kept and self.session else random

    # ---- the complete state ------------------------------------------------------------------------

    def at(self, position: Position) -> dict[str, Any]:
        """Return the state at a position as a plain value."""
        self.engine.sync()
        logs = self.engine.latest(position.logs) if position.stage == "steps" else position.logs
        before = dict(position.before)
        kept = before.pop("variables", {})
        state = {
            "learning_rates": {"first": self.rates, "now": learning_rates(self.model)},
            "epoch": position.epoch,
            "stage": position.stage,
            "stopped": bool(self.model.stop_training),
            "logs": {name: value for name, value in logs_to_floats(logs).items() if store.is_plain(value)},
            "history": self._history(),
            "variables": [
                kept[id(variable)] if id(variable) in kept else keras.ops.convert_to_numpy(variable.value)
                for variable in stored_variables(self.model)
            ],
            "rates": self._rates(),
            **self._stream_state(position),
            "validation": self._validation_state(),
            "engine": self.engine.state(),
        }
        if "callbacks" not in before:
            state["callbacks"] = self.callback_states()
        return state | before

    def before_validation(self, *, hooks: bool) -> dict[str, Any]:
        """Return the parts of the state that validation may change.

        Callbacks called during validation (``hooks``) may change anything, as may a model's own
        ``test_step``.
        """
        if hooks or not logs_are_metrics(self.model, "test"):
            return self.before_user_code()
        model = self.model
        trained = [*model.trainable_variables, *chain(*(each.variables for each in optimizers(model)))]
        unchanged = set(map(id, [*trained, *model.metrics_variables]))
        parts = self._parts([each for each in all_variables(model) if id(each) not in unchanged])
        if self.validation and isinstance(self.validation.source, IteratorSource):
            parts["random"] = self.random_states()
        return parts

    def before_user_code(self) -> dict[str, Any]:
        """Return the parts of the state that the user's code may change."""
        return self._parts(all_variables(self.model)) | {
            "random": self.random_states(),
            "rates": self._rates(),
            "callbacks": copy.deepcopy(self.callback_states()),
            "stopped": bool(self.model.stop_training),
            "history": self._history(),
        }

    def _parts(self, variables: list[keras.Variable]) -> dict[str, Any]:
        """Return the values of variables, and the states of validation and engine."""
        if variables:
            self.engine.sync()
        return {
            "variables": {id(each): keras.ops.convert_to_numpy(each.value).copy() for each in variables},
            "validation": self._validation_state(),
            "engine": self.engine.state(),
        }

    # ---- the parts ---------------------------------------------------------------------------------

    def random_states(self) -> dict[str, Any]:
        return get_random_states(self.session)

    def callback_states(self) -> list[dict[str, Any]]:
        return [
            callback_state(callback, first)
            for callback, first in zip(self.callbacks, self._at_first, strict=True)
        ]

    def _rates(self) -> list[np.ndarray | None]:
        rates = [rate_variable(optimizer) for optimizer in optimizers(self.model)]
        return [None if rate is None else keras.ops.convert_to_numpy(rate.value).copy() for rate in rates]

    def _history(self) -> dict[str, Any]:
        history = self.history
        metrics = {name: list(values) for name, values in history.metrics.items()}
        return {"epochs": list(history.epochs), "metrics": metrics, "seconds": list(history.seconds)}

    def _stream_state(self, position: Position) -> dict[str, Any]:
        """Return the position in the training data, and the states of random generators.

        A batch that was drawn ahead but not used is drawn again in the resumed run, with the same random
        numbers; a batch whose drawing was interrupted is drawn from its beginning.
        """
        stream = self.stream
        shapes = shapes_of_batch(stream.source)
        if not isinstance(stream, BatchStream) or not (stream.has_batch_ahead or stream.is_drawing):
            where = stream.state(within_epoch=position.is_within_epoch)
            return {"stream": where, "before_draw": None, "random": self.random_states(), "shapes": shapes}
        where, before = self._before_draw[stream]["stream"], self._random_before_draw(stream)
        if stream.is_drawing:
            return {"stream": where, "before_draw": None, "random": before, "shapes": shapes}
        return {"stream": where, "before_draw": before, "random": self.random_states(), "shapes": shapes}

    def _validation_state(self) -> dict[str, Any] | None:
        """Return the position in validation data that never restart, or of which a batch was drawn ahead."""
        stream = self.validation
        if not isinstance(stream, BatchStream):
            return None
        return {
            "drawn": stream.drawn_before if stream.source.passes_continue else 0,
            "before_draw": self._random_before_draw(stream) if stream.has_batch_ahead else None,
            "shapes": shapes_of_batch(stream.source),
        }


def stored_variables(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model without the learning rates, which are stored separately."""
    rates = [rate_variable(optimizer) for optimizer in optimizers(model)]
    return [variable for variable in all_variables(model) if not any(variable is rate for rate in rates)]


def shapes_of_batch(source: Source) -> dict[str, Any] | None:
    """Return the number of rows of a generator's batches, and empty arrays like them; None if unknown."""
    example = source.example if isinstance(source, IteratorSource) else None
    if example is None:
        return None
    rows = len(next(labelled_leaves("x", example.x))[1])
    empty = keras.tree.map_structure(
        lambda leaf: None if leaf is None else to_numpy(leaf[:0]), tuple(example)
    )
    return {"rows": rows, "parts": empty}


def batch_like(shapes: dict[str, Any]) -> Batch:
    """Return a batch of zeros with the shapes and types from ``shapes_of_batch``."""

    def zeros(empty: Any) -> Any:
        return None if empty is None else np.zeros((shapes["rows"], *empty.shape[1:]), empty.dtype)

    return Batch(*keras.tree.map_structure(zeros, shapes["parts"]))
