"""Shows a run while it trains: on a web page that this process serves, or in a folder.

``View`` holds the state of a run for other threads: for the server (``live_server``), and for one that writes
it to the folder. Creating a file ``stop`` in the folder stops training too.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from kerasfit.errors import ArgumentError
from kerasfit.history import History
from kerasfit.live_server import STATE, STOP, server
from kerasfit.runtime.files import replace
from kerasfit.runtime.own_folder import UnusableFolder, open_own_folder

FOLDER, FORMAT = "kerasfit-view", b"kerasfit: training in progress, format 1\n"
WRITE_SECONDS = 0.5
STOP_SECONDS = 0.02  # between looks for the file that stops training
RECENT_EPOCHS = 5  # their mean duration estimates that of the remaining epochs


class View:
    """The state of one run, for the page that shows it.

    Parameters
    ----------
    folder
        The folder with the page, owned by kerasfit.
    writing
        Whether to write ``state.json`` to the folder, for users who serve the folder themselves.
    opened
        Called with the page's URL when training begins.
    """

    def __init__(
        self, folder: str | Path, writing: bool = False, opened: Callable[[str], None] | None = None
    ):
        self.folder = Path(folder).absolute()
        self.writing, self.opened = writing, opened
        self.stop_key = secrets.token_urlsafe(24)
        self.stopped = False
        self._server = server()
        self.path = self._server.add(self)
        self._status, self._message = "starting", ""
        self._history, self._name = History(), ""
        self._model: keras.Model | None = None
        self._epoch = self._step = 0
        self._steps: int | None = None
        self._began = self._epoch_began = time.monotonic()
        self._ended = threading.Event()
        self._writer: threading.Thread | None = None

    @classmethod
    def in_folder(cls, given: str | Path) -> View:
        """Create a view that writes its state to ``kerasfit-view``, our folder inside a user's folder."""
        try:
            folder = open_own_folder(given, FOLDER, FORMAT)
        except UnusableFolder as error:
            reason = f"`view_metrics` names a folder that cannot be used: {error}"
            raise ArgumentError("view_metrics", reason, "Give another folder.") from error
        with contextlib.suppress(OSError):
            (folder / STOP).unlink()  # left by a previous run
        view = cls(folder, writing=True)
        view._write()
        return view

    @property
    def url(self) -> str:
        return f"{self._server.url}{self.path}/"

    @property
    def stop_url(self) -> str:
        """The URL to which a POST request stops training."""
        return f"{self.url}{STOP}?key={self.stop_key}"

    # ---- called by the training loop --------------------------------------------------------------

    def begin(self, model: keras.Model, history: History) -> None:
        self._model, self._history, self._name = model, history, model.name
        self._status = "training"
        self._began = self._epoch_began = time.monotonic()
        if self.writing:
            self._writer = threading.Thread(target=self._keep_writing, name="kerasfit-view", daemon=True)
            self._writer.start()
        if self.opened:
            self.opened(self.url)

    def epoch_begin(self, epoch: int, steps: int | None) -> None:
        self._epoch, self._step, self._steps = epoch, 0, steps
        self._epoch_began = time.monotonic()
        if self.stopped and self._model is not None:  # the user stopped it before training began
            self._model.stop_training = True

    def epoch_done(self, epoch: int) -> None:
        self._epoch, self._step = epoch, self._steps or 0

    def step(self, done: int) -> None:
        self._step = done

    def end(self, status: str, message: str = "") -> None:
        """Record the end of training, with the status "ended", "stopped", "interrupted" or "failed"."""
        self._status, self._message = status, message
        self._ended.set()
        self._model = None
        if self._writer:
            self._writer.join(timeout=5)

    def close(self) -> None:
        """Set the status "failed" if ``fit()`` returned before training began."""
        if self._status == "starting":
            self.end("failed", "Training did not begin: see the error from fit().")
            if self.writing:
                self._write()

    # ---- called by the server -----------------------------------------------------------------------

    def stop(self) -> None:
        """Stop training after the current step."""
        self.stopped = True
        if (model := self._model) is not None:
            model.stop_training = True

    def state(self, after: int = 0) -> dict[str, Any]:
        """Return the run as plain values: its progress, and its history without the first ``after`` rows."""
        history = self._history
        rows = len(history.seconds)  # seconds are added last, so these rows are complete
        seconds = [round(value, 4) for value in history.seconds[max(0, rows - RECENT_EPOCHS) : rows]]
        return {
            "status": self._status,
            "message": self._message,
            "name": self._name,
            "epoch": self._epoch,
            "epochs": history.params.get("epochs"),
            "initial_epoch": history.params.get("initial_epoch"),
            "step": self._step,
            "steps": self._steps,
            "elapsed": round(time.monotonic() - self._began, 3),
            "left": self._seconds_left(seconds),
            "stop": self.stop_url,
            "from": after,
            "rows": {
                "epoch": history.epochs[after:rows],
                "metrics": {
                    name: finite(values[after:rows]) for name, values in list(history.metrics.items())
                },
            },
        }

    def _seconds_left(self, recent: list[float]) -> float | None:
        """Estimate the remaining seconds of training; None if nothing was measured yet."""
        epochs = self._history.params.get("epochs") or 0
        elapsed = time.monotonic() - self._epoch_began
        if recent:
            epoch_seconds = sum(recent) / len(recent)
        elif self._steps and self._step:
            epoch_seconds = elapsed * self._steps / self._step
        else:
            return None
        return round(max(0.0, (epochs - self._epoch + 1) * epoch_seconds - elapsed), 1)

    def _keep_writing(self) -> None:
        """Write the state repeatedly until training ends, with pauses that keep the cost below 1 %."""
        due = time.monotonic()
        while not self._ended.wait(STOP_SECONDS):
            if os.path.lexists(self.folder / STOP):
                self.stop()
            if (began := time.monotonic()) >= due:
                self._write()
                due = began + max(WRITE_SECONDS, 100 * (time.monotonic() - began))
        self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # a folder that was deleted or is full must not end training
            descriptor, new = tempfile.mkstemp(prefix=f"{STATE}-", dir=self.folder)  # mode 0600
            try:
                with open(descriptor, "wb") as file:
                    file.write(json.dumps(self.state()).encode())
                replace(new, self.folder / STATE)
            except BaseException:
                os.unlink(new)
                raise


@contextmanager
def viewed(view: View | None, model: keras.Model, history: History) -> Iterator[None]:
    """Record the beginning and the end of a run in a view."""
    if view is None:
        yield
        return
    view.begin(model, history)
    try:
        yield
    except KeyboardInterrupt:
        view.end("interrupted")
        raise
    except BaseException as error:
        view.end("failed", str(error).partition("\n")[0])
        raise
    interrupted = "interrupted" if history.params["interrupted"] else None
    view.end(interrupted or ("stopped" if view.stopped else "ended"))


def finite(values: list[float | None]) -> list[float | None]:
    """Replace non-finite values, which JSON does not support, by None."""
    return [value if value is not None and math.isfinite(value) else None for value in values]
