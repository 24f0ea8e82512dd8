"""A run that was killed, stopped or damaged resumes exactly where it ended, or says why it cannot."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit.checkpoint import store

X = np.random.default_rng(0).normal(size=(300, 10)).astype("float32")
Y = (X[:, :1] * X[:, 1:2]).astype("float32")
EPOCHS = 8


def network():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


class Stop(BaseException):
    """Stops training as abruptly as a crash, but leaves the process alive."""


class Crash(keras.callbacks.Callback):
    def __init__(self, epoch, batch=None):
        super().__init__()
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.here = epoch + 1 == self.epoch
        if self.here and self.batch is None:
            raise Stop

    def on_train_batch_end(self, batch, logs=None):
        if self.here and batch == self.batch:
            raise Stop


class Quiet(Crash):
    """The same callback for the backup's fingerprint and for the size of executions, but without a crash."""

    def __init__(self):
        super().__init__(0)


Quiet.__name__ = "Crash"


def callbacks(folder, crash=None, **options):
    return [
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", patience=1, min_delta=0.02),
        keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.9),
        keras.callbacks.CSVLogger(f"{folder}.csv"),
        crash or Quiet(),
        *([kerasfit.BackupAndRestore(folder, **options)] if options else []),
    ]


def outcome(folder, history, model):
    variables = [*model.variables, *model.optimizer.variables]
    return (
        [keras.ops.convert_to_numpy(variable.value).tobytes() for variable in variables],
        history.epochs,
        history.metrics,
        Path(f"{folder}.csv").read_text(encoding="utf-8"),
    )


def train(folder, crash=None, data=(X, Y), options=None, **backup):
    model = network()
    arguments = {"epochs": EPOCHS, "verbose": 0, "validation_split": 0.2} | (options or {})
    history = kerasfit.fit(model, *data, callbacks=callbacks(folder, crash, **backup), **arguments)
    return outcome(folder, history, model)


@functools.cache
def undisturbed():
    """Return the outcome of train() without a backup."""
    with tempfile.TemporaryDirectory() as folder:
        return train(f"{folder}/plain")


def resumed(folder, crashes, **arguments):
    for crash in crashes:
        with pytest.raises(Stop):
            train(folder, crash, **arguments)
    return train(folder, **arguments)


@pytest.mark.parametrize(
    "save_freq", models.few(["epoch", 1, 3, 8, 20], [3] if models.COMPILED else ["epoch", 3])
)
def test_a_crashed_run_resumes_to_the_result_of_an_uninterrupted_one(tmp_path, save_freq):
    expected = undisturbed()
    crashes = [Crash(2, 4), Crash(4), Crash(5, 1), Crash(5, 6)]
    assert resumed(tmp_path / "state", crashes, save_freq=save_freq) == expected
    assert not (tmp_path / "state").exists()


KINDS = models.few(
    [*models.KINDS, models.stateful],
    [models.unbuilt, models.batch_norm]
    if models.COMPILED
    else [models.unbuilt, models.batch_norm, models.recurrent, models.own_train_step, models.several_outputs],
)


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_every_kind_of_model_resumes(tmp_path, build):
    if build is models.stateful and keras.backend.backend() == "torch":
        pytest.skip("Keras cannot train one there")

    def train(folder, crash=None, seed=3):
        keras.utils.set_random_seed(seed)
        model, x, y = build()
        backup = kerasfit.BackupAndRestore(tmp_path / folder, save_freq=2)
        kerasfit.fit(model, x, y, batch_size=10, epochs=4, callbacks=[crash or Quiet(), backup], verbose=0)
        return [
            keras.ops.convert_to_numpy(variable.value)
            for variable in (*model.variables, *model.optimizer.variables)
        ]

    expected = train("plain")
    with pytest.raises(Stop):
        train("state", Crash(3, 2))
    for value, other in zip(train("state", seed=4), expected, strict=True):
        np.testing.assert_array_equal(value, other)


