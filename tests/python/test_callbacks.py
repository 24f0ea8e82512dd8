"""Callbacks that Keras does not have."""

from __future__ import annotations

import contextlib
import math
import time

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit.callbacks.callback_list import CallbackList


class Writer:
    """Records the lines, and the number of bars."""

    def __init__(self):
        self.lines, self.bars = [], 0

    def bar_begin(self, label, total):
        self.bars += 1

    def bar_update(self, done, metrics): ...
    def bar_end(self): ...

    def line(self, text):
        self.lines += text.splitlines()


def test_max_time_ends_training_without_shortening_executions():
    model, x, y = models.dense()
    callback = kerasfit.MaxTime(0.5)
    kerasfit.fit(model, x, y, verbose=0)
    began = time.monotonic()
    kerasfit.fit(model, x, y, epochs=10**6, callbacks=callback, verbose=0)
    assert 0.45 < time.monotonic() - began < 1.5
    assert not CallbackList([callback], model).needs_every_batch("train")
    state = callback.get_state()
    assert state > 0.45
    callback.set_state(100.0)
    callback.on_epoch_end(0)
    assert model.stop_training


def test_the_range_test_raises_the_rate_and_restores_the_model():
    model, x, y = models.dense()
    before = model.get_weights()
    rate = float(model.optimizer.learning_rate)
    finder = kerasfit.LearningRateFinder(1e-5, 10.0, steps=40)
    kerasfit.fit(model, x, y, epochs=50, batch_size=16, callbacks=finder, verbose=0)
    frame = finder.to_pandas()
    assert list(frame.columns) == ["learning_rate", "loss", "smoothed"]
    assert 2 < len(frame) <= 40
    np.testing.assert_allclose(frame["learning_rate"], 1e-5 * 1e6 ** (np.arange(len(frame)) / 39))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert float(model.optimizer.learning_rate) == rate
    assert int(model.optimizer.iterations) == 0


def test_losses_of_the_range_test_are_those_of_single_batches():
    model, x, y = models.dense()
    finder = kerasfit.LearningRateFinder(1e-30, 1e-29, steps=4)  # so small that the weights stay the same
    kerasfit.fit(model, x, y, epochs=2, batch_size=32, shuffle=False, callbacks=finder, verbose=0)
    expected = [
        kerasfit.evaluate(model, x[start : start + 32], y[start : start + 32], verbose=0)["loss"]
        for start in range(0, len(x), 32)
    ]
    np.testing.assert_allclose(finder.losses, (2 * expected)[:4], rtol=1e-5)


def test_the_suggested_rate_is_where_the_loss_falls_fastest():
    finder = kerasfit.LearningRateFinder()
    assert finder.suggestion is None
    rates = np.logspace(-5, 0, 60)
    finder.rates = rates.tolist()
    finder.losses = [1 / (1 + math.exp(8 * (math.log10(rate) + 3))) + (50 * rate) ** 4 for rate in rates]
    assert 5e-4 < finder.suggestion < 5e-3


def test_one_cycle_goes_up_and_down():
    model, x, y = models.dense()
    seen = []
    record = {"on_train_batch_end": lambda batch, logs: seen.append(float(model.optimizer.learning_rate))}
    kerasfit.fit(
        model,
        x,
        y,
        epochs=4,
        batch_size=16,
        callbacks=[kerasfit.OneCycle(0.1, warmup=0.25), record],
        verbose=0,
    )
    steps = 4 * math.ceil(len(x) / 16)
    assert len(seen) == steps
    np.testing.assert_allclose([seen[0], max(seen), seen[-1]], [0.1 / 25, 0.1, 1e-5], rtol=0.02)
    top = int(np.argmax(seen))
    assert abs(top - 0.25 * (steps - 1)) <= 1
    assert (np.diff(seen[: top + 1]) > 0).all() and (np.diff(seen[top:]) < 0).all()


