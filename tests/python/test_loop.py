"""The order of events, and the arguments that callbacks and progress get."""

from __future__ import annotations

import copy
import io
import time
import warnings
from contextlib import redirect_stdout

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit.callbacks.callback_list import CallbackList

HOOKS = [
    f"on_{phase}_{end}"
    for phase in ("train", "test", "epoch", "train_batch", "test_batch")
    for end in ("begin", "end")
]


def recorder():
    """Return a callback and its record of each event, with arguments and the names in the logs."""
    events = []

    def record(hook):
        def method(self, *args, **kwargs):
            numbers = [a for a in args if isinstance(a, int)]
            logs = kwargs.get("logs") or next((a for a in args if isinstance(a, dict)), {})
            events.append((hook, *numbers, tuple(sorted(logs))))

        return method

    callback = type("Recorder", (keras.callbacks.Callback,), {hook: record(hook) for hook in HOOKS})()
    return callback, events


def test_events_have_the_order_numbers_and_logs_of_keras():
    def arguments(callback):
        return dict(
            epochs=2, batch_size=32, validation_split=0.3, shuffle=False, verbose=0, callbacks=[callback]
        )

    theirs, expected = recorder()
    model, x, y = models.dense()
    model.fit(x, y, **arguments(theirs))
    ours, events = recorder()
    model, x, y = models.dense()
    kerasfit.fit(model, x, y, **arguments(ours))
    assert events == expected


def test_evaluate_and_predict_call_callbacks_as_keras_does():
    model, x, y = models.dense()
    callback, expected = recorder()
    model.evaluate(x, y, callbacks=[callback], verbose=0)
    callback, events = recorder()
    kerasfit.evaluate(model, x, y, callbacks=[callback], verbose=0)
    assert events == expected

    seen = []
    watcher = keras.callbacks.Callback()
    watcher.on_predict_batch_end = lambda batch, logs=None: seen.append((batch, logs["outputs"].shape))
    kerasfit.predict(model, x, callbacks=watcher, verbose=0)
    assert seen == [(0, (32, 3)), (1, (32, 3)), (2, (6, 3))]


def test_an_execution_is_one_step_if_a_callback_has_batch_hooks():
    batches = []
    model, x, y = models.dense()
    watcher = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))
    kerasfit.fit(model, x, y, epochs=2, batch_size=16, callbacks=[watcher], verbose=0)
    assert batches == [0, 1, 2, 3, 4] * 2


def test_callbacks_without_batch_hooks_are_not_called_for_batches():
    calls = []

    class Quiet(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            calls.append(epoch)

    model, x, y = models.dense()
    kerasfit.fit(model, x, y, epochs=3, callbacks=[Quiet()], verbose=0)
    assert calls == [0, 1, 2]


def test_the_model_is_synchronized_only_for_callbacks_that_may_read_it():
    def syncs(callback, hook="epoch_end", *args):
        synced = []
        callbacks = CallbackList([callback], models.dense()[0], sync=lambda: synced.append(True))
        callbacks.begin("train")
        synced.clear()
        getattr(callbacks, hook)(*args or (1, {"loss": 1.0}))
        return bool(synced)

    early_stopping = keras.callbacks.EarlyStopping
    assert not syncs(early_stopping(monitor="loss"))
    assert syncs(early_stopping(monitor="loss", restore_best_weights=True))
    assert syncs(type("Mine", (early_stopping,), {})(monitor="loss"))
    at_end = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    assert syncs(at_end)
    assert not syncs(at_end, "epoch_begin", 1)
    old = type("Old", (keras.callbacks.Callback,), {"on_batch_end": lambda self, batch, logs=None: None})()
    assert syncs(old, "batch_end", "train", 0, {})
    assert not syncs(old, "batch_end", "test", 0, {})


def test_hooks_with_old_names_are_called():
    batches = []
    hooks = {"on_batch_begin": lambda self, batch, logs=None: batches.append(batch)}
    model, x, y = models.dense()
    old = type("Old", (keras.callbacks.Callback,), hooks)()
    kerasfit.fit(model, x, y, batch_size=40, callbacks=[old], validation_split=0.1, verbose=0)
    assert batches == [0, 1]


def test_stop_training_in_a_batch_ends_the_epoch_there():
    model, x, y = models.dense()

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.stop_training = True

    before = int(model.optimizer.iterations)
    history = kerasfit.fit(model, x, y, epochs=3, batch_size=16, callbacks=[Stop()], verbose=0)
    assert int(model.optimizer.iterations) - before == 2
    assert history.epochs == [1]


def test_values_a_callback_adds_to_the_epoch_logs_are_in_the_history():
    model, x, y = models.dense()
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(mine=epoch * 1.5, note="not a number")
    )
    history = kerasfit.fit(model, x, y, epochs=3, callbacks=[callback], verbose=0)
    assert history.metrics["mine"] == [0.0, 1.5, 3.0]
    assert "note" not in history.metrics


