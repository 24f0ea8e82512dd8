"""Graphs that call Python, and so could write into the user's arrays."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow as tf

# Operations that call Python while a graph runs. TensorFlow passes NumPy arrays that share the memory of its
# tensors, which may be that of the user's arrays.
PYTHON_CALLS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def calls_python(step: Any) -> bool:
    """Whether a concrete function calls Python, through ``tf.numpy_function`` or ``tf.py_function``."""
    graph = step.graph.as_graph_def()
    nodes = itertools.chain(graph.node, *(called.node_def for called in graph.library.function))
    return any(node.op in PYTHON_CALLS for node in nodes)


def copy_of(leaf: Any) -> Any:
    """Copy a tensor, unless it holds text, whose memory NumPy cannot share."""
    is_text = getattr(leaf, "dtype", None) == tf.string
    return tf.raw_ops.DeepCopy(x=leaf) if isinstance(leaf, tf.Tensor) and not is_text else leaf
