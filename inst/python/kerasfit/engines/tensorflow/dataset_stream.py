"""A stream of a dataset's elements, drawn within a compiled loop."""

from __future__ import annotations

from typing import Any

from kerasfit.engines.tensorflow.rows import constants
from kerasfit.engines.tensorflow.steps import Steps
from kerasfit.logs import Logs
from kerasfit.sources import Batch, DatasetSource, Stream


class DatasetStream(Stream[DatasetSource]):
    """A stream of a dataset's elements, which the compiled loop draws itself."""

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

    def end_pass(self) -> None:
        self._iterator = self._ahead = None
        self.passed = 0

    def skip(self, steps: int) -> None:
        self._iterator, self._ahead = iter(self.source.dataset.skip(steps)), None
        self.passed = steps

    def run(self, step: Steps, steps: int, *, reset: bool, halting: bool) -> Logs:
        """Run up to ``steps`` steps in one call, drawing only elements of this epoch; return the logs."""
        if self.limit is not None:
            steps = min(steps, self.limit - self.taken)
        loop = step.over_elements(self.source.dataset.element_spec, halting=halting)
        taken, ahead, logs = loop(self._iterator, self._next(), constants(steps, reset))
        self.taken += int(taken)
        self.passed += int(taken)
        self._ahead = ahead if taken < steps else None
        return logs
