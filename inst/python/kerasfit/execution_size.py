"""How many steps the next execution has.

An execution is a run of consecutive steps that an engine makes in one call. Its length does not change what
is computed: it has as many steps as the model's ``steps_per_execution`` where a callback watches batches,
else as many as take about a tenth of a second, so that progress is shown and interrupts are noticed soon.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from kerasfit.engines import Engine

EXECUTION_SECONDS = 0.1


class ExecutionSizer:
    """The number of steps for the next execution: fixed, or as many as take a tenth of a second.

    It learns from each execution, and keeps what it has learned for later epochs and calls. When the batch
    size changes, it scales the number.
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
    """The sizer of an engine for a phase ("train", "test" or "predict"), ready for an epoch."""
    sizer = _sizers.setdefault(engine, {}).setdefault(phase, ExecutionSizer())
    sizer.begin(batch_size, fixed)
    return sizer


def exchange_sizers(engine: Engine, sizers: Sizers) -> Sizers:
    """Give an engine other sizers, as for a call within another one; returns those that it had."""
    before = _sizers.get(engine, {})
    _sizers[engine] = sizers
    return before
