"""Ctrl-C, sent to this process as a signal."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import threading

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit import interrupts


def interrupt_at(step):
    """Return a callback that sends SIGINT to this process after a step and records the weights."""
    kept = []

    def send(batch, logs):
        kept.append(None)
        if len(kept) == step:
            signal.raise_signal(signal.SIGINT)

    return {"on_train_batch_end": send}


@pytest.fixture(autouse=True)
def handler_is_restored():
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def test_training_ends_after_the_step_and_history_has_the_complete_epochs():
    model, x, y = models.dense()
    steps = -(-len(x) // 32)
    ended = []
    callbacks = [interrupt_at(2 * steps + 1), {"on_train_end": ended.append}]
    history = kerasfit.fit(model, x, y, epochs=9, callbacks=callbacks, verbose=0)
    assert history.params["interrupted"] is True
    assert history.epochs == [1, 2]
    assert int(model.optimizer.iterations) == 2 * steps + 1
    assert len(ended) == 1
    history = kerasfit.fit(model, x, y, verbose=0)
    assert history.params["interrupted"] is False


def test_the_interrupt_may_be_an_error_that_has_the_history():
    model, x, y = models.dense()
    steps = -(-len(x) // 32)
    with pytest.raises(KeyboardInterrupt) as error:
        kerasfit.fit(
            model, x, y, epochs=9, callbacks=interrupt_at(steps + 1), on_interrupt="error", verbose=0
        )
    assert error.value.error_context.history.epochs == [1]
    with pytest.raises(kerasfit.ArgumentError, match='`on_interrupt` must be "return" or "error"'):
        kerasfit.fit(model, x, y, on_interrupt="ignore")


def test_second_interrupt_stops_immediately():
    model, x, y = models.dense()
    ended = []

    def twice(batch, logs):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(interrupts.ImmediateInterrupt):
        kerasfit.fit(
            model, x, y, callbacks={"on_train_batch_end": twice, "on_train_end": ended.append}, verbose=0
        )
    assert not ended
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


def test_an_interrupt_inside_a_user_function_ends_training_too():
    model, x, y = models.dense()

    def batches():
        yield x[:32], y[:32]
        raise KeyboardInterrupt

    assert kerasfit.fit(model, batches(), steps_per_epoch=5, verbose=0).params["interrupted"]
    epochs = []

    def end(epoch, logs):
        epochs.append(epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    history = kerasfit.fit(model, x, y, epochs=5, callbacks={"on_epoch_end": end}, verbose=0)
    assert history.epochs == epochs == [1, 2]


def test_validation_evaluation_and_prediction_can_be_interrupted():
    model, x, y = models.dense()
    send = {"on_test_batch_end": lambda batch, logs: signal.raise_signal(signal.SIGINT)}
    history = kerasfit.fit(model, x, y, epochs=3, validation_data=(x, y), callbacks=send, verbose=0)
    assert history.params["interrupted"] and history.epochs == []
    with pytest.raises(KeyboardInterrupt):
        kerasfit.evaluate(model, x, y, callbacks=send, verbose=0)
    send = {"on_predict_batch_end": lambda batch, logs: signal.raise_signal(signal.SIGINT)}
    with pytest.raises(KeyboardInterrupt):
        kerasfit.predict(model, x, callbacks=send, verbose=0)


def send_at_end(*args):
    signal.raise_signal(signal.SIGINT)


def test_interrupts_after_the_last_step_are_handled_too():
    model, x, y = models.dense()
    history = kerasfit.fit(model, x, y, epochs=2, callbacks={"on_epoch_end": send_at_end}, verbose=0)
    assert history.params["interrupted"] and history.epochs == [1]
    history = kerasfit.fit(model, x, y, callbacks={"on_epoch_end": send_at_end}, verbose=0)
    assert history.params["interrupted"] and history.epochs == [1]
    with pytest.raises(KeyboardInterrupt):
        kerasfit.evaluate(model, x, y, callbacks={"on_test_end": send_at_end}, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        kerasfit.predict(model, x, callbacks={"on_predict_end": send_at_end}, verbose=0)


def test_interrupts_the_host_has_handled_do_not_stop_training():
    model, x, y = models.dense()
    flag = ctypes.c_int(0)

    def host_interrupts(*args):
        flag.value = 1
        signal.raise_signal(signal.SIGINT)

    with interrupts.hosted(interrupts.Host(flag)):
        # the host has already handled this one
        assert not kerasfit.fit(model, x, y, callbacks=interrupt_at(2), verbose=0).params["interrupted"]
        during = {"on_train_batch_end": host_interrupts}
        assert kerasfit.fit(model, x, y, callbacks=during, verbose=0).params["interrupted"]
        assert flag.value == 0
        after = {"on_train_end": host_interrupts}
        assert not kerasfit.fit(model, x, y, callbacks=after, verbose=0).params["interrupted"]
        assert flag.value == 1


@pytest.mark.parametrize("swap, answered", [(1, True), (2, False)], ids=["at the beginning", "at the end"])
def test_an_interrupt_while_handlers_are_swapped_is_not_lost(monkeypatch, swap, answered):
    model, x, y = models.dense()
    flag, swaps, exchange = ctypes.c_int(0), [], signal.signal

    def exchange_and_send(number, handler):  # Python's own handler in C, which sets no flag, gets the signal
        exchange(number, handler)
        swaps.append(number)
        if len(swaps) == swap:
            os.kill(os.getpid(), signal.SIGINT)

    def before(number, frame):
        """Like reticulate's handler, which finds no interrupt without the flag."""

    old = signal.signal(signal.SIGINT, before)
    try:
        with interrupts.hosted(interrupts.Host(flag)), monkeypatch.context() as patched:
            patched.setattr(signal, "signal", exchange_and_send)
            assert kerasfit.fit(model, x, y, verbose=0).params["interrupted"] == answered
    finally:
        signal.signal(signal.SIGINT, old)
    assert len(swaps) == 2
    assert flag.value == (0 if answered else 1)


