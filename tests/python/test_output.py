"""Training continues if its output cannot be written."""

from __future__ import annotations

import os
import sys

import keras
import models
import pytest

import kerasfit


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_closed_pipe_does_not_end_training(monkeypatch, verbose):
    reader, writer = os.pipe()
    os.close(reader)
    closed = open(writer, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
    model, x, y = models.dense()
    speaking = keras.callbacks.EarlyStopping("loss", min_delta=10.0, patience=2, verbose=1)
    own = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print("epoch", epoch, flush=True))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", closed)
        patched.setattr(sys, "__stdout__", closed)
        history = kerasfit.fit(model, x, y, epochs=5, verbose=verbose, callbacks=[speaking, own])
        kerasfit.evaluate(model, x, y, verbose=verbose)
        kerasfit.predict(model, x, verbose=verbose)
        assert sys.stdout is closed
    assert len(history.epochs) == 3
    closed.close()  # closing fails if unwritten output is left


def test_a_full_disk_does_not_end_training(monkeypatch):
    class Full:
        encoding = "utf-8"

        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            self.write("")

    stream = Full()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "__stdout__", stream)
    model, x, y = models.dense()
    assert len(kerasfit.fit(model, x, y, epochs=2, verbose=2).epochs) == 2