def test_model_history_is_keras_record_of_the_run():
    model, x, y = models.dense()
    history = kerasfit.fit(model, x, y, epochs=2, verbose=0)
    assert model.history.epoch == [0, 1]
    assert model.history.history["loss"] == history.metrics["loss"]


def test_keras_backup_and_restore_continues_at_the_next_epoch(tmp_path):
    def run(epochs):
        model, x, y = models.dense()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        return kerasfit.fit(model, x, y, epochs=epochs, callbacks=[backup], verbose=0)

    run(2)
    assert run(5).epochs == [3, 4, 5]


def test_a_generator_that_ends_early_warns_and_adds_no_rows():
    model, x, y = models.dense()

    def twice():
        yield x, y
        yield x, y

    with pytest.warns(UserWarning, match="no batch for epoch 2"):
        history = kerasfit.fit(model, twice(), epochs=5, verbose=0)
    assert history.epochs == [1]

    with pytest.warns(UserWarning, match="epoch 1 has 2 of 3 steps"):
        kerasfit.fit(model, twice(), steps_per_epoch=3, verbose=0)


def test_validation_data_that_end_early_warn_and_leave_missing_values():
    model, x, y = models.dense()
    for verb, what in [(kerasfit.evaluate, "evaluation"), (kerasfit.predict, "prediction")]:
        with pytest.warns(UserWarning, match=f"{what} has 2 of 5 steps"):
            verb(model, iter([(x, y)] * 2), steps=5, verbose=0)
    with pytest.warns(UserWarning, match="no batch to evaluate on"):
        history = kerasfit.fit(model, x, y, validation_data=iter([(x, y)]), epochs=2, verbose=0)
    assert history.metrics["val_loss"][1] is None
    with pytest.raises(kerasfit.DataError, match="no batches to predict on"):
        kerasfit.predict(model, iter([]), verbose=0)


def test_a_trained_model_can_be_saved_and_copied(tmp_path):
    model, x, y = models.dense()
    kerasfit.fit(model, x, y, verbose=0)
    expected = kerasfit.predict(model, x, verbose=0)
    model.save(tmp_path / "model.keras")
    for other in (keras.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)):
        np.testing.assert_allclose(kerasfit.predict(other, x, verbose=0), expected, rtol=1e-6)
        kerasfit.fit(other, x, y, verbose=0)
    np.testing.assert_array_equal(kerasfit.predict(model, x, verbose=0), expected)


def test_no_batch_is_drawn_after_a_callback_has_stopped_training():
    model, x, y = models.dense()
    drawn = []

    def batch():
        drawn.append(1)
        return x, y

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        kerasfit.fit(model, batch, steps_per_epoch=5, callbacks=[Stop()], verbose=0)
    assert len(drawn) == 2


def test_a_metric_with_several_values_has_a_name_for_each():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    x, y = models.numbers(5), np.eye(3, dtype="float32")[models.classes(3)]
    names = ["loss", "f1_score_1", "f1_score_2", "f1_score_3"]
    assert list(kerasfit.fit(model, x, y, verbose=0).metrics) == names
    results = kerasfit.evaluate(model, x, y, verbose=0)
    assert list(results) == names
    assert all(isinstance(value, float) for value in results.values())


def test_shuffling_changes_the_order_of_training_and_nothing_else():
    def weights(shuffle):
        keras.utils.set_random_seed(3)
        model, x, y = models.dense()
        kerasfit.fit(model, x, y, batch_size=8, shuffle=shuffle, verbose=0)
        return model.get_weights()[0]

    assert not np.array_equal(weights(True), weights(False))
    np.testing.assert_array_equal(weights(True), weights(True))


def test_minus_one_step_per_epoch_continues_until_a_callback_stops():
    model, x, y = models.dense()

    def endless():
        while True:
            yield x, y

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 6

    history = kerasfit.fit(model, endless(), steps_per_epoch=-1, callbacks=[Stop()], verbose=0)
    assert history.epochs == [1]
    assert int(model.optimizer.iterations) == 7


def test_params_record_how_the_run_was_set_up():
    model, x, y = models.dense()
    history = kerasfit.fit(
        model, x, y, epochs=3, initial_epoch=2, validation_split=0.3, batch_size=16, verbose=0
    )
    assert history.params == {
        "epochs": 3,
        "initial_epoch": 2,
        "steps": 4,
        "samples": 49,
        "validation_samples": 21,
        "batch_size": 16,
        "verbose": 0,
        "interrupted": False,
    }


