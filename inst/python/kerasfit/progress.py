"""Shows the progress of training in the console.

``Progress`` decides what is shown and when; a *writer* prints it. R passes its own writer, made of cli's
progress bar and ``cat()``; Python uses ``TerminalWriter``.
"""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Protocol

from kerasfit.callbacks.progress_style import ProgressStyle
from kerasfit.logs import Logs, format_metrics, logs_to_floats

if TYPE_CHECKING:
    import rich.progress

REFRESH_SECONDS = 0.1


class Writer(Protocol):
    """Prints progress bars and lines."""

    def bar_begin(self, label: str, total: int | None) -> None:
        """Show a bar, which is removed later; ``total`` is None if the number of steps is unknown."""

    def bar_update(self, done: int, metrics: str) -> None: ...

    def bar_end(self) -> None: ...

    def line(self, text: str) -> None:
        """Write one or several lines that stay."""


class Progress:
    """Shows the progress of epochs: nothing (verbose 0), a bar and a final line (1), or only the line (2).

    After an epoch shorter than ``REFRESH_SECONDS``, the bar of the next one appears only once it has taken
    that long. Lines of such epochs are buffered and written together. With ``unbuffered``, each line is
    written immediately, because other code writes too.
    """

    def __init__(
        self,
        verbose: int,
        writer: Writer | None = None,
        epochs: int | None = None,
        style: ProgressStyle | None = None,
        unbuffered: bool = True,
    ):
        self.verbose = verbose
        self.style = style or ProgressStyle()
        self.writer = writer or TerminalWriter()
        self.epochs = epochs
        self.unbuffered = unbuffered
        self._bar: tuple[str, int | None] | None = None
        self._lines: list[str] = []
        self._written_at = -math.inf
        self._bar_shown_at: float | None = None
        self._was_long = True

    @property
    def may_buffer(self) -> bool:
        """Whether the lines of several short epochs may be buffered and written together."""
        return not (self.verbose and self.unbuffered)

    def begin(self, label: str, steps: int | None) -> None:
        """Show the beginning of an epoch, an evaluation or a prediction."""
        self._began = time.monotonic()
        self._bar = (label, steps) if self.verbose == 1 and self.style.bar else None
        if self._bar and self._was_long:
            self._show_bar()

    def epoch_begin(self, epoch: int, steps: int | None) -> None:
        self.begin(self._label(epoch), steps)

    def step(self, done: int, logs: Logs) -> None:
        """Show that ``done`` steps are done. The logs are read only when the bar is refreshed."""
        if self._bar is None:
            return
        now = time.monotonic()
        if now - (self._bar_shown_at or self._began) >= REFRESH_SECONDS:
            if self._bar_shown_at is None:
                self._show_bar()
            self.writer.bar_update(done, self._metrics(logs_to_floats(logs)))
            self._bar_shown_at = now

    def close(self) -> None:
        """Flush pending lines and remove the bar."""
        self._close_bar()
        self._write()

    def _show_bar(self) -> None:
        self._write()
        if self._bar is not None:
            self.writer.bar_begin(*self._bar)
        self._bar_shown_at = time.monotonic()

    def _close_bar(self) -> None:
        if self._bar_shown_at is not None:
            self._bar_shown_at = None
            self.writer.bar_end()

    def _write(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self.writer.line("\n".join(lines))
            self._written_at = time.monotonic()

    def epoch_end(self, epoch: int, logs: Logs, seconds: float | None = None) -> None:
        """Show the line of an epoch; ``seconds`` is its duration, if its beginning was not shown."""
        if seconds is not None:
            self._began = time.monotonic() - seconds
        if epoch % self.style.every == 0 or epoch == self.epochs:
            self.end(self._label(epoch), logs)
        else:
            self._close_bar()
            self._was_long = time.monotonic() - self._began >= REFRESH_SECONDS

    def end(self, label: str, logs: Logs) -> None:
        """Show the final line of an epoch, an evaluation or a prediction."""
        self._close_bar()
        now = time.monotonic()
        self._was_long = now - self._began >= REFRESH_SECONDS
        if self.verbose:
            parts = (label, format_seconds(now - self._began), self._metrics(logs))
            self._lines.append(" - ".join(part for part in parts if part))
            if self.unbuffered or now - self._written_at >= REFRESH_SECONDS:
                self._write()

    def _metrics(self, logs: Logs) -> str:
        if self.style.metrics is not None:
            logs = {name: logs[name] for name in self.style.metrics if name in logs}
        return format_metrics(logs, self.style.digits)

    def _label(self, epoch: int) -> str:
        return f"Epoch {epoch:>{len(str(self.epochs))}}/{self.epochs}"


def format_seconds(seconds: float) -> str:
    """Format a duration: 12ms, 3.4s, 2m 05s, 1h 02m."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}m {seconds:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


class TerminalWriter:
    """Writes lines to standard output, and shows rich's progress bar in terminals and notebooks."""

    def __init__(self) -> None:
        self._bar: rich.progress.Progress | None = None

    def bar_begin(self, label: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console()
        if not (console.is_terminal or console.is_jupyter):
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}", markup=False),  # names of metrics may have brackets
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(label, total=total, metrics="")
        self._bar.start()

    def bar_update(self, done: int, metrics: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, metrics=printable(metrics))

    def bar_end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def line(self, text: str) -> None:
        print(printable(text), file=sys.stdout, flush=True)


def printable(text: str) -> str:
    """Escape characters that standard output cannot encode, for example in the C locale."""
    stream = getattr(
        sys.stdout, "rich_proxied_file", sys.stdout
    )  # rich replaces sys.stdout while there is a bar
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
