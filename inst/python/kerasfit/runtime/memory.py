"""Memory of arrays, and for arrays that backends use as it is.

The system takes several times as long to provide memory as it takes to write it, and longer in a virtual
machine that asks its host. So what a large array leaves is kept for the next one, and the system told that it
may take it back whenever memory is short.
"""

from __future__ import annotations

import math
import mmap
import weakref
from types import SimpleNamespace

import numpy as np

ALIGNMENT = 64  # bytes: what TensorFlow and JAX want of memory that they use as it is
LARGE = 2**24  # bytes: what smaller arrays leave, malloc() keeps
KEPT = 2**30  # bytes, in all

_kept: list[mmap.mmap] = []


def is_aligned(array: np.ndarray) -> bool:
    return array.ctypes.data % ALIGNMENT == 0 and array.flags.c_contiguous


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array in row-major order, with any values, that backends can use without copying it."""
    if dtype.hasobject:  # bytes that are no text, which only Python may write
        return np.empty(shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = large_memory(size) if size >= LARGE and hasattr(mmap, "MADV_FREE") else None
    if memory is None:
        memory = np.empty(size + ALIGNMENT, np.uint8)
        memory = memory[-memory.ctypes.data % ALIGNMENT :]
    return memory[:size].view(dtype).reshape(shape)


def large_memory(size: int) -> np.ndarray | None:
    """At least so many bytes, which are kept when no array uses them any more; None if the system refuses."""
    block = None
    for kept in sorted(_kept, key=len):
        if size <= len(kept) <= 2 * size:
            try:
                _kept.remove(kept)
            except ValueError:  # another thread has it now
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
    """Tell the system how memory will be used. False if it does not listen, as kernels without huge pages."""
    try:
        block.madvise(getattr(mmap, advice))
    except (AttributeError, OSError):
        return False
    return True


def keep(block: mmap.mmap) -> None:
    if not advise(block, "MADV_FREE"):
        return  # the system could not take it back
    _kept.append(block)
    while sum(map(len, _kept)) > KEPT:
        del _kept[:1]


def elements_around(array: np.ndarray) -> tuple[np.ndarray, int] | None:
    """The memory of an array from the aligned address before it, flat, and where in it the array begins.

    Or None if the array is not in row-major order, or begins in the middle of an element. What lies before it
    is on the same page of memory, and may be read.
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
