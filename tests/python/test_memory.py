"""Reuse of the memory of large arrays, and aligned memory around an array."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kerasfit.runtime import memory
from kerasfit.runtime.memory import aligned_empty, elements_around

FLOAT = np.dtype("float32")


@pytest.fixture(autouse=True)
def empty_pool(monkeypatch):
    monkeypatch.setattr(memory, "_kept", [])


def address(array):
    return array.ctypes.data


def large(rows):
    return aligned_empty((rows, 1024), FLOAT)


def test_memory_of_a_deleted_large_array_is_reused():
    first = large(8000)
    first[:] = 1
    place = address(first)
    del first
    assert address(large(6000)) == place  # a smaller array fits
    assert address(large(2000)) != place  # but not one that would use only a small part


def test_memory_is_not_reused_while_any_array_refers_to_it():
    first = large(8000)
    part = first[17:].reshape(-1)[5::3]
    part[:] = 7
    del first
    large(8000)[:] = 1
    assert (part == 7).all()


def test_the_memory_kept_for_reuse_is_limited(monkeypatch):
    monkeypatch.setattr(memory, "KEPT", 100e6)
    arrays = [large(5000) for _ in range(8)]
    arrays.clear()
    assert 80e6 < sum(map(len, memory._kept)) <= 100e6


def test_threads_never_share_memory():
    def fill(number):
        array = large(4096)
        array[:] = number
        return (array == number).all()

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(fill, range(60)))


def test_memory_is_not_kept_if_the_system_cannot_reclaim_it(monkeypatch):
    monkeypatch.delattr(memory.mmap, "MADV_FREE")
    array = large(5000)
    array[:] = 1
    assert address(array) % memory.ALIGNMENT == 0
    del array
    assert not memory._kept


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "float16"])
@pytest.mark.parametrize("skipped", range(9))
def test_elements_around_contain_the_array(dtype, skipped):
    array = np.arange(300, dtype=dtype)[skipped:].reshape(-1, 1)
    elements, first = elements_around(array)
    assert address(elements) % memory.ALIGNMENT == 0
    assert address(elements) + first * array.itemsize == address(array)
    np.testing.assert_array_equal(elements[first:], array.ravel())
    assert elements.size == first + array.size


def test_elements_around_needs_contiguous_rows_of_whole_elements():
    assert elements_around(np.ones((4, 3)).T) is None
    assert elements_around(np.zeros(41, np.uint8)[1:].view("float32")) is None
