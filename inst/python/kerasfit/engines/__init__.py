"""Who runs the steps.

An engine is built for one model. It trains, evaluates and predicts in *executions*, runs of consecutive
steps, and reads metrics. It never knows about epochs or callbacks. There is one file for each backend;
``engine`` says what they have in common.
"""

from __future__ import annotations

from importlib import import_module

import keras

from kerasfit.arguments import flag
from kerasfit.engines.engine import DEFAULTS, Engine, ExecutionOptions
from kerasfit.engines.kernels import kernels_wanted
from kerasfit.errors import KerasfitError
from kerasfit.runtime import compilation_cache

__all__ = ["DEFAULTS", "Engine", "ExecutionOptions", "engine_class", "engine_for"]

ENGINES = {"tensorflow": "TensorFlowEngine", "jax": "JaxEngine", "torch": "TorchEngine"}


def engine_for(model: keras.Model, plan: str = "auto", kernels: bool | None = None) -> Engine:
    """The engine of this session's backend for a model; it stays with the model, compiled steps and all.

    ``plan`` says how it is to run steps: one of the engine's ``plans``, or "auto" for its choice. ``kernels``
    says whether faster functions may be put in the place of Keras's; by default the environment variable
    KERASFIT_KERNELS does.
    """
    if "_kerasfit_engine" not in model.__dict__:
        model.__dict__["_kerasfit_engine"] = engine_class()(model)
        compilation_cache.warn_if_refused(keras.backend.backend())
    engine = model.__dict__["_kerasfit_engine"]
    engine.use_plan(plan)
    engine.kernels = kernels_wanted() if kernels is None else flag("kernels", kernels)
    return engine


def engine_class() -> type[Engine]:
    """The engine of this session's backend."""
    backend = keras.backend.backend()
    if backend not in ENGINES:
        raise KerasfitError(
            f'kerasfit trains on tensorflow, jax and torch; the Keras backend is "{backend}".'
        )
    return getattr(import_module(f"kerasfit.engines.{backend}.engine"), ENGINES[backend])
