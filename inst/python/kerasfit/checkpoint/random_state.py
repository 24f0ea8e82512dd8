"""The generators of random numbers that a run may draw from, beside those that belong to model or engine."""

from __future__ import annotations

import random
from typing import Any, Protocol

import keras
import numpy as np

from kerasfit import keras_private


class Session(Protocol):
    """The generator of the program that hosts Python: R's."""

    def get_state(self) -> Any:
        """Its state as a plain value; None if it has not been used."""

    def set_state(self, state: Any) -> bool:
        """Give it a state; False, and nothing has changed, if that is none."""


class BadRandomState(Exception):
    """Something is no state of a generator of random numbers."""


def get_random_states(session: Session | None = None) -> dict[str, Any]:
    """The states of all generators, as plain values. Leaves each as it is.

    Keras makes its generator when it is first used, with a seed from Python's: so it is not made here.
    """
    seed = keras_private.global_seed()
    return {
        "keras": None if seed is None else keras.ops.convert_to_numpy(seed.value),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "session": None if session is None else session.get_state(),
    }


def set_random_states(states: dict[str, Any], session: Session | None = None) -> None:
    """Give all generators the states that ``get_random_states`` has returned.

    Raises
    ------
    BadRandomState
        If there is one that is none.
    """
    try:
        keras_private.set_global_seed(states["keras"])  # first: Keras may draw a seed from Python's
        np.random.set_state(states["numpy"])
        random.setstate(states["python"])
    except Exception as error:
        raise BadRandomState from error
    if session is not None and states["session"] is not None and not session.set_state(states["session"]):
        raise BadRandomState