@models.full_where_compiled
@pytest.mark.parametrize(
    "steps_per_epoch, save_freq",
    models.few_pairs(list(itertools.product([3, 7, 11], ["epoch", 2])), [(3, "epoch"), (7, 2)]),
)
def test_epochs_that_end_within_a_pass_resume_within_it(tmp_path, steps_per_epoch, save_freq):
    arguments = {"options": {"steps_per_epoch": steps_per_epoch, "batch_size": 32}}
    expected = train(tmp_path / "plain", **arguments)
    crashes = [Crash(3, 1), Crash(6)]
    assert resumed(tmp_path / "state", crashes, save_freq=save_freq, **arguments) == expected


@models.full_where_compiled
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about XLA that takes over")
def test_validation_after_resuming_matches_an_uninterrupted_run(tmp_path):
    """By then XLA has taken over, for validation too."""
    x, y = np.tile(X, (40, 1)), np.tile(Y, (40, 1))
    expected = train(tmp_path / "plain", data=(x, y), options={"epochs": 5})
    arguments = {"data": (x, y), "options": {"epochs": 5}}
    assert resumed(tmp_path / "state", [Crash(5)], save_freq=300, **arguments) == expected


class Dataset(keras.utils.PyDataset):
    def __len__(self):
        return 8

    def __getitem__(self, number):
        rows = slice(number * 30, number * 30 + 30)
        return X[rows], Y[rows]


def random_batches():
    while True:
        rows = np.random.randint(0, 300, 16)
        yield X[rows], Y[rows]


def batch_or_none():
    """Return a function that ends a pass after five random batches."""
    count = 0

    def batch():
        nonlocal count
        count += 1
        if count == 6:
            count = 0
            return None
        rows = np.random.randint(0, 300, 16)
        return X[rows], Y[rows]

    return batch


@models.full_where_compiled
@pytest.mark.parametrize("save_freq", models.few(["epoch", 2], [2]))
@pytest.mark.parametrize(
    "source", [Dataset, random_batches, batch_or_none], ids=lambda source: source.__name__
)
def test_datasets_and_generators_are_replayed_to_where_they_were(tmp_path, source, save_freq):
    options = {"validation_split": 0.0, "validation_data": (X, Y)}
    if source is not Dataset:
        options["steps_per_epoch"] = 5 if source is random_batches else -1

    def run(name, crash=None, **backup):
        return train(tmp_path / name, crash, data=(source(),), options=options, **backup)

    expected = run("plain")
    for crash in (Crash(2, 3), Crash(4), Crash(6, 1)):
        with pytest.raises(Stop):
            run("state", crash, save_freq=save_freq)
    assert run("state", save_freq=save_freq) == expected


@pytest.mark.parametrize(
    "save_freq", models.few(["epoch", 1, 2, 3, 4, 5], [2] if models.COMPILED else ["epoch", 2, 5])
)
def test_background_steps_are_all_in_the_checkpoint_and_the_history(tmp_path, save_freq):
    def batches(crash_at):
        for number in range(15):
            if number == crash_at:
                raise Stop
            rows = np.random.randint(0, 300, 16)
            yield X[rows], Y[rows]

    def run(folder=None, crash_at=None):
        model = network()
        backup = [kerasfit.BackupAndRestore(folder, save_freq=save_freq)] if folder else []
        data = batches(crash_at)
        history = kerasfit.fit(
            model, data, epochs=3, steps_per_epoch=5, validation_data=(X, Y), callbacks=backup, verbose=0
        )
        return history.metrics, [variable.tobytes() for variable in model.get_weights()]

    expected = run()
    assert run(tmp_path / "whole") == expected
    for crash_at in (4, 7, 14):
        with pytest.raises(Stop):
            run(tmp_path / "state", crash_at)
    assert run(tmp_path / "state") == expected


