"""What a source is, and what a batch is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from kerasfit.arguments import ClassWeights
from kerasfit.tensors import to_model_dtype, to_numpy


class Batch(NamedTuple):
    """One step's data: arrays or tensors, nested as the model takes them; y and the weights may be None."""

    x: Any
    y: Any = None
    sample_weight: Any = None


class Names(NamedTuple):
    """What errors call the arguments that a source is made from."""

    x: str = "x"
    y: str = "y"
    sample_weight: str = "sample_weight"
    batch_size: str = "batch_size"
    iterator: str = "x"


NAMES = Names()
VALIDATION_NAMES = Names(
    "validation_data[[1]]",
    "validation_data[[2]]",
    "validation_data[[3]]",
    "validation_batch_size",
    "validation_data",
)


class Source(Protocol):
    """Where batches come from. Each ``iter()`` starts a pass.

    Attributes
    ----------
    samples
        Samples in one pass, or None if unknown.
    batches
        Batches in one pass, or None if unknown or endless.
    batch_size
        Samples in a batch, or None if the source alone knows.
    endless
        Whether a pass is known never to end.
    """

    samples: int | None
    batches: int | None
    batch_size: int | None
    endless: bool

    def __iter__(self) -> Iterator[Batch]: ...


def weighted(sample_weight: Any, class_weight: ClassWeights | None, y: Any) -> Any:
    """Sample weights times the weights of the samples' classes, where there are class weights."""
    if class_weight is None:
        return sample_weight
    of_class = class_weight.sample_weights(y if isinstance(y, (list, tuple, dict)) else to_numpy(y))
    if sample_weight is None:
        return of_class
    sample_weight = to_model_dtype(to_numpy(sample_weight))
    return sample_weight * of_class.reshape(of_class.shape + (1,) * (sample_weight.ndim - of_class.ndim))
