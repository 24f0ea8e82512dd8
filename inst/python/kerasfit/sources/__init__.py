"""Sources of batches: arrays, datasets, iterators and functions.

A source gives the number of samples and batches in one pass over it, if that can be known, and starts a pass
when iterated. It does not depend on the engine that trains on it. ``open_source`` makes the right source for
a value; a ``Stream`` takes batches from a source, epoch after epoch.
"""

from __future__ import annotations

import math
from typing import Any

from kerasfit.data.arrays import check_arrays, count_samples, split
from kerasfit.data.class_weights import ClassWeighting
from kerasfit.data.lazy import LazyArray
from kerasfit.data.names import NAMES, SPLIT_NAMES, VALIDATION_NAMES, Batch, Names
from kerasfit.data.plain_reader import PLAIN_READER, Reader
from kerasfit.errors import ArgumentError
from kerasfit.sources.arrays import ArraySource
from kerasfit.sources.arrow import ArrowRows, ArrowSource, is_arrow
from kerasfit.sources.dataset import DatasetSource, is_dataset
from kerasfit.sources.iterators import IteratorSource, is_iterator_like
from kerasfit.sources.source import Source
from kerasfit.sources.stream import BatchStream, Rows, RowStream, Stream, stream_of

__all__ = [
    "NAMES",
    "SPLIT_NAMES",
    "VALIDATION_NAMES",
    "ArraySource",
    "ArrowRows",
    "ArrowSource",
    "Batch",
    "BatchStream",
    "DatasetSource",
    "IteratorSource",
    "LazyArray",
    "Names",
    "Reader",
    "RowStream",
    "Rows",
    "Source",
    "Stream",
    "array_source",
    "is_array_like",
    "is_arrow",
    "is_iterator_like",
    "open_source",
    "read_arrays",
    "split",
    "stream_of",
]


def is_array_like(x: Any) -> bool:
    """Whether x is arrays or tensors to cut into batches, rather than something that makes batches itself."""
    return not (is_dataset(x) or is_iterator_like(x) or is_arrow(x))


def open_source(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool = False,
    class_weight: ClassWeighting | None = None,
    names: Names = NAMES,
    reader: Reader = PLAIN_READER,
) -> Source:
    """Make a source of batches from what a caller gave as x.

    Parameters
    ----------
    x, y, sample_weight
        Arrays, sparse matrices, or nested lists and dicts of them; or x alone: a ``tf.data.Dataset``, a
        ``PyDataset``, an iterator, an iterable, or a function of no arguments that returns a batch, or None
        when there are no more; or an Arrow dataset or the path of Parquet files, with the names of its
        columns of targets and weights.
    batch_size
        For arrays and Arrow datasets only; the model's fixed batch size by default, if it has one.
    shuffle
        Whether the samples of arrays or Arrow datasets, or the batches of a ``PyDataset``, get a new order
        each pass.
    steps
        Steps in an epoch, if given. Without a batch size, the samples of arrays are divided among so many
        steps, as in Keras.
    class_weight
        Multiplied into the sample weights.
    names
        The names of the arguments in errors.
    reader
        Converts the data for the model.

    Raises
    ------
    ArgumentError
        If an argument is for arrays only and x is not arrays, or x cannot make batches.
    """
    if is_array_like(x):
        return array_source(
            read_arrays(x, y, sample_weight, names=names, reader=reader),
            batch_size=batch_size,
            steps=steps,
            shuffle=shuffle,
            class_weight=class_weight,
            names=names,
            reader=reader,
        )
    if is_arrow(x):
        rows = ArrowRows(x, y, sample_weight, names=names, reader=reader)
        return ArrowSource(rows, batch_size=batch_size, shuffle=shuffle, class_weight=class_weight)
    kind = "dataset" if is_dataset(x) else "generator"
    if batch_size is not None:
        raise ArgumentError(
            names.batch_size,
            f"`{names.batch_size}` is for arrays only: a {kind} makes the batches itself.",
        )
    for name, value in ((names.y, y), (names.sample_weight, sample_weight)):
        if value is not None:
            raise ArgumentError(
                name,
                f"`{name}` is for arrays only: the batches of a {kind} must contain it.",
                "Make each batch (x, y) or (x, y, sample_weight).",
            )
    if kind == "dataset":
        return DatasetSource(x, class_weight, names, reader)
    return IteratorSource(x, class_weight, names.iterator, reader, shuffle=shuffle)


def read_arrays(
    x: Any, y: Any, sample_weight: Any, *, names: Names = NAMES, reader: Reader = PLAIN_READER
) -> tuple[Any, Any, Any]:
    """Convert inputs, targets and weights for the model and check them. See ``open_source``."""
    x, y = reader.inputs(names.x, x), reader.targets(names.y, y)
    arrays = check_arrays(x, y, reader.weights(names.sample_weight, sample_weight, y), names=names)
    reader.check(names, *arrays[:2])
    reader.check_weights(names.sample_weight, arrays[2], arrays[1])
    return arrays


def array_source(
    arrays: tuple[Any, Any, Any],
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool = False,
    class_weight: ClassWeighting | None = None,
    names: Names = NAMES,
    reader: Reader = PLAIN_READER,
) -> ArraySource:
    """Make a source from arrays returned by ``read_arrays``. See ``open_source``."""
    samples = count_samples(arrays[0])
    batch_size = reader.batch_size_for(names, batch_size, samples)
    if batch_size is None and steps is not None and steps > 0:
        batch_size = math.ceil(samples / steps)
    return ArraySource(
        *arrays,
        batch_size=batch_size,
        shuffle=shuffle,
        class_weight=class_weight,
        names=names,
        allow_missing=reader.allow_missing,
    )
