"""What can be wrong with a call, as exceptions that name the argument."""

from __future__ import annotations

import re


class KerasfitError(Exception):
    """Any mistake that kerasfit finds itself.

    Attributes
    ----------
    kind
        One word for the kind of mistake; the class of the R condition is made from it.
    argument
        The argument at fault, as the caller knows it, or None.
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
    """An argument has a value that it cannot have, by itself or beside the others."""

    kind = "argument"

    def __init__(self, label: str, reason: str, hint: str | None = None):
        """``label`` is the argument or a part of it: x, x$a, validation_data[[2]]."""
        super().__init__(reason, argument=re.match(r"[\w.]*", label)[0], hint=hint)


class StateError(KerasfitError):
    """Something outside the call stands in its way: a disk that is full, a package that is missing."""

    kind = "state"


class DataError(ArgumentError):
    """The data in an argument cannot be trained on."""

    kind = "data"
