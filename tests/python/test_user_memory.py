"""Steps that write into their arguments leave the user's data unchanged, and results match Keras's."""

from __future__ import annotations

import keras
import models
import numpy as np
import pandas as pd
import pytest
from keras import layers, ops

import kerasfit
from kerasfit.engines import engine_class, engine_for
from kerasfit.tensors import aligned_copy

BACKEND = keras.backend.backend()
PLANS = engine_class().plans
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow")
SAMPLES, BATCH = 48, 16


def floats(*shape):
    return aligned_copy(np.random.default_rng(sum(shape)).random((SAMPLES, *shape)), "float32")


def words():
    return aligned_copy(np.random.default_rng(0).integers(0, 4, (SAMPLES, 5)), "int32")


def times_with_gaps():
    x = floats(5, 2)
    x[:, 2:4] *= np.random.default_rng(1).integers(0, 2, (SAMPLES, 2, 1))
    return x


class Scaled(layers.Layer):
    """A layer that, with PyTorch, changes its inputs in place."""

    def call(self, x):
        x /= 255
        return x


def loss_that_scales(y_true, y_pred):
    y_true *= 3
    return ops.mean((y_true - y_pred) ** 2, axis=-1)


class MetricThatScales(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true += 1
        sample_weight /= 2
        return super().update_state(ops.mean((y_true - y_pred) ** 2, axis=-1), sample_weight)


class StepThatScales(keras.Sequential):
    def train_step(self, *args):
        x, y, weights = args[-1]
        x -= 0.5
        weights *= 2
        return super().train_step(*args[:-1], (x, y, weights))

    def predict_step(self, *args):
        x, *_ = keras.utils.unpack_x_y_sample_weight(args[-1])
        x -= 0.5
        return super().predict_step(*args[:-1], (x,))


def embedding():
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(4, 3, mask_zero=True), layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-6), "mse", weighted_metrics=["mae"])
    return model, words(), floats(5, 1), floats(5)


def masking():
    model = keras.Sequential(
        [keras.Input((5, 2)), layers.Masking(), layers.GRU(3, return_sequences=True), layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-6), "mse", weighted_metrics=["mae"])
    return model, times_with_gaps(), floats(5, 1), floats(5)


def ignored_class():
    model = keras.Sequential([keras.Input((5, 2)), layers.Dense(4, activation="softmax")])
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=2)
    model.compile(keras.optimizers.Adam(1e-6), loss, weighted_metrics=["accuracy"])
    return model, floats(5, 2), words(), floats(5)


def two_outputs():
    inputs = keras.Input((5, 2))
    hidden = layers.Masking()(inputs)
    model = keras.Model(inputs, [layers.Dense(1)(hidden), layers.Dense(2)(hidden)])
    model.compile(keras.optimizers.Adam(1e-6), ["mse", "mae"])
    return model, times_with_gaps(), [floats(5, 1), floats(5, 2)], [floats(5), floats(5)]


def scaling_parts():
    model = keras.Sequential([keras.Input((5, 2)), Scaled(), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-6), loss_that_scales, weighted_metrics=[MetricThatScales()])
    return model, floats(5, 2), floats(5, 1), floats(5)


def scaling_step():
    model = StepThatScales([keras.Input((5, 2)), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-6), "mse", weighted_metrics=["mae"])
    return model, floats(5, 2), floats(5, 1), floats(5)


ON_TORCH = BACKEND == "torch"
# Tensors of JAX and TensorFlow cannot be written into: a few kinds are enough there.
KINDS = [
    embedding,
    scaling_parts,
    *[masking, ignored_class, two_outputs, scaling_step] * (BACKEND == "torch"),
]


def eager():
    model, *data = scaling_parts()
    model.run_eagerly, model.jit_compile = True, False
    return model, *data


def built(build):
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    return build()


def batches(data):
    for start in range(0, SAMPLES, BATCH):
        yield keras.tree.map_structure(lambda leaf: leaf[start : start + BATCH], data)  # noqa: B023


class Batches(keras.utils.PyDataset):
    def __init__(self, data):
        super().__init__()
        self.parts = list(batches(data))

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, number):
        return self.parts[number]


def arrays(x, y, w):
    return {"x": x, "y": y, "sample_weight": w, "batch_size": BATCH}


def generator(x, y, w):
    """Yield the user's memory itself, again in each epoch."""
    return {"x": lambda: batches((x, y, w))}


def generator_of_tensors(x, y, w):
    if ON_TORCH:
        import torch

    def tensors(leaf):
        return torch.from_numpy(leaf) if ON_TORCH else ops.convert_to_tensor(leaf)

    parts = list(batches(keras.tree.map_structure(tensors, (x, y, w))))
    return {"x": lambda: iter(parts)}


def dataset_of_batches(x, y, w):
    return {"x": Batches((x, y, w))}


def tf_dataset(x, y, w):
    import tensorflow as tf

    data = keras.tree.map_structure(np.array, (x, y if not isinstance(y, list) else tuple(y), w))
    if isinstance(w, list):
        data = (*data[:2], tuple(data[2]))
    return {"x": tf.data.Dataset.from_tensor_slices(data).batch(BATCH)}


def memory_map(x, y, w):
    import tempfile

    file = tempfile.TemporaryFile()  # noqa: SIM115
    mapped = np.memmap(file, x.dtype, "w+", shape=x.shape)
    mapped[:] = x
    return {"x": mapped, "y": y, "sample_weight": w, "batch_size": BATCH}


SOURCES = [
    generator,
    generator_of_tensors,
    tf_dataset,
    *[dataset_of_batches, memory_map] * (BACKEND == "torch"),
]


class Unchanged:
    """Checks at the end of a block that the bytes of arrays are the same as at its beginning."""

    def __init__(self, *data):
        self._arrays = [leaf for leaf in keras.tree.flatten(data) if isinstance(leaf, np.ndarray)]

    def __enter__(self):
        self._before = [array.tobytes() for array in self._arrays]

    def __exit__(self, *error):
        assert [array.tobytes() for array in self._arrays] == self._before


KERAS_RESULTS = {}


def keras_results(build):
    """Return Keras's results for copies of the data."""
    if build not in KERAS_RESULTS:
        model, *data = built(build)

        def copies():
            return keras.tree.map_structure(np.copy, data)

        history = model.fit(
            *copies()[:2], BATCH, 3, 0, sample_weight=copies()[2], validation_data=tuple(copies()),
            shuffle=False,
        ).history  # fmt: skip
        evaluated = model.evaluate(*copies()[:2], BATCH, 0, copies()[2], return_dict=True)
        outputs = model.predict(copies()[0], BATCH, 0)
        KERAS_RESULTS[build] = history, evaluated, outputs, model.get_weights()
    return KERAS_RESULTS[build]


def check_as_keras(build, source=arrays, plan="auto", oracle=None):
    history, evaluated, outputs, weights = keras_results(oracle or build)
    model, *data = built(build)
    given = {k: v for k, v in source(*data).items() if v is not None}
    inputs = {"x": given["x"], **({"batch_size": BATCH} if "batch_size" in given else {})}
    common = {"verbose": 0, "plan": plan}
    with Unchanged(data, given["x"]):
        validation = tuple(given[k] for k in ("x", "y", "sample_weight")) if "y" in given else given["x"]
        found = kerasfit.fit(
            model, **given, epochs=3, shuffle=False, validation_data=validation, **common
        ).metrics
        assert set(found) == set(history)
        for name, values in history.items():
            np.testing.assert_allclose(found[name], values, rtol=2e-4, atol=1e-6, err_msg=name)
        for ours, theirs in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)
        for _ in range(3):
            again = kerasfit.evaluate(model, **given, **common)
            for name, value in evaluated.items():
                np.testing.assert_allclose(again[name], value, rtol=2e-4, atol=1e-6, err_msg=name)
        for _ in range(3):
            ours = kerasfit.predict(model, **inputs, **common)
            for a, b in zip(keras.tree.flatten(ours), keras.tree.flatten(outputs), strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize(
    "plan", models.few(PLANS, ["loop", "step"] if models.COMPILED else ["loop", "recorded"])
)
@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_no_plan_writes_into_arrays_and_results_match_keras(build, plan):
    check_as_keras(build, plan=plan)


@pytest.mark.parametrize(
    "source", models.few(SOURCES, [generator, tf_dataset]), ids=lambda source: source.__name__
)
@pytest.mark.parametrize("build", [k for k in (embedding, scaling_parts, scaling_step) if k in KINDS])
def test_no_step_writes_into_data_of_a_source_and_results_match_keras(build, source):
    check_as_keras(build, source)


def test_eager_steps_do_not_write_into_arrays():
    for source in (arrays, generator_of_tensors):
        check_as_keras(eager, source, oracle=scaling_parts)  # Keras's own eager steps do, with JAX


@pytest.mark.parametrize("plan", models.few_where_compiled(PLANS, ["loop", "step"]))
def test_each_batch_is_trained_on_once_when_samples_are_shuffled(plan):
    """One batch has all samples, so that their order does not matter."""
    model, x, y, w = built(embedding)
    theirs = built(embedding)[0].fit(x, y, SAMPLES, 4, 0, sample_weight=w.copy()).history
    model = built(embedding)[0]
    with Unchanged(x, y, w):
        ours = kerasfit.fit(model, x, y, sample_weight=w, batch_size=SAMPLES, epochs=4, verbose=0, plan=plan)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours.metrics[name], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("plan", models.few_where_compiled(PLANS, ["loop", "step"]))
def test_data_frames_and_shared_arrays_are_not_changed(plan):
    """The targets are the inputs, in the same memory."""
    x = floats(4)
    frame = pd.DataFrame(x, columns=list("abcd"), copy=False)
    results = []
    for fit, data in ((kerasfit.fit, (x, x)), (kerasfit.fit, (frame, frame)), (keras.Model.fit, (x, x))):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((4,)), Scaled(), layers.Dense(4)])
        model.compile("sgd", loss_that_scales)
        plans = {"plan": plan} if fit is kerasfit.fit else {}
        if not plans:
            data = (x.copy(), x.copy())
        with Unchanged(x, frame.to_numpy()):
            fit(model, *data, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, **plans)
        results.append(model.get_weights()[0])
    np.testing.assert_allclose(results[0], results[2], rtol=1e-5)
    np.testing.assert_allclose(results[1], results[2], rtol=1e-5)


@on_torch
def test_only_recorded_graphs_that_write_into_their_data_get_copies(monkeypatch):
    from kerasfit.engines.torch import graph_capture

    copies = []
    clone = graph_capture.torch.Tensor.clone
    for build, writes in ((embedding, True), (unmasked, False)):
        model, x, y, w = built(build)
        common = {"sample_weight": w, "batch_size": BATCH, "verbose": 0, "plan": "recorded"}
        kerasfit.fit(model, x, y, shuffle=False, epochs=2, **common)
        recordings = engine_for(model, "recorded").step("train").recorded._recordings.values()
        assert [recording.writes_into_data for recording in recordings] == [writes]
        with monkeypatch.context() as patched:
            patched.setattr(
                graph_capture.torch.Tensor, "clone", lambda *args: copies.append(1) or clone(*args)
            )
            kerasfit.fit(model, x, y, shuffle=False, **common)
            assert len(copies) == (9 if writes else 0)  # three parts of three batches
            copies.clear()
            kerasfit.fit(model, x, y, **common)  # shuffled, so that batches are copies of rows
            assert not copies


def unmasked():
    model = keras.Sequential([keras.Input((5, 2)), layers.Dense(1)])
    model.compile("adam", "mse")
    return model, floats(5, 2), floats(5, 1), floats(5)


@on_torch
@pytest.mark.parametrize("kind", ["a value is looked at", "random numbers", "a result differs"])
def test_a_step_that_cannot_be_recorded_runs_once(kind):
    """Its side effects happen as often as there are steps."""

    class Counting(layers.Layer):
        count = 0

        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(3)

        def call(self, x):
            if isinstance(x, keras.KerasTensor) or x.device.type == "meta":
                return x
            self.count += 1
            if kind == "a value is looked at":
                return x * float(x.max())
            if kind == "random numbers":
                return x + keras.random.normal(ops.shape(x), seed=self.seed)
            return x * self.count

    def train(plan):
        keras.utils.set_random_seed(5)
        layer = Counting()
        model = keras.Sequential([keras.Input((5,)), layer, layers.Dropout(0.4), layers.Dense(1)])
        model.compile("adam", "mse", run_eagerly=plan == "eager")
        history = kerasfit.fit(
            model, floats(5), floats(1), batch_size=BATCH, epochs=2, verbose=0,
            plan="auto" if plan == "eager" else plan,
        )  # fmt: skip
        return layer.count, history.metrics["loss"], model.get_weights()[0].tolist()

    assert train("recorded") == train("loop") == train("eager")
    assert train("loop")[0] == 6


@on_torch
def test_tensors_yielded_by_a_generator_get_no_gradients():
    import torch

    x = torch.rand(16, 2, requires_grad=True)
    y = torch.rand(16, 1)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("adam", "mse")
    kerasfit.fit(model, lambda: iter([(x, y), (x * 2, y)]), epochs=2, verbose=0)
    assert x.grad is None


@on_tensorflow
@pytest.mark.parametrize("plan", ["loop", "step"])
@pytest.mark.parametrize("kind", ["arrays", "generator", "dataset"])
def test_python_code_in_a_graph_does_not_write_into_the_data_of_the_user(kind, plan):
    """One batch has all samples: TensorFlow would pass its memory to Python."""
    import tensorflow as tf

    def double(array):
        array *= 2
        return array

    def loss(y_true, y_pred):
        return (tf.reshape(tf.numpy_function(double, [y_true], tf.float32), tf.shape(y_pred)) - y_pred) ** 2

    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), loss)
    x, y = (aligned_copy(np.ones((65536, columns), "float32")) for columns in (2, 1))
    tensors = tf.constant(x), tf.constant(y)
    given = {
        "arrays": {"x": x, "y": y, "batch_size": len(x)},
        "generator": {"x": lambda: iter([tensors])},
        "dataset": {"x": tf.data.Dataset.from_tensors(tensors)},
    }[kind]
    with Unchanged(x, y):
        losses = kerasfit.fit(model, **given, epochs=2, shuffle=False, verbose=0, plan=plan).metrics["loss"]
        losses += [kerasfit.evaluate(model, **given, verbose=0, plan=plan)["loss"] for _ in range(2)]
    assert losses == [losses[0]] * 4
    np.testing.assert_array_equal(tensors[1], y)
