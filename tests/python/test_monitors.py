"""Monitoring a metric that training does not have is an error as soon as that is certain."""

from __future__ import annotations

import warnings

import keras
import models
import pytest

import kerasfit
from kerasfit.errors import ArgumentError

EarlyStopping, Plateau = keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau


class Adds(keras.callbacks.Callback):
    """Adds a metric to the logs of some epochs."""

    def __init__(self, name="val_own", every=1):
        super().__init__()
        self.name, self.every = name, every

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            logs[self.name] = 1.0


def train(callbacks, build=models.dense, validates=True, epochs=2, **arguments):
    model, x, y = build()
    validation = {"validation_data": (x, y)} if validates else {}
    history = kerasfit.fit(
        model, x, y, epochs=epochs, verbose=0, callbacks=callbacks, **validation, **arguments
    )
    return model, history


def assert_monitor_error(message, callbacks, steps=0, build=models.dense, **arguments):
    made = []
    with pytest.raises(ArgumentError, match=message) as caught:
        train(callbacks, lambda: made.append(build()) or made[0], **arguments)
    assert caught.value.argument == "callbacks"
    assert int(made[0][0].optimizer.iterations) == steps


@pytest.mark.parametrize("mode", ["auto", "min"])
def test_a_misspelt_metric_is_an_error_before_the_first_step(mode, tmp_path):
    for kind in (EarlyStopping, Plateau):
        assert_monitor_error(
            'monitors `val_los`.*Did you mean monitor = "val_loss"', kind("val_los", mode=mode)
        )
    assert_monitor_error('Did you mean monitor = "val_accuracy"', EarlyStopping("val_acc", mode=mode))
    unknown = EarlyStopping("auc", mode=mode)
    assert_monitor_error(
        "monitors `auc`, but the metrics are `loss` and `accuracy`", unknown, validates=False
    )
    file = str(tmp_path / "m.keras")
    best = keras.callbacks.ModelCheckpoint(file, "val_acc", save_best_only=True, mode=mode)
    assert_monitor_error("ModelCheckpoint monitors `val_acc`", best)


def test_a_validation_metric_without_validation_is_an_error_before_the_first_step():
    assert_monitor_error("Nothing is validated: give `validation_data`", EarlyStopping(), validates=False)
    assert_monitor_error("Nothing is validated", EarlyStopping("val_accuracy"), validates=False)


def test_metrics_of_the_run_can_be_monitored(tmp_path):
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        train([EarlyStopping(name), Plateau(name)], epochs=1)
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    train([rate, EarlyStopping("learning_rate", mode="min")], epochs=1)
    always = keras.callbacks.ModelCheckpoint(str(tmp_path / "m.weights.h5"), save_weights_only=True)
    train([always], validates=False, epochs=1)  # it monitors no metric
    several = list(train([], models.several_outputs, epochs=1)[1].metrics)
    train([EarlyStopping(name, mode="min") for name in several], models.several_outputs, epochs=1)


def test_metrics_a_callback_adds_to_the_logs_can_be_monitored():
    for adds in (Adds(), {"on_epoch_end": lambda epoch, logs: {"val_own": 1.0}}):
        for validates in (True, False):
            _, history = train([adds, EarlyStopping("val_own", mode="max")], validates=validates, epochs=3)
            assert history.metrics["val_own"] == [1.0, 1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, history = train([Adds(every=2), EarlyStopping("val_own", mode="max")], epochs=6)
    assert len(history.epochs) == 4  # the second epoch with the metric, which is not better


def test_a_metric_that_no_callback_has_added_is_reported_after_the_first_epoch():
    reads_logs = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    assert_monitor_error('Did you mean monitor = "val_loss"', [reads_logs, EarlyStopping("val_los")], steps=3)
    with pytest.warns(UserWarning, match='Did you mean monitor = "val_loss"'):
        train([reads_logs, EarlyStopping("val_los", mode="min")])
    with pytest.warns(UserWarning, match="Nothing is validated"):
        train([reads_logs, EarlyStopping()], validates=False)


def test_metrics_of_a_custom_train_step_are_checked_after_the_first_epoch():
    train([EarlyStopping("twice_the_loss", mode="min")], models.own_train_step)
    assert_monitor_error(
        'Did you mean monitor = "twice_the_loss"',
        EarlyStopping("twice_the_los", mode="min"),
        build=models.own_train_step,
        steps=3,
    )
    assert_monitor_error(
        "monitors `val_los`", EarlyStopping("val_los", mode="min"), build=models.own_train_step, steps=3
    )


def test_an_epoch_without_validation_does_not_decide_whether_a_metric_exists():
    reads_logs = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*Did you mean")
        warnings.filterwarnings("ignore", message="Early stopping conditioned")
        train([reads_logs, EarlyStopping("val_loss", mode="min")], validation_freq=2)
