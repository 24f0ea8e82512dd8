"""Caches compiled programs on disk, so that later sessions need not compile them again.

JAX and TensorFlow both support this, and are configured by environment variables before they load. The
environment variable ``KERASFIT_CACHE``, which R sets, names the folder; without it nothing is cached. JAX
reads its variables when it loads, after which they are restored. TensorFlow reads its variable when it
compiles for the first time, so it stays set.

``KERASFIT_CACHE`` may name any folder, also one with the user's files. All files written or deleted here are
in kerasfit's own folder inside it, which is recognized by the file ``FORMAT``::

    <KERASFIT_CACHE>/kerasfit-programs/            made with mode 0700
        CACHEDIR.TAG  FORMAT  checked
        <16 hexadecimal digits: the processor>/jax/         jit_step-<64 hexadecimal digits>-cache
                                               tensorflow/  xla_compile_cache__<number>__<number>__<device>.pb

Only regular files at that depth with names as these backends create them are deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import stat
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerasfit.runtime.cpu import cpu_flags
from kerasfit.runtime.files import IS_WINDOWS, is_own, replace
from kerasfit.runtime.own_folder import UnusableFolder, make_private, open_own_folder

FOLDER = "kerasfit-programs"
FORMAT = b"kerasfit: compiled programs, format 1\n"
TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# Compiled programs that kerasfit keeps. The folder may be deleted, and need not be in a backup.
# About such files: https://bford.info/cachedir/
"""
CHECKED = "checked"  # the time of this file is that of the last check for damaged programs
KEPT_DAYS = 60  # since the last use of a program
KEPT_BYTES = 500_000_000
PROCESSOR = re.compile("[0-9a-f]{16}")
PROGRAMS = {
    "jax": re.compile(r".+-[0-9a-f]{64}-cache"),
    "tensorflow": re.compile(r"xla_compile_cache__[0-9]+__[0-9]+__.+\.pb(\.tmp)?"),
}

_folder: Path | None = None  # our folder, once it has passed the checks
_refusals: dict[str, str] = {}  # backend → why its programs cannot be cached
_warned: set[str] = set()  # the backends of these about which the user has been warned
_before: dict[str, str | None] = {}  # the previous values of the environment variables that are set here
XLA_FLAG = "--tf_xla_persistent_cache_directory="


def configure_backends() -> None:
    """Make backends that load later cache their compiled programs, unless they are configured already."""
    global _folder
    forget_inherited_folder()
    given = os.environ.get("KERASFIT_CACHE")
    if not given:
        return
    try:
        if not is_text(os.path.realpath(given)):
            raise UnusableFolder(f"{given} has characters that the locale of this session does not support.")
        _folder = open_own_folder(given, FOLDER, FORMAT, {"CACHEDIR.TAG": TAG})
        jax, tensorflow = (backend_folder(_folder, backend) for backend in PROGRAMS)
    except UnusableFolder as error:
        _folder = None
        _refusals.update(dict.fromkeys(PROGRAMS, str(error)))
        return
    remove_unused()
    remove_damaged()
    for name, value in {
        "JAX_COMPILATION_CACHE_DIR": str(jax),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }.items():
        set_variable(name, os.environ.get(name, value))
    flags = os.environ.get("TF_XLA_FLAGS", "").strip()
    if "persistent_cache" in flags or flags[:1] not in ("", "-"):  # the latter names a file with flags
        return
    if not is_utf8_in_c(str(tensorflow)):
        _refusals["tensorflow"] = f"TensorFlow cannot read the name {tensorflow} in this system's code page."
    else:
        set_variable("TF_XLA_FLAGS", f"{flags} {XLA_FLAG}{quoted(str(tensorflow))}".strip())


def set_variable(name: str, value: str) -> None:
    """Set an environment variable until ``restore_variables()``."""
    _before.setdefault(name, os.environ.get(name))
    os.environ[name] = value


def restore_variables(backend: str) -> None:
    """Restore the environment variables that a backend no longer needs once it has loaded.

    Otherwise child processes would inherit them, and unrelated Python programs would cache their programs in
    our folder. TensorFlow still needs its flags until it first compiles.
    """
    needed = {"TF_XLA_FLAGS"} if backend == "tensorflow" else set()
    for name in _before.keys() - needed:
        value = _before.pop(name)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def forget_inherited_folder() -> None:
    """Drop TensorFlow's flag if it was inherited from a parent process, whose cache may be elsewhere."""
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if FOLDER in flags:
        value = r'"(?:[^"\\]|\\.)*"|\S*'
        own = re.compile(rf"{XLA_FLAG}({value})")
        os.environ["TF_XLA_FLAGS"] = own.sub(lambda flag: "" if FOLDER in flag[1] else flag[0], flags).strip()


def warn_if_refused(backend: str) -> None:
    """Warn once if the compiled programs of a backend should be cached but cannot be."""
    if (reason := _refusals.get(backend)) and backend not in _warned:
        _warned.add(backend)
        warnings.warn(
            f"Compiled programs are not kept for the next session: {reason} "
            "To choose another folder, set options(kerasfit.cache = ) or the environment variable "
            "KERASFIT_CACHE.",
            stacklevel=2,
        )


