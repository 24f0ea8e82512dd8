"""A report on this process: versions, devices, threads and the folder for compiled programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras

from kerasfit.runtime import compilation_cache

PACKAGES = ("keras", "numpy", "pandas", "scipy")
BACKENDS = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "jax": ("jax",), "torch": ("torch",)}
VARIABLES = (
    "KERAS_BACKEND",
    "KERASFIT_CACHE",
    "KERASFIT_KERNELS",
    "CUDA_VISIBLE_DEVICES",
    "JAX_PLATFORMS",
    "KERAS_TORCH_DEVICE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "RETICULATE_PYTHON",
)


def report() -> dict[str, Any]:
    """Return the report as plain values, with the names that R's ``kerasfit_sitrep()`` prints."""
    backend = keras.backend.backend()
    return {
        "python": {"version": sys.version.split()[0], "executable": sys.executable},
        "packages": {name: found for name in PACKAGES if (found := version_of(name))},
        "backends": {name: found for name, names in BACKENDS.items() if (found := version_of(*names))},
        "backend": backend,
        "devices": DEVICES[backend]() if backend in DEVICES else [],
        "nvidia": nvidia_gpus(),
        "cores": usable_cores(),
        "threads": threads(backend),
        "programs": compilation_cache.usage(backend),
        "variables": {name: os.environ[name] for name in VARIABLES if os.environ.get(name)},
    }


def version_of(*names: str) -> str | None:
    """The version of the first of some distributions that is installed."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def usable_cores() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(backend: str) -> int | None:
    """The number of threads for one operation, as the user or the backend has set it; None if not set."""
    if backend == "torch":
        import torch

        return torch.get_num_threads()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.threading.get_intra_op_parallelism_threads() or None
    return None


def tensorflow_devices() -> list[str]:
    import tensorflow as tf

    found = []
    for device in tf.config.get_visible_devices():
        details = {} if device.device_type == "CPU" else tf.config.experimental.get_device_details(device)
        found.append(labelled(device.name.removeprefix("/physical_device:"), details.get("device_name")))
    return found


def jax_devices() -> list[str]:
    import jax

    return [
        labelled(f"{device.platform.upper()}:{device.id}", device.device_kind) for device in jax.devices()
    ]


def torch_devices() -> list[str]:
    import torch

    if os.environ.get("KERAS_TORCH_DEVICE") == "cpu":
        return ["CPU"]
    found = [f"CUDA:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("MPS (Apple)")
    if hasattr(torch, "xpu"):
        found += [f"XPU:{i} ({torch.xpu.get_device_name(i)})" for i in range(torch.xpu.device_count())]
    return [*found, "CPU"]


DEVICES = {"tensorflow": tensorflow_devices, "jax": jax_devices, "torch": torch_devices}


def labelled(name: str, model: str | None) -> str:
    return f"{name} ({model})" if model and model.lower() != name.partition(":")[0].lower() else name


def nvidia_gpus() -> list[str]:
    """The NVIDIA GPUs that the driver sees, whether or not the backend uses them."""
    command = shutil.which("nvidia-smi")
    if command:
        try:
            listed = subprocess.run(
                [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return []
        return [line.strip() for line in listed.stdout.splitlines() if line.strip()]
    return ["NVIDIA GPU"] if Path("/dev/nvidia0").exists() else []
