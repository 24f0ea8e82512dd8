"""The features of the processor, as reported by Linux."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Return the CPU flags, for example "avx512f", and the CPU's model name; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    words: set[str] = set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            words.add(value.strip())
        elif name.strip() in ("flags", "Features"):
            words.update(value.split())
    return frozenset(words)
