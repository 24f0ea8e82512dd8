"""Saves and restores the global random generators: those of Keras, numpy, Python and the host (R).

Generators that belong to the model or the engine are saved with these.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

import keras
import numpy as np

from kerasfit import keras_private


class Session(Protocol):
    """The random generator of the program that hosts Python: R's."""

    def get_state(self) -> Any:
        """Return the state as a plain value; None if the generator has not been used."""

    def set_state(self, state: Any) -> bool:
        """Set the state; return False and change nothing if it is not valid."""


class BadRandomState(Exception):
    """A value is not a valid state of a random generator."""


def get_random_states(session: Session | None = None) -> dict[str, Any]:
    """Return the states of all generators as plain values, without changing them.

    Keras creates its generator at first use, with a seed drawn from Python's generator, so it is not created
    here.
    """
    seed = keras_private.global_seed()
    return {
        "keras": None if seed is None else keras.ops.convert_to_numpy(seed.value),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "session": None if session is None else session.get_state(),
    }


def set_random_states(states: dict[str, Any], session: Session | None = None) -> None:
    """Set all generators to states from ``get_random_states``.

    Raises
    ------
    BadRandomState
        If a state is not valid.
    """
    try:
        # First, as Keras may draw a seed from Python's generator
        keras_private.set_global_seed(states["keras"])
        np.random.set_state(states["numpy"])
        random.setstate(states["python"])
    except Exception as error:
        raise BadRandomState from error
    if session is not None and states["session"] is not None and not session.set_state(states["session"]):
        raise BadRandomState
