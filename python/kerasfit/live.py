"""Training as others can watch it while it goes on: a page that this process serves, or a folder.

``View`` keeps the state of a run where other threads can read it. A page that shows it lies in the view's
folder with all that it needs, and asks for ``state.json`` again and again.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import json
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import keras

from kerasfit.history import History

STATE = "state.json"
STOP = "stop"  # a file of this name in the folder stops training too
WRITE_SECONDS = 0.5
KEPT_VIEWS = 20  # of this process, for pages that are opened late
RECENT_EPOCHS = 5  # their mean duration is what the epochs to come are expected to take


class View:
    """One run as it is watched.

    Parameters
    ----------
    folder
        Where the page is.
    writing
        Whether to keep ``state.json`` in the folder, for who serves the folder himself.
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
        self._history, self._model, self._name = History(), None, ""
        self._epoch = self._step = 0
        self._steps: int | None = None
        self._began = self._epoch_began = time.monotonic()
        self._ended = threading.Event()
        self._writer: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"{self._server.url}{self.path}/"

    @property
    def stop_url(self) -> str:
        """Where a POST stops training."""
        return f"{self.url}{STOP}?key={self.stop_key}"

    # ---- what the loop tells ----------------------------------------------------------------------

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
        if self.stopped:  # before training had begun
            self._model.stop_training = True

    def epoch_was(self, epoch: int) -> None:
        self._epoch, self._step = epoch, self._steps or 0

    def step(self, done: int) -> None:
        self._step = done

    def end(self, status: str, message: str = "") -> None:
        """Training is over: "ended", "stopped", "interrupted" or "failed"."""
        self._status, self._message = status, message
        self._ended.set()
        self._model = None
        if self._writer:
            self._writer.join(timeout=5)

    def close(self) -> None:
        """``fit()`` has returned: if it has not begun to train, say that there was a mistake."""
        if self._status == "starting":
            self.end("failed", "Training did not begin: fit() has said why.")
            if self.writing:
                self._write()

    # ---- what those who watch ask -------------------------------------------------------------------

    def stop(self) -> None:
        """End training after the step."""
        self.stopped = True
        if (model := self._model) is not None:
            model.stop_training = True

    def state(self, after: int = 0) -> dict[str, Any]:
        """The run as plain values: where it is, and the rows of its history but for the first ``after``."""
        history = self._history
        rows = len(history.seconds)  # the last of a row's values to be there
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
        """How long training is likely to go on; None where there is nothing to tell it from."""
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
        """Write the state until training has ended; with pauses that make it cost no more than 1 %."""
        pause = 0.0
        while not self._ended.wait(pause):
            if (self.folder / STOP).exists():
                self.stop()
            began = time.monotonic()
            self._write()
            pause = max(WRITE_SECONDS, 100 * (time.monotonic() - began))
        self._write()

    def _write(self) -> None:
        aside = self.folder / (STATE + ".new")
        with contextlib.suppress(OSError):  # a folder that is gone or full is no reason to end training
            aside.touch(mode=0o600)  # how to stop training is in it
            aside.write_text(json.dumps(self.state()))
            os.replace(aside, self.folder / STATE)


@contextmanager
def viewed(view: View | None, model: keras.Model, history: History) -> Iterator[None]:
    """Let a view know of a run's beginning and end."""
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
    """Values as JSON can have them: None where it cannot."""
    return [value if value is not None and math.isfinite(value) else None for value in values]


# ---- the server --------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves the folders of views on the loopback interface, each under a path that cannot be guessed."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.views: dict[str, View] = {}
        threading.Thread(target=self.serve_forever, name="kerasfit-server", daemon=True).start()

    def add(self, view: View) -> str:
        path = secrets.token_urlsafe(24)
        self.views[path] = view
        for old in list(self.views)[:-KEPT_VIEWS]:
            del self.views[old]
        return path

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a browser that went away


class Handler(SimpleHTTPRequestHandler):
    """Answers for the view whose path it is; with 404 to all others."""

    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.view: View | None = None

    def _found(self) -> str | None:
        """The rest of the path behind that of a view; None if there is none, or the host is not ours."""
        parts = urlsplit(self.path).path.split("/", 2)
        hosts = {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
        if len(parts) < 3 or self.headers.get("Host") not in hosts:
            return None
        self.view = self.server.views.get(parts[1])
        return parts[2] if self.view else None

    def do_GET(self) -> None:
        rest = self._found()
        if rest is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif rest == STATE:
            after = parse_qs(urlsplit(self.path).query).get("after", ["0"])[0]
            self._answer(json.dumps(self.view.state(int(after) if after.isdecimal() else 0)).encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.close_connection = True  # whatever else there is in the request
        key = parse_qs(urlsplit(self.path).query).get("key", [""])[0]
        if self._found() == STOP and hmac.compare_digest(key.encode(), self.view.stop_key.encode()):
            self.view.stop()
            self._answer(b"{}")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def translate_path(self, path: str) -> str:
        self.directory = str(self.view.folder)
        return super().translate_path("/" + urlsplit(path).path.split("/", 2)[2])

    def list_directory(self, path: str) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@functools.cache
def server() -> Server:
    """The one of this process."""
    return Server()
