"""A source's batches, epoch after epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerasfit import timing
from kerasfit.data.names import Batch
from kerasfit.error_context import error_context
from kerasfit.sources.arrays import ArraySource
from kerasfit.sources.source import Source


class Stream:
    """Takes batches from a source and knows where epochs begin.

    An epoch is one pass over the source; or, with ``steps_per_epoch``, so many steps, with the next epoch
    going on where the last one stopped until the pass ends.

    Attributes
    ----------
    steps
        Steps in an epoch as far as is known: None until an epoch has shown it.
    taken
        Steps taken in this epoch.
    passed
        Batches of the current pass that epochs have taken.
    """

    def __init__(self, source: Source, steps_per_epoch: int | None = None):
        self.source = source
        self.limit = steps_per_epoch if steps_per_epoch and steps_per_epoch > 0 else None
        self.steps = self.limit or source.batches
        self.taken = self.passed = 0

    def peek(self) -> Batch | None:
        """The batch that comes next, which stays there to be taken; None if the pass is over."""
        raise NotImplementedError

    def example(self) -> Batch | None:
        """A batch that shows shapes and types: the one that comes next, or another like it."""
        return self.peek()

    def leave_pass(self) -> None:
        """Let the next batch be the first of a new pass."""
        raise NotImplementedError

    def has_next(self) -> bool:
        """Whether the pass goes on. May draw a batch from the source to know it."""
        return self.peek() is not None

    def take(self, steps: int) -> Iterator[Batch]:
        """The next ``steps`` batches of this epoch, fewer if it ends before."""
        for _ in range(steps):
            if self.exhausted:
                return
            batch = self.peek()
            self.advance()
            yield batch

    def advance(self) -> None:
        """Go past the batch that was peeked at."""
        self.taken += 1
        self.passed += 1

    def begin_epoch(self, *, anew: bool = False) -> None:
        """Start a pass, or go on with the one that ``steps_per_epoch`` cut unless told to start ``anew``."""
        self.reset_epoch(anew=anew)
        if not self.has_next():
            self.leave_pass()  # the last epoch took the last batch

    def reset_epoch(self, *, anew: bool = False) -> None:
        """The same, as far as that can be done without drawing a batch."""
        if self.taken and (anew or self.limit is None):
            self.leave_pass()
        self.taken = 0

    def state(self, *, inside: bool) -> dict[str, Any]:
        """What ``restore`` takes: where the stream is, ``inside`` an epoch or between two."""
        goes_on = self.in_pass and (inside or self.limit is not None)
        return {
            "taken": self.taken if inside else 0,
            "passed": self.passed if goes_on else 0,
            "in_pass": goes_on,
            "steps": self.steps,
            "shuffling": vars(self.source.shuffling).copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where another stream of an equal source was."""
        if self.source.shuffling.seed is not None:
            self.leave_pass()
        vars(self.source.shuffling).update(state["shuffling"])
        self.taken, self.steps = state["taken"], state["steps"]
        if state["in_pass"]:
            self.source.shuffling.passes = max(0, self.source.shuffling.passes - 1)  # this one begins again
            self.skip(state["passed"])

    @property
    def in_pass(self) -> bool:
        """Whether a pass over the source has begun."""
        raise NotImplementedError

    def skip(self, steps: int) -> None:
        """Go past so many batches of the pass, which no epoch takes."""
        raise NotImplementedError

    @property
    def exhausted(self) -> bool:
        """Whether this epoch has no more batches. May draw a batch from the source to know it."""
        return self.taken == self.limit or not self.has_next()

    @property
    def ran_dry(self) -> bool:
        """Whether the source ended before this epoch had the steps that were asked for."""
        return self.limit is not None and self.taken < self.limit and not self.has_next()

    def end_epoch(self) -> None:
        """Learn from an epoch that has run to its end how many steps the next ones are likely to have."""
        self.steps = self.steps or self.taken


