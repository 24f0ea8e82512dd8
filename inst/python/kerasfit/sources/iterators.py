"""Batches from iterators, iterables and functions."""

from __future__ import annotations

import dis
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras

from kerasfit import interrupts
from kerasfit.arguments import unpack
from kerasfit.data.arrays import as_tensors, check_are_numbers, labelled_leaves
from kerasfit.data.class_weights import ClassWeighting
from kerasfit.data.lazy import is_sparse_matrix
from kerasfit.data.names import Batch, Names
from kerasfit.data.plain_reader import PLAIN_READER, Reader
from kerasfit.error_context import error_context
from kerasfit.errors import DataError
from kerasfit.object_origin import is_of_r
from kerasfit.sources.source import Shuffling, weighted
from kerasfit.tensors import is_backend_tensor


def is_iterator_like(value: Any) -> bool:
    """Whether a value makes batches when iterated or called, rather than being data itself."""
    if (
        isinstance(value, (str, bytes, list, tuple, dict))
        or hasattr(value, "__array__")
        or is_sparse_matrix(value)
        or is_backend_tensor(value)
    ):
        return False
    if isinstance(value, keras.utils.PyDataset):
        return True
    return callable(value) or isinstance(value, Iterable)


class IteratorSource:
    """Yields the batches of an iterator, an iterable or a function.

    Parameters
    ----------
    value
        One of: a ``keras.utils.PyDataset``; an iterator, which has only one pass; an iterable or a generator
        function, which starts from the beginning at each pass; a function of no arguments that returns the
        next batch, or None at the end of a pass, and is called again for the next pass; a function that
        returns an iterator over a pass.
    class_weight
        Multiplied into the sample weights of each batch.
    label
        The argument's name in errors.
    reader
        Converts batches for the model.
    shuffle
        Whether the batches of a ``PyDataset`` come in a new order each pass.

    Attributes
    ----------
    random_before
        Returns the state of R's random generator before the last batch was made; None if R does not keep it.
    """

    samples = None
    batch_size = None

    def __init__(
        self,
        value: Any,
        class_weight: ClassWeighting | None = None,
        label: str = "x",
        reader: Reader = PLAIN_READER,
        *,
        shuffle: bool = False,
    ):
        is_dataset = isinstance(value, keras.utils.PyDataset)
        self.shuffling = Shuffling(is_dataset and shuffle)
        self.start_pass = dataset_starter(value, self.shuffling) if is_dataset else pass_starter(value)
        self._is_iterator = isinstance(value, Iterator)
        self.random_before: Callable[[], Any] | None = getattr(value, "random_before", None)
        self.class_weight = class_weight
        self.reader = reader
        self.label = label
        parts = (f"{label}()[[{i}]]" for i in (1, 2, 3))  # elements of a call's result, in R's notation
        self.names = Names(*parts)
        self.example: Batch | None = None
        self.endless = value.num_batches is None if is_dataset else never_ends(value)
        self.batches = None if self.endless else length_of(value)

    @property
    def passes_continue(self) -> bool:
        return getattr(self.start_pass, "passes_continue", self._is_iterator)

    def __iter__(self) -> Iterator[Batch]:
        with error_context(function=f"the generator `{self.label}`"):
            for yielded in self.start_pass():
                self.example = self.batch(yielded)
                yield self.example

    def batch(self, yielded: Any) -> Batch:
        x, y, sample_weight = unpack(yielded)
        names, reader = self.names, self.reader
        x, y = reader.inputs(names.x, x), reader.targets(names.y, y)
        parts = x, y, reader.weights(names.sample_weight, sample_weight, y)
        x, y, sample_weight = (
            as_tensors(label, part, allow_missing=reader.allow_missing)
            for label, part in zip(names[:3], parts, strict=True)
        )
        check_are_numbers(self.names.y, y)
        for path, leaf in labelled_leaves(self.names.x, x):
            if 0 in leaf.shape[:1]:
                raise DataError(path, f"`{path}` has no samples.", "Return NULL (None) to end a pass.")
        self.reader.check_batch(self.names.x, x)
        self.reader.check(self.names, x, y)
        self.reader.check_weights(names.sample_weight, sample_weight, y)
        return Batch(x, y, weighted(sample_weight, self.class_weight, y))


def pass_starter(value: Any) -> Callable[[], Iterator[Any]]:
    """Make a function that starts a pass over an iterator, iterable or function."""
    if isinstance(value, Iterable):
        return lambda: iter(value)
    if inspect.isgeneratorfunction(value):
        return value

    return FunctionPasses(value)


class FunctionPasses:
    """Starts passes over a function that returns batches until None, or an iterator over a pass."""

    def __init__(self, function: Callable[[], Any]):
        self._function = function
        self.passes_continue = True  # until it has returned an iterator

    def __call__(self) -> Iterator[Any]:
        batch = self._function()
        if isinstance(batch, Iterator):
            self.passes_continue = False
            yield from batch
            return
        while batch is not None:
            yield batch
            batch = self._function()


def dataset_starter(dataset: keras.utils.PyDataset, shuffling: Shuffling) -> Callable[[], Iterator[Any]]:
    """Make a function that starts a pass over a dataset, with as many threads as the dataset has workers.

    A dataset written in R gets no threads, because R runs on one thread.
    """
    workers = 1 if is_of_r(dataset.__getitem__) else dataset.workers

    def start() -> Iterator[Any]:
        count = dataset.num_batches
        order: Iterable[int] = itertools.count() if count is None else range(count)
        if count is not None and (shuffled := shuffling.begin_pass(count)) is not None:
            order = shuffled.tolist()
        getattr(dataset, "on_epoch_begin", lambda: None)()  # missing from Keras 3.9
        yield from map_ahead(dataset.__getitem__, iter(order), workers, dataset.max_queue_size)
        dataset.on_epoch_end()

    return start


def map_ahead(function: Callable, values: Iterator[Any], workers: int, ahead: int) -> Iterator[Any]:
    """``map()`` with threads that compute up to ``ahead`` results in advance."""
    if workers <= 1:
        yield from map(function, values)
        return
    interrupts.let_threads_call_host()
    with ThreadPoolExecutor(workers, thread_name_prefix="kerasfit-dataset") as threads:
        futures = deque(threads.submit(function, value) for value in itertools.islice(values, max(ahead, 1)))
        while futures:
            result = futures.popleft().result()
            futures.extend(threads.submit(function, value) for value in itertools.islice(values, 1))
            yield result


def never_ends(value: Any) -> bool:
    """Whether an iterator is known never to end, by its type, its code or its attribute ``endless``.

    A Python generator whose bytecode has no return instruction can end only by an exception: the compiler
    drops the implicit return at the end of a body if it can prove that the end is never reached.
    """
    if hasattr(value, "endless"):
        return bool(value.endless)
    if isinstance(value, (itertools.cycle, itertools.count)):
        return True
    code = value.__code__ if inspect.isgeneratorfunction(value) else getattr(value, "gi_code", None)
    if code is None:
        return False
    return not any(op.opname in ("RETURN_VALUE", "RETURN_CONST") for op in dis.get_instructions(code))


def length_of(value: Any) -> int | None:
    try:
        return len(value)
    except TypeError:
        return None
