"""Run random cases with Keras and with kerasfit. differential.py starts it and writes seeds to its input."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import random_models
from choices import Choices
from random_data import arguments_of, reorder_samples, source_of

import kerasfit
from kerasfit import layer_traits
from kerasfit.engines import engine_class

BACKEND = keras.backend.backend()

# Documented rules of kerasfit that Keras does not have, by their error messages.
STRICTER = {
    r"was compiled.*compile\(\) again": "weights were frozen after compile()",
    r"conversion failed while converting.*XlaMustCompile": "XLA cannot compile the model",
}


class Verbs:
    """The fit(), evaluate() and predict() of Keras or of kerasfit, with results in one form."""

    def __init__(self, model: keras.Model, of_keras: bool, plan: str):
        self.model, self.of_keras = model, of_keras
        self.plan = {} if of_keras else {"plan": plan}

    def fit(self, data: tuple, **arguments: Any) -> dict[str, list]:
        if self.of_keras:
            arguments["initial_epoch"] = arguments.pop("initial_epoch", 1) - 1
            return columns(self.model.fit(*data, verbose=0, shuffle=False, **arguments).history)
        history = kerasfit.fit(self.model, *data, verbose=0, shuffle=False, **self.plan, **arguments).metrics
        return {name: [v for v in values if v is not None] for name, values in history.items()}

    def evaluate(self, data: tuple, **arguments: Any) -> dict[str, list]:
        if self.of_keras:
            logs = self.model.evaluate(*data, verbose=0, return_dict=True, **arguments)
        else:
            logs = kerasfit.evaluate(self.model, *data, verbose=0, **self.plan, **arguments)
        return columns({name: [value] for name, value in logs.items()})

    def predict(self, x: Any, **arguments: Any) -> list[np.ndarray]:
        if self.of_keras:
            return keras.tree.flatten(self.model.predict(x, verbose=0, **arguments))
        return keras.tree.flatten(kerasfit.predict(self.model, x, verbose=0, **self.plan, **arguments))


def columns(history: dict[str, list]) -> dict[str, list]:
    """Return a history with one metric for each element of an array metric, as kerasfit has it."""
    named: dict[str, list] = {}
    for name, values in history.items():
        values = np.asarray([keras.ops.convert_to_numpy(v) for v in values], float).reshape(len(values), -1)
        if values.shape[1] == 1:
            named[name] = values[:, 0].tolist()
        else:
            named |= {f"{name}_{i}": column.tolist() for i, column in enumerate(values.T, start=1)}
    return named


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [to_numpy(v) for v in model.variables if "seed" not in v.path]


def optimizer_state(model: keras.Model) -> list[np.ndarray]:
    return [to_numpy(v) for v in model.optimizer.variables]


def to_numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value), float)


# ---- the calls made with a model -----------------------------------------------------------------------


def life(c: Choices, of_keras: bool, perturbed: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the results of a sequence of calls with the random model of these choices."""
    dtype = set_dtype(c)
    case = random_models.build(c, of_keras)
    if perturbed:
        perturb(case, dtype, perturbed)
    plan = c.of("plan", ["auto", *engine_class().plans], 0.6)
    verbs = Verbs(case.model, of_keras, plan)
    data, arguments, watcher = arguments_of(c, case)
    yield "history", verbs.fit(data, **arguments)
    yield "batches", watcher.logs if watcher else {}
    yield "weights", weights_of(case.model)
    yield "optimizer", optimizer_state(case.model)
    yield "layers", sorted(set(random_models.layers_of(case.model)))
    if c.of("evaluate", [False, True], 0.5):
        data, arguments = source_of(c, case, "evaluated", weights=c.of("evaluation weights", [False, True]))
        yield "evaluation", verbs.evaluate(data, **arguments)
    again = c.of("then", ["nothing", "trained again", "other weights", "other rate", "compiled again"], 0.7)
    if again != "nothing":
        if again == "other weights":
            case.model.set_weights([w * 0.9 if w.dtype.kind == "f" else w for w in case.model.get_weights()])
        elif again == "other rate" and not case.has_schedule:
            case.model.optimizer.learning_rate = 0.005
        elif again == "compiled again":
            case.model.trainable = True
            random_models.compile_again(case.model)
        reorder_samples(case)
        data, arguments = source_of(c, case, "data again", weights=False)
        yield "history again", verbs.fit(data, **arguments)
        yield "weights again", weights_of(case.model)
    if c.of("predict", [False, True], 0.5):
        (x, *_), arguments = source_of(c, case, "predicted", weights=False, targets=False)
        yield "prediction", verbs.predict(x, **arguments)


