"""File operations that some systems lack, or that work differently on Windows."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

IS_WINDOWS = sys.platform == "win32"
WINDOWS_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT
BUSY_SECONDS = 1.0
NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # errors of file systems without fsync


def is_link(info: os.stat_result) -> bool:
    """Whether an ``lstat()`` result is a symbolic link, or a junction on Windows."""
    return stat.S_ISLNK(info.st_mode) or getattr(info, "st_reparse_tag", 0) == WINDOWS_JUNCTION


def is_own(info: os.stat_result) -> bool:
    """Whether this user is the owner; True if the system does not report it, for example on Windows."""
    return not hasattr(os, "geteuid") or info.st_uid == os.geteuid()


def open_no_link(path: str | Path, flags: int) -> int:
    """Open a file without following links, and return its descriptor. New files are for their owner only.

    Does not block on a pipe whose other end is not open.

    Raises
    ------
    OSError
        If the path is a link, or the file cannot be opened.
    """
    if hasattr(os, "O_NOFOLLOW"):
        flags |= os.O_NOFOLLOW
    elif os.path.lexists(path) and is_link(os.lstat(path)):
        raise OSError(errno.ELOOP, "It is a link", str(path))
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o600)


def open_folder(path: str | Path) -> int | None:
    """Return a descriptor of a folder, which stays valid when another folder takes its place.

    None if the system does not open folders. Windows does not, but there a folder with an open file cannot be
    renamed.
    """
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return None


def replace(new: str | Path, path: str | Path, folder: int | None = None) -> None:
    """Rename a closed file, replacing an existing file of the new name.

    Relative paths are in ``folder``, if its descriptor is given.

    Windows refuses while another process reads the old file, as virus scanners do; then this tries again.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            os.replace(new, path, src_dir_fd=folder, dst_dir_fd=folder)
            return
        except PermissionError:
            if not IS_WINDOWS or time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def sync(descriptor: int) -> None:
    """Flush a file to the disk, if the file system supports it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, if the system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def new_file(folder: str | Path) -> Iterator[tuple[BinaryIO, str]]:
    """Create a temporary file, for its owner only; the block renames it. It is deleted after an exception.

    The block must close it before renaming, as Windows cannot rename or delete open files.
    """
    descriptor, name = tempfile.mkstemp(prefix=".kerasfit-", suffix=".tmp", dir=folder)
    with open(descriptor, "wb") as file:
        try:
            yield file, name
        except BaseException:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
