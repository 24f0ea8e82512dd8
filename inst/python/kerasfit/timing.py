"""Measures the time spent in each part of an epoch, while a ``Profile`` callback is active."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

PARTS = ("data", "steps", "callbacks", "validation")

_clock: Clock | None = None
_untimed = nullcontext()


class Clock:
    """Counts seconds by part. In nested parts the inner one counts, except within validation."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._since = time.perf_counter()
        self.seconds = dict.fromkeys((*PARTS, "other"), 0.0)

    def _pass(self) -> None:
        now = time.perf_counter()
        part = "other" if not self._open else self._open[-1]
        self.seconds["validation" if "validation" in self._open else part] += now - self._since
        self._since = now

    def enter(self, part: str) -> None:
        self._pass()
        self._open.append(part)

    def leave(self) -> None:
        self._pass()
        self._open.pop()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def lap(self) -> dict[str, float]:
        """Return the seconds of each part since the last lap."""
        self._pass()
        lap, self.seconds = self.seconds, dict.fromkeys(self.seconds, 0.0)
        return lap


def start() -> Clock:
    global _clock
    _clock = Clock()
    return _clock


def stop() -> None:
    global _clock
    _clock = None


def part(name: str) -> AbstractContextManager[None]:
    """Time the block as one of ``PARTS``."""
    return _untimed if _clock is None else _clock.part(name)
