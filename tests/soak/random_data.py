"""Random sources of a case's data, and random arguments of ``fit()``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd
from choices import Choices
from random_models import SAMPLES, Case

Batch = tuple


def rows_of(values: Any, rows: slice | np.ndarray) -> Any:
    return keras.tree.map_structure(lambda leaf: leaf[rows], values)


def batches(parts: tuple, size: int) -> Iterator[Batch]:
    for start in range(0, SAMPLES, size):
        yield tuple(rows_of(part, slice(start, start + size)) for part in parts)


class Batches(keras.utils.PyDataset):
    def __init__(self, parts: tuple, size: int, **options: Any):
        super().__init__(**options)
        self.all = list(batches(parts, size))

    def __len__(self):
        return len(self.all)

    def __getitem__(self, number):
        return self.all[number]


def again_and_again(parts: tuple, size: int) -> Iterator[Batch]:
    while True:
        yield from batches(parts, size)


def without_lists(values: Any) -> Any:
    """Replace lists by tuples, since TensorFlow converts lists to tensors."""
    if isinstance(values, (list, tuple)):
        return tuple(map(without_lists, values))
    return {k: without_lists(v) for k, v in values.items()} if isinstance(values, dict) else values


def tensorflow_dataset(parts: tuple, size: int, *, endless: bool = False, whole: bool = False) -> Any:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(without_lists(parts)).batch(size, drop_remainder=whole)
    return data.repeat() if endless else data


def data_loader(parts: tuple, size: int) -> Any:
    import torch

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return SAMPLES

        def __getitem__(self, row):
            return tuple(rows_of(part, row) for part in parts)

    return torch.utils.data.DataLoader(Rows(), batch_size=size)


ITERATORS = {
    "tf.data": tensorflow_dataset,
    "tf.data, whole batches": lambda parts, size: tensorflow_dataset(parts, size, whole=True),
    "tf.data, endless": lambda parts, size: tensorflow_dataset(parts, size, endless=True),
    "PyDataset": Batches,
    "PyDataset, workers": lambda parts, size: Batches(parts, size, workers=2, max_queue_size=2),
    "generator": again_and_again,
    "DataLoader": data_loader,
}
ENDLESS = ("tf.data, endless", "generator")
ARRAYS = ("arrays", "tensors", "frames", "Fortran order")


def as_frame(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype != "float16":
        return pd.DataFrame(values, columns=[f"c{i}" for i in range(values.shape[1])])
    return pd.Series(values) if isinstance(values, np.ndarray) and values.ndim == 1 else values


ARRAY_FORMS = {
    "arrays": lambda values: values,
    "tensors": lambda values: keras.tree.map_structure(keras.ops.convert_to_tensor, values),
    "frames": as_frame,
    "Fortran order": lambda values: keras.tree.map_structure(np.asfortranarray, values),
}


def source_of(
    c: Choices, case: Case, name: str, *, weights: bool, targets: bool = True
) -> tuple[tuple, dict[str, Any]]:
    """Return the case's data in a random form: positional arguments, and the keyword arguments it needs."""
    kinds = [*ARRAYS, *ITERATORS]
    if name == "validation data":
        kinds.remove("generator")  # at each validation, Keras takes its first batches again
    kind = c.of(name, kinds, 0.3)
    size = c.of(f"{name} batch size", [7, 4, 5, 20], 0.4)
    by_source: dict[str, Any] = {}
    if kind in ARRAYS:
        form = ARRAY_FORMS[kind]
        data = (form(case.x), form(case.y)) if targets else (form(case.x),)
        if weights:
            by_source["sample_weight"] = case.sample_weight
        default = {"given": {"batch_size": size}, "default": {}}
        return data, by_source | c.of(f"{name} size", default, 0.9)
    parts = (case.x, *((case.y,) if targets else ()), *((case.sample_weight,) if weights else ()))
    if kind in ENDLESS:
        verb = "steps" if name in ("evaluated", "predicted") else "steps_per_epoch"
        by_source[verb] = c.of(f"{name} steps", [3, 1, 5])
        without_partial_executions(case, by_source[verb])
    if kind == "PyDataset, workers" and case.for_keras:
        kind = "PyDataset"  # with workers, Keras begins each pass with the second batch
    return (ITERATORS[kind](parts, size),), by_source


def without_partial_executions(case: Case, steps: int) -> None:
    """Run single steps if these are no whole number of executions: Keras runs whole ones, so more steps."""
    if steps % case.model.steps_per_execution:
        case.model.steps_per_execution = 1


