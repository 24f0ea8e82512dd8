"""Streams: take the batches of a source, epoch after epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from kerasfit import timing
from kerasfit.data.names import Batch
from kerasfit.error_context import error_context
from kerasfit.sources.arrays import ArraySource
from kerasfit.sources.arrow import ArrowSource
from kerasfit.sources.source import Source

SourceT = TypeVar("SourceT", bound=Source)


class Stream(Generic[SourceT]):
    """Takes batches from a source and divides them into epochs.

    An epoch is one pass over the source; or, with ``steps_per_epoch``, so many steps, and the next epoch
    continues the pass where the last one stopped.

    Attributes
    ----------
    steps
        Steps in an epoch; None if unknown until the first epoch has ended.
    taken
        Batches taken in this epoch.
    passed
        Batches taken in the current pass, by this and earlier epochs.
    """

    def __init__(self, source: SourceT, steps_per_epoch: int | None = None):
        self.source = source
        self.limit = steps_per_epoch if steps_per_epoch and steps_per_epoch > 0 else None
        self.steps = self.limit or source.batches
        self.taken = self.passed = 0

    def peek(self) -> Batch | None:
        """Return the next batch without taking it; None if the pass is over."""
        raise NotImplementedError

    def example(self) -> Batch | None:
        """A batch with the shapes and types of the data: the next one, or another like it."""
        return self.peek()

    def end_pass(self) -> None:
        """End the pass: the next batch is the first of a new one."""
        raise NotImplementedError

    def has_next(self) -> bool:
        """Whether the pass has more batches. May draw a batch from the source to find out."""
        return self.peek() is not None

    def take(self, steps: int) -> Iterator[Batch]:
        """Take the next ``steps`` batches of this epoch, or fewer if it ends before."""
        for _ in range(steps):
            batch = None if self.taken == self.limit else self.peek()
            if batch is None:
                return
            self.advance()
            yield batch

    def advance(self) -> None:
        """Count the batch returned by ``peek`` as taken."""
        self.taken += 1
        self.passed += 1

    def begin_epoch(self, *, new_pass: bool = False) -> None:
        """Start an epoch. It continues a pass that ``steps_per_epoch`` cut off, unless ``new_pass``."""
        self.reset_epoch(new_pass=new_pass)
        if not self.has_next():
            self.end_pass()  # the last epoch took the last batch

    def reset_epoch(self, *, new_pass: bool = False) -> None:
        """Do the part of ``begin_epoch`` that draws no batch."""
        if self.taken and (new_pass or self.limit is None):
            self.end_pass()
        self.taken = 0

    def state(self, *, within_epoch: bool) -> dict[str, Any]:
        """The position of the stream for ``restore``, within an epoch or between two."""
        in_pass = self.in_pass and (within_epoch or self.limit is not None)
        return {
            "taken": self.taken if within_epoch else 0,
            "passed": self.passed if in_pass else 0,
            "in_pass": in_pass,
            "steps": self.steps,
            "shuffling": vars(self.source.shuffling).copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Move to the position that another stream of an equal source saved with ``state``."""
        if self.source.shuffling.seed is not None:
            self.end_pass()
        vars(self.source.shuffling).update(state["shuffling"])
        self.taken, self.steps = state["taken"], state["steps"]
        if state["in_pass"]:
            self.source.shuffling.passes = max(0, self.source.shuffling.passes - 1)  # to repeat this pass
            self.skip(state["passed"])

    @property
    def in_pass(self) -> bool:
        """Whether a pass over the source has begun."""
        raise NotImplementedError

    def skip(self, steps: int) -> None:
        """Skip ``steps`` batches of the pass without counting them in an epoch."""
        raise NotImplementedError

    @property
    def exhausted(self) -> bool:
        """Whether this epoch has no more batches. May draw a batch from the source to find out."""
        return self.taken == self.limit or not self.has_next()

    @property
    def ended_early(self) -> bool:
        """Whether the source ended before this epoch had ``steps_per_epoch`` steps."""
        return self.limit is not None and self.taken < self.limit and not self.has_next()

    def end_epoch(self) -> None:
        """Expect as many steps in the next epochs as in this complete one, if the number was unknown."""
        self.steps = self.steps or self.taken


