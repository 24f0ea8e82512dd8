"""The server of live pages: each run has a path that cannot be guessed, with its page and its state.

A page is a folder of files. It requests ``state.json`` periodically, and posts to ``stop`` to stop training.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import json
import mimetypes
import os
import secrets
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

KEPT_VIEWS = 20  # number of this process's latest views to serve, for pages that are opened late
MAX_CONNECTIONS = 32  # simultaneous ones; a page has six at most
IDLE_SECONDS = 30  # timeout of a connection without a request
SAFETY = {  # headers that restrict the page to this server, also if malicious content gets into it
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' http://127.0.0.1:*; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
STATE = "state.json"  # the path at which a page requests the state of its run
STOP = "stop"  # the path to which it posts a request to stop


class Viewed(Protocol):
    """What is served: a run with the folder of its page.

    Attributes
    ----------
    folder
        The folder with the page.
    stop_key
        The key that a request to stop must contain.
    """

    folder: Path
    stop_key: str

    def state(self, after: int = 0) -> dict[str, Any]:
        """Return the run as plain values, its history without the first ``after`` rows."""

    def stop(self) -> None:
        """Stop training after the current step."""


class Server(ThreadingHTTPServer):
    """Serves the folders of views on the loopback interface, each under a path that cannot be guessed.

    Each connection has a thread. When their limit is reached, a new connection closes an old one: one that
    has never requested a view, or else the one whose last request is oldest.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows, another process could take over the port
    block_on_close = False  # True would keep a list of all threads ever started
    request_queue_size = 64

    def __init__(self) -> None:
        self._slots = threading.Semaphore(MAX_CONNECTIONS)
        # connection → whether it has requested a view, ordered by the last request
        self._connections: dict[socket.socket, bool] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.views: dict[str, Viewed] = {}
        threading.Thread(target=self.serve_forever, name="kerasfit-server", daemon=True).start()

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's looks up the host name, which can take seconds
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def add(self, view: Viewed) -> str:
        path = secrets.token_urlsafe(24)
        self.views[path] = view
        for old in list(self.views)[:-KEPT_VIEWS]:
            del self.views[old]
        return path

    def process_request(self, request: Any, client_address: Any) -> None:
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
                chosen = min(self._connections, key=lambda each: self._connections[each])
                chosen.shutdown(socket.SHUT_RDWR)  # this wakes its thread

    def record_request(self, request: socket.socket) -> None:
        """Record that a connection has requested a view by its secret path."""
        with self._lock:
            if self._connections.pop(request, None) is not None:
                self._connections[request] = True

    def shutdown_request(self, request: Any) -> None:
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

    def _find(self) -> tuple[Viewed, str, dict[str, list[str]]] | None:
        """Return the view, the rest of the path, and the query; None for no view or a foreign host name."""
        hosts = {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
        given = self.headers.get_all("Host")
        if given is None or not hosts.issuperset(given):
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
