"""Passes the output of Python code that R calls, such as Keras's callbacks, to R's console."""

from __future__ import annotations

import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout


class LineStream(io.TextIOBase):
    """A text stream that passes lines to ``write``, a function that only the creating thread may call."""

    encoding = "utf-8"

    def __init__(self, write: Callable[[str], None]):
        self._write = write
        self._thread = threading.get_ident()
        self._waiting: deque[str] = deque()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._waiting.append(text)
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write the buffered text. Text from other threads stays buffered until this thread flushes."""
        if threading.get_ident() == self._thread:
            text = "".join(self._waiting.popleft() for _ in range(len(self._waiting)))
            if text:
                self._write(text)


@contextmanager
def capturing_stdout(write: Callable[[str], None]) -> Iterator[None]:
    """Pass text printed in the block to a function, unless ``sys.stdout`` is already redirected."""
    if sys.stdout is not sys.__stdout__:
        yield
        return
    output = LineStream(write)
    with redirect_stdout(output):
        try:
            yield
        finally:
            output.flush()