def usage(backend: str) -> dict[str, Any]:
    """Return the folder, number and total size of the compiled programs.

    Also the reason if those of this backend are not kept.
    """
    sizes = [info.st_size for _, info in programs()]
    return {
        "folder": None if _folder is None else str(_folder),
        "number": len(sizes),
        "bytes": sum(sizes),
        "refusal": _refusals.get(backend),
    }


def is_text(path: str) -> bool:
    """Whether a path is valid text, as JAX requires; in the C locale, some bytes of names are not."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_utf8_in_c(text: str) -> bool:
    """Whether C code reads this text as UTF-8, as TensorFlow requires, from an environment variable."""
    return text.isascii() or not IS_WINDOWS or text.encode("mbcs", "replace") == text.encode()


def quoted(value: str) -> str:
    """Quote the value of a flag in TF_XLA_FLAGS, which would otherwise end at a space."""
    if re.fullmatch(r"[\w:/.,=@%+-]+", value, re.ASCII):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


# ---- the folder ----------------------------------------------------------------------------------------


def backend_folder(folder: Path, backend: str) -> Path:
    """Return the folder of a backend's programs for this processor."""
    for name in (processor(), backend):
        folder = make_private(folder / name)
    return folder


def programs() -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the compiled programs in our folder, each with its ``lstat()`` result."""
    for folder in entries(_folder):
        for backend, name in PROGRAMS.items() if PROCESSOR.fullmatch(folder.name) else ():
            for file in entries(folder / backend):
                with contextlib.suppress(OSError):  # another process has deleted it
                    info = file.lstat()
                    if stat.S_ISREG(info.st_mode) and is_own(info) and name.fullmatch(file.name):
                        yield file, info


def entries(folder: Path | None) -> list[Path]:
    """Return the entries of a folder; empty if it is not a folder, or a link to one."""
    try:
        return list(folder.iterdir()) if folder and stat.S_ISDIR(folder.lstat().st_mode) else []
    except OSError:
        return []


# ---- deletion ------------------------------------------------------------------------------------------


def remove_unused() -> None:
    """Delete programs not used for ``KEPT_DAYS``, and the least recently used ones above ``KEPT_BYTES``."""
    oldest, size = time.time() - KEPT_DAYS * 24 * 3600, 0
    newest_first = sorted(programs(), key=lambda program: last_use(program[1]), reverse=True)
    for file, info in newest_first:
        size += info.st_size
        if size > KEPT_BYTES or last_use(info) < oldest:
            with contextlib.suppress(OSError):
                file.unlink()


def last_use(info: os.stat_result) -> float:
    return max(info.st_atime, info.st_mtime)


def remove_damaged() -> bool:
    """Delete incomplete programs; return whether there were any.

    An incomplete program, left by a process that was killed or is still writing, causes an error in
    TensorFlow and a warning in JAX whenever they would compile it. Only programs written since the last check
    are examined.
    """
    if _folder is None:
        return False
    now, last, damaged = time.time(), last_check(_folder), False
    for file, info in programs():
        with contextlib.suppress(OSError):
            is_written = file.suffix != ".tmp"  # TensorFlow renames it when it is complete
            if is_written and info.st_mtime >= last and not WHOLE[file.parent.name](file):
                file.unlink()
                damaged = True
    store_check_time(_folder, now)
    return damaged


def last_check(folder: Path) -> float:
    try:
        return (folder / CHECKED).lstat().st_mtime
    except OSError:
        return 0.0


def store_check_time(folder: Path, when: float) -> None:
    """Store a time as the modification time of the file ``CHECKED``."""
    with contextlib.suppress(OSError):
        descriptor, new = tempfile.mkstemp(prefix=f"{CHECKED}-", dir=folder)
        os.close(descriptor)
        try:
            os.utime(new, (when, when))
            replace(new, folder / CHECKED)
        except OSError:
            os.unlink(new)


def is_whole_message(file: Path) -> bool:
    """Whether a file is a complete Protocol Buffers message, judged by its outermost fields.

    Source: https://protobuf.dev/programming-guides/encoding/
    """
    fixed_sizes = {1: 8, 5: 4}
    with file.open("rb") as content:

        def number() -> int:
            value = shift = 0
            while shift < 64 and (byte := content.read(1)):
                value |= (byte[0] & 127) << shift
                if byte[0] < 128:
                    return value
                shift += 7
            raise EOFError

        size = file.stat().st_size
        try:
            while content.tell() < size:
                kind = number() & 7
                length = number() if kind in (0, 2) else fixed_sizes[kind]
                content.seek(0 if kind == 0 else length, os.SEEK_CUR)
        except (EOFError, KeyError, ValueError, OverflowError, OSError):
            return False
        return content.tell() == size > 0


def is_whole_stream(file: Path) -> bool:
    """Whether a zlib-compressed file is complete. JAX uses zlib without the package zstandard."""
    content = file.read_bytes()
    if content[:1] != b"x" or not file.name.endswith("-cache"):
        return True
    decompressor = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        decompressor.decompress(content)
    return decompressor.eof


WHOLE = {"tensorflow": is_whole_message, "jax": is_whole_stream}


def processor() -> str:
    """Return a hash of this processor's features: a program compiled for others may crash on it."""
    known = sorted(cpu_flags()) or [platform.processor()]
    described = "\n".join([platform.system(), platform.machine(), *known])
    return hashlib.sha256(described.encode()).hexdigest()[:16]
