"""Reads and writes plain values and arrays in one file, with a checksum that reveals damage.

A value consists of None, booleans, numbers, text, bytes, numpy arrays, and lists, tuples and dicts of them.
The file is numpy's uncompressed ``.npz``: the arrays, and the rest as JSON, so that it contains no code.
Its last bytes, the comment of the zip archive, are the SHA-256 of all bytes before them: a file that was
truncated or changed is recognized before any of it is interpreted.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import stat
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kerasfit.runtime.files import is_own, new_file, open_no_link, replace, sync, sync_folder

PLAIN = (type(None), bool, int, float, str)
NATIVE = "biufcSU"  # kinds of dtypes that numpy defines itself
MARK = b"kerasfit state 2\n"
TRAILER = len(MARK) + hashlib.sha256().digest_size
TEMPORARY = re.compile(r"\.kerasfit-[a-z0-9_]+\.tmp")
BLOCK = 2**20


class CorruptFile(Exception):
    """A file cannot be read, or is not a complete file written by ``write``."""


class NotPlain(TypeError):
    """A value, or its element at ``path``, has a type that cannot be stored."""

    def __init__(self, kind: str, path: str = ""):
        super().__init__(kind, path)
        self.kind, self.path = kind, path

    def within(self, step: str) -> NotPlain:
        return NotPlain(self.kind, step + self.path)

    def __str__(self) -> str:
        return f"element {self.path} is a {self.kind}" if self.path else f"a {self.kind}"


# ---- writing ---------------------------------------------------------------------------------------


class Writer:
    """Writes a copy of a value in a background thread.

    ``write`` and ``finish`` raise the exception of the previous write. ``seconds`` is the time of all writes.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kerasfit-store")
        self._writing: Future | None = None
        self.seconds = 0.0

    def write(self, path: Path, value: Any, previous: Path | None = None, folder: int | None = None) -> None:
        self.finish()
        arrays: list[np.ndarray] = []
        text = json.dumps(encoded(value, arrays))
        self._writing = self._thread.submit(self._write, path, text, arrays, previous, folder)

    def _write(self, *encoded: Any) -> None:
        began = time.monotonic()
        write_encoded(*encoded)
        self.seconds += time.monotonic() - began

    def finish(self) -> None:
        """Wait until the last write is done."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        self._thread.shutdown()


def write(path: Path, value: Any, previous: Path | None = None) -> None:
    """Write a value to a file; the old file is replaced only when the new one is on the disk.

    The old file becomes ``previous``, if that is given. The file is readable by its owner only.

    Raises
    ------
    NotPlain
        If an element of the value has a type that cannot be stored.
    OSError
        If the file cannot be written. The old file is unchanged.
    """
    arrays: list[np.ndarray] = []
    write_encoded(path, json.dumps(encoded(value, arrays)), arrays, previous)


def write_encoded(
    path: Path, text: str, arrays: list[np.ndarray], previous: Path | None = None, folder: int | None = None
) -> None:
    """Write the text and arrays of an encoded value.

    With the descriptor of the ``folder``, no file is replaced in another folder that has taken its place.
    """
    content = archive(text, arrays)
    with new_file(path.parent) as (file, name):
        file.write(content)
        file.flush()
        sync(file.fileno())
        file.close()

        def within(each: str | Path) -> str | Path:
            return each if folder is None else os.path.basename(each)

        if previous is not None:
            with contextlib.suppress(FileNotFoundError):  # the first state
                replace(within(path), within(previous), folder)
        replace(within(name), within(path), folder)
    sync_folder(path.parent)


def to_bytes(value: Any) -> bytearray:
    """Return the content of the file that ``write`` would write."""
    arrays: list[np.ndarray] = []
    return bytearray(archive(json.dumps(encoded(value, arrays)), arrays))


def archive(text: str, arrays: list[np.ndarray]) -> memoryview:
    """Return the content of a file."""
    buffer = io.BytesIO()
    entries = {str(number): raw(array) for number, array in enumerate(arrays)}
    np.savez(buffer, allow_pickle=False, value=np.frombuffer(text.encode(), np.uint8), **entries)
    with zipfile.ZipFile(buffer, "a") as end:
        end.comment = bytes(TRAILER)
    content = buffer.getbuffer()
    content[-TRAILER:] = MARK + hashlib.sha256(content[:-TRAILER]).digest()
    return content


def delete_leftovers(folder: Path) -> None:
    """Delete temporary files left by killed processes in a folder that no other process uses."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and is_own_file(entry.stat(follow_symlinks=False)):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def is_own_file(status: os.stat_result) -> bool:
    """Whether a file is a regular file that belongs to this user."""
    return stat.S_ISREG(status.st_mode) and is_own(status)


# ---- reading ---------------------------------------------------------------------------------------


def read(path: Path) -> Any:
    """Read the value in a file.

    Raises
    ------
    CorruptFile
        If the file is damaged, was not written by ``write``, or cannot be read.
    FileNotFoundError
        If there is no file.
    """
    with open_regular(path) as file:
        return read_from(file)