def test_tensorflow_datasets_resume_within_a_pass(tmp_path):
    tf = pytest.importorskip("tensorflow")

    def run(name, crash=None, **backup):
        data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
        options = {"validation_split": 0.0, "validation_data": (X, Y)}
        return train(tmp_path / name, crash, data=(data,), options=options, **backup)

    expected = run("plain")
    with pytest.raises(Stop):
        run("state", Crash(2, 6), save_freq=3)
    assert run("state", save_freq=3) == expected


SCRIPT = """
import random, sys
import keras
import test_backup
folder = sys.argv[1]
test_backup.EPOCHS = 40
result = test_backup.train(folder, save_freq=random.choice(["epoch", 5]))
sys.stdout.write(" ".join(str(hash(str(part))) for part in result))
"""


def train_in_process(folder, timeout=None):
    """Train with a backup in a new process and return its output, or None if it is killed at the timeout."""
    python_path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": python_path, "PYTHONHASHSEED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        printed, errors = process.communicate(timeout=timeout)
        assert process.returncode == 0, errors
        return printed
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return None


@pytest.mark.full
def test_a_process_killed_at_any_time_can_be_resumed(tmp_path):
    kills = int(os.environ.get("KERASFIT_SOAK", 2))
    began = time.perf_counter()
    expected = train_in_process(tmp_path / "whole")
    seconds = time.perf_counter() - began
    chance = random.Random(1)
    killed = runs = 0

    def run(timeout=None):
        # Without a checkpoint it is a new run, even if the previous one was killed just before it could print
        # its end.
        if not (tmp_path / "state" / "state.npz").exists():
            (tmp_path / "state.csv").unlink(missing_ok=True)
        return train_in_process(tmp_path / "state", timeout=timeout)

    while killed < kills:
        result = run(timeout=seconds * chance.uniform(0.6, 1.05))
        killed += result is None
        runs += result is not None
        assert result in (None, expected)
    assert run() == expected
    print(f"{killed} processes killed; all {runs + 1} that ended were as one that ran through")


@models.full_where_compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.parametrize("call, which", [("fsync", 1), ("replace", 1), ("replace", 2), ("fsync", 2)])
def test_a_process_killed_during_a_write_leaves_intact_files(tmp_path, call, which):
    file, previous = tmp_path / "state.npz", tmp_path / "previous.npz"
    for number in (1, 2):
        store.write(file, {"number": number}, previous)
    child = os.fork()
    if not child:  # it must never return to pytest
        try:
            function, calls = getattr(os, call), []

            def dying(*args, **options):
                calls.append(args)
                if len(calls) == which:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **options)

            setattr(os, call, dying)
            store.write(file, {"number": 3}, previous)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    found = {path.name: store.read(path)["number"] for path in (file, previous) if path.exists()}
    old, new = {"state.npz": 2, "previous.npz": 1}, {"state.npz": 3, "previous.npz": 2}
    assert found in (old, new, {"previous.npz": 2})
    store.write(file, {"number": 4}, previous)
    assert store.read(file) == {"number": 4}


@models.full_where_compiled
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="jax has one optimizer in a train step")
@pytest.mark.parametrize("save_freq", ["epoch", 3])
def test_a_train_step_with_its_own_optimizers_resumes(tmp_path, save_freq):
    class TwoOptimizers(keras.Sequential):
        def compile(self, **optimizers):
            super().compile(loss="mse")
            self.optimizers = optimizers

        def train_step(self, data):
            x, y = data
            halves = (self.trainable_variables[:2], self.trainable_variables[2:])
            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                with tf.GradientTape(persistent=True) as tape:
                    loss = self.compute_loss(x, y, self(x, training=True))
                gradients = [tape.gradient(loss, half) for half in halves]
            else:
                self.zero_grad()
                loss = self.compute_loss(x, y, self(x, training=True))
                loss.backward()
                gradients = [[variable.value.grad for variable in half] for half in halves]
            for optimizer, *step in zip(self.optimizers.values(), gradients, halves, strict=True):
                if keras.backend.backend() == "torch":
                    import torch

                    with torch.no_grad():
                        optimizer.apply(*step)
                else:
                    optimizer.apply(*step)
            return {"loss": loss}

    def ends(folder, crash=None):
        keras.utils.set_random_seed(3)
        model = TwoOptimizers([keras.Input((10,)), keras.layers.Dense(8), keras.layers.Dense(1)])
        model.compile(first=keras.optimizers.Adam(0.01), second=keras.optimizers.SGD(0.01, momentum=0.9))
        backup = kerasfit.BackupAndRestore(folder, save_freq=save_freq)
        kerasfit.fit(model, X, Y, epochs=4, callbacks=[crash or Quiet(), backup], verbose=0)
        return model.get_weights()

    expected = ends(tmp_path / "whole")
    with pytest.raises(Stop):
        ends(tmp_path / "state", Crash(3, 5))
    for weights, value in zip(ends(tmp_path / "state"), expected, strict=True):
        np.testing.assert_array_equal(weights, value)


