"""Plain values and arrays in one file that is always whole.

A value is made of None, booleans, numbers, text, bytes, numpy arrays, and lists, tuples and dicts of them.
The file is numpy's ``.npz``: the arrays, and the rest as JSON. Nothing in it is code, and its checksums tell
a damaged one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

PLAIN = (type(None), bool, int, float, str)
NATIVE = "biufcSU"  # kinds of types that numpy has itself


class Damaged(Exception):
    """A file is not one that ``write`` has written, or not all of it."""


class Writer:
    """Writes a value as it is now, while the caller goes on.

    ``write`` and ``finish`` raise what the write before has raised. ``seconds`` is how long all took.
    """

    def __init__(self):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kerasfit-store")
        self._writing: Future | None = None
        self.seconds = 0.0

    def write(self, path: Path, value: Any, previous: Path | None = None) -> None:
        self.finish()
        arrays: list[np.ndarray] = []
        text = json.dumps(encoded(value, arrays))
        self._writing = self._thread.submit(self._write, path, text, arrays, previous)

    def _write(self, *encoded: Any) -> None:
        began = time.monotonic()
        write_encoded(*encoded)
        self.seconds += time.monotonic() - began

    def finish(self) -> None:
        """Wait until all is written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        self._thread.shutdown()


def write(path: Path, value: Any, previous: Path | None = None) -> None:
    """Put a value into a file, which is the old one until the new one is on the disk.

    The old one becomes ``previous``, if that is given.

    Raises
    ------
    TypeError
        If there is something in the value that is not plain.
    OSError
        If it cannot be written. The old file is as it was.
    """
    arrays: list[np.ndarray] = []
    write_encoded(path, json.dumps(encoded(value, arrays)), arrays, previous)


def write_encoded(path: Path, text: str, arrays: list[np.ndarray], previous: Path | None = None) -> None:
    entries = {str(number): raw(array) for number, array in enumerate(arrays)}
    buffer = io.BytesIO()
    np.savez(buffer, value=np.frombuffer(text.encode(), np.uint8), **entries)
    aside = path.with_name(path.name + ".new")
    try:
        with open(aside, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    sync_folder(path.parent)


def read(path: Path) -> Any:
    """The value in a file.

    Raises
    ------
    Damaged
        If the file is not whole.
    OSError
        If there is none, or it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as entries:
            arrays = {name: entries[name] for name in entries.files}
        return decoded(json.loads(arrays.pop("value").tobytes()), arrays)
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise Damaged(str(error)) from error


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk, where the system has a way to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---- JSON ------------------------------------------------------------------------------------------


def is_plain(value: Any) -> bool:
    """Whether a value can be written."""
    try:
        encoded(value, [])
    except TypeError:
        return False
    return True


def encoded(value: Any, arrays: list[np.ndarray]) -> Any:
    """A value as JSON has it; its arrays are added to ``arrays``."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
        arrays.append(np.array(value))  # a copy: it may be written later
        kind = "scalar" if isinstance(value, np.generic) else "array"
        dtype = value.dtype.str if value.dtype.kind in NATIVE else value.dtype.name
        return {kind: len(arrays) - 1, "dtype": dtype, "shape": list(value.shape)}
    if isinstance(value, (bytes, bytearray)):
        arrays.append(np.frombuffer(value, np.uint8))
        return {"bytes": len(arrays) - 1}
    if type(value) in (list, tuple):
        return {type(value).__name__: [encoded(element, arrays) for element in value]}
    if type(value) is dict:
        return {"dict": [[encoded(key, arrays), encoded(element, arrays)] for key, element in value.items()]}
    raise TypeError(f"{type(value).__name__} is not a plain value")


def decoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "list" in value:
        return [decoded(element, arrays) for element in value["list"]]
    if "tuple" in value:
        return tuple(decoded(element, arrays) for element in value["tuple"])
    if "dict" in value:
        return {decoded(key, arrays): decoded(element, arrays) for key, element in value["dict"]}
    if "bytes" in value:
        return arrays[str(value["bytes"])].tobytes()
    kind = "scalar" if "scalar" in value else "array"
    array = arrays[str(value[kind])].view(np.dtype(value["dtype"])).reshape(value["shape"])
    return array[()] if kind == "scalar" else array


def raw(array: np.ndarray) -> np.ndarray:
    """An array in a type that numpy's format knows: half-precision types of others as bytes."""
    array = np.ascontiguousarray(array)
    return array if array.dtype.kind in NATIVE else array.reshape(-1).view(np.uint8)
