"""Handles Ctrl-C during training: the interrupt takes effect at the end of a step, not in the middle of one.

Within ``deferring_sigint()``, a SIGINT only requests an interrupt. The training loop calls ``check()``, which
raises it, where no work is half done. A second SIGINT interrupts immediately, except in functions marked as
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
    """An interrupt raised between two steps."""


class ImmediateInterrupt(KeyboardInterrupt):
    """An interrupt raised immediately, wherever the process was, after a second Ctrl-C."""


@dataclass
class Host:
    """The program that hosts Python, for example R.

    Attributes
    ----------
    flag
        The host's flag of a pending interrupt. None if inaccessible: then a SIGINT is an interrupt if the
        previous handler raises ``KeyboardInterrupt``.
    poll
        Called several times per second while steps run; raises ``KeyboardInterrupt`` to end them.
    """

    flag: ctypes.c_int | None
    poll: Callable[[], None] = lambda: None
    polled: float = 0.0
    threads_may_call: bool = False


def uninterrupted(function: Callable) -> Callable:
    """Mark a function that a second Ctrl-C does not interrupt; it remains a request until ``check()``."""
    _uninterrupted.add(function.__code__)
    return function


class deferring_sigint:
    """Turns SIGINT into a request for an interrupt, which the training loop raises between two steps.

    Python may call a signal handler between any two instructions. Once ``__exit__`` has begun, our handler
    raises nothing. If ``__exit__`` is never called, because an exception came just before, the handler
    notices that the caller has ended, and restores and calls the previous handler.
    """

    def __init__(self) -> None:
        self.requested = self._asking = False
        self.inner = 0  # nested calls within the one that handles signals
        self._before: Any = None  # the previous handler
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
        if callable(before):  # else the process ignores SIGINT, for example a background job of a shell
            missed = install(self._handle, self._before_in_c)
            flag = flag_of_host()
            if missed and not (
                flag is not None and flag.value
            ):  # else the handler will be called for this signal
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
        if self.requested and (flag := flag_of_host()) is not None:
            flag.value = 1  # the request was not raised here, so it is the host's again

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._caller is not None and not self._is_below(frame):
            self._end()
            self._before(number, frame)
        elif (flag := flag_of_host()) is not None:
            self._request(test_and_clear(flag), frame)
        elif not self._asking:  # the previous handler may send the signal again
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
        """Whether a frame was called, directly or indirectly, from the caller's frame."""
        return any(f is self._caller for f in stack(frame))

    def _above(self, frame: FrameType | None) -> Iterator[FrameType]:
        """Yield the frames from the innermost one to the caller, which is excluded."""
        for above in stack(frame):
            if above is self._caller:
                return
            yield above


for _end in (deferring_sigint.__enter__, deferring_sigint.__exit__, deferring_sigint._end):
    uninterrupted(_end)


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and the frames that it was called from, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def with_sigint_deferred(function: Callable) -> Callable:
    """Decorate a function to run within ``deferring_sigint()``."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with deferring_sigint():
            return function(*args, **kwargs)

    return call


@contextmanager
def hosted(host: Host) -> Iterator[None]:
    """Use the host program's flag and poll function for interrupts in the block."""
    global _host
    before, _host = _host, host
    try:
        yield
    finally:
        _host = before


def let_threads_call_host() -> None:
    """Call the host's code once from another thread, before several threads call it concurrently.

    reticulate initializes calls from threads at the first one; two threads that make their first call at the
    same time would deadlock.
    """
    if _host is None or _host.threads_may_call or not in_main_thread():
        return

    def call(host: Host) -> None:
        with suppress(KeyboardInterrupt):
            host.poll()

    thread = threading.Thread(target=call, args=(_host,), daemon=True)
    thread.start()
    while thread.is_alive():  # the main thread makes the call, between two waits
        thread.join(0.01)
    _host.threads_may_call = True


def flag_of_host() -> ctypes.c_int | None:
    return None if _host is None else _host.flag


def requested() -> bool:
    """Whether an interrupt has been requested and not been raised yet."""
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
    """Make the next ``check()`` raise an interrupt. Returns False if no call here handles interrupts."""
    if _current is None or not in_main_thread():
        return False
    _current.requested = True
    return True


def take_request() -> bool:
    """Whether an interrupt has been requested; clears the request, except in nested calls.

    An interrupt that ends a nested call ends the calls around it too.
    """
    if not requested() or _current is None:
        return False
    _current.requested = _current.inner > 0
    return True


def check() -> None:
    """Raise ``GracefulInterrupt`` if an interrupt has been requested."""
    if take_request():
        raise GracefulInterrupt


def test_and_clear(flag: ctypes.c_int) -> bool:
    """Return whether a flag was set, and clear it."""
    if not flag.value:
        return False
    flag.value = 0  # only if it was set: otherwise one set just now would be lost
    return True


def is_interrupt(handler: Callable, number: int, frame: FrameType | None) -> bool:
    """Whether a handler raises ``KeyboardInterrupt`` for a signal."""
    try:
        handler(number, frame)
    except KeyboardInterrupt:
        return True
    return False


def os_handler() -> int | None:
    """Return the address of the process's C handler of SIGINT (R's if R is the host); None if unknown."""
    get = getattr(ctypes.pythonapi, "PyOS_getsig", None)
    if get is None:
        return None
    get.restype = ctypes.c_void_p
    return get(signal.SIGINT)


def install(handler: Any, in_c: int | None) -> bool:
    """Set Python's handler of SIGINT but keep the C handler, which ``signal.signal()`` alone would replace.

    Returns whether a SIGINT came meanwhile, while the process had Python's C handler. That handler does not
    set the host's flag, so handlers in Python would not recognize the signal as an interrupt.
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
    """Return a pair of connected sockets; Python writes the number of each signal to the second one."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends
