"""Values of R as numpy, pandas and plain Python values: the only place in the core that knows about R.

``reticulate`` serves R that holds Python, ``rpy2`` Python that holds R.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["accepting_r"]


def accepting_r(function: Callable) -> Callable:
    """A function of the core that takes values of R too, if Python holds any through rpy2."""
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "rpy2.robjects" in sys.modules:
            from kerasfit.bridges.rpy2 import from_r

            args = [from_r(name, value) for name, value in zip(names, args, strict=False)]
            kwargs = {name: from_r(name, value) for name, value in kwargs.items()}
        return function(*args, **kwargs)

    return call
