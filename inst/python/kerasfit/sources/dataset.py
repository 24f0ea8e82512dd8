"""Batches from a ``tf.data.Dataset``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from kerasfit.arguments import unpack
from kerasfit.data.arrays import labelled_leaves, ragged
from kerasfit.data.class_weights import ClassWeighting
from kerasfit.data.names import NAMES, Batch, Names
from kerasfit.data.plain_reader import PLAIN_READER, Reader
from kerasfit.object_origin import package_of
from kerasfit.sources.source import Shuffling, weighted
from kerasfit.tensors import is_ragged

INFINITE, UNKNOWN = -1, -2  # tf.data.INFINITE_CARDINALITY, tf.data.UNKNOWN_CARDINALITY


def is_dataset(value: Any) -> bool:
    return any(cls.__name__ == "DatasetV2" and package_of(cls) == "tensorflow" for cls in type(value).__mro__)


class DatasetSource:
    """Yields the elements of a dataset, each of which is a batch. Each pass starts from the beginning.

    Attributes
    ----------
    looks_at_batches
        Whether each batch must be checked or changed before a step.
    """

    samples = None
    batch_size = None
    passes_continue = False

    def __init__(
        self,
        dataset: Any,
        class_weight: ClassWeighting | None = None,
        names: Names = NAMES,
        reader: Reader = PLAIN_READER,
    ):
        self.dataset = dataset
        self.names = names
        self.class_weight = class_weight
        self.reader = reader
        self.shuffling = Shuffling(False)
        cardinality = int(dataset.cardinality())
        self.endless = cardinality == INFINITE
        self.batches = cardinality if cardinality >= 0 else None
        self.looks_at_batches = class_weight is not None
        if keras.backend.backend() != "tensorflow":
            for label, part in zip(names, unpack(dataset.element_spec), strict=False):
                for name, spec in labelled_leaves(label, part):
                    if is_ragged(spec):
                        raise ragged(name, "with this backend")
        if (example := self.example) is not None and example.sample_weight is not None:
            reader.check_weights(names.sample_weight, example.sample_weight, example.y)
        if reader.samples_in_batch is not None:
            x, *_ = unpack(dataset.element_spec)
            specs = [spec for spec in keras.tree.flatten(x) if spec is not None]
            known = all(spec.shape.rank and spec.shape[0] is not None for spec in specs)
            if known:
                reader.check_batch(names.x, x)
            self.looks_at_batches |= not known

    def __iter__(self) -> Iterator[Batch]:
        tensors = keras.backend.backend() == "tensorflow"
        for element in self.dataset if tensors else self.dataset.as_numpy_iterator():
            yield self.batch(element)

    def batch(self, element: Any) -> Batch:
        x, y, sample_weight = unpack(element)
        self.reader.check_batch(self.names.x, x)
        return Batch(x, y, weighted(sample_weight, self.class_weight, y))

    @property
    def example(self) -> Batch | None:
        specs = unpack(self.dataset.element_spec)
        known = all(spec is None or spec.shape.rank is not None for spec in keras.tree.flatten(specs))
        return Batch(*specs) if known else None
