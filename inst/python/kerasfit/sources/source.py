"""The interface of sources, their shuffling, and class weights applied to batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from kerasfit.data.class_weights import ClassWeighting
from kerasfit.data.names import Batch, Names
from kerasfit.errors import DataError
from kerasfit.tensors import to_model_dtype, to_numpy


class Shuffling:
    """Determines the order of a source's samples or batches in each pass: a new random one, or unchanged.

    The order in pass p is a function of p and of ``seed``, a number drawn from numpy's global generator,
    which ``keras.utils.set_random_seed()`` seeds.
    """

    def __init__(self, on: bool):
        self.seed = int(np.random.randint(2**31)) if on else None
        self.passes = 0

    def begin_pass(self, count: int) -> np.ndarray | None:
        """Start a pass over ``count`` samples or batches and return their order; None if not shuffled."""
        self.passes += 1
        return self.order(self.passes - 1, count)

    def order(self, number: int, count: int) -> np.ndarray | None:
        """The order in pass ``number``, counted from 0; None if not shuffled."""
        return None if self.seed is None else np.random.default_rng((self.seed, number)).permutation(count)


class Source(Protocol):
    """Makes batches. Each ``iter()`` starts a pass.

    Attributes
    ----------
    samples
        Samples in one pass, or None if unknown.
    batches
        Batches in one pass, or None if unknown or endless.
    batch_size
        Samples in a batch, or None if unknown.
    endless
        Whether a pass is known never to end.
    passes_continue
        Whether the next pass continues where the last one was left, rather than from the beginning.
    shuffling
        The order of each pass, if the source determines it.
    names
        The names of a batch's parts in errors.
    example
        A batch, or specifications with the shapes of one; None if there is none yet.
    """

    @property
    def samples(self) -> int | None: ...

    @property
    def batches(self) -> int | None: ...

    @property
    def batch_size(self) -> int | None: ...

    @property
    def endless(self) -> bool: ...

    @property
    def passes_continue(self) -> bool: ...

    @property
    def shuffling(self) -> Shuffling: ...

    @property
    def names(self) -> Names: ...

    @property
    def example(self) -> Batch | None: ...

    def __iter__(self) -> Iterator[Batch]: ...


def weighted(sample_weight: Any, class_weight: ClassWeighting | None, y: Any) -> Any:
    """Sample weights multiplied by class weights, if there are any."""
    if class_weight is None:
        return sample_weight
    of_class = class_weight.sample_weights(y)
    if sample_weight is None:
        return of_class
    if isinstance(of_class, dict):
        return {
            name: multiply_weights(
                sample_weight[name] if isinstance(sample_weight, dict) else sample_weight, weights
            )
            for name, weights in of_class.items()
        }
    if isinstance(of_class, list):
        given = sample_weight if isinstance(sample_weight, (list, tuple)) else [sample_weight] * len(of_class)
        return [multiply_weights(weights, others) for weights, others in zip(given, of_class, strict=True)]
    return multiply_weights(sample_weight, of_class)


def multiply_weights(sample_weight: Any, of_class: np.ndarray) -> np.ndarray:
    sample_weight = to_model_dtype(to_numpy(sample_weight))
    rank = max(sample_weight.ndim, of_class.ndim)
    sample_weight, of_class = (w.reshape(w.shape + (1,) * (rank - w.ndim)) for w in (sample_weight, of_class))
    with np.errstate(over="ignore"):
        result = sample_weight * of_class
    if np.isinf(result).any() and np.isfinite(sample_weight).all():
        raise DataError(
            "class_weight",
            f"`class_weight` times `sample_weight` is infinite as {result.dtype}.",
            "Give smaller weights: only their ratios matter much.",
        )
    return result
