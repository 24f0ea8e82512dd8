"""The training loop behind the R package kerasfit, for Keras 3 models on any backend.

Where things are, from the door inwards (each module imports only from those below it):

``fit``        the door: ``fit()``, ``evaluate()`` and ``predict()``
``arguments``  what the caller's values mean
``sources``    where batches come from
``engines``    who runs the steps
``loop``       epochs, executions, callbacks, validation, history
``callbacks``, ``progress``, ``history``
``errors``, ``keras_private``, ``tensors``, ``quiet``
``bridges``    values of R as numpy, pandas and plain Python values
"""

from kerasfit import quiet  # first: it loads Keras
from kerasfit.errors import ArgumentError, DataError, KerasfitError
from kerasfit.fit import evaluate, fit, predict
from kerasfit.history import History

__all__ = ["ArgumentError", "DataError", "History", "KerasfitError", "evaluate", "fit", "predict", "quiet"]
__version__ = "0.1.0"
