"""Names of TensorFlow's variables, which take memory for ever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras


def short_names() -> AbstractContextManager:
    """Give all variables that are created in a name scope, such as those of an optimizer, the same name.

    TensorFlow caches the operation that creates a variable under the variable's name, and never forgets it.
    Since Keras numbers optimizers and layers, a few variables of each new model would take 35 KB each for
    ever. Only the names of ``tf.Variable`` objects change, not those of Keras's variables.
    """
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    def create(next_creator: Callable, **kwargs: Any) -> Any:
        if not tf.get_current_name_scope():
            return next_creator(**kwargs)
        with tf.name_scope("variable/"):  # with a slash: not inside the current scope
            return next_creator(**kwargs | {"name": "variable"})

    return tf.variable_creator_scope(create)
