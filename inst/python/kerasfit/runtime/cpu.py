"""What the processor can do, as far as Linux tells."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def abilities() -> frozenset[str]:
    """The names that Linux has for them, such as "avx512f", with the processor's own; none elsewhere."""
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
