"""One backend for each process: KERAS_BACKEND chooses it, as it does for users."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import pytest


@pytest.fixture(autouse=True)
def clean_keras():
    """Each test starts from the same seed and leaves no global state to the next."""
    keras.utils.set_random_seed(7)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()
