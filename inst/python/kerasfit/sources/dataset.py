"""Batches from a ``tf.data.Dataset``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from kerasfit.arguments import ClassWeighting, unpack
from kerasfit.origin import package_of
from kerasfit.sources.source import NAMES, Batch, Names, Shuffling, weighted

INFINITE, UNKNOWN = -1, -2  # tf.data.INFINITE_CARDINALITY, tf.data.UNKNOWN_CARDINALITY


def is_dataset(value: Any) -> bool:
    return any(cls.__name__ == "DatasetV2" and package_of(cls) == "tensorflow" for cls in type(value).__mro__)


class DatasetSource:
    """The elements of a dataset, each of which is a batch. Each pass starts at the dataset's beginning."""

    samples = None
    batch_size = None
    goes_on = False

    def __init__(self, dataset: Any, class_weight: ClassWeighting | None = None, names: Names = NAMES):
        self.dataset = dataset
        self.names = names
        self.class_weight = class_weight
        self.shuffling = Shuffling(False)
        cardinality = int(dataset.cardinality())
        self.endless = cardinality == INFINITE
        self.batches = cardinality if cardinality >= 0 else None

    def __iter__(self) -> Iterator[Batch]:
        tensors = keras.backend.backend() == "tensorflow"
        for element in self.dataset if tensors else self.dataset.as_numpy_iterator():
            yield self.batch(element)

    def batch(self, element: Any) -> Batch:
        x, y, sample_weight = unpack(element)
        return Batch(x, y, weighted(sample_weight, self.class_weight, y))

    @property
    def example(self) -> Batch | None:
        specs = unpack(self.dataset.element_spec)
        known = all(spec is None or spec.shape.rank is not None for spec in keras.tree.flatten(specs))
        return Batch(*specs) if known else None
