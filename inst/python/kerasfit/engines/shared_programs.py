"""Keeps compiled programs for later models that are made the same way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

KEPT = 32  # sets of programs: those of one kind of step, for all models with one key
KEPT_BYTES = 200_000_000  # of variables that programs keep in memory

_kept: OrderedDict[Hashable, Any] = OrderedDict()
_seen: set[Hashable] = set()


def shared_programs(key: Hashable, make: Callable[[], T]) -> T:
    """Return what ``make()`` returned when this was called before with an equal key, or call it now.

    The least recently used are forgotten, but remain in use by the models that have them.
    """
    if key not in _kept:
        _kept[key] = make()
    _kept.move_to_end(key)
    while len(_kept) > KEPT or sum(getattr(kept, "nbytes", 0) for kept in _kept.values()) > KEPT_BYTES:
        _kept.popitem(last=False)
    return _kept[key] if key in _kept else make()


def is_first(kind: Hashable) -> bool:
    """Whether this is the first call with a kind of model: models with equal keys must be of the same kind.

    A kind is found faster than a key, which is not needed if there was no such model before.
    """
    was_seen = kind in _seen
    _seen.add(kind)
    return not was_seen


def forget_shared_programs() -> None:
    """Make later models compile programs of their own."""
    _kept.clear()
    _seen.clear()