class BatchStream(Stream[Source]):
    """A stream of batches that the source makes one after the other.

    Attributes
    ----------
    before_draw
        A function called before each batch is made, or None.
    is_drawing
        Whether a batch is being made, or was when an exception was raised.
    drawn
        Batches made so far, if the source's passes continue each other (``passes_continue``).
    stand_in
        A batch used for its shapes and types, so that no real one is made too early.
    """

    def __init__(self, source: Source, steps_per_epoch: int | None = None):
        super().__init__(source, steps_per_epoch)
        self._pass: Iterator[Batch] | None = None
        self._ahead: Batch | None = None
        self.before_draw: Callable[[], None] | None = None
        self.is_drawing = False
        self.drawn = 0
        self.stand_in: Batch | None = None

    @property
    def in_pass(self) -> bool:
        return self._pass is not None

    @property
    def has_batch_ahead(self) -> bool:
        """Whether a batch has been made and not yet taken."""
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
            self.drawn = 0 if self._ahead is None else self.drawn + self.source.passes_continue
        return self._ahead

    def example(self) -> Batch | None:
        return self.peek() if self.stand_in is None else self.stand_in

    def advance(self) -> None:
        super().advance()
        self._ahead = None

    def end_pass(self) -> None:
        self._pass = self._ahead = None
        self.passed = 0

    def state(self, *, within_epoch: bool) -> dict[str, Any]:
        drawn = self.drawn_before if self.source.passes_continue else None
        return super().state(within_epoch=within_epoch) | {"drawn": drawn}

    def restore(self, state: dict[str, Any]) -> None:
        drawn = state["drawn"]
        super().restore(state if drawn is None else state | {"passed": drawn, "in_pass": drawn > 0})
        self.passed = state["passed"]

    @property
    def drawn_before(self) -> int:
        """The number of batches made before the next one to be taken."""
        return self.drawn - self.has_batch_ahead

    def skip(self, steps: int) -> None:
        if isinstance(self.source, ArrowSource) and not self.in_pass:
            self._pass = self.source.begin_pass(steps)
            self.passed += steps
            return
        for _ in range(steps):
            if self.peek() is None:
                return
            self._ahead = None
            self.passed += 1


@dataclass
class Rows:
    """Consecutive batches of arrays: samples ``start`` to ``stop`` of ``order``.

    Each batch has ``batch_size`` samples, except a smaller last one. If the arrays have fewer samples than
    that, ``batch_size`` is their number.
    """

    order: np.ndarray | None
    start: int
    stop: int
    batch_size: int

    @property
    def steps(self) -> int:
        return -(-(self.stop - self.start) // self.batch_size)

    def split(self) -> tuple[Rows, Rows]:
        """The rows of whole batches, and the rest."""
        cut = self.stop - (self.stop - self.start) % self.batch_size
        return replace(self, stop=cut), replace(self, start=cut)

    def in_parts(self, steps: int) -> Iterator[Rows]:
        """The same rows in parts of at most ``steps`` batches."""
        for start in range(self.start, self.stop, steps * self.batch_size):
            yield replace(self, start=start, stop=min(start + steps * self.batch_size, self.stop))


class RowStream(Stream[ArraySource]):
    """A stream of batches of arrays, which an engine can also take as ranges of row numbers."""

    def __init__(self, source: ArraySource, steps_per_epoch: int | None = None):
        super().__init__(source, steps_per_epoch)
        self._order: np.ndarray | None = None
        self._at = 0  # the next row
        self._in_pass = False

    def peek(self) -> Batch | None:
        return self.source.batch(self._order, self._at) if self.has_next() else None

    @property
    def in_pass(self) -> bool:
        return self._in_pass

    def has_next(self) -> bool:
        if not self._in_pass:
            self._order, self._at, self._in_pass = self.source.begin_pass(), 0, True
        return self._at < self.source.samples

    def advance(self) -> None:
        super().advance()
        self._at += self.size

    def end_pass(self) -> None:
        self._order, self._at, self._in_pass = None, 0, False
        self.passed = 0

    def skip(self, steps: int) -> None:
        if self.has_next():
            self._at += steps * self.size
            self.passed += steps

    def return_batches(self, steps: int) -> None:
        """Put back the last ``steps`` batches, so that they come next."""
        self.taken -= steps
        self.passed -= steps
        self._at -= steps * self.size

    def take_rows(self, steps: int) -> Rows:
        """Take the next ``steps`` batches of this epoch, or fewer if it ends before, as row numbers."""
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
        """Samples in each batch, except a smaller last one."""
        return min(self.source.batch_size, self.source.samples)

    def whole_pass(self) -> Rows:
        """All batches of this pass, also those taken; without a smaller last batch if epochs are shorter."""
        size, samples = self.size, self.source.samples
        cut = self.limit is not None and self.limit < self.source.batches
        stop = samples - samples % size if cut else samples
        return Rows(self._order, 0, stop, size)


def stream_of(source: Source, steps_per_epoch: int | None = None) -> Stream:
    """Make the stream for a source."""
    if isinstance(source, ArraySource):
        return RowStream(source, steps_per_epoch)
    return BatchStream(source, steps_per_epoch)
