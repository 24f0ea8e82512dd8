"""The cases of cases.json with Python's values; R's equivalent values must train to the same weights.

``python`` is a tuple (x, y) or (x, y, further arguments) of the names below; ``r`` is the same as an R list,
whose names are in world.R. ``plan`` is for forms that engines run differently from arrays in memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import layers

import kerasfit

CASES = json.loads(Path(__file__).with_name("cases.json").read_text())
X = np.array([[np.sin(i * (j + 1)) + j for j in range(4)] for i in range(150)])
CODES = np.arange(150) * 7 % 3
SPECIES = pd.Categorical.from_codes(CODES, ["setosa", "versicolor", "virginica"])
FRAME = pd.DataFrame(X, columns=list("abcd"))


def generate(count: int | None = None):
    """Yield batches of 8 rows in order, forever or up to a count."""
    number = 0
    while count is None or number < count:
        rows = (np.arange(8) + 8 * number) % 150
        yield X[rows], CODES[rows]
        number += 1


def build(name: str) -> keras.Model:
    """Build a small model, always with the same weights."""
    keras.utils.set_random_seed(1)
    if name == "two":
        a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
        both = layers.concatenate([a, b])
        outputs = {
            "u": layers.Dense(3, activation="softmax", name="u")(both),
            "v": layers.Dense(1, name="v")(both),
        }
        model = keras.Model({"a": a, "b": b}, outputs)
        model.compile("adam", {"u": "sparse_categorical_crossentropy", "v": "mse"})
    elif name == "recurrent":
        model = keras.Sequential([keras.Input((2, 2)), layers.LSTM(3), layers.Dense(1)])
        model.compile("adam", "mse")
    else:
        model = keras.Sequential(
            [keras.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(3, activation="softmax")]
        )
        kind = "categorical_crossentropy" if name == "one_hot" else "sparse_categorical_crossentropy"
        model.compile("adam", kind, metrics=["accuracy"])
    return model


def train(case: dict[str, Any]) -> list[np.ndarray]:
    """Return the weights after training with Python's values."""
    model = build(case["model"])
    x, y, *further = eval(case["python"])
    kerasfit.fit(model, x, y, **options(case), **(further[0] if further else {}))
    return model.get_weights()


def options(case: dict[str, Any]) -> dict[str, Any]:
    return {"verbose": 0, "plan": case.get("plan", "auto")}
