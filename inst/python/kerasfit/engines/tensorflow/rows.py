"""Batches as ranges of rows of tensors, and their types and shapes."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf


def rows_of_all(tensors: list, order: Any | None, at: Any, end: Any, size: int | None) -> list:
    return [rows_between(tensor, order, at, end, size) for tensor in tensors]


def rows_between(tensor: Any, order: Any | None, at: Any, end: Any, size: int | None) -> Any:
    """The rows of a batch. ``size`` is their number if it must be known when the loop is compiled."""
    if order is not None:
        return tf.gather(tensor, rows_between(order, None, at, end, size))
    if size is None:
        return tensor[at:end]
    shape = tf.shape(tensor, tf.int64)[1:]
    return tf.ensure_shape(
        tf.slice(tensor, tf.concat([[at], tf.zeros_like(shape)], 0), tf.concat([[size], shape], 0)),
        [size, *tensor.shape[1:]],
    )


def is_dense(data: Any) -> bool:
    """Whether all leaves are dense tensors, or specs of these, with at least one dimension."""
    return all(
        isinstance(leaf, (tf.Tensor, tf.TensorSpec)) and leaf.shape.rank for leaf in keras.tree.flatten(data)
    )


def sized_batch(data: Any, size: int | None) -> Any:
    """The specs of a batch of the data, with ``size`` as the first dimension (None if unknown)."""
    return keras.tree.map_structure(
        lambda leaf: None if leaf is None else tf.TensorSpec([size, *leaf.shape[1:]], leaf.dtype), data
    )


def types(spec: Any) -> tuple:
    """The structure, types and shapes of specs, as a key of a cache of traces."""
    leaves = tuple(
        (
            path,
            spec
            if not isinstance(spec, tf.TensorSpec)
            else (spec.dtype, *(spec.shape.as_list() if spec.shape.rank is not None else ("?",))),
        )
        for path, spec in keras.tree.flatten_with_path(spec)
    )
    return repr(keras.tree.map_structure(lambda _: 0, spec)), *leaves  # a list is not a tuple


def rows_signature(spec: Any) -> list:
    """The signature of a loop over rows: tensors, order and [start, stop, batch size, reset]."""
    leaves = [leaf for leaf in keras.tree.flatten(sized_batch(spec, None)) if leaf is not None]
    return [leaves, tf.TensorSpec([None], tf.int64), tf.TensorSpec([4], tf.int64)]


@functools.lru_cache
def constants(*numbers: int) -> tf.Tensor:
    return tf.constant(numbers, tf.int64)
