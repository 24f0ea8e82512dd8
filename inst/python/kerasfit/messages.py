"""Formats values and lists of names for error messages."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def either(choices: tuple[str, ...]) -> str:
    *first, last = (f'"{choice}"' for choice in choices)
    return f"{', '.join(first)} or {last}"


def describe(value: Any) -> str:
    """Describe a value for an error, briefly and in words that suit both R and Python."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (bool, np.bool_)):
        return "a logical value"
    if isinstance(value, (int, float, np.number)):
        return (
            f"{value:g}" if math.isfinite(value) else str(value).replace("inf", "Inf").replace("nan", "NaN")
        )
    if isinstance(value, np.ndarray):
        if value.size == 1 and value.ndim < 2:
            return describe(value.item())
        if value.ndim == 1:
            return f"a vector of length {len(value)}"
        return f"an array of dimensions ({', '.join(map(str, value.shape))})"
    if isinstance(value, (list, tuple)):
        kind = "vector" if value and all(map(np.isscalar, value)) else "list"
        return f"a {kind} of length {len(value)}"
    if isinstance(value, Mapping):
        return "a named list"
    if isinstance(value, type):
        return f"the class {value.__name__}, which must be called"
    if callable(value):
        return "a function"
    return f"an object of class {type(value).__name__}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to another, for "did you mean"; None if none is similar."""
    plain = {re.sub(r"[^a-z0-9]", "", other.lower()): other for other in known}
    found = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else None


def listed(values: Iterable[Any], one: str = "", many: str = "") -> str:
    """List values for an error, at most eight: "classes 1, 2 and 5"."""
    words = [str(value) for value in values]
    noun = one if len(words) == 1 else many
    if len(words) > 8:
        words = [*words[:7], f"{len(words) - 7} more"]
    text = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{noun} {text}".strip()


def quoted(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]
