"""One backend for each process: KERAS_BACKEND chooses it, as it does for users."""

import gc
import os
import signal

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import kerasfit  # noqa: F401, I001  before Keras, which it tells where to keep compiled programs
import keras
import pytest
import tensorflow  # noqa: F401  which Keras loads at the first seed

# a shell that starts the tests in the background lets them ignore interrupts, and so their children
signal.signal(signal.SIGINT, signal.default_int_handler)

# clear_session() collects garbage, which took half a second for the million objects of the libraries
gc.freeze()


@pytest.fixture(autouse=True)
def clean_keras():
    """Each test starts from the same seed and leaves no global state to the next."""
    keras.utils.set_random_seed(7)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()
