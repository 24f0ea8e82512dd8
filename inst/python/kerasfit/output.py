"""Ignores errors on standard output, as after ``python train.py | head -1``, so that no run is lost."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any


class ErrorIgnoringStream:
    """Wraps a stream and drops text that it cannot write."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Redirect the stream to the null device after a broken pipe.

        Otherwise Python would fail to flush the stream when it exits.
        """
        if isinstance(error, BrokenPipeError):
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def with_forgiving_output(function: Callable) -> Callable:
    """Decorate a function to ignore errors on the process's own standard output.

    A stream that has replaced ``sys.stdout`` is left alone.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if sys.stdout is None or sys.stdout is not sys.__stdout__:
            return function(*args, **kwargs)
        with redirect_stdout(ErrorIgnoringStream(sys.stdout)):
            return function(*args, **kwargs)

    return call


@contextmanager
def sigpipe_ignored() -> Iterator[None]:
    """Ignore SIGPIPE, the signal of a broken pipe, which R turns into an error at any point.

    That error would jump over Python's frames. Without the signal, Python's writes raise ``BrokenPipeError``,
    and R's ``cat()`` ignores the failure.
    """
    get = getattr(ctypes.pythonapi, "PyOS_getsig", None)
    put = getattr(ctypes.pythonapi, "PyOS_setsig", None)
    if get is None or put is None or not hasattr(signal, "SIGPIPE"):
        yield
        return
    get.restype = put.restype = ctypes.c_void_p
    put.argtypes = [ctypes.c_int, ctypes.c_void_p]
    before = get(signal.SIGPIPE)
    put(signal.SIGPIPE, int(signal.SIG_IGN))
    try:
        yield
    finally:
        put(signal.SIGPIPE, before)
