"""Matrix products with a faster gradient for narrow matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

FEW_COLUMNS = 16


def narrow_matmul(original: Callable) -> Callable:
    """Product with a matrix of few columns, such as a last layer's; its gradient is computed transposed."""

    def product(x1: Any, x2: Any) -> Any:
        x1, x2 = ops.convert_to_tensor(x1), ops.convert_to_tensor(x2)
        if (
            any(hasattr(x, "indices") for x in (x1, x2))  # sparse
            or {keras.backend.standardize_dtype(x.dtype) for x in (x1, x2)} != {"float32"}
            or len(x1.shape) < 2
            or len(x2.shape) != 2
            or not 1 < x2.shape[1] < x2.shape[0]
            or x2.shape[1] > FEW_COLUMNS
        ):
            return original(x1, x2)

        @ops.custom_gradient
        def narrow(x1: Any, x2: Any) -> Any:
            def gradient(*upstream: Any) -> Any:
                (of_product,) = upstream
                rows, of_rows = (ops.reshape(x, (-1, x.shape[-1])) for x in (x1, of_product))
                return original(of_product, ops.transpose(x2)), transposed_product(rows, of_rows)

            return original(x1, x2), gradient

        return narrow(x1, x2)

    return product


def transposed_product(a: Any, b: Any) -> Any:
    """The product a' b as the transpose of b' a, which XLA computes 2 to 20 times as fast if b is narrow."""
    return ops.transpose(optimization_barrier(ops.transpose(b) @ a))


def optimization_barrier(tensor: Any) -> Any:
    """Keep XLA from fusing a tensor's computation with the operations that use it."""
    if keras.backend.backend() == "jax":
        from jax import lax

        return lax.optimization_barrier(tensor)
    from tensorflow.compiler.tf2xla.python import xla

    return xla.optimization_barrier(tensor)[0]
