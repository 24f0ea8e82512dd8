"""Aligned memory for arrays that backends use without copying, and reuse of freed memory.

The system takes several times as long to provide memory as it takes to write it, and longer in a virtual
machine. So the memory of a large array is kept for the next one, and the system may take it back whenever
memory is short.
"""

from __future__ import annotations

import math
import mmap
import weakref
from types import SimpleNamespace

import numpy as np

ALIGNMENT = 64  # bytes, required by TensorFlow and JAX to use memory without copying
LARGE = 2**24  # bytes; malloc() itself keeps the memory of smaller arrays
KEPT = 2**30  # bytes in total

_kept: list[mmap.mmap] = []


def is_aligned(array: np.ndarray) -> bool:
    return array.ctypes.data % ALIGNMENT == 0 and array.flags.c_contiguous


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialized array in row-major order that backends can use without copying."""
    if dtype.hasobject:  # Python objects, for example bytes, which only Python may write
        return np.empty(shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = large_memory(size) if size >= LARGE and hasattr(mmap, "MADV_FREE") else None
    if memory is None:
        memory = np.empty(size + ALIGNMENT, np.uint8)
        memory = memory[-memory.ctypes.data % ALIGNMENT :]
    return memory[:size].view(dtype).reshape(shape)


def large_memory(size: int) -> np.ndarray | None:
    """Return at least ``size`` bytes, kept when no array uses them any more; None if the system refuses."""
    block = None
    for kept in sorted(_kept, key=len):
        if size <= len(kept) <= 2 * size:
            try:
                _kept.remove(kept)
            except ValueError:  # another thread has taken it
                continue
            block = kept
            break
    if block is None:
        try:
            block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            return None
        advise(block, "MADV_HUGEPAGE")
    memory = np.frombuffer(block, np.uint8)
    weakref.finalize(memory, keep, block).atexit = False
    return memory


def advise(block: mmap.mmap, advice: str) -> bool:
    """Advise the system how memory will be used. Returns False if it does not support the advice."""
    try:
        block.madvise(getattr(mmap, advice))
    except (AttributeError, OSError):
        return False
    return True


def keep(block: mmap.mmap) -> None:
    if not advise(block, "MADV_FREE"):
        return  # the system could not take the memory back
    _kept.append(block)
    while sum(map(len, _kept)) > KEPT:
        del _kept[:1]


def elements_around(array: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Return a flat view that starts at the aligned address before an array, and the array's offset in it.

    None if the array is not in row-major order, or the offset is not a whole number of elements. The bytes
    before the array are on the same page of memory, so they may be read.
    """
    address, readonly = array.__array_interface__["data"]
    before, rest = divmod(address % ALIGNMENT, array.itemsize)
    if rest or not array.flags.c_contiguous:
        return None
    interface = {
        "version": 3,
        "data": (address - address % ALIGNMENT, readonly),
        "shape": (before + array.size,),
        "typestr": array.dtype.str,
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface, owner=array)), before
