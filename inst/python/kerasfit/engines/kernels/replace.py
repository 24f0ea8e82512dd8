"""Replaces Keras's functions by kernels with the same signature, for the current thread."""

from __future__ import annotations

import functools
import inspect
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from kerasfit import keras_private

# A maker takes a function of Keras and returns its replacement. Several makers serve versions of Keras in
# which the function has different arguments.
Maker = Callable[[Callable], Callable]
Makers = Maker | tuple[Maker, ...]

OFF = {"0", "false", "no", "off"}


def kernels_wanted() -> bool:
    """Whether kernels are on: True unless the environment variable KERASFIT_KERNELS turns them off."""
    return os.environ.get("KERASFIT_KERNELS", "").lower() not in OFF


@contextmanager
def replaced(functions: Mapping[str, Makers]) -> Iterator[None]:
    """Replace functions of Keras while a step is traced or runs; names are as in ``kernels.EVERYWHERE``.

    A function is replaced only if this version of Keras has it in a known module and its replacement has the
    same signature. Otherwise it is kept, with a warning once in a session. Only the thread that enters the
    block uses the replacements. If several threads replace a function, or one does so twice, the last to
    leave the block restores it.
    """
    with _lock:
        for name, makers in functions.items():
            if not _users[name] and (found := replacement_for(name, makers)):
                owner, attribute, original, replacement = found
                _original_functions[name] = owner, attribute, original
                setattr(owner, attribute, replacement)
            _users[name] += 1
    wanted = wanted_here()
    wanted.update(list(functions))
    try:
        yield
    finally:
        wanted.subtract(list(functions))
        with _lock:
            for name in functions:
                _users[name] -= 1
                if not _users[name] and name in _original_functions:
                    setattr(*_original_functions.pop(name))


_lock = threading.Lock()
_users: Counter[str] = Counter()
_original_functions: dict[str, tuple[Any, str, Callable]] = {}
_here = threading.local()
_warned: set[str] = set()


def wanted_here() -> Counter[str]:
    """For each function name, how many blocks that replace it this thread is in."""
    if not hasattr(_here, "wanted"):
        _here.wanted = Counter()
    return _here.wanted


def replacement_for(name: str, makers: Makers) -> tuple[Any, str, Callable, Callable] | None:
    """Find a function of Keras and its replacement; None, with a warning, if there is none.

    Returns the owner of the function, its attribute there, the function and its replacement.
    """
    owner, attribute = keras_private.owner_of(name), name.rpartition(".")[2]
    original = getattr(owner, attribute, None)
    if original is not None:
        replacement = fitting(name, original, makers if isinstance(makers, tuple) else (makers,))
        if replacement is not None:
            return owner, attribute, original, replacement
    warn_once(name)
    return None


@functools.lru_cache(maxsize=256)
def fitting(name: str, original: Callable, makers: tuple[Maker, ...]) -> Callable | None:
    """Return the first replacement that has the signature of Keras's function; None if none has.

    It calls Keras's function in threads that are in no block that replaces it.
    """
    for make in makers:
        replacement = make(original)
        if parameters(replacement) == parameters(original):

            @functools.wraps(original)
            def function(*args: Any, **kwargs: Any) -> Any:
                return (replacement if wanted_here()[name] else original)(*args, **kwargs)  # noqa: B023

            return function
    return None


def parameters(function: Callable) -> list[tuple] | None:
    """The names, kinds and defaults of a function's parameters; None if Python cannot determine them."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


def warn_once(name: str) -> None:
    if name not in _warned:
        _warned.add(name)
        warnings.warn(
            f"Keras {keras.__version__} has changed its function {name}, for which kerasfit has a faster "
            "one. Keras's own is used instead. To use only Keras's own functions, without this warning, set "
            "options(kerasfit.kernels = FALSE) or the environment variable KERASFIT_KERNELS=0.",
            stacklevel=3,
        )