class Watcher(keras.callbacks.Callback):
    """Records the logs of its calls, and the batches of those for one batch.

    The last of the calls for several batches may have fewer, but Keras counts the same number.
    """

    def __init__(self, steps_per_execution: int):
        super().__init__()
        self.logs: dict[str, list] = {}
        self._numbers = steps_per_execution == 1

    def record(self, event: str, number: int, logs: dict | None) -> None:
        for name, value in (logs or {}).items():
            value = np.asarray(keras.ops.convert_to_numpy(value), float).ravel()
            self.logs.setdefault(f"{event} {name}", []).extend([number, *value] if self._numbers else value)

    def on_train_batch_end(self, batch, logs=None):
        self.record("batch", batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self.record("test batch", batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.record("epoch", epoch, logs)


def callbacks(
    c: Choices, case: Case, validates: bool
) -> tuple[list[keras.callbacks.Callback], Watcher | None]:
    kc = keras.callbacks
    kinds = {
        "none": lambda: None,
        "watcher": lambda: Watcher(case.model.steps_per_execution),
        "EarlyStopping": lambda: kc.EarlyStopping(
            "loss", min_delta=0.05, patience=1, restore_best_weights=True
        ),
        "EarlyStopping on validation": lambda: kc.EarlyStopping(patience=0, start_from_epoch=1),
        "ReduceLROnPlateau": lambda: kc.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=0.1),
        "LearningRateScheduler": lambda: kc.LearningRateScheduler(lambda epoch, rate: rate * 0.7),
        "SwapEMAWeights": lambda: kc.SwapEMAWeights(swap_on_epoch=True),
        "TerminateOnNaN": kc.TerminateOnNaN,
        "LambdaCallback": lambda: kc.LambdaCallback(on_epoch_begin=lambda epoch, logs: None),
    }
    if case.has_schedule:
        del kinds["ReduceLROnPlateau"], kinds["LearningRateScheduler"]
    if not validates:
        del kinds["EarlyStopping on validation"]
    callback = c.of("callback", kinds, 0.6)()
    return ([] if callback is None else [callback]), callback if isinstance(callback, Watcher) else None


def arguments_of(c: Choices, case: Case) -> tuple[tuple, dict[str, Any], Watcher | None]:
    """Return random data and arguments for ``fit()``, with epochs that count from 1."""
    weighted = c.of("weights", ["none", "samples", "classes"], 0.6)
    data, arguments = source_of(c, case, "data", weights=weighted == "samples")
    if weighted == "classes" and case.classes:
        arguments["class_weight"] = {code: 0.5 + code for code in range(case.classes)}
    epochs = c.of("epochs", [2, 1, 3])
    first = c.of("initial epoch", [1, 4], 0.85)
    arguments |= {"epochs": first - 1 + epochs, "initial_epoch": first}
    if "steps_per_epoch" not in arguments:
        arguments |= c.of("steps", {"None": {}, **{str(n): {"steps_per_epoch": n} for n in (2, 1)}}, 0.8)
    validated = validation(c, case, len(data) > 1)
    for steps in (arguments.get("steps_per_epoch", 0), validated.get("validation_steps", 0)):
        without_partial_executions(case, steps)
    heard, watcher = callbacks(c, case, bool(validated))
    arguments |= validated
    if heard:
        arguments["callbacks"] = heard
    return data, arguments, watcher


def validation(c: Choices, case: Case, arrays: bool) -> dict[str, Any]:
    how = c.of("validation", ["none", "data", *(["split"] if arrays else [])], 0.4)
    if how == "none":
        return {}
    if how == "split":
        arguments: dict[str, Any] = {"validation_split": c.of("validation share", [0.3, 0.5])}
    else:
        weights = c.of("validation weights", [False, True], 0.7)
        data, given = source_of(c, case, "validation data", weights=weights)
        if len(data) == 2:
            size = {"validation_batch_size": given["batch_size"]} if "batch_size" in given else {}
            data += (given["sample_weight"],) if weights else ()
            arguments = {"validation_data": data, **size}
        else:
            arguments = {"validation_data": data[0]}
            if steps := given.get("steps_per_epoch"):
                arguments["validation_steps"] = steps
    if "validation_steps" not in arguments:
        arguments |= c.of("validation steps", {"None": {}, "1": {"validation_steps": 1}}, 0.8)
    return arguments | c.of("validation frequency", {"1": {}, "2": {"validation_freq": 2}}, 0.8)


def reorder_samples(case: Case) -> None:
    """Reorder the samples of the case."""
    case.x, case.y, case.sample_weight = rows_of((case.x, case.y, case.sample_weight), slice(None, None, -1))
