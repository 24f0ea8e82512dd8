"""Where in a run an exception came up: in whose function, at which epoch and batch."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any

import keras

from kerasfit.keras_private import is_container
from kerasfit.origin import package_of

PARTS = {"loss": keras.losses.Loss, "metric": keras.metrics.Metric, "layer": keras.layers.Layer}


@dataclass
class Place:
    """Where in a run an exception came up, as far as is known.

    Attributes
    ----------
    function
        Whose function it was: "`on_epoch_end()` of the callback LambdaCallback".
    epoch, batch
        1-based; the batch within its epoch.
    history
        The epochs before, a ``History``.
    """

    function: str | None = None
    epoch: int | None = None
    batch: int | None = None
    history: Any = None

    def __str__(self) -> str:
        numbers = [f"{name} {number}" for name in ("epoch", "batch") if (number := getattr(self, name))]
        words = [f"in {self.function}", *numbers] if self.function else numbers
        return ", ".join(words)


def place_of(error: BaseException) -> Place:
    """Where an exception came up; what is known of it is in its attribute ``place``."""
    return getattr(error, "place", None) or Place()


def note_place(error: BaseException, **known: Any) -> None:
    """Note where an exception came up. What has been noted before, nearer to it, stays."""
    place = place_of(error)
    for field in fields(Place):
        if getattr(place, field.name) is None:
            setattr(place, field.name, known.get(field.name))
    with suppress(AttributeError):  # of an exception that takes no attributes
        error.place = place


@contextmanager
def at(**known: Any) -> Iterator[None]:
    """Note of any exception from the block where it came up."""
    try:
        yield
    except BaseException as error:
        note_place(error, **known)
        raise


def tell_place(error: BaseException, **known: Any) -> None:
    """The same at the end of a call, and a note of it below the traceback, where Python has those (3.11)."""
    note_place(error, function=part_at_fault(error), **known)
    if isinstance(error, Exception) and hasattr(error, "add_note") and (text := str(place_of(error))):
        error.add_note(f"kerasfit: {text}")


def part_at_fault(error: BaseException) -> str | None:
    """The part of a model in whose code an exception came up, the innermost one: a loss, metric or layer."""
    part = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        part = part_of_model(frame.f_locals.get("self"), frame.f_code.co_name) or part
    return part


def part_of_model(owner: Any, method: str) -> str | None:
    if is_container(owner):
        return None
    if isinstance(owner, keras.Model):
        own = package_of(type(owner)) not in ("keras", "kerasfit")
        return f"`{method}()` of the model {type(owner).__name__}" if own else None
    for word, kind in PARTS.items():
        if isinstance(owner, kind):
            # reticulate's name for an R function says nothing
            return f"the {word} `{owner.name}`" if owner.name != "python_function" else f"the {word}"
    return None