def test_metrics_first_measured_later_are_none_before():
    history = kerasfit.History()
    history.record(6, {"loss": 1.0})
    history.record(7, {"loss": 0.5, "val_loss": 2.0})
    history.record(8, {"loss": np.float32(0.25), "each": np.array([1.0, 2.0])})
    assert history.epochs == [6, 7, 8]
    assert history.metrics == {
        "loss": [1.0, 0.5, 0.25],
        "val_loss": [None, 2.0, None],
        "each_1": [None, None, 1.0],
        "each_2": [None, None, 2.0],
    }


class Writer:
    def __init__(self):
        self.events = []

    def bar_begin(self, label, total):
        self.events.append(("begin", label, total))

    def bar_update(self, done, metrics):
        self.events.append(("update", done, metrics))

    def bar_end(self):
        self.events.append(("end",))

    def line(self, text):
        self.events.append(("line", text))


class TestProgress:
    def run(self, verbose, **arguments):
        writer = Writer()
        model, x, y = models.dense()
        kerasfit.fit(model, x, y, epochs=2, batch_size=10, verbose=verbose, writer=writer, **arguments)
        return writer.events

    def test_verbose_0_is_silent(self):
        assert self.run(0) == []

    def test_verbose_2_is_one_line_for_each_epoch(self):
        events = self.run(2, validation_split=0.3)
        assert {kind for kind, *_ in events} == {"line"}
        lines = "\n".join(text for _, text in events).splitlines()
        assert len(lines) == 2
        for epoch, text in enumerate(lines, start=1):
            assert text.startswith(f"Epoch {epoch}/2 - ")
            assert [part.split(":")[0] for part in text.split(" - ")[2:]] == [
                "loss",
                "accuracy",
                "val_loss",
                "val_accuracy",
            ]

    def test_verbose_1_is_a_bar_that_ends_before_its_line(self):
        pause = {"on_train_batch_end": lambda batch, logs: time.sleep(0.02)}
        kinds = [kind for kind, *_ in self.run(1, callbacks=pause) if kind != "update"]
        assert kinds == ["begin", "end", "line"] * 2

    def test_short_epochs_have_no_bar_and_their_lines_are_written_together(self):
        writer = Writer()
        model, x, y = models.dense()
        kerasfit.fit(model, x, y, verbose=0)
        kerasfit.fit(model, x, y, epochs=200, verbose=1, writer=writer)
        kinds = [kind for kind, *_ in writer.events]
        assert kinds[0] == "begin"
        assert kinds.count("begin") <= 3
        assert kinds.count("line") < 100
        lines = "\n".join(event[1] for event in writer.events if event[0] == "line").splitlines()
        assert [line.split(" - ")[0] for line in lines] == [f"Epoch {n:>3}/200" for n in range(1, 201)]

    def test_lines_are_written_immediately_if_callbacks_may_print_too(self):
        writer = Writer()
        model, x, y = models.dense()
        callback = {"on_epoch_end": lambda epoch, logs: writer.line(f"callback {epoch}")}
        kerasfit.fit(model, x, y, epochs=3, callbacks=callback, verbose=2, writer=writer)
        said = [event[1].split("/")[0] for event in writer.events]
        assert said == ["callback 1", "Epoch 1", "callback 2", "Epoch 2", "callback 3", "Epoch 3"]

    def test_a_bar_shows_steps_and_metrics_ten_times_a_second(self):
        class Slow(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                time.sleep(0.06)

        updates = [event[1:] for event in self.run(1, callbacks=[Slow()]) if event[0] == "update"]
        assert 2 <= len(updates) <= 10
        assert all(1 <= done <= 7 and metrics.startswith("loss: ") for done, metrics in updates)

    def test_a_bar_is_closed_when_training_fails(self):
        class Fail(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                raise RuntimeError("mine")

        writer = Writer()
        model, x, y = models.dense()
        with pytest.raises(RuntimeError, match="mine"):
            kerasfit.fit(model, x, y, callbacks=[Fail()], verbose=1, writer=writer)
        assert writer.events[-1] == ("end",)

    def test_without_a_terminal_python_prints_lines_only(self):
        model, x, y = models.dense()
        with redirect_stdout(io.StringIO()) as output:
            kerasfit.fit(model, x, y, epochs=2, verbose=1)
        lines = output.getvalue().splitlines()
        assert len(lines) == 2
        assert "\r" not in output.getvalue()


def test_functions_named_after_hooks_are_a_callback_that_counts_from_1():
    seen = []
    model, x, y = models.dense()
    functions = {
        "on_epoch_begin": lambda epoch, logs: seen.append(("epoch", epoch)),
        "on_train_batch_end": lambda batch, logs: seen.append(("batch", batch, sorted(logs))),
        "on_train_end": lambda logs: seen.append("end"),
    }
    kerasfit.fit(model, x, y, batch_size=40, callbacks=[functions], verbose=0)
    logs = ["accuracy", "loss"]
    assert seen == [("epoch", 1), ("batch", 1, logs), ("batch", 2, logs), "end"]
