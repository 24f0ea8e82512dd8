"""Chooses how many steps the next execution runs.

An execution is one call of an engine that runs several consecutive steps. Its length does not change the
results. If a callback must be called for every batch, the length is the model's ``steps_per_execution``;
otherwise it is as many steps as take about a tenth of a second, so that progress is shown and interrupts are
handled promptly.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from kerasfit.engines import Engine

EXECUTION_SECONDS = 0.1


class ExecutionSizer:
    """Sets the number of steps of the next execution: a fixed number, or as many as take a tenth of a second.

    The number is adjusted after each execution and kept for later epochs and calls. It is scaled when the
    batch size changes.
    """

    def __init__(self) -> None:
        self.fixed: int | None = None
        self.steps = 1
        self._batch_size: int | None = None

    def begin(self, batch_size: int | None, fixed: int | None = None) -> None:
        """Start an epoch with batches of this size (None if unknown)."""
        self.fixed = fixed
        if fixed:
            self.steps = fixed
        elif batch_size is None or batch_size != self._batch_size:
            known = self._batch_size if batch_size else None
            self.steps = max(1, self.steps * known // batch_size) if known and batch_size else 1
        self._batch_size = None if fixed else batch_size

    def record(self, steps: int, seconds: float) -> None:
        """Record that an execution ran ``steps`` steps in ``seconds``."""
        if self.fixed is None:
            wanted = int(steps * EXECUTION_SECONDS / max(seconds, 1e-6))
            self.steps = max(1, min(wanted, 4 * self.steps))


Sizers = dict[str, ExecutionSizer]
_sizers: WeakKeyDictionary[Engine, Sizers] = WeakKeyDictionary()


def execution_sizer(
    engine: Engine, phase: str, batch_size: int | None, fixed: int | None = None
) -> ExecutionSizer:
    """Return an engine's sizer for a phase ("train", "test" or "predict") and start an epoch with it."""
    sizer = _sizers.setdefault(engine, {}).setdefault(phase, ExecutionSizer())
    sizer.begin(batch_size, fixed)
    return sizer


def exchange_sizers(engine: Engine, sizers: Sizers) -> Sizers:
    """Set the sizers of an engine, for example for a nested call, and return its previous ones."""
    before = _sizers.get(engine, {})
    _sizers[engine] = sizers
    return before
