"""Connects the core to R: converts R values, and has the functions that the R package calls.

Other modules know R only as the host of Python (its interrupts and its random generator), as the language of
some functions, and as the language of names and hints in errors.
``reticulate`` is for R sessions that embed Python, ``rpy2`` for Python processes that embed R.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["accepting_r"]


def accepting_r(function: Callable) -> Callable:
    """Decorate a function of the core to also accept R values, which rpy2 represents as Python objects."""
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "rpy2.robjects" in sys.modules:
            from kerasfit.bridges.rpy2 import from_r

            args = tuple(from_r(name, value) for name, value in zip(names, args, strict=False))
            kwargs = {name: from_r(name, value) for name, value in kwargs.items()}
        return function(*args, **kwargs)

    return call
