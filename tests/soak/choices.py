"""The choices that make a random case, each drawn by the case's seed and the name of the choice."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class Choices:
    """Draws options by name, and remembers the names of what it has drawn.

    A choice depends on the seed and on its own name alone: where one is fixed to another option, the others
    stay as they are. That is how a case is made smaller.

    Attributes
    ----------
    made
        Name of a choice → label of the option, in the order in which they were drawn.
    simplest
        Name of a choice → label of the first option, the simplest.
    """

    def __init__(self, seed: int, fixed: Mapping[str, str] | None = None):
        self.seed, self.fixed = seed, dict(fixed or {})
        self.made: dict[str, str] = {}
        self.simplest: dict[str, str] = {}

    def rng(self, name: str) -> np.random.Generator:
        """Random numbers for a name; the same each time."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def of(self, name: str, options: Iterable[Any] | Mapping[str, Any], simple: float = 0.0) -> Any:
        """One of some options: those of a mapping have their names as labels.

        ``simple`` is the probability to take the first one without drawing.
        """
        named = dict(options) if isinstance(options, Mapping) else {str(o): o for o in options}
        labels = list(named)
        rng = self.rng(name)
        label = labels[0] if rng.random() < simple else labels[rng.integers(len(labels))]
        if self.fixed.get(name) in named:
            label = self.fixed[name]
        self.made[name], self.simplest[name] = label, labels[0]
        return named[label]

    def several(self, name: str, options: Iterable[Any] | Mapping[str, Any], most: int) -> list[Any]:
        """Up to so many different options, in an order that is drawn too."""
        named = dict(options) if isinstance(options, Mapping) else {str(o): o for o in options}
        count = self.of(f"number of {name}", range(most + 1))
        taken = []
        for number in range(1, min(count, len(named)) + 1):
            label = self.of(f"{name} {number}", {label: label for label in named})
            taken.append(named.pop(label))
        return taken

    def simpler(self) -> list[dict[str, str]]:
        """What to fix to have one of the choices made at its simplest, for each that is not."""
        return [
            {name: self.simplest[name]} for name, label in self.made.items() if label != self.simplest[name]
        ]

    def __str__(self) -> str:
        changed = [
            f"{n} = {label}" for n, label in self.made.items() if label != self.simplest[n] or n == "input"
        ]
        return ", ".join(changed)
