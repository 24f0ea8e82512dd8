"""Engines: they run a model's steps on TensorFlow, JAX or PyTorch.

An engine belongs to one model. It trains, evaluates and predicts in *executions*, each of which runs several
consecutive steps in one call, and it reads metrics. It knows nothing about callbacks, and about epochs only
that it may run several short ones in one call. Each backend has a folder; ``engine`` has the interface and
the base class.
"""

from __future__ import annotations

from importlib import import_module

import keras

from kerasfit.arguments import flag
from kerasfit.engines.engine import DEFAULTS, BaseEngine, Engine, ExecutionOptions
from kerasfit.engines.kernels import kernels_wanted
from kerasfit.errors import KerasfitError
from kerasfit.runtime import compilation_cache

__all__ = ["DEFAULTS", "Engine", "ExecutionOptions", "engine_class", "engine_for"]

ENGINES = {"tensorflow": "TensorFlowEngine", "jax": "JaxEngine", "torch": "TorchEngine"}


def engine_for(model: keras.Model, plan: str = "auto", kernels: bool | None = None) -> Engine:
    """Return the model's engine for this backend. It stays on the model with its compiled steps.

    ``plan`` is one of the engine's ``plans``, ways to run steps; "auto" lets the engine choose. ``kernels``
    says whether kerasfit's kernels may replace Keras's functions; it defaults to the environment variable
    KERASFIT_KERNELS.
    """
    if "_kerasfit_engine" not in model.__dict__:
        model.__dict__["_kerasfit_engine"] = engine_class()(model)
        compilation_cache.warn_if_refused(keras.backend.backend())
    engine = model.__dict__["_kerasfit_engine"]
    engine.use_plan(plan)
    engine.kernels = kernels_wanted() if kernels is None else flag("kernels", kernels)
    return engine


def engine_class() -> type[BaseEngine]:
    """The engine class for this session's backend."""
    backend = keras.backend.backend()
    if backend not in ENGINES:
        raise KerasfitError(
            f'kerasfit trains on tensorflow, jax and torch; the Keras backend is "{backend}".'
        )
    return getattr(import_module(f"kerasfit.engines.{backend}.engine"), ENGINES[backend])