DTYPES = ("float32", "float64", "mixed_bfloat16", "mixed_float16")
# relative change in weights and inputs of the size of a rounding error
ROUNDING = {"float32": 3e-7, "float64": 1e-15, "mixed_bfloat16": 4e-3, "mixed_float16": 5e-4}


def set_dtype(c: Choices) -> str:
    dtype = c.of("dtype", DTYPES, 0.9)
    if BACKEND == "jax":
        import jax

        jax.config.update("jax_enable_x64", dtype == "float64")
    keras.config.set_floatx("float64" if dtype == "float64" else "float32")
    keras.config.set_dtype_policy(dtype)
    return dtype


def perturb(case: random_models.Case, dtype: str, number: int) -> None:
    """Change weights and inputs in their last bits."""
    rng = np.random.default_rng(number)

    def changed(values: np.ndarray) -> np.ndarray:
        if values.dtype.kind != "f":
            return values
        return (values * (1 + ROUNDING[dtype] * rng.choice([-1, 1], values.shape))).astype(values.dtype)

    if case.model.built:
        case.model.set_weights([changed(w) for w in case.model.get_weights()])
    case.x = keras.tree.map_structure(changed, case.x)


# ---- comparing -----------------------------------------------------------------------------------------


def flatten_metrics(results: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Return results by name, with a separate entry for each metric of a history."""
    named: dict[str, Any] = {}
    for what, value in results:
        if isinstance(value, dict):
            named[f"names of {what}"] = sorted(value)
            named |= {f"{what} {name}": value[name] for name in sorted(value)}
        else:
            named[what] = value
    return named


def results_by_name(c: Choices, of_keras: bool, perturbed: int = 0) -> dict[str, Any]:
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    fresh = Choices(c.seed, c.fixed) if perturbed or not of_keras else c
    return flatten_metrics(life(fresh, of_keras, perturbed))


def flattened(value: Any) -> np.ndarray:
    """Return all numbers in a value, in the order of the names of its parts."""
    leaves = [np.asarray(leaf, float).ravel() for leaf in keras.tree.flatten(value)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, float | str]:
    """Return what differs by more than a tolerance: by how much, or how its structure differs."""
    found: dict[str, float | str] = {}
    for what in theirs:
        a, b = theirs[what], ours.get(what)
        if what == "layers":
            continue
        if what.startswith("names of"):
            if a != b:
                return {what: f"{b} instead of {a}"}
            continue
        a, b = flattened(a), flattened(b)
        if a.shape != b.shape:
            found[what] = f"{b.size} numbers instead of {a.size}: {ours[what]} instead of {theirs[what]}"[
                :500
            ]
        elif not np.array_equal(np.isnan(a), np.isnan(b)):
            found[what] = f"{np.isnan(b).sum()} NaN instead of {np.isnan(a).sum()}"
        elif not np.allclose(a, b, rtol=2e-4, atol=2e-5, equal_nan=True):
            found[what] = distance(a, b)
    return found


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of two arrays, relative for numbers above 1."""
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(a - b) / np.maximum(1, np.abs(a)), initial=0))


