"""The exceptions that kerasfit raises; those about arguments name the argument."""

from __future__ import annotations

import re


class KerasfitError(Exception):
    """The base class of errors that kerasfit raises itself.

    Attributes
    ----------
    kind
        One word for the kind of error, from which the class of the R condition is made.
    argument
        The name of the argument at fault in the caller's call, or None.
    reason
        What was given and what was expected.
    hint
        What to do, or None.
    """

    kind = "error"

    def __init__(self, reason: str, *, argument: str | None = None, hint: str | None = None):
        super().__init__(reason if hint is None else f"{reason} {hint}")
        self.reason = reason
        self.argument = argument
        self.hint = hint


class ArgumentError(KerasfitError, ValueError):
    """The value of an argument is invalid, or does not fit the other arguments."""

    kind = "argument"

    def __init__(self, label: str, reason: str, hint: str | None = None):
        """``label`` is the argument or a part of it: x, x$a, validation_data[[2]]."""
        super().__init__(reason, argument=re.split(r"[^\w.]", label, maxsplit=1)[0], hint=hint)


class StateError(KerasfitError):
    """The call cannot run for a reason other than its arguments: a full disk, a missing package."""

    kind = "state"


class DataError(ArgumentError):
    """The data in an argument cannot be trained on."""

    kind = "data"
