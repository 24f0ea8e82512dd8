"""Shows a run while it trains: on a web page that this process serves, or in a folder.

``View`` holds the state of a run for other threads. The page and its files are in the view's folder; the page
requests ``state.json`` periodically.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import json
import math
import mimetypes
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import keras

from kerasfit.errors import ArgumentError
from kerasfit.history import History
from kerasfit.runtime.files import replace
from kerasfit.runtime.own_folder import UnusableFolder, open_own_folder

FOLDER, FORMAT = "kerasfit-view", b"kerasfit: training in progress, format 1\n"
STATE = "state.json"
STOP = "stop"  # creating a file of this name in the folder stops training too
WRITE_SECONDS = 0.5
KEPT_VIEWS = 20  # number of this process's latest views to serve, for pages that are opened late
MAX_CONNECTIONS = 32  # simultaneous ones; a page has six at most
IDLE_SECONDS = 30  # timeout of a connection without a request
SAFETY = {  # headers that restrict the page to this server, also if malicious content gets into it
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' http://127.0.0.1:*; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
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
        self._history, self._model, self._name = History(), None, ""
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
        if self.stopped:  # the user stopped it before training began
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
            self.end("failed", "Training did not begin: fit() has said why.")
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
        pause = 0.0
        while not self._ended.wait(pause):
            if os.path.lexists(self.folder / STOP):
                self.stop()
            began = time.monotonic()
            self._write()
            pause = max(WRITE_SECONDS, 100 * (time.monotonic() - began))
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


# ---- the server --------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves the folders of views on the loopback interface, each under a path that cannot be guessed.

    Each connection has a thread, and their number is limited. One more closes another: one that has never
    requested a view, or else the one whose last request is oldest.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows, another process could take over the port
    block_on_close = False  # True would keep a list of all threads ever started
    request_queue_size = 64

    def __init__(self):
        self._slots = threading.Semaphore(MAX_CONNECTIONS)
        # connection → whether it has requested a view, ordered by the last request
        self._connections: dict[socket.socket, bool] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.views: dict[str, View] = {}
        threading.Thread(target=self.serve_forever, name="kerasfit-server", daemon=True).start()

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's looks up the host name, which can take seconds
        self.server_name, self.server_port = self.server_address[:2]

    def add(self, view: View) -> str:
        path = secrets.token_urlsafe(24)
        self.views[path] = view
        for old in list(self.views)[:-KEPT_VIEWS]:
            del self.views[old]
        return path

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self._end_one()
            self._slots.acquire()
        with self._lock:
            self._connections[request] = False
        super().process_request(request, client_address)

    def _end_one(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._connections:
                # the first one without a request for a view, or else the first one
                chosen = min(self._connections, key=self._connections.get)
                chosen.shutdown(socket.SHUT_RDWR)  # this wakes its thread

    def record_request(self, request: socket.socket) -> None:
        """Record that a connection has requested a view by its secret path."""
        with self._lock:
            if self._connections.pop(request, None) is not None:
                self._connections[request] = True

    def shutdown_request(self, request: socket.socket) -> None:
        super().shutdown_request(request)
        with self._lock:
            was_open = self._connections.pop(request, None) is not None
        if was_open:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # for example a browser that closed the connection


class Handler(BaseHTTPRequestHandler):
    """Answers requests whose path is that of a view; others get 404."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def version_string(self) -> str:
        return "kerasfit"

    def _find(self) -> tuple[View, str, dict[str, list[str]]] | None:
        """Return the view, the rest of the path, and the query; None for no view or a foreign host name."""
        hosts = {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
        if self.headers.get_all("Host") is None or not hosts.issuperset(self.headers.get_all("Host")):
            return None  # prevents DNS rebinding, where a foreign host name resolves to this machine
        try:
            address = urlsplit(self.path)
            _, path, rest = address.path.split("/", 2)
            query = parse_qs(address.query)
        except ValueError:
            return None
        if (view := self.server.views.get(path)) is None:
            return None
        self.server.record_request(self.connection)
        return view, rest, query

    def do_GET(self) -> None:
        found = self._find()
        if found is None:
            self._refuse()
            return
        view, rest, query = found
        if rest == STATE:
            after = query.get("after", ["0"])[0]
            state = view.state(int(after) if after.isdecimal() and len(after) < 10 else 0)
            self._answer(json.dumps(state).encode(), "application/json")
        elif (file := file_in(view.folder, rest)) is not None:
            self._answer(file.read_bytes(), media_type(file))
        else:
            self._refuse()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True  # the body of the request is not read
        found = self._find()
        if found and found[1] == STOP:
            view, _, query = found
            if hmac.compare_digest(query.get("key", [""])[0].encode(), view.stop_key.encode()):
                view.stop()
                self._answer(b"{}", "application/json")
                return
        self._refuse()

    def _refuse(self) -> None:
        self.close_connection = True
        self._answer(b"", "text/plain", HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes, media_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in SAFETY.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def file_in(folder: Path, path: str) -> Path | None:
    """Return the regular file at a URL path, if it is in the folder after links are resolved."""
    try:
        file = (folder / (unquote(path) or "index.html")).resolve(strict=True)
        return file if file.is_relative_to(folder.resolve()) and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name that is too long or has a NUL, or cyclic links
        return None


def media_type(file: Path) -> str:
    """Return the media type of a file. Windows may have other types registered for the first three."""
    known = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css"}
    return known.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"


@functools.cache
def server() -> Server:
    """Return the server of this process, started at the first call."""
    return Server()
