"""The devices on which Keras computes: their type, and whether data fit on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from kerasfit import keras_private

# Used if a backend does not tell the free memory of a device. TensorFlow does not.
FITS_ANYWHERE = 2**31  # bytes


def device_type() -> str:
    """The type of the device on which Keras computes: "cpu", or the backend's name for another type."""
    return DEVICE_TYPES[keras.backend.backend()]()


def on_cpu() -> bool:
    return device_type() == "cpu"


def fits_on_device(size: int) -> bool:
    """Whether data of ``size`` bytes may stay on the device for a run.

    On a CPU, data use the arrays' own memory or little more, so all data fit. On other devices, data may take
    half of the free memory.
    """
    if on_cpu():
        return True
    free = FREE_MEMORY[keras.backend.backend()]()
    return size <= (FITS_ANYWHERE if free is None else free // 2)


def tensorflow_type() -> str:
    import tensorflow as tf

    return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"


def jax_type() -> str:
    import jax

    chosen = jax.config.jax_default_device  # by keras.device(); a device or a name
    return getattr(chosen, "platform", chosen) or jax.default_backend()


def torch_type() -> str:
    return keras_private.torch_device().partition(":")[0]


def jax_free_memory() -> int | None:
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None


def torch_free_memory() -> int | None:
    import torch

    find: Callable[[], Any] | None = getattr(getattr(torch, torch_type(), None), "mem_get_info", None)
    return find()[0] if find else None


DEVICE_TYPES = {"tensorflow": tensorflow_type, "jax": jax_type, "torch": torch_type}
FREE_MEMORY = {"tensorflow": lambda: None, "jax": jax_free_memory, "torch": torch_free_memory}
