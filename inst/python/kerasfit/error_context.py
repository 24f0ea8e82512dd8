"""The context of an error: the user's function it came from, the epoch and the batch."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import keras

from kerasfit.keras_private import is_container
from kerasfit.object_origin import package_of

if TYPE_CHECKING:
    from kerasfit.history import History

COMPONENTS = {"loss": keras.losses.Loss, "metric": keras.metrics.Metric, "layer": keras.layers.Layer}


@dataclass
class ErrorContext:
    """The place in a run where an exception was raised, as far as it is known.

    Attributes
    ----------
    function
        The user's function that raised it, for example "`on_epoch_end()` of the callback LambdaCallback".
    epoch, batch
        Both 1-based; the batch within its epoch.
    history
        The history of the epochs that were completed before.
    """

    function: str | None = None
    epoch: int | None = None
    batch: int | None = None
    history: History | None = None

    def __str__(self) -> str:
        numbers = [f"{name} {number}" for name in ("epoch", "batch") if (number := getattr(self, name))]
        words = [f"in {self.function}", *numbers] if self.function else numbers
        return ", ".join(words)


def error_context_of(error: BaseException) -> ErrorContext:
    """Return the context of an exception, from its attribute ``error_context``."""
    return getattr(error, "error_context", None) or ErrorContext()


@contextmanager
def error_context(**known: Any) -> Iterator[None]:
    """Add these fields to the context of any exception raised in the block."""
    try:
        yield
    except BaseException as error:
        add_error_context(error, **known)
        raise


def add_error_context(error: BaseException, **known: Any) -> None:
    """Add fields to the context of an exception; fields that an inner block has added are kept."""
    context = error_context_of(error)
    for field in fields(ErrorContext):
        if getattr(context, field.name) is None:
            setattr(context, field.name, known.get(field.name))
    with suppress(AttributeError):  # some exceptions take no attributes
        error.error_context = context  # type: ignore[attr-defined]


def annotate_error(error: BaseException, **known: Any) -> None:
    """Complete the context of an exception that leaves a call, and show it below the traceback."""
    add_error_context(error, function=failing_component(error), **known)
    if isinstance(error, Exception) and hasattr(error, "add_note") and (text := str(error_context_of(error))):
        error.add_note(f"kerasfit: {text}")


def failing_component(error: BaseException) -> str | None:
    """Return the innermost loss, metric, layer or method of the model whose code raised an exception."""
    component = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        component = component_name(frame.f_locals.get("self"), frame.f_code.co_name) or component
    return component


def component_name(owner: Any, method: str) -> str | None:
    """Describe a component of a model or a method of the user's model, for errors; None for other objects."""
    if is_container(owner):
        return None
    if isinstance(owner, keras.Model):
        own = package_of(type(owner)) not in ("keras", "kerasfit")
        return f"`{method}()` of the model {type(owner).__name__}" if own else None
    for word, kind in COMPONENTS.items():
        if isinstance(owner, kind):
            # reticulate gives every R function this name, so it is not informative
            return f"the {word} `{owner.name}`" if owner.name != "python_function" else f"the {word}"
    return None
