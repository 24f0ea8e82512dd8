"""Finds the module and the package in which a class or function was defined."""

from __future__ import annotations

from typing import Any


def module_of(defined: Any) -> str:
    """Return the module of a class or function; "" if it has none, for example a class made by R."""
    return getattr(defined, "__module__", None) or ""


def is_of_r(function: Any) -> bool:
    """Whether a function is written in R, and so can run only on the main thread."""
    return module_of(function) == "rpytools.call"  # a module of reticulate


def package_of(defined: Any) -> str:
    """Return the top-level package of a class or function."""
    return module_of(defined).partition(".")[0]
