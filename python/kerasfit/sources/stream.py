"""A source's batches, epoch after epoch."""

from __future__ import annotations

from collections.abc import Iterator

from kerasfit.sources.source import Batch, Source


class Stream:
    """Takes batches from a source and knows where epochs begin.

    An epoch is one pass over the source; or, with ``steps_per_epoch``, so many steps, with the next epoch
    going on where the last one stopped until the pass ends.

    Attributes
    ----------
    steps
        Steps in an epoch as far as is known: None until an epoch has shown it.
    """

    def __init__(self, source: Source, steps_per_epoch: int | None = None):
        self.source = source
        self.limit = steps_per_epoch if steps_per_epoch and steps_per_epoch > 0 else None
        self.steps = self.limit or source.batches
        self.taken = 0  # in this epoch
        self._pass: Iterator[Batch] | None = None
        self._ahead: Batch | None = None

    def begin_epoch(self, *, anew: bool = False) -> None:
        """Start a pass, or go on with the one that ``steps_per_epoch`` cut unless told to start ``anew``."""
        if self.taken and (anew or self.limit is None):
            self._pass = self._ahead = None
        self.taken = 0
        if self.peek() is None:
            self._pass = None  # the last epoch took the last batch

    def peek(self) -> Batch | None:
        """The batch that comes next, which stays there to be taken; None if the pass is over."""
        if self._ahead is None:
            if self._pass is None:
                self._pass = iter(self.source)
            self._ahead = next(self._pass, None)
        return self._ahead

    def take(self, steps: int) -> Iterator[Batch]:
        """The next ``steps`` batches of this epoch, fewer if it ends before."""
        for _ in range(steps):
            if self.exhausted:
                return
            batch, self._ahead = self._ahead, None
            self.taken += 1
            yield batch

    @property
    def exhausted(self) -> bool:
        """Whether this epoch has no more batches. May draw a batch from the source to know it."""
        return self.taken == self.limit or self.peek() is None

    @property
    def ran_dry(self) -> bool:
        """Whether the source ended before this epoch had the steps that were asked for."""
        return self.limit is not None and self.taken < self.limit and self.peek() is None

    def end_epoch(self) -> None:
        """Learn from an epoch that has run to its end how many steps the next ones are likely to have."""
        self.steps = self.steps or self.taken
