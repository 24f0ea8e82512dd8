"""keras.Model.fit is the oracle: same weights, same optimizer state, same history."""

from __future__ import annotations

from functools import partial

import keras
import models
import numpy as np
import pytest
from oracle import cached_answer

import kerasfit
from kerasfit import layer_traits
from kerasfit.engines import engine_class

BACKEND = keras.backend.backend()
BATCH = 16
# the plans that an engine chooses from; which one "auto" is depends on the model
PLANS = {"tensorflow": ("auto", "loop", "step"), "torch": ("recorded", "loop", "step")}.get(
    BACKEND, ("loop", "step")
)
FEW_KINDS = [models.dense] if models.COMPILED else [models.dense, models.several_outputs]
KINDS_WHERE_COMPILED = [
    models.dense,
    models.several_outputs,
    models.batch_norm,
    models.recurrent,
    models.own_train_step,
    *([] if models.ON_TENSORFLOW else [models.unbuilt]),
]
OPTIMIZERS_WHERE_COMPILED = [
    "momentum",
    "accumulation",
    "loss scaling",
    *([] if models.ON_TENSORFLOW else ["moving average", "schedule", "eager"]),
]


@pytest.fixture(autouse=True)
def xla_at_once(monkeypatch):
    monkeypatch.setattr(layer_traits, "xla_pays_after", lambda model: 0)


def assert_same(ours, theirs, what=""):
    for a, b in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, float), np.asarray(b, float), rtol=2e-4, atol=2e-6, err_msg=what
        )


def state(model):
    variables = [*model.variables, *(model.optimizer.variables if model.optimizer else [])]
    return [keras.ops.convert_to_numpy(v) for v in variables if "seed_generator" not in v.path]


def compare(
    build, fit_arguments=None, keras_arguments=None, data=None, plan="loop", question=None, used=False
):
    """Train two identical models, one with each fit(), and compare everything that training changes.

    ``keras_arguments`` are arguments that Keras's fit() needs in another form. ``data`` makes the data from
    the model's x and y, again for each model. The default plan is the one that compiles fastest. ``question``
    names Keras's results where tests share them; with ``used``, the models also evaluate and predict.
    """
    data = data or (lambda x, y: (x, y))
    common = {"epochs": 3, "shuffle": False, "verbose": 0, "batch_size": BATCH, **(fit_arguments or {})}

    def keras_answers():
        theirs, x, y = built(build)
        history = theirs.fit(*data(x, y), **{**common, **(keras_arguments or {})}).history
        return state(theirs), history, answers(theirs, x, y) if used else []

    weights, keras_history, keras_answers = cached_answer(question, keras_answers)
    ours, x, y = built(build)
    history = kerasfit.fit(ours, *data(x, y), **common, plan=plan)

    assert_same(state(ours), weights, "weights and optimizer")
    assert set(history.metrics) == set(keras_history)
    for name, values in history.metrics.items():
        if counts_batches_otherwise(name):
            continue
        measured = [value for value in values if value is not None]
        assert_same(measured, keras_history[name], name)
    for _ in range(2 if used else 0):  # with the same data each time, and with others
        evaluated = answers(ours, x, y, plan)
        for one, other in zip(evaluated[:2], keras_answers[:2], strict=True):
            assert set(one) == set(other)
            kept = [name for name in one if not counts_batches_otherwise(name)]
            assert_same([one[name] for name in kept], [other[name] for name in kept], "evaluation")
        assert_same(evaluated[2], keras_answers[2], "prediction")
    return history


def counts_batches_otherwise(name):
    """Return whether Keras's mean loss of an output depends on the batch sizes that TensorFlow's traces know.

    Before Keras 3.16, traces know no size, and all batches have equal weight. Since then, traces know the
    size of the first batch.
    """
    return (
        BACKEND == "tensorflow"
        and models.KERAS >= (3, 16)
        and name.removeprefix("val_") in ("u_loss", "v_loss")
    )


def answers(model, x, y, plan=None):
    """Evaluate a model and predict, on its data and the data reversed; with Keras if there is no plan."""
    options = {"batch_size": BATCH, "verbose": 0}
    if plan:
        evaluate, predict = partial(kerasfit.evaluate, plan=plan), partial(kerasfit.predict, plan=plan)
    else:
        evaluate, predict = partial(keras.Model.evaluate, return_dict=True), keras.Model.predict
    contrary = keras.tree.map_structure(lambda leaf: leaf[::-1], (x, y))
    return [
        evaluate(model, x, y, **options),
        evaluate(model, *contrary, **options),
        predict(model, x, **options),
    ]


def name_of(case):
    return getattr(case, "__name__", None)


