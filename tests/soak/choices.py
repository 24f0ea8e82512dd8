"""The choices that make a random case, each drawn with the case's seed and the name of the choice."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class Choices:
    """Draws options by name, and records the labels of the options that it has drawn.

    A choice depends only on the seed and its own name: if one is fixed to another option, the others stay the
    same. This is how a case is made smaller.

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
        """Return a random number generator for a name; it is the same each time."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def of(self, name: str, options: Iterable[Any] | Mapping[str, Any], simple: float = 0.0) -> Any:
        """Draw one of some options; the names in a mapping are the labels of its options.

        ``simple`` is the probability of taking the first one without drawing.
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
        """Draw up to ``most`` different options, in random order."""
        named = dict(options) if isinstance(options, Mapping) else {str(o): o for o in options}
        count = self.of(f"number of {name}", range(most + 1))
        taken = []
        for number in range(1, min(count, len(named)) + 1):
            label = self.of(f"{name} {number}", {label: label for label in named})
            taken.append(named.pop(label))
        return taken

    def simpler(self) -> list[dict[str, str]]:
        """For each choice that is not at its simplest, return the choices to fix so that it is."""
        return [
            {name: self.simplest[name]} for name, label in self.made.items() if label != self.simplest[name]
        ]

    def __str__(self) -> str:
        changed = [
            f"{n} = {label}" for n, label in self.made.items() if label != self.simplest[n] or n == "input"
        ]
        return ", ".join(changed)
