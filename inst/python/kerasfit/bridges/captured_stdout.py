"""What Python prints while R waits for it: Keras's callbacks, and functions of the user's."""

from __future__ import annotations

import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout


class Printed(io.TextIOBase):
    """A stream of text that ``write``, a function that only this thread may call, gets line by line."""

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
        """Hand over what there is. What other threads print waits for this one."""
        if threading.get_ident() == self._thread:
            text = "".join(self._waiting.popleft() for _ in range(len(self._waiting)))
            if text:
                self._write(text)


@contextmanager
def printing_by(write: Callable[[str], None]) -> Iterator[None]:
    """Give a function what is printed, unless somebody else has that already."""
    if sys.stdout is not sys.__stdout__:
        yield
        return
    output = Printed(write)
    with redirect_stdout(output):
        try:
            yield
        finally:
            output.flush()
