"""The files with which a session sends a model to a process that trains it, and gets it back."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasfit import keras_private
from kerasfit.checkpoint import store
from kerasfit.checkpoint.packed_model import has_state, pack, put_state, unpack
from kerasfit.checkpoint.random_state import get_random_states, set_random_states
from kerasfit.runtime.files import IS_WINDOWS

SENT, TRAINED = "model", "trained"


def write_job(model: keras.Model, folder: str) -> None:
    """Write a model and the states of Python's random generators."""
    job = {"settings": keras_settings(), "model": pack(model), "random": random_states()}
    store.write(Path(folder, SENT), job)


def read_job(folder: str) -> keras.Model:
    """Make the model that ``write_job`` wrote, with its session's settings and random generators."""
    job = store.read(Path(folder, SENT))
    apply_keras_settings(job["settings"])
    model = unpack(job["model"])
    put_random_states(job["random"])
    return model


def write_result(model: keras.Model, folder: str) -> None:
    """Write the trained model."""
    store.write(Path(folder, TRAINED), pack(model))


def read_result(folder: str) -> keras.Model:
    """Make a new model from the trained one."""
    return unpack(store.read(Path(folder, TRAINED)))


def is_as_sent(model: keras.Model, folder: str) -> bool:
    """Whether a model has not changed since ``write_job``."""
    return has_state(model, store.read(Path(folder, SENT))["model"])


def put_result(model: keras.Model, folder: str) -> None:
    """Set the state of a model to that of the trained one."""
    put_state(model, store.read(Path(folder, TRAINED)))


# ---- settings --------------------------------------------------------------------------------------


def keras_settings() -> dict[str, Any]:
    """Return Keras's global settings."""
    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.config.dtype_policy().name,
    }


def apply_keras_settings(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        getattr(keras.config, f"set_{name}")(value)


# ---- random generators -----------------------------------------------------------------------------


def random_states() -> dict[str, Any]:
    """Return the states of Python's random generators, and of PyTorch's."""
    states = [module.get_rng_state().numpy().copy() for module in torch_generators()]
    return {**get_random_states(), "torch": states}


def put_random_states(states: dict[str, Any]) -> None:
    """Set all generators to states from ``random_states``."""
    set_random_states(states)
    for module, state in zip(torch_generators(), states["torch"], strict=True):
        module.set_rng_state(torch_generators()[0].from_numpy(state))


def torch_generators() -> list[Any]:
    """PyTorch's modules with a random state, of which the first is ``torch`` itself."""
    if keras.backend.backend() != "torch":
        return []
    from kerasfit.engines.torch.graph_capture import random_modules

    return random_modules()


def advance_random_states() -> None:
    """Draw from the random generators of which another process has a copy, so that both differ then."""
    np.random.random()
    random.random()
    if modules := torch_generators():
        modules[0].rand(1, device=keras_private.torch_device())
    if (seed := keras_private.global_seed()) is not None:
        keras_private.set_global_seed(keras.ops.convert_to_numpy(seed.value) + np.array([0, 1], np.uint32))


# ---- the process -----------------------------------------------------------------------------------


def end_with(process: int) -> None:
    """End this process soon after another one has ended, even if it is busy with training then."""
    if IS_WINDOWS:  # where a process cannot be looked for by a signal
        return

    def watch() -> None:
        while is_running(process):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="kerasfit-watch", daemon=True).start()


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
