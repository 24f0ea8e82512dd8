"""The training loop behind the R package kerasfit, for Keras 3 models on any backend.

Where things are; each module imports only from those below it:

``bridges``          values of R as numpy, pandas and plain Python values
``fit``, ``evaluate``  the doors: ``fit()``, ``evaluate()`` and ``predict()``, with ``nesting``
``delegate``         models that train in a way of their own
``loop``             epochs, executions, callbacks, validation, history
``checkpoint``       the state of a run in a folder, from which another process goes on
``engines``          who runs the steps
``checks``           what is looked at before anything happens, with ``shapes``, ``indices``, ``batch_size``
``data``             what data mean to a model, with ``data_schema`` and ``saved_schema``: what it has seen
``model_traits``     what a model is made of
``sources``          where batches come from
``arguments``        what the caller's values mean
``callbacks``, ``extras``, ``metrics_log``, ``timing``, ``interrupts``, ``progress``, ``history``, ``live``,
``errors``, ``monitors``, ``output``, ``error_context``, ``tensors``, ``memory``, ``origin``,
``keras_private``, ``quiet``, ``cache``, ``own_folder``, ``torch_library``
"""

from kerasfit import quiet  # first: it loads Keras
from kerasfit.bridges import accepting_r
from kerasfit.checkpoint import BackupAndRestore
from kerasfit.errors import ArgumentError, DataError, KerasfitError
from kerasfit.evaluate import evaluate, predict
from kerasfit.extras import (
    LearningRateFinder,
    MaxTime,
    OneCycle,
    Profile,
    ProgressStyle,
    TerminateOnNaN,
)
from kerasfit.fit import fit
from kerasfit.history import History
from kerasfit.metrics_log import MetricsLog

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
    "quiet",
]
__version__ = "0.1.0"
