"""Private names of Keras: where they are used, and what happens without each of them."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import keras
import models
import numpy as np
import pytest
from keras import layers

import kerasfit
from kerasfit import keras_private
from kerasfit.keras_private import BACKEND_MODULES, PRIVATE_NAMES

ROOT = Path(__file__).parents[2]
BACKEND = keras.backend.backend()

# not in every version, or on one backend only
SOMETIMES = {"Model._record_training_state_sharding_spec"}
# names whose absence changes what a backend's engine does
OF_ENGINES = [
    "Model._symbolic_build",
    "Model._compile_loss",
    "Layer._inbound_nodes",
    "Variable._direct_assign",
    "Optimizer._get_variable_index",
    "Adam._momentums",
]
# names with an underscore in the core that are not Keras's
OTHERS = {
    "_getframe",
    "_pytree",
    "_schema",
    "_C",
    "_cdata",
    "_replace",
    "_local_scalar_dense",
    "_omit_frequent_tracing_warning",
    "_version",
}


def examples():
    """Return an object that has each of the private names, by the class in the table."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    return {
        "Model": model,
        "CompileMetrics": model._compile_metrics,
        "MeanMetricWrapper": keras.metrics.MeanAbsoluteError(),
        "LossFunctionWrapper": keras.losses.MeanSquaredError(),
        "Layer": model.layers[0],
        "KerasTensor": model.inputs[0],
        "Variable": model.variables[0],
        "Optimizer": model.optimizer,
        "Adam": model.optimizer,
        "RandomInitializer": keras.initializers.GlorotUniform(),
        "EarlyStopping": keras.callbacks.EarlyStopping(),
        "TensorBoard": keras.callbacks.TensorBoard(),
        "Callback": keras.callbacks.Callback(),
    }


def test_this_keras_has_every_private_name_in_the_table():
    found = examples()
    missing = [
        name
        for name in set(PRIVATE_NAMES) - SOMETIMES
        if name[0].isupper() and not hasattr(found[name.split(".")[0]], name.split(".")[1])
    ]
    assert not missing
    functions = {n: keras_private.private_function(n) for n in PRIVATE_NAMES if n[0].islower()}
    of_torch = [function for n, function in functions.items() if n.startswith("backend.torch.")]
    assert sum(map(bool, of_torch)) == (BACKEND == "torch")
    assert all(function for n, function in functions.items() if not n.startswith("backend.torch."))
    assert not [n for n, paths in BACKEND_MODULES.items() if not any(map(keras_private.module, paths))]


@pytest.mark.parametrize(
    "name",
    models.few_where_compiled(
        sorted(set(PRIVATE_NAMES) - SOMETIMES), OF_ENGINES[::2] if models.ON_TENSORFLOW else OF_ENGINES
    ),
)
def test_training_works_if_any_one_private_name_is_missing(monkeypatch, name):
    """Its results match Keras's own training."""

    def trained(train):
        keras.utils.set_random_seed(3)
        tokens = keras.Input((4,), dtype="int32")
        numbers = keras.Input((3,))
        embedded = layers.Flatten()(layers.Embedding(9, 2)(tokens))
        outputs = layers.Dense(1, activation="relu")(
            layers.Concatenate()([embedded, layers.Dense(3)(numbers)])
        )
        model = keras.Model([tokens, numbers], outputs)
        model.compile(keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError(), metrics=["mae"])
        data = [np.arange(64).reshape(16, 4) % 9, models.numbers(3)[:16]], models.numbers(1)[:16]
        stopping = keras.callbacks.EarlyStopping("loss", patience=9)
        train(model, *data, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[stopping])
        return [*model.get_weights(), *model.evaluate(*data, verbose=0)]

    theirs = trained(keras.Model.fit)
    private = keras_private.private
    monkeypatch.setattr(
        keras_private,
        "private",
        lambda owner, n, default=None: private(None if n == name else owner, n, default),
    )
    for one, other in zip(trained(kerasfit.fit), theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def text_files():
    for folder in ("R", "tests", "benchmarks", "tools", "inst", "vignettes"):
        for path, folders, files in os.walk(ROOT / folder):
            folders[:] = [f for f in folders if f not in ("__pycache__", "doc")]
            for file in files:
                if Path(file).suffix in (".py", ".R", ".Rmd", ".sh"):
                    yield Path(path, file)


def test_no_other_file_names_a_module_inside_keras():
    """R's class names of models are the exception: that of our methods, and that of keras3's."""
    allowed = {ROOT / "inst/python/kerasfit/keras_private.py", Path(__file__).absolute()}
    classes = re.compile(r"keras\.src\.(models\.model\.Model|trainers\.trainer\.Trainer)")
    found = [
        str(path.relative_to(ROOT))
        for path in text_files()
        if path not in allowed and "keras.src" in classes.sub("", path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_no_other_file_of_the_core_uses_a_private_name():
    ours = {name.rpartition(".")[2] for name in PRIVATE_NAMES if "._" in name}
    found = []
    for path in (ROOT / "inst/python/kerasfit").rglob("*.py"):
        if path.name == "keras_private.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in ours:
                found.append((path.name, node.value))
            if not isinstance(node, ast.Attribute) or not re.match("_[^_]", node.attr) or node.attr in OTHERS:
                continue
            own = isinstance(node.value, ast.Name) and node.value.id in (
                "self",
                "cls",
                "_current",
                "deferring_sigint",
                "view",
            )
            if not own:
                found.append((path.name, node.attr))
    assert not found


def test_building_by_calls_creates_the_same_variables_as_keras():
    def shapes(build):
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [layers.Dense(3), layers.Dropout(0.5), layers.BatchNormalization(), layers.Dense(2)]
        )
        model.compile("adam", "mse", metrics=["mae"], weighted_metrics=["mse"])
        x, y = (keras.ops.convert_to_tensor(models.numbers(n)[:4]) for n in (5, 2))
        build(model, (x, y, keras.ops.ones(4)))
        variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        return [(tuple(v.shape), v.dtype) for v in variables], model.metrics_names

    assert shapes(keras_private.build_by_calls) == shapes(
        lambda model, batch: model._symbolic_build(data_batch=batch)
    )
