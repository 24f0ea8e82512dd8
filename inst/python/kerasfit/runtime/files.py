"""File operations that some systems lack, or that Windows does in another way."""

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
NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # what file systems answer that cannot do it


def is_link(info: os.stat_result) -> bool:
    """Whether ``lstat()`` has found a symbolic link, or a junction, as Windows has them."""
    return stat.S_ISLNK(info.st_mode) or getattr(info, "st_reparse_tag", 0) == WINDOWS_JUNCTION


def is_own(info: os.stat_result) -> bool:
    """Whether this user is the owner; yes where the system does not say, as on Windows."""
    return not hasattr(os, "geteuid") or info.st_uid == os.geteuid()


def open_no_link(path: str | Path, flags: int) -> int:
    """A descriptor of a file for its owner only.

    Does not wait for the other end of a pipe.

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
    """A descriptor of a folder, which stays that of this folder when another one takes its place.

    None where the system opens no folders. Windows does not, nor does it rename one with an open file in it.
    """
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return None


def replace(new: str | Path, path: str | Path, folder: int | None = None) -> None:
    """Rename a closed file to a name that there may be already.

    Relative paths are in ``folder``, if the descriptor of one is given.

    Windows refuses while somebody reads the old file, as virus scanners do with each new one: then once more.
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
    """Put what has been written on the disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk, where the system has a way to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def new_file(folder: str | Path) -> Iterator[tuple[BinaryIO, str]]:
    """A new file in a folder, for its owner only; the block gives it its final name, or it is deleted.

    The block closes it before: Windows renames and deletes no open file.
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
