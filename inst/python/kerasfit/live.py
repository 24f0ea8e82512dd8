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
STOP = "stop"  # a file of this name in the folder stops training too
WRITE_SECONDS = 0.5
KEPT_VIEWS = 20  # of this process, for pages that are opened late
MAX_CONNECTIONS = 32  # at once; a page has six at most
IDLE_SECONDS = 30  # without a request
SAFETY = {  # the page reaches nothing but this server, whatever gets into it
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' http://127.0.0.1:*; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
RECENT_EPOCHS = 5  # their mean duration is what the epochs to come are expected to take


class View:
    """One run as it is watched.

    Parameters
    ----------
    folder
        Where the page is: a folder of our own.
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

    @classmethod
    def in_folder(cls, given: str | Path) -> View:
        """A view that keeps its state for others in ``kerasfit-view``, our folder inside a user's."""
        try:
            folder = open_own_folder(given, FOLDER, FORMAT)
        except UnusableFolder as error:
            reason = f"`view_metrics` names a folder that cannot be used: {error}"
            raise ArgumentError("view_metrics", reason, "Give another folder.") from error
        with contextlib.suppress(OSError):
            (folder / STOP).unlink()  # of a run before
        view = cls(folder, writing=True)
        view._write()
        return view

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

    def epoch_done(self, epoch: int) -> None:
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
            if os.path.lexists(self.folder / STOP):
                self.stop()
            began = time.monotonic()
            self._write()
            pause = max(WRITE_SECONDS, 100 * (time.monotonic() - began))
        self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # a folder that is gone or full is no reason to end training
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
    """Serves the folders of views on the loopback interface, each under a path that cannot be guessed.

    There is a thread for each connection, and a limit to them: one more ends another, if there is one that
    has never asked for a view, else the one whose last question is oldest.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # Windows would let another process take the port over
    block_on_close = False  # which would keep a list of all threads that there were
    request_queue_size = 64

    def __init__(self):
        self._slots = threading.Semaphore(MAX_CONNECTIONS)
        # which have asked for a view; in the order of their last questions
        self._connections: dict[socket.socket, bool] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.views: dict[str, View] = {}
        threading.Thread(target=self.serve_forever, name="kerasfit-server", daemon=True).start()

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's asks for the name of this machine, for seconds on some
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
                chosen = min(
                    self._connections, key=self._connections.get
                )  # the first of those that are equal
                chosen.shutdown(socket.SHUT_RDWR)  # which wakes its thread

    def note_question(self, request: socket.socket) -> None:
        """A connection has asked for a view, whose path it knows."""
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
        pass  # a browser that went away


class Handler(BaseHTTPRequestHandler):
    """Answers for the view whose path it is; with 404 to all others."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def version_string(self) -> str:
        return "kerasfit"

    def _find(self) -> tuple[View, str, dict[str, list[str]]] | None:
        """The view, the path behind the view's, the query; None for no view, or a host that is not ours."""
        hosts = {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
        if self.headers.get_all("Host") is None or not hosts.issuperset(self.headers.get_all("Host")):
            return None  # also where somebody lets a name of theirs point here
        try:
            address = urlsplit(self.path)
            _, path, rest = address.path.split("/", 2)
            query = parse_qs(address.query)
        except ValueError:
            return None
        if (view := self.server.views.get(path)) is None:
            return None
        self.server.note_question(self.connection)
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
        self.close_connection = True  # whatever else there is in the request
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
    """The regular file at a path of a URL, if it is in the folder, where links may lead elsewhere."""
    try:
        file = (folder / (unquote(path) or "index.html")).resolve(strict=True)
        return file if file.is_relative_to(folder.resolve()) and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name that is too long or has a NUL; links in a circle
        return None


def media_type(file: Path) -> str:
    """What a browser takes a file for. Windows may know other types of these."""
    known = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css"}
    return known.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"


@functools.cache
def server() -> Server:
    """The one of this process."""
    return Server()
