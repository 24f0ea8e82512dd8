"""The training loop behind the R package kerasfit, for Keras 3 models on any backend.

Each module imports only from those below it, or to its right on the same line:

``bridges``         convert R values to numpy, pandas and plain Python values
``fit``, ``evaluate``  ``fit()``, ``evaluate()`` and ``predict()``, with ``fit_data`` and ``nesting``
``background``      sends models to processes that train them
``engine_fit``, ``custom_fit``  train with an engine, or with a model's own ``fit()``
``loop``            the training loop, with ``execution_size``
``run_display``, ``progress``, ``live``, ``live_server``  show a run in the console and on the live page
``checkpoint``      saves a run to a folder and resumes it, also in another process
``checks``          check models and data before a run, and explain errors about shapes
``callbacks``       calls the callbacks of a run, and defines kerasfit's own
``engines``         run the steps: a folder for each backend, and ``kernels``, faster operations for CPUs
``sources``         make batches, from arrays, datasets and iterators
``data``            converts data frames, factors and arrays to a model's inputs, targets and weights
``arguments``, ``messages``  check scalar arguments, and describe values in errors
``error_context``   the user's function, the epoch and the batch of an exception
``history``, ``logs``, ``timing``, ``interrupts``, ``output``  record, time and stop a run; standard output
``random_seed``, ``device_choice``  seed all random generators; choose several devices
``layer_traits``, ``model_traits``  properties of a model that decide how it is run
``devices``         the devices on which the backend computes
``tensors``, ``variables``, ``keras_private``, ``object_origin``  helpers for Keras models and tensors
``errors``          exception classes
``runtime``         the process: loading Keras, caches, BLAS, memory, files
"""

from kerasfit.runtime import keras_loading  # noqa: F401  first: it loads Keras

# isort: split
from kerasfit.bridges import accepting_r
from kerasfit.callbacks.learning_rate import LearningRateFinder, OneCycle
from kerasfit.callbacks.metrics_log import MetricsLog
from kerasfit.callbacks.profile import Profile
from kerasfit.callbacks.progress_style import ProgressStyle
from kerasfit.callbacks.stopping import MaxTime, TerminateOnNaN
from kerasfit.checkpoint import BackupAndRestore
from kerasfit.device_choice import use_devices
from kerasfit.errors import ArgumentError, DataError, KerasfitError
from kerasfit.evaluate import evaluate, predict
from kerasfit.fit import fit
from kerasfit.history import History

fit, evaluate, predict = map(accepting_r, (fit, evaluate, predict))

__all__ = [
    "ArgumentError",
    "BackupAndRestore",
    "DataError",
    "History",
    "KerasfitError",
    "LearningRateFinder",
    "MaxTime",
    "MetricsLog",
    "OneCycle",
    "Profile",
    "ProgressStyle",
    "TerminateOnNaN",
    "evaluate",
    "fit",
    "predict",
    "use_devices",
]
__version__ = "0.1.0"

# R class names and pickles contain the module of a class; with this, they do not change when a class moves
for name in __all__:
    globals()[name].__module__ = "kerasfit"
