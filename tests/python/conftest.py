"""Test configuration. KERAS_BACKEND selects the backend of the process, as it does for users."""

import gc
import os
import signal

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
if os.environ["KERAS_BACKEND"] == "jax":  # for test_several_devices.py
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"

import kerasfit  # noqa: F401, I001  before Keras, since it sets the folder for compiled programs
import keras
import pytest
import tensorflow  # noqa: F401  Keras imports it when the first seed is set

from kerasfit.engines.shared_programs import forget_shared_programs

# A shell that starts the tests in the background makes them, and their child processes, ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

if keras.backend.backend() == "torch":
    from kerasfit.engines.torch.engine import RECORDING_PAYS_AFTER

    RECORDING_PAYS_AFTER.update(train=0, test=0, predict=0)  # the few steps of most tests are recorded too

# clear_session() collects garbage, which takes half a second with the million objects of the libraries.
gc.freeze()


@pytest.fixture(autouse=True)
def clean_keras():
    """Start each test with the same seed and no compiled programs, and leave no global state for the next."""
    forget_shared_programs()
    keras.utils.set_random_seed(7)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()
