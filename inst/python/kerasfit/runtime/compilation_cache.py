"""Compiled programs kept on disk, so that the next session need not compile them again.

JAX and TensorFlow can both do that; each wants to be told in the environment before it loads. Where, says the
environment variable ``KERASFIT_CACHE``, which R sets. Without it nothing is kept. JAX reads its variables as
it loads, and they are restored then; TensorFlow reads its own when it compiles first, so it stays set.

It may name any folder, also one with files of the user's. Everything that is written or deleted here lies in
one folder of our own inside it, which is recognised by the file ``FORMAT``::

    <KERASFIT_CACHE>/kerasfit-programs/            made with mode 0700
        CACHEDIR.TAG  FORMAT  checked
        <16 hexadecimal digits: the processor>/jax/         jit_step-<64 hexadecimal digits>-cache
                                               tensorflow/  xla_compile_cache__<number>__<number>__<device>.pb

Deleted are only regular files at that depth whose names are as those backends make them.
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

from kerasfit.runtime.cpu import abilities
from kerasfit.runtime.files import IS_WINDOWS, is_own, replace
from kerasfit.runtime.own_folder import UnusableFolder, make_private, open_own_folder

FOLDER = "kerasfit-programs"
FORMAT = b"kerasfit: compiled programs, format 1\n"
TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# Compiled programs that kerasfit keeps. The folder may be deleted, and need not be in a backup.
# About such files: https://bford.info/cachedir/
"""
CHECKED = "checked"  # its time is that of the last look for damaged programs
KEPT_DAYS = 60  # since a program was used last
KEPT_BYTES = 500_000_000
PROCESSOR = re.compile("[0-9a-f]{16}")
PROGRAMS = {
    "jax": re.compile(r".+-[0-9a-f]{64}-cache"),
    "tensorflow": re.compile(r"xla_compile_cache__[0-9]+__[0-9]+__.+\.pb(\.tmp)?"),
}

_folder: Path | None = None  # ours, once it has been found to be so
_refusals: dict[str, str] = {}  # why a backend keeps none although they were wanted; until that has been said
_before: dict[str, str | None] = {}  # the environment variables that are set here, as they were
XLA_FLAG = "--tf_xla_persistent_cache_directory="


def keep_programs() -> None:
    """Have backends that load from now on keep what they compile, unless they have been told already."""
    global _folder
    forget_inherited_folder()
    given = os.environ.get("KERASFIT_CACHE")
    if not given:
        return
    try:
        if not is_text(os.path.realpath(given)):
            raise UnusableFolder(f"{given} has letters that are none in the locale of this session.")
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
    if "persistent_cache" in flags or flags[:1] not in ("", "-"):  # or it is the name of a file with flags
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
    """Take back, once a backend has loaded, the environment variables that it needs no more.

    Child processes would inherit them, and Python programs that have nothing to do with kerasfit keep their
    programs in our folder. TensorFlow reads its flags when it compiles first.
    """
    needed = {"TF_XLA_FLAGS"} if backend == "tensorflow" else set()
    for name in _before.keys() - needed:
        value = _before.pop(name)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def forget_inherited_folder() -> None:
    """Drop TensorFlow's flag if it comes from a parent process: this one may keep programs elsewhere."""
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if FOLDER in flags:
        value = r'"(?:[^"\\]|\\.)*"|\S*'
        own = re.compile(rf"{XLA_FLAG}({value})")
        os.environ["TF_XLA_FLAGS"] = own.sub(lambda flag: "" if FOLDER in flag[1] else flag[0], flags).strip()


def warn_if_refused(backend: str) -> None:
    """Say once why the programs that a backend compiles are not kept, if they should be."""
    if reason := _refusals.pop(backend, None):
        warnings.warn(
            f"Compiled programs are not kept for the next session: {reason} "
            "options(kerasfit.cache = ), or the environment variable KERASFIT_CACHE, names another folder.",
            stacklevel=2,
        )


def is_text(path: str) -> bool:
    """Whether a path consists of letters, as JAX wants it; in the C locale, some bytes of names are none."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_utf8_in_c(text: str) -> bool:
    """Whether C code finds a text in UTF-8, as TensorFlow wants paths, in an environment variable."""
    return text.isascii() or not IS_WINDOWS or text.encode("mbcs", "replace") == text.encode()


def quoted(value: str) -> str:
    """The value of a flag in TF_XLA_FLAGS, which would end at a space."""
    if re.fullmatch(r"[\w:/.,=@%+-]+", value, re.ASCII):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


# ---- the folder ----------------------------------------------------------------------------------------


def backend_folder(folder: Path, backend: str) -> Path:
    """Where a backend keeps programs for this processor."""
    for name in (processor(), backend):
        folder = make_private(folder / name)
    return folder


def programs() -> Iterator[tuple[Path, os.stat_result]]:
    """The compiled programs in our folder, each with what the file system says of it."""
    for folder in entries(_folder):
        for backend, name in PROGRAMS.items() if PROCESSOR.fullmatch(folder.name) else ():
            for file in entries(folder / backend):
                with contextlib.suppress(OSError):  # another process has deleted it
                    info = file.lstat()
                    if stat.S_ISREG(info.st_mode) and is_own(info) and name.fullmatch(file.name):
                        yield file, info


def entries(folder: Path | None) -> list[Path]:
    """What is in a folder; nothing if it is none, or a link to one."""
    try:
        return list(folder.iterdir()) if folder and stat.S_ISDIR(folder.lstat().st_mode) else []
    except OSError:
        return []


# ---- what is deleted -----------------------------------------------------------------------------------


def remove_unused() -> None:
    """Delete programs that were used long ago, and the least recently used of those that are too much."""
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
    """Delete programs that are not whole, and say whether there were any.

    What a process that was killed, or one that still writes, has left of one is an error of TensorFlow's and
    a warning of JAX's each time that they would compile it. Looked at are those that have been written since
    the last time.
    """
    if _folder is None:
        return False
    now, last, damaged = time.time(), last_check(), False
    for file, info in programs():
        with contextlib.suppress(OSError):
            is_written = file.suffix != ".tmp"  # TensorFlow renames it when it is
            if is_written and info.st_mtime >= last and not WHOLE[file.parent.name](file):
                file.unlink()
                damaged = True
    note_check(now)
    return damaged


def last_check() -> float:
    try:
        return (_folder / CHECKED).lstat().st_mtime
    except OSError:
        return 0.0


def note_check(when: float) -> None:
    """Keep a time as that of a file, which replaces the one before."""
    with contextlib.suppress(OSError):
        descriptor, new = tempfile.mkstemp(prefix=f"{CHECKED}-", dir=_folder)
        os.close(descriptor)
        try:
            os.utime(new, (when, when))
            replace(new, _folder / CHECKED)
        except OSError:
            os.unlink(new)


def is_whole_message(file: Path) -> bool:
    """Whether a file is a message of Protocol Buffers to its end.

    Source: https://protobuf.dev/programming-guides/encoding/, of which the outermost fields are read.
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
    """Whether a file that zlib has compressed, as JAX does without the package zstandard, has its end."""
    content = file.read_bytes()
    if content[:1] != b"x" or not file.name.endswith("-cache"):
        return True
    decompressor = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        decompressor.decompress(content)
    return decompressor.eof


WHOLE = {"tensorflow": is_whole_message, "jax": is_whole_stream}


def processor() -> str:
    """A name for what this processor can do: a program compiled for another one may crash on it."""
    known = sorted(abilities()) or [platform.processor()]
    described = "\n".join([platform.system(), platform.machine(), *known])
    return hashlib.sha256(described.encode()).hexdigest()[:16]
