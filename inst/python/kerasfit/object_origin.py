"""Where a class or a function was defined."""

from __future__ import annotations

from typing import Any


def module_of(defined: Any) -> str:
    """The module of a class or function; "" if it has none, as the classes that R makes."""
    return getattr(defined, "__module__", None) or ""


def is_of_r(function: Any) -> bool:
    """Whether a function is written in R, which runs on the main thread only."""
    return module_of(function) == "rpytools.call"  # of reticulate


def package_of(defined: Any) -> str:
    """The package at the top of that module's name."""
    return module_of(defined).partition(".")[0]