def test_one_cycle_continues_in_a_resumed_run(tmp_path):
    def run(crash=None):
        keras.utils.set_random_seed(1)
        model, x, y = models.dense()
        seen = []

        def record(batch, logs):
            seen.append(float(model.optimizer.learning_rate))
            if len(seen) == crash:
                raise RuntimeError("crash")

        callbacks = [kerasfit.OneCycle(0.1), {"on_train_batch_end": record}]
        backup = kerasfit.BackupAndRestore(tmp_path / "state", save_freq=3)
        with contextlib.suppress(RuntimeError):
            kerasfit.fit(model, x, y, epochs=4, batch_size=16, callbacks=[*callbacks, backup], verbose=0)
        return seen

    whole, rest = run(), (run(crash=10), run())[1]
    assert whole[-len(rest) :] == rest and len(rest) < len(whole)


def test_setting_rates_is_an_error_if_the_optimizer_has_a_schedule():
    model, x, y = models.dense()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(keras.optimizers.SGD(schedule), "sparse_categorical_crossentropy")
    for callback in (kerasfit.OneCycle(0.1), kerasfit.LearningRateFinder()):
        with pytest.raises(kerasfit.ArgumentError, match="follows a schedule"):
            kerasfit.fit(model, x, y, callbacks=callback, verbose=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kerasfit.MaxTime(0), "`seconds` must be a number above 0, not 0"),
        (lambda: kerasfit.LearningRateFinder(1.0, 0.1), "must be larger than"),
        (lambda: kerasfit.OneCycle("high"), "`max_lr` must be a number above 0"),
        (lambda: kerasfit.OneCycle(0.1, warmup=1), "`warmup` must be a number at least 0 and below 1"),
        (lambda: kerasfit.ProgressStyle(metrics=[1]), "`metrics` must be names"),
        (lambda: kerasfit.ProgressStyle(metrics=3), "`metrics` must be names of metrics, not 3"),
        (lambda: kerasfit.ProgressStyle(every=0), "`every` must be"),
    ],
)
def test_invalid_arguments_are_errors_when_the_callback_is_created(make, message):
    with pytest.raises(kerasfit.ArgumentError, match=message):
        make()


def test_a_profile_shows_where_the_time_of_epochs_went():
    model, x, y = models.dense()

    def batches():
        while True:
            time.sleep(0.02)
            yield x[:16], y[:16]

    profile = kerasfit.Profile()
    slow = {"on_epoch_end": lambda epoch, logs: time.sleep(0.1)}
    began = time.perf_counter()
    kerasfit.fit(
        model,
        batches(),
        steps_per_epoch=5,
        epochs=3,
        validation_data=(x, y),
        callbacks=[profile, slow],
        verbose=0,
    )
    took = time.perf_counter() - began
    frame = profile.to_pandas()
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert (frame["data"][1:] >= 0.09).all() and (frame["callbacks"] >= 0.1).all()
    assert (frame["validation"] > 0).all() and (frame["steps"] > 0).all()
    assert frame.drop(columns="epoch").to_numpy().sum() <= took


def test_progress_style_controls_what_is_shown():
    model, x, y = models.dense()
    writer = Writer()
    style = kerasfit.ProgressStyle(metrics="loss", digits=1, every=3, bar=False)
    kerasfit.fit(model, x, y, epochs=7, callbacks=style, verbose=1, writer=writer)
    assert [line.split(" - ")[0] for line in writer.lines] == ["Epoch 3/7", "Epoch 6/7", "Epoch 7/7"]
    assert all(line.count(" - ") == 2 for line in writer.lines)
    assert writer.bars == 0


def test_a_file_that_is_not_a_log_is_never_appended_to(tmp_path):
    file = tmp_path / "notes.csv"
    file.write_text("my\nnotes\n", encoding="utf-8")
    model, x, y = models.dense()
    with pytest.raises(kerasfit.ArgumentError, match="is not a log to append to") as raised:
        kerasfit.fit(model, x, y, callbacks=kerasfit.MetricsLog(file, append=True), verbose=0)
    assert raised.value.argument == "filename"
    assert file.read_text(encoding="utf-8") == "my\nnotes\n"
    log = tmp_path / "log.csv"
    for append in (False, True):
        kerasfit.fit(model, x, y, callbacks=kerasfit.MetricsLog(log, append=append), verbose=0)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 3
