"""Shows a training run in the console and, if it is open, on the live page."""

from __future__ import annotations

from dataclasses import dataclass

from kerasfit.live import View
from kerasfit.logs import Logs
from kerasfit.progress import Progress


@dataclass
class RunDisplay:
    """Passes the events of a training run to the console and to the live page."""

    console: Progress
    page: View | None = None

    def epoch_begin(self, epoch: int, steps: int | None) -> None:
        self.console.epoch_begin(epoch, steps)
        self.page_epoch_begin(epoch, steps)

    def page_epoch_begin(self, epoch: int, steps: int | None) -> None:
        """Show the beginning of an epoch on the page. The page may stop training here."""
        if self.page:
            self.page.epoch_begin(epoch, steps)

    def step(self, done: int, logs: Logs) -> None:
        if self.page:
            self.page.step(done)
        self.console.step(done, logs)

    def epoch_end(self, epoch: int, logs: Logs, seconds: float | None = None) -> None:
        """Show the end of an epoch; ``seconds`` is its duration, if its beginning was not shown."""
        if self.page and seconds is not None:
            self.page.epoch_done(epoch)
        self.console.epoch_end(epoch, logs, seconds)
