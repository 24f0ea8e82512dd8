"""Logs: the loss and metrics of a step, an epoch or an evaluation, by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kerasfit.tensors import to_numpy

Logs = dict[str, Any]


def logs_to_floats(logs: Logs | None) -> Logs:
    """Flatten nested logs and convert scalars to Python floats; the loss comes first.

    Keras itself sorted logs alphabetically up to 3.9.
    """
    flat: Logs = {}
    for name, value in sorted((logs or {}).items(), key=lambda item: item[0] != "loss"):
        if isinstance(value, dict):
            flat.update(logs_to_floats(value))
            continue
        try:
            flat[name] = float(value if np.ndim(value) == 0 else to_numpy(value))
        except (TypeError, ValueError):
            flat[name] = value
    return flat


def flatten_metrics(logs: Logs) -> dict[str, float]:
    """Convert logs to floats: one for each element of an array; non-numeric values are dropped."""
    flat: dict[str, float] = {}
    for name, value in logs.items():
        if isinstance(value, float):
            flat[name] = value
            continue
        try:
            values = np.asarray(value, dtype=float).ravel().tolist()
        except (TypeError, ValueError):
            continue
        names = [name] if len(values) == 1 else [f"{name}_{i}" for i in range(1, len(values) + 1)]
        flat.update(zip(names, values, strict=True))
    return flat


def format_number(value: float, digits: int = 4) -> str:
    """Format a metric with fixed decimals, or in scientific notation if it is too small or large for them."""
    if not math.isfinite(value) or value == 0 or 10.0 ** (-0.75 * digits) <= abs(value) < 1e6:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}e}"


def format_metrics(logs: Logs, digits: int = 4) -> str:
    return " - ".join(
        f"{name}: {format_number(value, digits)}" for name, value in flatten_metrics(logs).items()
    )