class BatchStream(Stream):
    """Batches that are made one after the other.

    Attributes
    ----------
    before_draw
        A function that is called before each batch is made, if there is one.
    drawn
        Batches made so far, of a source that never begins anew.
    stand_in
        A batch that shows shapes and types, where none is to be made before its time.
    """

    def __init__(self, source: Source, steps_per_epoch: int | None = None):
        super().__init__(source, steps_per_epoch)
        self._pass: Iterator[Batch] | None = None
        self._ahead: Batch | None = None
        self.before_draw: Callable[[], None] | None = None
        self.is_drawing = False  # or has been, when an exception came up
        self.drawn = 0
        self.stand_in: Batch | None = None

    @property
    def in_pass(self) -> bool:
        return self._pass is not None

    @property
    def has_batch_ahead(self) -> bool:
        """Whether there is a batch that has been made and not taken."""
        return self._ahead is not None

    def peek(self) -> Batch | None:
        if self._ahead is None:
            if self.before_draw:
                self.before_draw()
            self.is_drawing = True
            if self._pass is None:
                self._pass = iter(self.source)
            with error_context(batch=self.taken + 1), timing.part("data"):
                self._ahead = next(self._pass, None)
            self.is_drawing = False
            self.drawn = 0 if self._ahead is None else self.drawn + self.source.goes_on
        return self._ahead

    def example(self) -> Batch | None:
        return self.peek() if self.stand_in is None else self.stand_in

    def advance(self) -> None:
        super().advance()
        self._ahead = None

    def leave_pass(self) -> None:
        self._pass = self._ahead = None
        self.passed = 0

    def state(self, *, inside: bool) -> dict[str, Any]:
        return super().state(inside=inside) | {"drawn": self.drawn_before if self.source.goes_on else None}

    def restore(self, state: dict[str, Any]) -> None:
        drawn = state["drawn"]
        super().restore(state if drawn is None else state | {"passed": drawn, "in_pass": drawn > 0})
        self.passed = state["passed"]

    @property
    def drawn_before(self) -> int:
        """How many batches were made before the next one that will be taken."""
        return self.drawn - self.has_batch_ahead

    def skip(self, steps: int) -> None:
        for _ in range(steps):
            if self.peek() is None:
                return
            self._ahead = None
            self.passed += 1


@dataclass
class Rows:
    """A run of consecutive batches of arrays: samples ``start`` to ``stop`` of ``order``.

    Each batch has ``batch_size`` samples, the last one what remains. If all the samples that there are make
    less than a batch, they are a whole one.
    """

    order: np.ndarray | None
    start: int
    stop: int
    batch_size: int

    @property
    def steps(self) -> int:
        return -(-(self.stop - self.start) // self.batch_size)

    def split(self) -> tuple[Rows, Rows]:
        """Those of whole batches, and the rest."""
        cut = self.stop - (self.stop - self.start) % self.batch_size
        return replace(self, stop=cut), replace(self, start=cut)

    def in_parts(self, steps: int) -> Iterator[Rows]:
        """The same in runs of at most so many batches."""
        for start in range(self.start, self.stop, steps * self.batch_size):
            yield replace(self, start=start, stop=min(start + steps * self.batch_size, self.stop))


class RowStream(Stream):
    """Batches of arrays, which an engine can also take as runs of row numbers."""

    source: ArraySource

    def __init__(self, source: ArraySource, steps_per_epoch: int | None = None):
        super().__init__(source, steps_per_epoch)
        self._order: np.ndarray | None = None
        self._at: int | None = None  # None before a pass begins

    def peek(self) -> Batch | None:
        return self.source.batch(self._order, self._at) if self.has_next() else None

    @property
    def in_pass(self) -> bool:
        return self._at is not None

    def has_next(self) -> bool:
        if self._at is None:
            self._order, self._at = self.source.begin_pass(), 0
        return self._at < self.source.samples

    def advance(self) -> None:
        super().advance()
        self._at += self.size

    def leave_pass(self) -> None:
        self._order = self._at = None
        self.passed = 0

    def skip(self, steps: int) -> None:
        if self.has_next():
            self._at += steps * self.size
            self.passed += steps

    def give_back(self, steps: int) -> None:
        """Let the last ``steps`` batches that were taken be the next ones again."""
        self.taken -= steps
        self.passed -= steps
        self._at -= steps * self.size

    def take_rows(self, steps: int) -> Rows:
        """The next ``steps`` batches of this epoch, fewer if it ends before, as row numbers."""
        if self.limit is not None:
            steps = min(steps, self.limit - self.taken)
        start, size = self._at, self.size
        rows = Rows(self._order, start, min(start + steps * size, self.source.samples), size)
        self.taken += rows.steps
        self.passed += rows.steps
        self._at = start + rows.steps * size
        return rows

    @property
    def size(self) -> int:
        """Samples in a batch; in all but the last, where that has fewer."""
        return min(self.source.batch_size, self.source.samples)

    def whole_pass(self) -> Rows:
        """All batches of this pass, those that epochs have taken too; no rest where one epoch has none."""
        size, samples = self.size, self.source.samples
        cut = self.limit is not None and self.limit < self.source.batches
        stop = samples - samples % size if cut else samples
        return Rows(self._order, 0, stop, size)


def stream_of(source: Source, steps_per_epoch: int | None = None) -> Stream:
    """The stream for a source."""
    kind = RowStream if isinstance(source, ArraySource) else BatchStream
    return kind(source, steps_per_epoch)
