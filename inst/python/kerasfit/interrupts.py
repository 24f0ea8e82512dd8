"""Ctrl-C while a model trains: noticed at the end of a step, never in the middle of one.

Within ``deferring_sigint()``, a SIGINT is a request, which the loop answers by ``check()`` where nothing is
left half done. A second request is an interrupt at once, unless it comes in a function that is
``uninterrupted``.
"""

from __future__ import annotations

import ctypes
import functools
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

POLL_SECONDS = 0.2

_current: deferring_sigint | None = None
_host: Host | None = None
_uninterrupted: set[CodeType] = set()


class GracefulInterrupt(KeyboardInterrupt):
    """An interrupt between two steps."""


class ImmediateInterrupt(KeyboardInterrupt):
    """An interrupt wherever the process was, because somebody has asked twice."""


@dataclass
class Host:
    """The program that hosts Python.

    Attributes
    ----------
    flag
        Set while an interrupt waits for an answer. None if it cannot be seen: each SIGINT is one then.
    poll
        Called several times in a second while steps run. Raises ``KeyboardInterrupt`` to end them.
    """

    flag: ctypes.c_int | None
    poll: Callable[[], None] = lambda: None
    polled: float = 0.0
    threads_may_call: bool = False


def uninterrupted(function: Callable) -> Callable:
    """A function that no second request ends half done: it is a request like the first one."""
    _uninterrupted.add(function.__code__)
    return function


class deferring_sigint:
    """Turns SIGINT into a request, which the training loop answers between two steps.

    Python may call a handler of signals between any two instructions. Once ``__exit__`` has begun, ours
    raises nothing. If it never begins, because an exception came just before, the handler finds that the
    caller is gone, and gives way to the one before.
    """

    def __init__(self) -> None:
        self.requested = self._asking = False
        self.inner = 0  # calls that run within the one that handles signals
        self._caller: FrameType | None = None
        self._outer: deferring_sigint | None = None

    def __enter__(self) -> None:
        global _current
        if not in_main_thread():
            return
        if _current is not None and not _current._is_below(sys._getframe()):
            _current._end()
        before = signal.getsignal(signal.SIGINT)
        if _current is not None:
            self._outer, _current.inner = _current, _current.inner + 1
            return
        self._before, self._before_in_c, self._caller = before, os_handler(), sys._getframe(1)
        _current = self
        if callable(before):  # else the process ignores SIGINT, as in the background of a shell
            missed = install(self._handle, self._before_in_c)
            if missed and not _host.flag.value:  # else the handler will be called for it
                self.requested = True

    def __exit__(self, *exception: object) -> None:
        if self._outer is not None:
            self._outer.inner -= 1
        if self._caller is not None:
            self._end()

    def _end(self) -> None:
        global _current
        _current = self._caller = None
        if callable(self._before) and install(self._before, self._before_in_c):
            self.requested = True
        if self.requested and _host is not None and _host.flag is not None:
            _host.flag.value = 1  # nobody has answered

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._caller is not None and not self._is_below(frame):
            self._end()
            self._before(number, frame)
        elif _host is not None and _host.flag is not None:
            self._request(test_and_clear(_host.flag), frame)
        elif not self._asking:  # a handler before may send itself the signal again
            self._asking = True
            try:
                is_one = is_interrupt(self._before, number, frame)
            finally:
                self._asking = False
            self._request(is_one, frame)

    def _request(self, is_interrupt: bool, frame: FrameType | None) -> None:
        if not is_interrupt:
            return
        if self.requested and not any(above.f_code in _uninterrupted for above in self._above(frame)):
            raise ImmediateInterrupt
        self.requested = True

    def _is_below(self, frame: FrameType | None) -> bool:
        """Whether the caller is among those that a frame was called from."""
        return any(f is self._caller for f in stack(frame))

    def _above(self, frame: FrameType | None) -> Iterator[FrameType]:
        """The frames from the innermost one to the caller."""
        for above in stack(frame):
            if above is self._caller:
                return
            yield above


