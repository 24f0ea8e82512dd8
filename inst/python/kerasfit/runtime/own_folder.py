"""Opens kerasfit's own folder inside a folder of the user, where files may be replaced and deleted.

The folder has a fixed name, and a file ``FORMAT`` that distinguishes it from a user's folder of that name.
It is a real folder, not a link, and only this user may write to it, so the checks remain valid.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kerasfit.runtime.files import is_link, is_own, open_no_link

MARKER = "FORMAT"


class UnusableFolder(Exception):
    """A folder must not be written to; the message is the reason as a sentence."""

    def __init__(self, reason: str):
        # Escape what file names in the C locale may contain
        super().__init__(reason.encode("utf-8", "backslashreplace").decode("utf-8"))


def open_own_folder(
    given: str | Path, name: str, format: bytes, others: Mapping[str, bytes] | None = None
) -> Path:
    """Return our folder inside the user's folder; both are created if they do not exist.

    Parameters
    ----------
    given
        The user's folder. If it is a link, its target is used.
    name
        The name of our folder.
    format
        The content of ``FORMAT``.
    others
        More files for a new folder: name → content.

    Raises
    ------
    UnusableFolder
        If the folder cannot be created, others may be able to write to it, or its format is missing or
        different.
    """
    try:
        given = Path(os.path.realpath(given))
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(given, shared=True)
        folder = given / name
        if not os.path.lexists(folder):
            make_folder(folder, {MARKER: format, **(others or {})})
        check_owner(folder)
    except (OSError, ValueError) as error:
        raise UnusableFolder(f"{given} cannot be used ({getattr(error, 'strerror', error)}).") from error
    if read_marker(folder / MARKER) != format:
        raise UnusableFolder(f"{folder} was not made by this version of kerasfit.")
    return folder


def make_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Create a folder under another name and rename it, so that no process sees it without its contents."""
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
    try:
        for name, content in contents.items():
            (new / name).write_bytes(content)
        new.rename(folder)
    except OSError:
        for name in contents:
            (new / name).unlink(missing_ok=True)
        new.rmdir()
        if not os.path.lexists(folder):  # else another process was faster
            raise


def make_private(folder: Path) -> Path:
    """Create a folder that only this user can use, if it does not exist, and return it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        check_owner(folder)
    except OSError as error:
        raise UnusableFolder(f"{folder} cannot be used ({error.strerror}).") from error
    return folder


def check_owner(folder: Path, shared: bool = False) -> None:
    """Raise ``UnusableFolder`` unless this is a real folder that only its owner, this user, may write to.

    A ``shared`` folder may belong to root, as /tmp does, where others cannot rename our files.
    """
    info = folder.lstat()
    if is_link(info):
        raise UnusableFolder(f"{folder} is a link.")
    if not stat.S_ISDIR(info.st_mode):
        raise UnusableFolder(f"{folder} is not a folder.")
    if not is_own(info) and not (shared and info.st_uid == 0):
        raise UnusableFolder(f"{folder} belongs to another user.")
    if others_may_write(info) and not (shared and info.st_mode & stat.S_ISVTX):
        raise UnusableFolder(f"other users may write to {folder} (mode {stat.S_IMODE(info.st_mode):04o}).")


def others_may_write(info: os.stat_result) -> bool:
    """Whether a folder's mode lets other users write to it; a group with only this user does not count.

    Permissions on Windows are different, and are not checked.
    """
    if not hasattr(os, "geteuid"):
        return False
    if info.st_mode & stat.S_IWOTH:
        return True
    if not info.st_mode & stat.S_IWGRP:
        return False
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(info.st_gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return True
    return group.gr_name != user or bool(set(group.gr_mem) - {user})


def read_marker(file: Path) -> bytes:
    """Return the content of a small regular file; empty if there is none."""
    try:
        descriptor = open_no_link(file, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 1000) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
