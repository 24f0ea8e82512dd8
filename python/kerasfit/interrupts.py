"""Ctrl-C while a model trains: noticed at the end of a step, never in the middle of one.

While ``listening()``, a SIGINT is a request, which the loop answers by ``check()`` where nothing is left half
done. A second request is an interrupt at once, wherever it comes.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listening = _requested = False
_host: ctypes.c_int | None = None


class AtStep(KeyboardInterrupt):
    """An interrupt between two steps."""


class AtOnce(KeyboardInterrupt):
    """An interrupt wherever the process was, because somebody has asked twice."""


@contextmanager
def listening() -> Iterator[None]:
    """Make requests of interrupts in the main thread, if Python hears of any there."""
    global _listening, _requested
    before = signal.getsignal(signal.SIGINT)
    if _listening or not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(number: int, frame: object) -> None:
        global _requested
        if not (is_interrupt(before, number, frame) if _host is None else taken(_host)):
            return
        if _requested:
            raise AtOnce
        _requested = True

    _listening, _requested = True, False
    handled_by = _install(request)
    try:
        yield
    finally:
        _install(before, handled_by)
        if _requested and _host is not None:
            _host.value = 1  # nobody has answered
        _listening = _requested = False


@contextmanager
def asking(host: ctypes.c_int) -> Iterator[None]:
    """Ask the program that hosts Python: its flag is set while an interrupt waits for an answer."""
    global _host
    before, _host = _host, host
    try:
        yield
    finally:
        _host = before


def request() -> None:
    """Let the next ``check()`` raise an interrupt."""
    global _requested
    _requested = True


def take_request() -> bool:
    """Whether an interrupt has been requested, which it is no longer then."""
    global _requested
    was, _requested = _requested, False
    return was


def check() -> None:
    """Raise ``AtStep`` if an interrupt has been requested."""
    if take_request():
        raise AtStep


def taken(flag: ctypes.c_int) -> bool:
    """Whether a flag was set, which it is no longer."""
    was, flag.value = flag.value, 0
    return bool(was)


def is_interrupt(handler: Callable, number: int, frame: object) -> bool:
    """Whether a handler makes an interrupt of a signal."""
    try:
        handler(number, frame)
    except KeyboardInterrupt:
        return True
    return False


def _install(handler: object, handled_by: int | None = None) -> int:
    """Set Python's handler of SIGINT, and keep that of the process, which is R's where R is the host.

    Returns the address of the latter; ``signal.signal()`` alone would replace it by Python's.
    """
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
    get.restype = put.restype = ctypes.c_void_p
    put.argtypes = [ctypes.c_int, ctypes.c_void_p]
    handled_by = handled_by or get(signal.SIGINT)
    signal.signal(signal.SIGINT, handler)
    put(signal.SIGINT, handled_by)
    return handled_by