for _end in (deferring_sigint.__enter__, deferring_sigint.__exit__, deferring_sigint._end):
    uninterrupted(_end)


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and all that it was called from."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def with_sigint_deferred(function: Callable) -> Callable:
    """A function within ``deferring_sigint()``."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with deferring_sigint():
            return function(*args, **kwargs)

    return call


@contextmanager
def hosted(host: Host) -> Iterator[None]:
    """Ask the program that hosts Python whether a signal is an interrupt that nobody has dealt with."""
    global _host
    before, _host = _host, host
    try:
        yield
    finally:
        _host = before


def let_threads_call_host() -> None:
    """Have another thread call the host's code once, before several may do so at the same time.

    reticulate sets up such calls at the first one; two threads that make their first call at once wait for
    each other for ever.
    """
    if _host is None or _host.threads_may_call or not in_main_thread():
        return

    def call(host: Host) -> None:
        with suppress(KeyboardInterrupt):
            host.poll()

    thread = threading.Thread(target=call, args=(_host,), daemon=True)
    thread.start()
    while thread.is_alive():  # the call is made by this thread, between two waits
        thread.join(0.01)
    _host.threads_may_call = True


def requested() -> bool:
    """Whether an interrupt has been requested and not been answered yet."""
    if _host is not None and time.monotonic() - _host.polled >= POLL_SECONDS and in_main_thread():
        _poll(_host)
    return _current is not None and _current.requested and in_main_thread()


def _poll(host: Host) -> None:
    host.polled = time.monotonic()
    try:
        host.poll()
    except KeyboardInterrupt:
        if _current is None:
            raise
        _current.requested = True


def request() -> bool:
    """Let the next ``check()`` raise an interrupt. False if nobody here would answer."""
    if _current is None or not in_main_thread():
        return False
    _current.requested = True
    return True


def take_request() -> bool:
    """Whether an interrupt has been requested. What ends an inner call ends those around it too."""
    if not requested():
        return False
    _current.requested = _current.inner > 0
    return True


def check() -> None:
    """Raise ``GracefulInterrupt`` if an interrupt has been requested."""
    if take_request():
        raise GracefulInterrupt


def test_and_clear(flag: ctypes.c_int) -> bool:
    """Whether a flag was set, which it is no longer."""
    if not flag.value:
        return False
    flag.value = 0  # only then: it may be set between two instructions
    return True


def is_interrupt(handler: Callable, number: int, frame: FrameType | None) -> bool:
    """Whether a handler makes an interrupt of a signal."""
    try:
        handler(number, frame)
    except KeyboardInterrupt:
        return True
    return False


def os_handler() -> int | None:
    """The address of the process's handler of SIGINT, which is R's where R is the host; None if not known."""
    get = getattr(ctypes.pythonapi, "PyOS_getsig", None)
    if get is None:
        return None
    get.restype = ctypes.c_void_p
    return get(signal.SIGINT)


def install(handler: Any, in_c: int | None) -> bool:
    """Set Python's handler of SIGINT, and keep that of the process: ``signal.signal()`` alone replaces it.

    Returns whether there was a SIGINT meanwhile, when the process had Python's own handler. That does not set
    the host's flag, so that handlers in Python find no interrupt that they should answer.
    """
    put = getattr(ctypes.pythonapi, "PyOS_setsig", None)
    if put is None or in_c is None:
        signal.signal(signal.SIGINT, handler)
        return False
    put.restype, put.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    if _host is None or _host.flag is None:
        signal.signal(signal.SIGINT, handler)
        put(signal.SIGINT, in_c)
        return False
    received, sent = wakeup_sockets()
    before = signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)
    try:
        signal.signal(signal.SIGINT, handler)
        put(signal.SIGINT, in_c)
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        numbers = b""
        with suppress(BlockingIOError):
            numbers = received.recv(4096)
    return signal.SIGINT in numbers


@functools.cache
def wakeup_sockets() -> tuple[socket.socket, socket.socket]:
    """Two ends, of which Python writes the number of each signal into the second."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends
