"""Plans that engines choose, how often they trace, and what they record."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import kerasfit
from kerasfit import keras_private, layer_traits
from kerasfit.engines import engine_class, engine_for
from kerasfit.engines.shared_programs import forget_shared_programs
from kerasfit.live import View
from kerasfit.tensors import aligned_copy

BACKEND = keras.backend.backend()
PLANS = engine_class().plans
engine_module = sys.modules[engine_class().__module__]
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow's plans")
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")


def chosen(build, **compiling):
    model, *_ = build(**compiling)
    return engine_for(model).plan


@on_tensorflow
def test_tensorflow_compiles_loops_with_xla_but_not_around_convolutions(monkeypatch):
    assert chosen(models.dense) == chosen(models.recurrent) == chosen(models.gated) == "xla"
    for ability, plan in {"avx2": "xla_step", "avx512f": "loop"}.items():
        monkeypatch.setattr(engine_module, "cpu_flags", lambda ability=ability: {ability})
        assert chosen(models.convolution) == plan
    assert chosen(models.dense, run_eagerly=True) == "step"


@pytest.mark.parametrize("plan", PLANS)
def test_a_generator_may_yield_lists_of_inputs_in_one_call_and_tuples_in_the_next(plan):
    first, second = keras.Input((5,)), keras.Input((5,))
    model = keras.Model([first, second], layers.Dense(1)(layers.Subtract()([first, second])))
    model.compile("sgd", "mse")
    x, y = models.numbers(5), models.numbers(1)
    arguments = {"verbose": 0, "plan": plan}
    for kind in (list, tuple, list):
        kerasfit.fit(model, iter([(kind([x, -x]), y)]), **arguments)
        kerasfit.evaluate(model, iter([(kind([x, -x]), y)]), **arguments)
        outputs = kerasfit.predict(model, iter([(kind([x, -x]),)]), **arguments)
        np.testing.assert_allclose(outputs, model.predict([x, -x], verbose=0), rtol=1e-5, atol=1e-6)


@on_tensorflow
def test_an_embedding_of_unchecked_indices_is_not_compiled_with_xla():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Lambda(ops.abs), layers.Embedding(9, 2), layers.Flatten(), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    assert engine_for(model).plan == "loop"


def model_xla_cannot_compile():
    """Build a model whose loss calls Python in each step, which XLA cannot compile."""
    import tensorflow as tf

    def loss(y, y_pred):
        noted = tf.numpy_function(lambda error: error, [y - y_pred], tf.float32)
        return (y - y_pred) ** 2 + 0 * tf.ensure_shape(noted, y_pred.shape)

    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    model.compile("adam", loss)
    return model, models.numbers(5), models.numbers(1)


@pytest.fixture
def xla_after_three_steps(monkeypatch):
    """Make XLA take over from TensorFlow's graph after 3 steps."""
    monkeypatch.setattr(layer_traits, "xla_pays_after", lambda model: 3)


@on_tensorflow
def test_a_model_xla_cannot_compile_continues_as_a_graph_until_it_is_compiled_again(xla_after_three_steps):
    weights = []
    for plan in ("loop", "auto"):
        model, x, y = model_xla_cannot_compile()
        kerasfit.fit(model, x, y, epochs=2, verbose=0, plan=plan)
        assert engine_for(model, plan).plan == "loop"
        weights.append(all_weights(model))
    np.testing.assert_array_equal(*weights)
    model.compile("adam", "mse")
    kerasfit.fit(model, x, y, epochs=2, verbose=0)
    assert engine_for(model).step("train").has_run


@on_tensorflow
def test_small_jobs_do_not_wait_for_xla():
    model, x, y = models.dense()
    kerasfit.fit(model, x, y, epochs=3, validation_split=0.3, verbose=0)
    assert engine_for(model).plan == "xla"
    assert engine_for(model).step("train").traces == engine_for(model).step("test").traces == 1


@on_tensorflow
@pytest.mark.parametrize("breaks", models.few([[1], [2], [1, 2, 3]], [[1, 2, 3]]), ids=str)
def test_xla_takes_over_at_the_same_step_with_and_without_breaks(xla_after_three_steps, breaks):
    weights = []
    for ends in ([4], [*breaks, 4]):
        keras.utils.set_random_seed(1)
        model, x, y = models.dense()
        for first, last in zip([1, *(end + 1 for end in ends)], ends, strict=False):
            kerasfit.fit(
                model, x, y, initial_epoch=first, epochs=last, batch_size=32, shuffle=False, verbose=0
            )
        assert engine_for(model).step("train").has_run
        weights.append(all_weights(model))
    np.testing.assert_array_equal(*weights)


@on_tensorflow
@pytest.mark.parametrize(
    "build, few",
    [
        pytest.param(models.dense, 100, id="passes", marks=pytest.mark.full),
        pytest.param(models.dense, 0, id="rows"),
        pytest.param(models.convolution, 0, id="steps", marks=pytest.mark.full),
    ],
)
def test_xla_compiles_in_the_background_without_changing_results(monkeypatch, build, few):
    from kerasfit.engines.tensorflow import engine, programs

    monkeypatch.setattr(layer_traits, "xla_pays_after", lambda model: 40)
    monkeypatch.setattr(engine, "FEW_BATCHES", few)
    ahead, submit = [], programs.COMPILER.submit
    monkeypatch.setattr(
        programs.COMPILER, "submit", lambda compile: ahead.append(submit(compile)) or ahead[-1]
    )
    weights = []
    monkeypatch.setattr(engine, "cpu_flags", set)  # no features that keep convolutions from XLA
    for copied in (0, 10_000):  # parameters; these models have fewer
        monkeypatch.setattr(engine, "COPIED_PARAMETERS", copied)
        keras.utils.set_random_seed(1)
        model, x, y = build()
        kerasfit.fit(model, x, y, epochs=12, batch_size=16, verbose=0)
        assert engine_for(model).step("train").has_run
        assert len(ahead) == (copied > 0)
        assert all(compiled.exception() is None for compiled in ahead)
        weights.append(all_weights(model))
    np.testing.assert_array_equal(*weights)


@on_tensorflow
def test_xla_does_not_compile_what_training_will_not_reach(monkeypatch):
    monkeypatch.setattr(layer_traits, "xla_pays_after", lambda model: 40)
    model, x, y = models.dense()
    kerasfit.fit(model, x, y, epochs=8, batch_size=16, verbose=0)
    assert engine_for(model)._ahead is None


def all_weights(model):
    return np.concatenate([each.ravel() for each in model.get_weights()])


@on_tensorflow
def test_a_plan_chosen_by_the_user_is_not_dropped_silently():
    import tensorflow as tf

    model, x, y = model_xla_cannot_compile()
    with pytest.raises(tf.errors.OpError):
        kerasfit.fit(model, x, y, verbose=0, plan="xla")


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch does not trace")
@pytest.mark.parametrize("build", models.few([models.dense, models.convolution], [models.dense]))
def test_a_smaller_last_batch_and_another_fit_need_no_new_trace(build, xla_after_three_steps):
    model, x, y = build()

    def fit():
        kerasfit.fit(model, x, y, epochs=2, batch_size=16, validation_split=0.3, verbose=0)
        return {kind: engine_for(model).step(kind).traces for kind in ("train", "test")}

    traces = fit()
    # for full batches and for the last one; on TensorFlow also for the graph that runs first
    assert max(traces.values()) <= (3 if BACKEND == "tensorflow" else 2)
    assert fit() == traces


@on_tensorflow
def test_another_batch_size_needs_no_new_trace_of_the_graph():
    model, x, y = models.dense()
    for batch_size in (16, 7):
        kerasfit.fit(model, x, y, epochs=2, batch_size=batch_size, verbose=0, plan="loop")
    assert engine_for(model, "loop").step("train").traces == 1


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has no loops")
def test_an_epoch_after_compilation_is_one_call_for_each_program(xla_after_three_steps, monkeypatch):
    model, x, y = models.dense()
    kerasfit.fit(model, x, y, epochs=12, batch_size=16, verbose=0)  # by then the duration of steps is known
    calls = []
    advance = {"tensorflow": "_run", "jax": "_advance"}[BACKEND]
    original = getattr(engine_class(), advance)
    monkeypatch.setattr(
        engine_class(), advance, lambda *args, **kwargs: calls.append(args) or original(*args, **kwargs)
    )
    seen = {"on_epoch_end": lambda *_: None}
    kerasfit.fit(model, x, y, epochs=3, batch_size=16, verbose=0, callbacks=seen)
    assert len(calls) == 3 * {"tensorflow": 1, "jax": 2}[BACKEND]  # JAX has one for the last batch


@on_tensorflow
@pytest.mark.parametrize("batch_size", models.few_where_compiled([14, 16], [16]))  # all full, or not the last
@pytest.mark.parametrize("shuffle", models.few([True, False], [True]))
def test_unobserved_epochs_run_in_one_call_with_the_same_results(
    xla_after_three_steps, monkeypatch, tmp_path, batch_size, shuffle
):
    spans, several = [], engine_class().train_epochs

    def noted(*args):
        logs = several(*args)
        spans.append(len(logs))
        return logs

    monkeypatch.setattr(engine_class(), "train_epochs", noted)
    results = []
    for callbacks, watched in ((None, False), (None, True), ({"on_epoch_end": lambda *_: None}, True)):
        lines = []
        writer = SimpleNamespace(line=lines.append)
        keras.utils.set_random_seed(11)
        model = keras.Sequential([keras.Input((5,)), layers.Dense(8), layers.Dropout(0.3), layers.Dense(2)])
        model.compile("adam", "mse", metrics=["mae", keras.metrics.R2Score(class_aggregation=None)])
        x, y = models.numbers(5), models.numbers(2)
        for epochs in (25, 7):
            view = View(tmp_path) if watched else None
            history = kerasfit.fit(
                model, x, y, epochs=epochs, batch_size=batch_size, shuffle=shuffle, verbose=2,
                callbacks=callbacks, writer=writer, view=view,
            )  # fmt: skip
            if watched:
                state = view.state()
                assert state["epoch"] == len(state["rows"]["epoch"]) == epochs
                assert state["step"] == state["steps"]
            assert history.epochs == [*range(1, epochs + 1)]
            assert list(history.metrics) == ["loss", "mae", "r2_score_1", "r2_score_2"]
            assert len(history.seconds) == epochs
            written = "\n".join(lines).split("\n")
            assert [line.split(" - ")[0] for line in written] == [
                f"Epoch {epoch:>{len(str(epochs))}}/{epochs}" for epoch in history.epochs
            ]
            lines.clear()
            results.append((all_weights(model).tolist(), history.metrics))
        if not callbacks:
            assert max(spans) > 1
            spans.clear()
    assert not spans
    assert results[:2] == results[2:4] == results[4:]


@on_jax
def test_cached_programs_are_run_only_by_versions_of_jax_that_can():
    import jax

    engine_for(models.dense()[0])
    assert jax.config.jax_enable_compilation_cache == (jax.__version_info__ >= (0, 6))


@on_jax
@pytest.mark.parametrize("plan", PLANS)
def test_all_programs_of_an_epoch_are_compiled_once_and_before_its_first_step(plan, monkeypatch, caplog):
    import jax

    from kerasfit.engines.jax.steps import Steps

    begun, compile_ahead = [], Steps.compile_ahead

    def noted(steps, kind, *arguments):
        begun.append((steps.kind, kind.size))
        compile_ahead(steps, kind, *arguments)

    monkeypatch.setattr(Steps, "compile_ahead", noted)
    forget_shared_programs()
    model, x, y = models.dense()
    jax.config.update("jax_log_compiles", True)
    try:
        kerasfit.fit(model, x, y, batch_size=16, epochs=2, validation_split=0.3, verbose=0, plan=plan)
    finally:
        jax.config.update("jax_log_compiles", False)
    assert begun == [("train", 16), ("train", 1), ("test", 16), ("test", 5)]
    assert caplog.text.count("Finished XLA compilation of jit(_traced)") == 4


def test_an_error_in_a_validation_step_is_raised_after_the_steps_of_the_epoch():
    class Failing(keras.Sequential):
        def test_step(self, *args):
            raise ArithmeticError("in a validation step")

    model = Failing([keras.Input((5,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = models.numbers(5), models.numbers(1)
    seen = []
    with pytest.raises(ArithmeticError, match="in a validation step"):
        kerasfit.fit(
            model, x, y, validation_split=0.3, verbose=0, batch_size=70,
            callbacks={"on_train_batch_end": lambda *_: seen.append(1)},
        )  # fmt: skip
    assert seen == [1]


@on_jax
def test_evaluation_copies_no_weights(monkeypatch):
    from kerasfit.engines.jax.placement import OneDevice

    model, x, y = models.dense()
    copied = []
    copy = OneDevice.copy
    monkeypatch.setattr(
        OneDevice, "copy", lambda self, value: copied.append(value.shape) or copy(self, value)
    )
    kerasfit.evaluate(model, x, y, verbose=0)
    kerasfit.predict(model, x, verbose=0)
    assert (5, 8) not in copied
    kerasfit.fit(model, x, y, verbose=0)
    assert (5, 8) in copied


def test_compiling_the_model_again_is_noticed():
    model, x, y = models.dense()
    kerasfit.fit(model, x, y, verbose=0)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", metrics=[])
    weights = model.get_weights()
    history = kerasfit.fit(model, x, y, verbose=0)
    assert set(history.metrics) == {"loss"}
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("plan", models.few_where_compiled(PLANS, ["loop", "step"]))
def test_metrics_are_in_the_order_of_compile(plan):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mse", "mae"])
    x, y = models.numbers(5), models.numbers(1)
    for _ in range(2):  # traced, and called again
        history = kerasfit.fit(model, x, y, validation_split=0.2, epochs=2, verbose=0, plan=plan)
        names = ["loss", "mse", "mae"]
        assert list(history.metrics) == [*names, *(f"val_{name}" for name in names)]
        assert list(kerasfit.evaluate(model, x, y, verbose=0, plan=plan)) == names


@pytest.mark.parametrize("plan", models.few_where_compiled(PLANS, ["loop", "xla"]))
def test_a_seeded_run_repeats_bit_for_bit(plan):
    def run():
        keras.utils.set_random_seed(11)
        model = keras.Sequential(
            [
                keras.Input((5,)),
                layers.Dense(8),
                layers.Dropout(0.3),
                layers.GaussianNoise(0.1),
                layers.Dense(1),
            ]
        )
        model.compile("adam", "mse")
        kerasfit.fit(
            model, models.numbers(5), models.numbers(1), epochs=3, batch_size=16, verbose=0, plan=plan
        )
        return model.get_weights()

    for first, second in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("kind", models.few_where_compiled(["functional", "sequential"], ["functional"]))
def test_a_model_that_was_never_compiled_predicts_from_arrays_and_generators(plan, kind):
    inputs = keras.Input((5,))
    built = {"functional": lambda: keras.Model(inputs, layers.Dense(2)(inputs))}.get(
        kind, lambda: keras.Sequential([inputs, layers.Dense(2)])
    )
    model, x = built(), models.numbers(5)
    expected = model.predict(x, verbose=0)
    batches = (x[start : start + 32] for start in range(0, len(x), 32))
    for data in (x, batches):
        outputs = kerasfit.predict(model, data, verbose=0, plan=plan)
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("plan", PLANS)
def test_dropout_draws_a_new_mask_in_each_step(plan):
    model = keras.Sequential([keras.Input((2000,)), layers.Dropout(0.25), layers.Dense(1, use_bias=False)])
    model.layers[-1].kernel.assign(ops.full((2000, 1), 1 / 2000))
    model.compile(keras.optimizers.SGD(0.0), lambda y, y_pred: y_pred)
    x = np.ones((320, 2000), "float32")
    history = kerasfit.fit(model, x, x[:, :1], epochs=3, batch_size=32, verbose=0, plan=plan)
    # the mean of 640 000 Bernoulli draws over 0.75, each kept with probability 0.75: 1 +- 0.0007
    for loss in history.metrics["loss"]:
        assert 0.996 < loss < 1.004
    assert len(set(history.metrics["loss"])) == 3


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "bad", models.few_where_compiled([1, 2, 3], [3])
)  # the last batch is smaller than the others
def test_no_step_follows_one_whose_loss_is_not_a_number(plan, bad):
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile("sgd", lambda y, y_pred: ops.log(y) * ops.abs(y_pred))
    x, y = np.ones((2, 40, 1), "float32")

    def fit(epochs):
        halt, before = [keras.callbacks.TerminateOnNaN()], int(model.optimizer.iterations)
        kerasfit.fit(
            model, x, y, batch_size=16, epochs=epochs, shuffle=False, callbacks=halt, verbose=0, plan=plan
        )
        return int(model.optimizer.iterations) - before

    assert fit(epochs=6) == 18  # by now an epoch is one execution
    y[16 * bad - 9] = -1
    assert fit(epochs=2) == bad


def test_read_only_arrays_can_be_trained_on():
    weights = []
    for writeable in (True, False):  # R's memory is not
        x, y = (aligned_copy(array) for array in (models.numbers(5), models.numbers(1)))
        x.flags.writeable = y.flags.writeable = writeable
        keras.utils.set_random_seed(1)
        model, *_ = models.unbuilt()
        kerasfit.fit(model, x, y, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for expected, given in zip(*weights, strict=True):
        np.testing.assert_array_equal(given, expected)


@on_jax
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "build",
    models.few_where_compiled(
        [models.dense, models.convolution, models.several_inputs, models.several_outputs, models.embedding],
        [models.dense, models.several_inputs],
    ),
    ids=lambda build: build.__name__,
)
def test_unaligned_arrays_match_aligned_ones(build, shuffle, monkeypatch):
    from kerasfit.engines.jax import placement

    def run(large):
        monkeypatch.setattr(placement, "LARGE", large)
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        model, *data = build()
        x, y = keras.tree.map_structure(lambda leaf: leaf[1:], data)  # where nothing is aligned
        common = {"batch_size": 16, "verbose": 0, "plan": "loop"}
        history = kerasfit.fit(
            model, x, y, epochs=3, shuffle=shuffle, validation_data=(x, y), **common
        ).metrics
        return history, kerasfit.evaluate(model, x, y, **common), kerasfit.predict(model, x, **common)

    within = []
    rows_within = placement.RowsWithin
    monkeypatch.setattr(placement, "RowsWithin", lambda *args: within.append(1) or rows_within(*args))
    there = run(large=0)
    assert within
    within.clear()
    elsewhere = run(large=sys.maxsize)
    assert not within
    for a, b in zip(keras.tree.flatten(there), keras.tree.flatten(elsewhere), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["array", *["tensor"] * (BACKEND == "torch")])
def test_a_generator_may_reuse_the_memory_of_the_previous_batch(kind):
    """A step may still be using that batch, which Keras itself gets wrong with JAX."""

    def losses(copied):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((512,)), layers.Dense(1024, "relu"), layers.Dense(1)])
        model.compile("sgd", "mse")
        random = np.random.default_rng(0)
        x, y = aligned_copy(np.zeros((256, 512), "float32")), aligned_copy(np.zeros((256, 1), "float32"))

        def batches():
            while True:
                x[:] = random.random(x.shape)
                y[:] = x.mean(1, keepdims=True)
                arrays = (x.copy(), y.copy()) if copied else (x, y)
                yield arrays if kind == "array" else tuple(map(from_numpy, arrays))

        return kerasfit.fit(model, batches(), steps_per_epoch=30, epochs=2, verbose=0).metrics["loss"]

    if kind == "tensor":
        from torch import from_numpy
    assert losses(copied=False) == losses(copied=True)


@on_torch
@pytest.mark.parametrize("plan", ["auto", "recorded"])
@pytest.mark.parametrize("case", ["plain", "seeded", "numpy in the loss"])
def test_recorded_steps_give_the_same_results_as_unrecorded_ones(case, plan):
    def loss(y, y_pred):  # a recorded graph would keep the value that NumPy computed for the first batch
        spread = float(y_pred.detach().numpy().std())
        return keras.losses.mean_squared_error(y, y_pred) * spread

    def train(plan):
        keras.utils.set_random_seed(3)
        seed = 4 if case == "seeded" else None
        model = keras.Sequential(
            [keras.Input((5,)), layers.Dense(8), layers.Dropout(0.5, seed=seed), layers.Dense(1)]
        )
        model.compile("adam", loss if case == "numpy in the loss" else "mse", metrics=["mae"])
        data = models.numbers(5), models.numbers(1)
        history = kerasfit.fit(model, *data, epochs=4, validation_split=0.2, verbose=0, plan=plan)
        outputs = kerasfit.predict(model, data[0], verbose=0, plan=plan)
        return engine_for(model, plan), (history.metrics, all_weights(model), outputs)

    engine, ours = train(plan)
    if (case, plan) != ("numpy in the loss", "auto"):
        assert engine.step("train").recorded.replays == (case == "plain")
        assert engine.step("predict").replays
    keras.tree.map_structure(np.testing.assert_array_equal, ours, train("loop")[1])


@on_torch
@pytest.mark.parametrize("kind", ["lookup", "hashing"])
def test_values_not_computed_by_torch_are_not_recorded_as_constants(kind):
    pytest.importorskip("tensorflow")  # these layers compute with it
    layer = layers.IntegerLookup(vocabulary=[1, 5, 9]) if kind == "lookup" else layers.Hashing(4)
    model = keras.Sequential(
        [keras.Input((2,), dtype="int64"), layer, layers.Embedding(4, 3), layers.Flatten(), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    x, y = np.random.default_rng(3).integers(0, 10, (64, 2)), models.numbers(1)[:64]
    for _ in range(3):  # a recorded graph would seem correct so far
        kerasfit.evaluate(model, x[:32], y[:32], verbose=0)
    loss = kerasfit.evaluate(model, x[32:], y[32:], verbose=0)["loss"]
    assert loss == pytest.approx(model.evaluate(x[32:], y[32:], verbose=0))


@on_torch
@pytest.mark.parametrize("dimensions", [2, 3])
def test_images_keep_their_memory_layout(dimensions):
    class Seen(layers.Layer):
        def call(self, images):
            pooled = keras.ops.max_pool(images, 2)
            strides.append(pooled.stride())
            return keras.ops.average_pool(pooled, 2, padding="same")

    def train(fit):
        keras.utils.set_random_seed(5)
        convolution = {2: layers.Conv2D, 3: layers.Conv3D}[dimensions]
        model = keras.Sequential(
            [
                keras.Input(shape),
                convolution(3, 2, activation="relu"),
                Seen(),
                layers.Flatten(),
                layers.Dense(1),
            ]
        )
        model.compile("adam", "mse")
        strides.clear()
        fit(model, models.numbers(*shape), models.numbers(1), epochs=2, verbose=0, shuffle=False)
        return all_weights(model)

    strides, shape = [], (9,) * dimensions + (2,)
    place = keras_private.owner_of("nn._transpose_spatial_inputs")
    own = place._transpose_spatial_inputs
    ours = train(kerasfit.fit)
    assert all(stride[-1] == 1 for stride in strides[-4:])
    np.testing.assert_allclose(ours, train(keras.Model.fit), rtol=1e-4, atol=1e-6)
    assert place._transpose_spatial_inputs is own  # Keras's own function is back


@pytest.mark.skipif(BACKEND == "torch", reason="executions have one step with PyTorch")
def test_one_cycle_counts_the_steps_of_each_execution():
    model, x, y = models.dense()  # 70 samples
    model.compile("adam", "sparse_categorical_crossentropy", steps_per_execution=3)
    seen = []
    record = {"on_train_batch_end": lambda batch, logs: seen.append(float(model.optimizer.learning_rate))}
    cycle = kerasfit.OneCycle(0.1)
    kerasfit.fit(model, x, y, epochs=2, batch_size=10, callbacks=[cycle, record], verbose=0)
    np.testing.assert_allclose(seen, [cycle.rate(step) for step in (0, 3, 6, 7, 10, 13)], rtol=1e-5)


@on_torch
@pytest.mark.parametrize(("epochs", "recorded"), [(3, False), (4, True)])
def test_steps_are_recorded_if_enough_of_them_are_planned(monkeypatch, epochs, recorded):
    monkeypatch.setattr(engine_module, "RECORDING_PAYS_AFTER", {"train": 16, "test": 100, "predict": 100})
    model, x, y = models.unbuilt()
    kerasfit.fit(model, x, y, batch_size=16, epochs=epochs, validation_data=(x, y), verbose=0)
    step = engine_for(model).step("train").recorded
    assert step.replays is recorded
    assert len(step._recordings) == recorded  # not for the smaller last batch
    assert not engine_for(model).step("test").recorded.replays


@on_torch
def test_steps_are_recorded_after_as_many_calls_of_models_that_are_alike(monkeypatch):
    monkeypatch.setattr(engine_module, "RECORDING_PAYS_AFTER", {"train": 16, "test": 100, "predict": 100})
    replays = []
    for _ in range(5):  # the second model is the first that counts for others
        model, x, y = models.unbuilt()
        kerasfit.fit(model, x, y, batch_size=14, verbose=0)
        replays.append(engine_for(model).step("train").recorded.replays)
    assert replays == [False, False, False, False, True]
