"""The devices on which Keras computes: which, their type, and whether data fit on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from kerasfit import keras_private

# Used if a backend does not tell the free memory of a device. TensorFlow does not.
FITS_ANYWHERE = 2**31  # bytes

# The devices chosen by ``use_devices()``; none for JAX's default device.
_chosen: list[Any] = []


def chosen_devices() -> list[Any]:
    """The devices of JAX chosen by ``use_devices()``; none for JAX's default device."""
    return _chosen


def choose(devices: list[Any]) -> None:
    """Compute on some devices of JAX from now on; none for JAX's default device."""
    global _chosen
    _chosen = devices


def runs_on_several_devices() -> bool:
    """Whether kerasfit trains on the devices of the current ``keras.distribution``, in one process."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    mesh = getattr(keras.distribution.distribution(), "device_mesh", None)
    return jax.process_count() == 1 and hasattr(mesh, "backend_mesh")


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

    # keras.device() sets the default device, also to a name
    chosen = _chosen[0] if _chosen else jax.config.jax_default_device
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