# ---- runs that cannot be resumed -----------------------------------------------------------------------


def crashed(folder, **backup):
    with pytest.raises(Stop):
        train(folder, Crash(4), **{"save_freq": "epoch"} | backup)
    return folder / "state.npz"


OTHERS = {
    "`batch_size` was 32 and is now 16": {"options": {"batch_size": 16}},
    "`shuffle` was True and is now False": {"options": {"shuffle": False}},
    "`initial_epoch` was 1 and is now 2": {"options": {"initial_epoch": 2}},
    "the number of samples was 240 and is now 80": {"data": (X[:100], Y[:100])},
    "the data are not the same": {"data": (X, np.concatenate([Y[:7], Y[7:8] + 1, Y[8:]]))},
    "the validation data are not the same": {
        "data": (X[:240], Y[:240]),
        "options": {"validation_split": 0.0, "validation_data": (X[240:], Y[240:] + 1)},
    },
}


@models.full_where_compiled
@pytest.mark.parametrize("fault", OTHERS)
def test_the_checkpoint_of_another_run_is_rejected(tmp_path, fault):
    kept = crashed(tmp_path / "state").read_bytes()
    with pytest.raises(kerasfit.ArgumentError, match=fault) as error:
        train(tmp_path / "state", save_freq="epoch", **OTHERS[fault])
    assert error.value.argument == "callbacks"
    assert (tmp_path / "state" / "state.npz").read_bytes() == kept


@models.full_where_compiled
def test_a_checkpoint_of_another_model_or_other_callbacks_is_rejected(tmp_path):
    crashed(tmp_path / "state")
    backup = kerasfit.BackupAndRestore(tmp_path / "state")
    with pytest.raises(kerasfit.ArgumentError, match=r"`callbacks` was EarlyStopping, .* and is now none"):
        kerasfit.fit(network(), X, Y, validation_split=0.2, callbacks=backup, verbose=0)
    wider = keras.Sequential([keras.Input((10,)), keras.layers.Dense(9), keras.layers.Dense(1)])
    wider.compile("adam", "mse")
    before = wider.get_weights()
    with pytest.raises(kerasfit.ArgumentError, match="the model's layers are not the same"):
        kerasfit.fit(
            wider, X, Y, validation_split=0.2, callbacks=callbacks(tmp_path / "state", save_freq="epoch")
        )
    for old, new in zip(before, wider.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@models.full_where_compiled
@pytest.mark.parametrize(
    "activation, compiled, what",
    [
        ("tanh", {}, "the model's layers are not the same"),
        ("relu", {"loss": "mae"}, r"loss of the model's compile\(\) was mse and is now mae"),
        ("relu", {"metrics": ["mse"]}, r"metrics of the model's compile\(\) was mae and is now mse"),
    ],
)
def test_a_different_model_with_the_same_variables_is_rejected(tmp_path, activation, compiled, what):
    crashed(tmp_path / "state")
    model = network()
    model.layers[0].activation = keras.activations.get(activation)
    model.compile(**{"optimizer": "adam", "loss": "mse", "metrics": ["mae"]} | compiled)
    backup = callbacks(tmp_path / "state", save_freq="epoch")
    with pytest.raises(kerasfit.ArgumentError, match=what):
        kerasfit.fit(model, X, Y, validation_split=0.2, callbacks=backup)


@models.full_where_compiled
@pytest.mark.parametrize("damage", ["cut", "foreign", "flipped", "empty"])
def test_a_damaged_checkpoint_is_reported_and_left_unchanged(tmp_path, damage):
    file = crashed(tmp_path / "state")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b'"format"')] ^= 1  # in a value; not every byte of the file is significant
    spoilt = {"cut": whole[:-100], "foreign": b"something else", "flipped": bytes(flipped), "empty": b""}
    file.write_bytes(spoilt[damage])
    with pytest.raises(kerasfit.ArgumentError, match="damaged"):
        train(tmp_path / "state", save_freq="epoch")
    assert file.read_bytes() == spoilt[damage]


