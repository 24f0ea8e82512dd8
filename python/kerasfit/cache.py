"""Compiled programs kept on disk, so that the next session need not compile them again.

JAX and TensorFlow can both do that; each wants to be told in the environment before it loads. Where, says the
environment variable ``KERASFIT_CACHE``, which R sets. Without it nothing is kept.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from pathlib import Path

from kerasfit.machine import abilities

KEPT_DAYS = 60


def keep_programs() -> None:
    """Have backends that load from now on keep what they compile, unless they have been told already."""
    folder = os.environ.get("KERASFIT_CACHE")
    if not folder:
        return
    remove_old(Path(folder))
    folder = Path(folder) / processor()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache" not in flags:
        tensorflow = f"--tf_xla_persistent_cache_directory={folder / 'tensorflow'}"
        os.environ["TF_XLA_FLAGS"] = f"{flags} {tensorflow}".strip()


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
