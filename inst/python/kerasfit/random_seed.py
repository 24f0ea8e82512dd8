"""Sets the seed of all random generators without loading TensorFlow, which may never be used."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import ModuleType

import keras

from kerasfit.keras_private import without_loading_tensorflow
from kerasfit.runtime.keras_loading import quiet

_seed_of_tensorflow: int | None = None  # set when TensorFlow is loaded


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy and the backend; and TensorFlow, which shuffles datasets, once it is loaded.

    Like ``keras.utils.set_random_seed()``, which, however, loads TensorFlow whenever it is installed.
    """
    global _seed_of_tensorflow
    with quiet(), without_loading_tensorflow():
        keras.utils.set_random_seed(seed)
    if "tensorflow" in sys.modules:
        return
    if _seed_of_tensorflow is None:
        with suppress(ImportError):  # TensorFlow requires wrapt, so it is not installed either
            import wrapt

            wrapt.register_post_import_hook(seed_tensorflow, "tensorflow")
    _seed_of_tensorflow = seed


def seed_tensorflow(tensorflow: ModuleType) -> None:
    tensorflow.random.set_seed(_seed_of_tensorflow)