def from_bytes(content: Any) -> Any:
    """Return the value of ``to_bytes``, which raises the same exceptions as ``read``."""
    return read_from(io.BytesIO(content))


def read_from(file: BinaryIO) -> Any:
    check_digest(file)
    try:
        arrays = dict(entries(file))
        return decoded(json.loads(arrays.pop("value").tobytes()), arrays)
    except Exception as error:  # a file that was made to look like one of ours
        raise CorruptFile("is damaged") from error


def is_foreign(path: Path) -> bool:
    """Whether there is a file at a path that ``write`` has not written, not even partly."""
    try:
        with open_regular(path) as file:
            return not has_mark(file)
    except FileNotFoundError:
        return False
    except CorruptFile:
        return True


def has_mark(file: BinaryIO) -> bool:
    """Whether a file ends with our mark and a digest. Leaves the file position after the mark."""
    size = file.seek(0, os.SEEK_END) - TRAILER
    file.seek(max(size, 0))
    return size >= 0 and file.read(len(MARK)) == MARK


def is_state(path: Path) -> bool:
    """Whether a file was written by ``write`` and is complete."""
    try:
        with open_regular(path) as file:
            check_digest(file)
    except (CorruptFile, FileNotFoundError):
        return False
    return True


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; raise ``CorruptFile`` if it is a folder, a pipe or a link."""
    try:
        descriptor = open_no_link(path, os.O_RDONLY)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "is a link" if os.path.islink(path) else f"cannot be read: {error.strerror}"
        raise CorruptFile(reason) from error
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CorruptFile("is not a regular file")
        stack.pop_all()
        with open(descriptor, "rb") as file:
            yield file


def check_digest(file: BinaryIO) -> None:
    """Raise ``CorruptFile`` unless the end of a file is the checksum of the rest."""
    try:
        if not has_mark(file):
            raise CorruptFile("is damaged, or is not a checkpoint of kerasfit")
        size = file.tell() - len(MARK)
        expected, digest = file.read(), hashlib.sha256()
        file.seek(0)
        for start in range(0, size, BLOCK):
            digest.update(file.read(min(BLOCK, size - start)))
        file.seek(0)
    except OSError as error:
        raise CorruptFile(f"cannot be read: {error.strerror}") from error
    if digest.digest() != expected:
        raise CorruptFile("is damaged")


def entries(file: BinaryIO) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names and arrays in a file. No array takes more memory than the file has bytes."""
    with zipfile.ZipFile(file) as archived:
        for info in archived.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError("compressed")
            content = io.BytesIO(archived.read(info))
            version = np.lib.format.read_magic(content)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, in_columns, dtype = header(content)
            if in_columns or dtype.hasobject:
                raise ValueError("no array of ours")
            array = np.frombuffer(content.getbuffer(), dtype, offset=content.tell())
            yield info.filename.removesuffix(".npy"), array.reshape(shape)


# ---- values as JSON --------------------------------------------------------------------------------


def is_plain(value: Any) -> bool:
    """Whether a value can be stored."""
    try:
        encoded(value, [])
    except (NotPlain, RecursionError):
        return False
    return True


def encoded(value: Any, arrays: list[np.ndarray]) -> Any:
    """Convert a value for JSON, and add its arrays to ``arrays``."""
    if type(value) in PLAIN:
        return value
    if (
        isinstance(value, (np.ndarray, np.generic))
        and not value.dtype.hasobject
        and value.dtype.names is None
    ):
        arrays.append(np.array(value, order="C"))  # a copy, as it may be written later
        kind = "scalar" if isinstance(value, np.generic) else "array"
        dtype = value.dtype.str if value.dtype.kind in NATIVE else value.dtype.name
        return {kind: len(arrays) - 1, "dtype": dtype, "shape": list(value.shape)}
    if isinstance(value, (bytes, bytearray)):
        arrays.append(np.frombuffer(bytes(value), np.uint8))
        return {"bytes": len(arrays) - 1}
    if type(value) in (list, tuple):
        return {type(value).__name__: list(encoded_elements(enumerate(value), arrays))}
    if type(value) is dict:
        keys = [encoded(key, arrays) for key in value]
        return {
            "dict": [list(pair) for pair in zip(keys, encoded_elements(value.items(), arrays), strict=True)]
        }
    raise NotPlain(type(value).__name__)


def encoded_elements(elements: Any, arrays: list[np.ndarray]) -> Iterator[Any]:
    for key, element in elements:
        try:
            yield encoded(element, arrays)
        except NotPlain as error:
            raise error.within(f"[{key!r}]") from None


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
    return array[()] if kind == "scalar" else array.copy()


def raw(array: np.ndarray) -> np.ndarray:
    """Return an array in a dtype that numpy's format supports; other dtypes, such as bfloat16, as bytes."""
    array = np.ascontiguousarray(array)
    return array if array.dtype.kind in NATIVE else array.reshape(-1).view(np.uint8)