@models.full_where_compiled
def test_with_two_checkpoints_the_previous_one_replaces_a_damaged_one(tmp_path):
    expected = undisturbed()
    file = crashed(tmp_path / "state", save_freq=8, double_checkpoint=True)
    file.write_bytes(b"")
    assert train(tmp_path / "state", save_freq="epoch", double_checkpoint=True)[:3] == expected[:3]


@models.full_where_compiled
def test_a_relative_folder_is_resolved_once(tmp_path, monkeypatch):
    class Move(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            os.chdir(tmp_path if epoch == 1 else "/")

    monkeypatch.chdir(tmp_path)
    backup = kerasfit.BackupAndRestore("state", delete_checkpoint=False)
    kerasfit.fit(network(), X, Y, epochs=3, callbacks=[Move(), backup, kerasfit.MetricsLog("log")], verbose=0)
    assert (tmp_path / "state" / "state.npz").exists()
    assert len((tmp_path / "log").read_text().splitlines()) == 4


@models.full_where_compiled
def test_an_unwritable_folder_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(kerasfit.ArgumentError, match="cannot be written"):
            train(folder, save_freq="epoch")


@models.full_where_compiled
def test_a_full_disk_ends_training_and_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    expected = undisturbed()
    kept = crashed(tmp_path / "state").read_bytes()

    def fill_up(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_up)
        with pytest.raises(kerasfit.KerasfitError, match="No space left on device"):
            train(tmp_path / "state", save_freq=1)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["state.npz"]
    assert (tmp_path / "state" / "state.npz").read_bytes() == kept
    assert train(tmp_path / "state", save_freq="epoch")[:3] == expected[:3]


@models.full_where_compiled
def test_a_completed_run_with_a_kept_checkpoint_can_be_extended(tmp_path):
    folder = tmp_path / "state"
    model = network()
    whole = kerasfit.fit(model, X, Y, epochs=6, verbose=0)
    backup = {"delete_checkpoint": False}
    part, rest = network(), network()
    kerasfit.fit(part, X, Y, epochs=4, verbose=0, callbacks=kerasfit.BackupAndRestore(folder, **backup))
    history = kerasfit.fit(
        rest, X, Y, epochs=6, verbose=0, callbacks=kerasfit.BackupAndRestore(folder, **backup)
    )
    assert history.metrics == whole.metrics
    for old, new in zip(model.get_weights(), rest.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@models.full_where_compiled
def test_a_callback_can_define_its_own_state(tmp_path):
    class Counter(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen = {}

        def on_epoch_end(self, epoch, logs=None):
            self.seen[epoch] = object()

        def get_state(self):
            return list(self.seen)

        def set_state(self, state):
            self.seen = dict.fromkeys(state)

    def run(crash):
        counter = Counter()
        backup = kerasfit.BackupAndRestore(tmp_path / "state")
        with contextlib.suppress(Stop):
            kerasfit.fit(network(), X, Y, epochs=5, verbose=0, callbacks=[counter, crash, backup])
        return list(counter.seen)

    assert run(Crash(3)) == [0, 1]
    assert run(Quiet()) == [0, 1, 2, 3, 4]
