"""Train the zoo with Keras's fit() and with kerasfit's: evaluate, change, train again, stop and resume.

pytest does not find this file by its name: soak.py passes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))

import keras
import numpy as np
import pytest
import zoo

import kerasfit
from kerasfit import layer_traits

BATCH = 16


def share_of(names: Collection[str]) -> list[str]:
    """Return as many per cent of the names as the environment variable says, evenly spaced."""
    return list(names)[:: round(100 / max(1, int(os.environ.get("KERASFIT_SOAK", "100"))))]


@pytest.fixture(autouse=True)
def xla_at_once(monkeypatch):
    monkeypatch.setattr(layer_traits, "xla_pays_after", lambda model: 0)


class Verbs:
    """The fit(), evaluate() and predict() of Keras or of kerasfit, with results in one form."""

    def __init__(self, name: str, model: keras.Model):
        self.keras, self.model = name == "Keras", model

    def fit(self, *data: Any, **arguments: Any) -> dict[str, list]:
        arguments = {"verbose": 0, "shuffle": False, **arguments}
        if self.keras:
            return self.model.fit(*data, **arguments).history
        history = kerasfit.fit(self.model, *data, **arguments).metrics
        return {name: [v for v in values if v is not None] for name, values in history.items()}

    def evaluate(self, *data: Any, **arguments: Any) -> dict[str, float]:
        if self.keras:
            return self.model.evaluate(*data, verbose=0, return_dict=True, **arguments)
        return kerasfit.evaluate(self.model, *data, verbose=0, **arguments)

    def predict(self, x: Any, **arguments: Any) -> list[np.ndarray]:
        predict = self.model.predict if self.keras else lambda *a, **k: kerasfit.predict(self.model, *a, **k)
        return keras.tree.flatten(predict(x, verbose=0, **arguments))


def variables_of(model: keras.Model) -> list[np.ndarray]:
    both = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v) for v in both if "seed" not in v.path]


def skip_for(error: Exception) -> None:
    pytest.skip(f"Keras: {type(error).__name__}: {str(error)[:200]}")


def compare(life: Any, atol: float = 1e-4) -> None:
    """Compare the results of a sequence of calls with both; skip it if Keras itself fails."""
    results = {}
    for name in ("Keras", "kerasfit"):
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        try:
            results[name] = life(name)
        except Exception as error:
            if name != "Keras":
                raise
            skip_for(error)
    for (what, ours), (_, theirs) in zip(results["kerasfit"], results["Keras"], strict=True):
        if isinstance(ours, dict):
            assert set(ours) == set(theirs), what
            ours, theirs = ([values[name] for name in sorted(values)] for values in (ours, theirs))
        for a, b in zip(ours, theirs, strict=True):
            a, b = np.asarray(a, float), np.asarray(b, float)
            np.testing.assert_allclose(a, b, rtol=3e-3, atol=atol, err_msg=what)


def arguments_of(x: Any, y: Any, more: dict | None = None) -> dict[str, Any]:
    return {"batch_size": BATCH, "validation_split": 0.3} | (more or {})


def backwards(values: Any) -> Any:
    return None if values is None else keras.tree.map_structure(lambda leaf: leaf[::-1].copy(), values)


@pytest.mark.parametrize("name", share_of(zoo.MODELS))
def test_a_sequence_of_calls_gives_the_results_of_keras(name):
    def life(whose):
        model, x, y, *more = zoo.MODELS[name]()
        verbs, arguments = Verbs(whose, model), arguments_of(x, y, *more)
        size = {"batch_size": arguments["batch_size"]}
        weights = {name: arguments[name] for name in ("sample_weight",) if name in arguments}
        yield "history", verbs.fit(x, y, epochs=3, **arguments)
        yield "variables", variables_of(model)
        x, y = backwards(x), backwards(y)
        yield "evaluated", verbs.evaluate(x, y, **size)
        model.set_weights([w * 0.9 if w.dtype.kind == "f" else w for w in model.get_weights()])
        yield "evaluated with other weights", verbs.evaluate(x, y, **size)
        yield "predicted with other weights", verbs.predict(x, **size)
        other = size if layer_traits.stateful_batch_size(model) else {"batch_size": 20}
        yield "trained in other batches", verbs.fit(x, y, epochs=2, **weights, **other)
        yield "predicted in other batches", verbs.predict(x, **other)
        if not name.endswith("Decay"):
            model.optimizer.learning_rate = 0.02
            yield "trained at another rate", verbs.fit(x, y, epochs=2, **weights, **other)
        if weighty := [layer for layer in model.layers if layer.trainable_weights]:
            weighty[0].trainable = False
            model.compile("sgd", model.loss)
            if model.trainable_weights:
                yield "trained in part", verbs.fit(x, y, epochs=2, **weights, **size)
                yield "variables in part", variables_of(model)

    # A bfloat16 number has eight bits, and XLA keeps more of them between two operations.
    compare(lambda whose: list(life(whose)), **({"atol": 0.02} if name == "bfloat16" else {}))


@pytest.mark.parametrize("name", share_of(zoo.DATA))
def test_each_kind_of_data_gives_the_results_of_keras(name):
    def life(whose):
        model, make, more = zoo.DATA[name]()
        verbs, more = Verbs(whose, model), dict(more)
        if callable(more.get("validation_data")):
            more["validation_data"] = more["validation_data"]()

        def fresh():
            made = make()
            return made if isinstance(made, tuple) else (made,)

        arrays = isinstance(make(), tuple)
        if arrays:
            more.setdefault("batch_size", BATCH)
        size = {"batch_size": more["batch_size"]} if arrays else {}
        steps = {"steps": 4} if "steps_per_epoch" in more and not arrays else {}
        yield "history", verbs.fit(*fresh(), epochs=3, **more)
        yield "variables", variables_of(model)
        yield "evaluated", verbs.evaluate(*fresh(), **size, **steps)
        yield "predicted", verbs.predict(fresh()[0], **size, **steps)

    compare(lambda whose: list(life(whose)))


class Stop(keras.callbacks.Callback):
    def __init__(self, stops: bool):
        super().__init__()
        self.stops = stops

    def on_epoch_begin(self, epoch, logs=None):
        if self.stops and epoch == 2:
            raise InterruptedError


def skip_if_keras_cannot_train(name):
    model, x, y, *more = zoo.MODELS[name]()
    try:
        model.fit(x, y, verbose=0, **arguments_of(x, y, *more))
    except Exception as error:
        skip_for(error)


@pytest.mark.parametrize("save_freq", ["epoch", 2])
@pytest.mark.parametrize("name", share_of(zoo.MODELS))
def test_a_stopped_run_resumes_bit_for_bit(name, save_freq, tmp_path):
    def train(folder, seed, *, stops=False):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        model, x, y, *more = zoo.MODELS[name]()
        callbacks = [Stop(stops), kerasfit.BackupAndRestore(tmp_path / folder, save_freq=save_freq)]
        arguments = arguments_of(x, y, *more)
        history = kerasfit.fit(model, x, y, epochs=4, callbacks=callbacks, verbose=0, **arguments)
        return history.metrics, variables_of(model)

    try:
        expected = train("whole", seed=3)
    except kerasfit.KerasfitError as error:
        pytest.skip(str(error))
    except Exception:
        skip_if_keras_cannot_train(name)
        raise
    with pytest.raises(InterruptedError):
        train("stopped", seed=3, stops=True)
    history, variables = train("stopped", seed=99)
    assert history == expected[0]
    for value, other in zip(variables, expected[1], strict=True):
        np.testing.assert_array_equal(value, other)
