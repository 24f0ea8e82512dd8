"""Batches from iterators, iterables and functions."""

from __future__ import annotations

import dis
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from kerasfit.arguments import ClassWeights, unpack
from kerasfit.errors import ArgumentError
from kerasfit.sources.arrays import as_tensors, check_targets_are_numbers
from kerasfit.sources.source import Batch, weighted
from kerasfit.tensors import is_backend_tensor


def is_iterator_like(value: Any) -> bool:
    """Whether a value makes batches when iterated or called, rather than being data itself."""
    if (
        isinstance(value, (str, bytes, list, tuple, dict))
        or hasattr(value, "__array__")
        or is_backend_tensor(value)
    ):
        return False
    if isinstance(value, keras.utils.PyDataset):
        return True
    return callable(value) or isinstance(value, Iterable)


class IteratorSource:
    """What an iterator yields, or a function returns, batch after batch.

    Parameters
    ----------
    value
        One of: an iterator, which has one pass in all; an iterable or a generator function, which starts
        anew at each pass; a function of no arguments that returns the next batch, or None at the end of a
        pass, and is called again for the next one; a function that returns an iterator over a pass.
    class_weight
        Multiplied into the sample weights of each batch.
    label
        The argument that errors name.
    """

    samples = None
    batch_size = None

    def __init__(self, value: Any, class_weight: ClassWeights | None = None, label: str = "x"):
        if isinstance(value, keras.utils.PyDataset):
            raise ArgumentError(
                label,
                f"`{label}` is a PyDataset, which is not supported yet.",
                "Give a generator or a tf.data dataset.",
            )
        self.start_pass = pass_starter(value)
        self.class_weight = class_weight
        self.labels = [
            f"{label}()[[{i}]]" for i in (1, 2, 3)
        ]  # R's words for the parts of what a call returns
        self.endless = never_ends(value)
        self.batches = None if self.endless else length_of(value)

    def __iter__(self) -> Iterator[Batch]:
        for yielded in self.start_pass():
            parts = zip(self.labels, unpack(yielded), strict=True)
            x, y, sample_weight = (as_tensors(label, part) for label, part in parts)
            check_targets_are_numbers(self.labels[1], y)
            yield Batch(x, y, weighted(sample_weight, self.class_weight, y))


def pass_starter(value: Any) -> Callable[[], Iterator[Any]]:
    """A function that starts a pass over an iterator, iterable or function."""
    if isinstance(value, Iterable):
        return lambda: iter(value)
    if inspect.isgeneratorfunction(value):
        return value

    def call_until_none() -> Iterator[Any]:
        batch = value()
        if isinstance(batch, Iterator):
            yield from batch
            return
        while batch is not None:
            yield batch
            batch = value()

    return call_until_none


def never_ends(value: Any) -> bool:
    """Whether an iterator can be seen never to end, or says so itself in an attribute ``endless``.

    A Python generator whose compiled code has no return instruction never ends by itself: the compiler
    drops the implicit return at the end of a body that it can prove is not reached.
    """
    if hasattr(value, "endless"):
        return bool(value.endless)
    if isinstance(value, (itertools.cycle, itertools.count)):
        return True
    code = getattr(value, "gi_code", None) or (inspect.isgeneratorfunction(value) and value.__code__)
    return bool(code) and not any(
        op.opname in ("RETURN_VALUE", "RETURN_CONST") for op in dis.get_instructions(code)
    )


def length_of(value: Any) -> int | None:
    try:
        return len(value)
    except TypeError:
        return None