def unexplained(c: Choices, theirs: dict[str, Any], found: dict[str, float | str]) -> dict[str, str]:
    """Return the differences larger than Keras's own between weights that differ in their last bits."""
    keras_own = dict.fromkeys(found, 0.0)
    for number in (1, 2, 3):
        other = results_by_name(c, of_keras=True, perturbed=number)
        for what in found:
            a, b = flattened(theirs[what]), flattened(other[what])
            same_form = a.shape == b.shape and np.array_equal(np.isnan(a), np.isnan(b))
            keras_own[what] = max(keras_own[what], distance(a, b) if same_form else np.inf)
        if all(isinstance(d, float) and d <= 10 * keras_own[what] for what, d in found.items()):
            return {}
    return {
        what: f"differs by {d:.3g}, Keras itself by {keras_own[what]:.3g}" if isinstance(d, float) else d
        for what, d in found.items()
        if not (keras_own[what] == np.inf or (isinstance(d, float) and d <= 10 * keras_own[what]))
    }


def run(seed: int, fixed: dict[str, str]) -> dict[str, Any]:
    """Return the outcome of a case."""
    c, began = Choices(seed, fixed), time.process_time()
    result: dict[str, Any] = {}
    error = their_error = theirs = ours = None
    try:
        theirs = results_by_name(c, of_keras=True)
    except Exception as problem:
        their_error = problem
    result |= {"description": str(c), "made": c.made, "simpler": c.simpler()}
    with xla_at_once(c):
        try:
            ours = results_by_name(c, of_keras=False)
        except Exception as problem:
            error = problem
    if their_error:
        who = "both" if error else "Keras alone"
        result |= {"outcome": f"refused by {who}", "details": short(their_error)}
    elif error:
        rule = next((rule for text, rule in STRICTER.items() if re.search(text, str(error), re.S)), None)
        result |= {"outcome": "stricter", "details": rule} if rule else fault(f"refused: {long(error)}")
    else:
        result["layers"] = theirs["layers"]
        result |= compared(c, theirs, ours)
    return result | {"seconds": time.process_time() - began}


def xla_at_once(c: Choices) -> Any:
    """In half of the cases, make XLA compile TensorFlow's loop from the first step."""
    at_once = c.of("XLA", ["when it pays", "at once"], 0.2) == "at once"
    pays = (lambda model: 0) if at_once else layer_traits.xla_pays_after
    return patch.object(layer_traits, "xla_pays_after", pays)


def compared(c: Choices, theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    found = differences(theirs, ours)
    if not found:
        return {"outcome": "same"}
    if not (left := unexplained(c, theirs, found)):
        return {"outcome": "rounding", "details": str(found)}
    details = "; ".join(f"{what}: {how}" for what, how in left.items())
    return fault(f"{details}. {in_float64(c)}")


def in_float64(c: Choices) -> str:
    """Describe the differences in float64, where rounding errors are smaller."""
    try:
        double = Choices(c.seed, c.fixed | {"dtype": "float64"})
        theirs, ours = results_by_name(double, of_keras=True), results_by_name(double, of_keras=False)
    except Exception as error:
        return f"In float64: {short(error)}"
    return f"In float64: {differences(theirs, ours) or 'the same'}"


def fault(details: str) -> dict[str, Any]:
    return {"outcome": "FAULT", "details": details}


def short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def long(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-3000:]


def smallest(seed: int, fixed: dict[str, str]) -> dict[str, Any]:
    """Return the case with as many choices at their simplest as possible without changing its outcome."""
    result = run(seed, fixed)
    if result["outcome"] != "FAULT":
        return result
    tried: set[str] = set()
    while True:
        for change in result["simpler"]:
            key = str(change)
            if key in tried:
                continue
            tried.add(key)
            if (other := run(seed, fixed | change))["outcome"] == "FAULT":
                fixed, result = fixed | change, other
                break
        else:
            return result


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    if missing := random_models.unknown_layers():
        raise SystemExit(f"random_models.py neither draws nor leaves out {missing}")
    for line in sys.stdin:
        seed, fixed, smaller = json.loads(line)
        result = (smallest if smaller else run)(seed, fixed)
        result.pop("simpler", None)
        print(json.dumps(result, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()
