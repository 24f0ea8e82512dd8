"""Programs that are kept on disk."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kerasfit import cache

TRAIN = """
import os, sys, kerasfit, keras, numpy
def damage(folder):
    for parent, _, files in os.walk(folder):
        for file in files:
            if "cache" in file:
                os.truncate(os.path.join(parent, file), 700)
x = numpy.ones((20, 3), "float32")
keras.utils.set_random_seed(1)
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
if "now" in sys.argv:
    damage(os.environ["KERASFIT_CACHE"])
plan = "xla" if keras.backend.backend() == "tensorflow" else "loop"
print(kerasfit.fit(model, x, x[:, 0], batch_size=10, verbose=0, plan=plan).metrics["loss"])
if "later" in sys.argv:
    damage(os.environ["KERASFIT_CACHE"])
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_programs_that_are_not_whole_are_made_anew(tmp_path, backend):
    pytest.importorskip(backend)
    environment = os.environ | {"KERAS_BACKEND": backend, "KERASFIT_CACHE": str(tmp_path), "TF_XLA_FLAGS": ""}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)

    def train(when):
        code = [sys.executable, "-c", TRAIN, when]
        return subprocess.run(code, env=environment, capture_output=True, text=True, check=True)

    losses = [train("later")]
    left = sorted(tmp_path.glob("*/*/*cache*"))
    assert left and all(file.stat().st_size == 700 for file in left)
    losses.append(train("whole"))
    assert "persistent compilation cache" not in losses[-1].stderr
    assert sorted(tmp_path.glob("*/*/*cache*")) == left
    assert all(file.stat().st_size > 700 for file in left)
    if backend == "tensorflow":  # JAX itself goes on
        losses.append(train("now"))
    assert len({loss.stdout for loss in losses}) == 1


def test_a_message_ends_where_its_fields_do(tmp_path):
    file = tmp_path / "a.pb"
    message = b"\x08\x96\x01" + b"\x12\x03abc" + b"\x1d1234"  # a number, three bytes, four bytes
    for length in range(len(message) + 1):
        file.write_bytes(message[:length])
        assert cache.is_whole_message(file) == (length in (3, 8, 13))


def test_without_a_folder_nothing_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KERASFIT_CACHE", raising=False)
    assert not cache.remove_damaged()
    assert not list(tmp_path.iterdir())