def built(build):
    """Build a model with the same weights and layer names each time."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    return build()


def split_off(x, y, rows):
    return tuple(keras.tree.map_structure(lambda leaf: leaf[rows], part) for part in (x, y))


def by_all_plans(cases, by_each=(), where_compiled=None):
    """Pair all cases with the first plan and some with each plan; the full run has the other pairs.

    Where steps are compiled, only the cases in ``where_compiled``, if given, are outside the full run.
    """
    left_out = [case for case in cases if models.COMPILED and where_compiled and case not in where_compiled]
    return [
        pytest.param(
            case,
            plan,
            marks=() if case not in left_out and (plan == PLANS[0] or case in by_each) else pytest.mark.full,
        )
        for case in cases
        for plan in PLANS
    ]


@pytest.mark.parametrize(
    "build, plan", by_all_plans(models.KINDS, FEW_KINDS, KINDS_WHERE_COMPILED), ids=name_of
)
def test_every_kind_of_model_trains_evaluates_and_predicts_as_in_keras(build, plan):
    compare(build, {"validation_split": 0.3}, plan=plan, question=build.__name__, used=True)


@pytest.mark.parametrize("plan", engine_class().plans)
def test_any_plan_can_be_chosen(plan):
    for build in (
        (models.dense,) if models.COMPILED else (models.dense, models.convolution, models.several_outputs)
    ):
        compare(build, plan=plan, question=f"{build.__name__}, training alone")


@models.full_where_compiled
@pytest.mark.parametrize("task, plan", by_all_plans(models.METRICS))
def test_keras_metrics_are_reset_each_epoch_as_in_keras(task, plan):
    if BACKEND == "torch" and models.KERAS == (3, 9) and task in ("binary", "classes"):
        pytest.skip("Keras 3.9 cannot build some of its metrics with PyTorch")
    # with PyTorch, Keras returns counts as the tensor that validation continues to count in
    split = 0.0 if BACKEND == "torch" else 0.3
    compare(
        lambda: models.with_metrics(task), {"validation_split": split}, plan=plan, question=f"metrics {task}"
    )


@pytest.mark.parametrize(
    "name, plan", by_all_plans(models.optimizers(), ["accumulation"], OPTIMIZERS_WHERE_COMPILED)
)
def test_optimizers_end_in_the_same_state_as_in_keras(name, plan):
    compare(lambda: models.dense(**models.optimizers()[name]), plan=plan, question=name)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot train one there")
@pytest.mark.parametrize(
    "plan", models.few_where_compiled(engine_class().plans, ["xla"] if models.ON_TENSORFLOW else ["loop"])
)
@pytest.mark.parametrize("size", models.few_where_compiled([1, 10], [10]))
def test_a_stateful_network_gets_only_batches_of_its_size(size, plan):
    def build():
        return models.stateful(size)

    compare(build, {"batch_size": size}, plan=plan, question=f"stateful {size}")
    ours, x, _ = built(build)
    theirs, *_ = built(build)
    for _ in range(2):  # with the state left by the first iteration
        assert_same(
            kerasfit.predict(ours, x, batch_size=size, verbose=0, plan=plan),
            theirs.predict(x, batch_size=size, verbose=0),
        )


def test_mixed_precision_matches_keras():
    keras.config.set_dtype_policy("mixed_bfloat16")
    compare(models.dense, plan="auto")


@models.full_where_compiled
@pytest.mark.parametrize("build", [models.dense, models.one_hot], ids=["sparse", "one-hot"])
def test_class_weights_by_code_match_keras(build):
    weights = {0: 1.0, 1: 5.0, 2: 0.5}
    compare(
        build,
        {"class_weight": {str(code): weight for code, weight in weights.items()}},
        {"class_weight": weights},
        plan="auto",
    )


def test_sample_weights_match_keras():
    weights = np.linspace(0, 2, models.SAMPLES)
    compare(models.one_hot, {"sample_weight": weights}, plan="auto")
    compare(models.one_hot, {"sample_weight": weights, "validation_split": 0.3}, plan="auto")


@models.full_where_compiled
def test_temporal_sample_weights_match_keras():
    weights = np.random.default_rng(5).random((models.SAMPLES, 6))
    compare(models.recurrent, {"sample_weight": weights}, plan="auto")


@models.full_where_compiled
def test_sample_weights_of_several_outputs_match_keras():
    weights = {"u": np.linspace(0, 1, models.SAMPLES), "v": np.linspace(1, 0, models.SAMPLES)}
    compare(models.several_outputs, {"sample_weight": weights}, plan="auto")


@models.full_where_compiled
def test_class_and_sample_weights_are_multiplied():
    _, _, y = models.dense()
    sample_weight, class_weight = np.linspace(0, 2, models.SAMPLES), np.array([1.0, 5.0, 0.5])
    compare(
        models.dense,
        {"sample_weight": sample_weight, "class_weight": dict(enumerate(class_weight))},
        {"sample_weight": sample_weight * class_weight[y], "class_weight": None},
    )


@models.full_where_compiled
def test_validation_data_with_weights_match_keras():
    _, x, y = models.one_hot()
    validation_data = (*split_off(x, y, slice(40, None)), np.linspace(0, 2, 30))
    compare(models.one_hot, {"validation_data": validation_data, "validation_batch_size": 7})


@models.full_where_compiled
def test_validation_data_override_validation_split():
    _, x, y = models.dense()
    compare(models.dense, {"validation_data": split_off(x, y, slice(60, None)), "validation_split": 0.5})


@models.full_where_compiled
def test_validation_steps_use_the_same_batches_each_time():
    _, x, y = models.dense()
    compare(models.dense, {"validation_data": (x, y), "validation_steps": 2, "validation_batch_size": 10})


@models.full_where_compiled
def test_validation_freq_leaves_the_other_epochs_without_values():
    history = compare(models.dense, {"validation_split": 0.3, "validation_freq": 2, "epochs": 5})
    assert [value is not None for value in history.metrics["val_loss"]] == [False, True, False, True, False]


@models.full_where_compiled
def test_validation_freq_can_name_the_epochs():
    history = compare(models.dense, {"validation_split": 0.3, "validation_freq": [1, 4], "epochs": 5})
    assert [value is not None for value in history.metrics["val_loss"]] == [True, False, False, True, False]


@models.full_where_compiled
def test_initial_epoch_counts_from_one():
    history = compare(models.dense, {"initial_epoch": 6, "epochs": 10}, {"initial_epoch": 5})
    assert history.epochs == [6, 7, 8, 9, 10]


@models.full_where_compiled
def test_steps_per_epoch_continue_through_the_data():
    compare(models.dense, {"steps_per_epoch": 2, "epochs": 2})


@models.full_where_compiled
def test_steps_divide_the_samples_if_no_batch_size_is_given():
    compare(models.dense, {"steps_per_epoch": 10, "batch_size": None})
    compare(models.dense, {"validation_split": 0.5, "validation_steps": 3, "batch_size": None})


@models.full_where_compiled
def test_validation_on_generators_and_datasets_matches_keras():
    import tensorflow as tf

    _, x, y = models.dense()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(20)
    compare(models.dense, {"validation_data": dataset})
    compare(models.dense, {"validation_data": dataset, "validation_steps": 2})
    compare(
        models.dense,
        {"validation_data": lambda: batches_of(x, y), "epochs": 1},
        {"validation_data": (x, y), "validation_batch_size": BATCH},
    )


@models.full_where_compiled
def test_a_model_that_was_never_built_can_predict():
    model, x, _ = models.unbuilt()
    assert kerasfit.predict(model, x, verbose=0).shape == (models.SAMPLES, 1)


@models.full_where_compiled
def test_a_batch_size_larger_than_the_data_is_one_batch():
    compare(models.dense, {"batch_size": 500})


@models.full_where_compiled
def test_early_stopping_stops_at_the_same_epoch_as_in_keras():
    def stop():
        return [
            keras.callbacks.EarlyStopping(
                monitor="loss", min_delta=10.0, patience=1, restore_best_weights=True
            )
        ]

    history = compare(models.dense, {"callbacks": stop(), "epochs": 20}, {"callbacks": stop()})
    assert history.epochs == [1, 2]


def test_a_learning_rate_callback_works_as_in_keras():
    def halve():
        return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5**epoch)]

    history = compare(models.dense, {"callbacks": halve()}, {"callbacks": halve()})
    assert "learning_rate" in history.metrics


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses steps_per_execution with torch")
def test_steps_per_execution_do_not_change_the_result():
    compare(lambda: models.dense(steps_per_execution=3))


def batches_of(x, y):
    for start in range(0, models.SAMPLES, BATCH):
        yield x[start : start + BATCH], y[start : start + BATCH]


def test_a_generator_trains_as_in_keras():
    def endless(x, y):
        while True:
            yield from batches_of(x, y)

    compare(models.dense, {"steps_per_epoch": 3, "batch_size": None}, data=lambda x, y: (endless(x, y),))


def test_a_dataset_trains_as_in_keras():
    import tensorflow as tf

    def dataset(x, y):
        return (tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH),)

    compare(models.dense, {"batch_size": None}, data=dataset)
    compare(models.several_inputs, {"batch_size": None}, data=dataset)
    compare(models.dense, {"batch_size": None, "steps_per_epoch": 2, "epochs": 2}, data=dataset)
    compare(
        models.dense,
        {"batch_size": None, "class_weight": {0: 1, 1: 3, 2: 1}},
        data=lambda x, y: dataset(x, y.astype("int32")),
    )


def test_tensors_train_as_arrays_do():
    compare(models.dense, data=lambda x, y: (keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)))