def test_a_custom_fit_ends_after_the_step():
    class Own(keras.Sequential):
        def fit(self, *args, **kwargs):
            return super().fit(*args, **kwargs)

    x, y = np.ones((320, 4), "float32"), np.ones((320, 1), "float32")
    model = Own([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = kerasfit.fit(model, x, y, epochs=5, callbacks=interrupt_at(13), verbose=0)
    assert history.params["interrupted"] and history.epochs == [1]
    assert int(model.optimizer.iterations) == 13


def test_other_threads_train_without_a_signal_handler():
    model, x, y = models.dense()
    histories = []
    thread = threading.Thread(target=lambda: histories.append(kerasfit.fit(model, x, y, verbose=0)))
    thread.start()
    thread.join()
    assert histories[0].epochs == [1]


def test_an_interrupted_run_resumes_at_its_step(tmp_path):
    def run(step=0, **backup):
        keras.utils.set_random_seed(4)
        model, x, y = models.dense()
        callbacks = [interrupt_at(step)]
        if backup:
            callbacks.append(kerasfit.BackupAndRestore(tmp_path / "state", **backup))
        history = kerasfit.fit(model, x, y, epochs=5, batch_size=16, callbacks=callbacks, verbose=0)
        return model.get_weights(), history.metrics, history.params["interrupted"]

    whole = run()
    assert run(step=11, save_freq="epoch")[2]
    rest = run(save_freq="epoch")
    assert rest[1:] == whole[1:]
    for expected, weights in zip(whole[0], rest[0], strict=True):
        np.testing.assert_array_equal(weights, expected)


class Interrupter:
    """Sends SIGINT after a given number of lines of our own code have been traced."""

    def __init__(self, line, times, send):
        names = "fit", "evaluate", "loop", "interrupts"
        self.files = {importlib.import_module(f"kerasfit.{name}").__file__ for name in names}
        self.line, self.times, self.send = line, times, send
        self.lines = 0

    def __enter__(self):
        sys.settrace(self.trace)

    def __exit__(self, *exception):
        sys.settrace(None)

    def trace(self, frame, event, argument):
        if frame.f_code.co_filename not in self.files:
            return None
        self.lines += 1
        if self.lines == self.line:
            for _ in range(self.times):
                self.send()
        return self.trace


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "times, is_hosted",
    models.few_pairs([(1, True), (2, False), (1, False), (2, True)], [(1, True), (2, False)]),
)
def test_calls_after_an_interrupt_at_any_line_work_as_usual(times, is_hosted):
    x, y = np.linspace(0, 1, 128, dtype="float32").reshape(64, 2), np.ones((64, 1), "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    weights = model.get_weights()
    flag = ctypes.c_int(0)

    def send():
        flag.value = 1
        signal.raise_signal(signal.SIGINT)

    def hosted():
        return interrupts.hosted(interrupts.Host(flag)) if is_hosted else contextlib.nullcontext()

    def train(**arguments):
        model.set_weights(weights)
        history = kerasfit.fit(model, x, y, epochs=2, shuffle=False, verbose=0, **arguments)
        return history.params["interrupted"], history.epochs, *map(np.ndarray.tolist, model.get_weights())

    def call_all():
        train(callbacks={"on_epoch_end": lambda epoch, logs: None})
        kerasfit.evaluate(model, x, y, verbose=0)
        kerasfit.predict(model, x, verbose=0)

    expected, before = train(), signal.getsignal(signal.SIGINT)
    call_all()
    counter = Interrupter(None, 0, send)
    with hosted(), counter:
        call_all()
    assert counter.lines > 400
    for line in range(1, counter.lines + 1, 1 if os.environ.get("KERASFIT_SOAK") else 13):
        with hosted(), contextlib.suppress(KeyboardInterrupt), Interrupter(line, times, send):
            call_all()
        flag.value = 0
        assert train() == expected, f"line {line}"
        assert signal.getsignal(signal.SIGINT) is before, f"line {line}"
    assert kerasfit.fit(model, x, y, callbacks=interrupt_at(1), verbose=0).params["interrupted"]


def test_a_worker_thread_calls_the_host_once_before_others_may():
    callers = []
    host = interrupts.Host(None, lambda: callers.append(threading.current_thread()))
    interrupts.let_threads_call_host()  # without a host there is nothing to call
    with interrupts.hosted(host):
        for _ in range(2):
            interrupts.let_threads_call_host()
    assert len(callers) == 1
    assert callers[0] is not threading.main_thread()
