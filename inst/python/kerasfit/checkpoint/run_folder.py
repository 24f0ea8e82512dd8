"""The checkpoint folder of a run: created for this user only, and locked by one process at a time."""

from __future__ import annotations

import contextlib
import os
import platform
import warnings
from pathlib import Path
from typing import Any

from kerasfit.checkpoint.store import CorruptFile, delete_leftovers, is_state, new_file, open_regular
from kerasfit.errors import ArgumentError
from kerasfit.runtime.files import is_own, open_folder, open_no_link
from kerasfit.runtime.own_folder import others_may_write

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

LOCKED_BYTE = 2**20
_warned: set[Path] = set()  # folders with a warning that others can write to them


class RunFolder:
    """A folder with the checkpoint of a run, locked by this process.

    The lock is on a file in the folder that names the process. The system releases it when the process ends,
    even after a crash.

    Raises
    ------
    ArgumentError
        If the folder cannot be created or written, or another process uses it.
    """

    def __init__(self, path: Path):
        self.is_ours = False  # created by this run, or by the one that it resumes
        self.descriptor: int | None = None
        self._lock: int | None = None
        self.path = path
        try:
            self.path = path = Path(os.path.realpath(path))
            self.is_ours = not path.exists()
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.descriptor = open_folder(path)
            self._status = path.lstat()
            self._lock_file = path / ".kerasfit-lock"
            self._acquire()
            with new_file(path) as (file, name):
                file.close()
                os.unlink(name)
        except OSError as error:
            self.release()
            is_file = isinstance(error, (FileExistsError, NotADirectoryError))
            reason = "it, or a folder above it, is a file" if is_file else error.strerror or error
            raise ArgumentError(
                "callbacks",
                f"The folder {path} cannot be written: {reason}.",
                "Give `backup_dir` another folder.",
            ) from error
        self.state, self.previous = path / "state.npz", path / "previous.npz"
        warn_if_shared(path)
        delete_leftovers(path)

    def check(self) -> None:
        """Raise an ``OSError`` if the folder's path now leads elsewhere, where a state would be written."""
        if not os.path.samestat(self.path.lstat(), self._status):
            raise OSError(0, "The folder has been replaced")

    def delete_states(self) -> None:
        """Delete the states saved by this run or by the run that it resumed."""
        with contextlib.suppress(OSError):  # the folder no longer exists or cannot be written
            self.check()
            for file in filter(is_state, (self.state, self.previous)):
                file.unlink()

    def release(self) -> None:
        """Unlock the folder; delete it if kerasfit created it and it is empty."""
        if self._lock is not None:
            if fcntl:
                with contextlib.suppress(OSError):
                    if os.path.samestat(self._lock_file.lstat(), os.fstat(self._lock)):
                        self._lock_file.unlink()
            os.close(self._lock)
            self._lock = None
            if not fcntl:  # Windows does not delete open files, so a file locked by another process stays
                with contextlib.suppress(OSError):
                    self._lock_file.unlink()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
        if self.is_ours:
            with contextlib.suppress(OSError):  # not empty
                self.path.rmdir()

    def _acquire(self) -> None:
        """Lock the folder; try again if the previous owner of the lock has deleted its file meanwhile."""
        while self._lock is None:
            descriptor = open_no_link(self._lock_file, os.O_RDWR | os.O_CREAT)
            try:
                lock(descriptor)
            except OSError as error:
                os.close(descriptor)
                if isinstance(error, (BlockingIOError, PermissionError)):
                    raise self._in_use() from error
                return  # a file system without locks
            with contextlib.suppress(FileNotFoundError):
                if not fcntl or os.path.samestat(os.fstat(descriptor), os.stat(self._lock_file)):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
                    self._lock = descriptor
                    return
            os.close(descriptor)

    def _in_use(self) -> ArgumentError:
        by = "another process"
        with contextlib.suppress(OSError, CorruptFile), open_regular(self._lock_file) as file:
            by = file.read(200).decode(errors="replace") or by
        return ArgumentError(
            "callbacks",
            f"The folder {self.path} is in use by {by}.",
            "Wait until that process ends, or give this run another folder.",
        )


def lock(descriptor: int) -> None:
    """Lock a file without waiting; raise ``OSError`` if another process has locked it."""
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)  # after the bytes that others may read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)


def warn_if_shared(folder: Path) -> None:
    """Warn once about a folder that other users can write to, as they could replace the state in it."""
    status = folder.stat()
    if folder in _warned:
        return
    if others_may_write(status) or not (is_own(status) or status.st_uid == 0):
        _warned.add(folder)
        warnings.warn(
            f"Other users can write to the folder {folder}, and replace the checkpoint in it. "
            "Give `backup_dir` a folder of your own.",
            stacklevel=2,
        )
