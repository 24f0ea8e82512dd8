"""Compiled programs kept on disk, so that the next session need not compile them again.

JAX and TensorFlow can both do that; each wants to be told in the environment before it loads. Where, says the
environment variable ``KERASFIT_CACHE``, which R sets. Without it nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
import zlib
from pathlib import Path

from kerasfit.machine import abilities

KEPT_DAYS = 60


def keep_programs() -> None:
    """Have backends that load from now on keep what they compile, unless they have been told already."""
    folder = os.environ.get("KERASFIT_CACHE")
    if not folder:
        return
    remove_old(Path(folder))
    remove_damaged()
    folder = Path(folder) / processor()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache" not in flags:
        tensorflow = f"--tf_xla_persistent_cache_directory={folder / 'tensorflow'}"
        os.environ["TF_XLA_FLAGS"] = f"{flags} {tensorflow}".strip()


def remove_damaged() -> bool:
    """Delete programs that are not whole, and say whether there were any.

    Both write them in place. What a process that was killed, or one that still writes, has left of one is an
    error of TensorFlow's and a warning of JAX's each time that they would compile it. Looked at are those
    that have been written since the last time.
    """
    if not os.environ.get("KERASFIT_CACHE"):
        return False
    folder = Path(os.environ["KERASFIT_CACHE"])
    stamp, now, damaged = folder / "checked", time.time(), []
    last = stamp.stat().st_mtime if stamp.exists() else 0
    for file in folder.glob("*/*/*"):
        with contextlib.suppress(OSError):
            is_whole = WHOLE.get(file.parent.name)
            if is_whole and file.stat().st_mtime >= last and not is_whole(file):
                file.unlink()
                damaged.append(file)
    with contextlib.suppress(OSError):
        stamp.touch()
        os.utime(stamp, (now, now))
    return bool(damaged)


def is_whole_message(file: Path) -> bool:
    """Whether a file is a message of Protocol Buffers to its end.

    Source: https://protobuf.dev/programming-guides/encoding/, of which the outermost fields are read.
    """
    fixed_sizes = {1: 8, 5: 4}
    with file.open("rb") as content:

        def number() -> int:
            value = shift = 0
            while byte := content.read(1):
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
        except (EOFError, KeyError):
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


def remove_old(folder: Path) -> None:
    """Delete what was written long ago, for whatever processor."""
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for file in folder.glob("*/*/*"):
        try:
            if file.stat().st_mtime < oldest:
                file.unlink()
        except OSError:
            continue
