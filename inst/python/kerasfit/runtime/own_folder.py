"""Folders of our own inside a folder of the user's, in which files may be replaced and deleted.

Such a folder has a fixed name, and a file ``FORMAT`` that tells it from a folder of the user's of that name.
It is a real folder, no link, and nobody but this user may write to it: what has been checked stays so.
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
    """A folder that is not to be written to, with the reason as a sentence."""

    def __init__(self, reason: str):
        super().__init__(reason.encode("utf-8", "backslashreplace").decode("utf-8"))  # names in the C locale


def open_own_folder(
    given: str | Path, name: str, format: bytes, others: Mapping[str, bytes] | None = None
) -> Path:
    """Our folder of a name inside the folder that was given; both are made if there are none.

    Parameters
    ----------
    given
        The user's folder. If it is a link, the folder that it leads to.
    format
        What is in ``FORMAT``.
    others
        More files that a new folder has, by name.

    Raises
    ------
    UnusableFolder
        If the folder cannot be made, may not be ours alone, or has another format or none.
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
    """Make a folder under another name and rename it, so that no process sees it without its contents."""
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
    """A folder that only this user can use, made if there is none."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        check_owner(folder)
    except OSError as error:
        raise UnusableFolder(f"{folder} cannot be used ({error.strerror}).") from error
    return folder


def check_owner(folder: Path, shared: bool = False) -> None:
    """An error unless a folder is a real one that only its owner, this user, may write to.

    A ``shared`` one may be root's, as /tmp is, where others cannot rename what is ours.
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
    """Whether a folder's mode lets anybody but this user write to it; the user's own group is nobody else.

    Windows has other permissions, which are not looked at.
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
    """The content of a small regular file; nothing for whatever else there is."""
    try:
        descriptor = open_no_link(file, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 1000) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
