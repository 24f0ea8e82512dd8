"""A checkpoint is never lost, mixed with another run, or read from a file that somebody else made."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
import warnings
from pathlib import Path

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit.checkpoint import store
from kerasfit.checkpoint.random_state import get_random_states
from kerasfit.checkpoint.run_folder import RunFolder

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
Y = (X[:, :1] * X[:, 1:2]).astype("float32")
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


class Stop(BaseException):
    """Stops training as abruptly as a crash, but leaves the process alive."""


class Crash(keras.callbacks.Callback):
    """Simulates a crash at the beginning of an epoch or after a batch, or never."""

    def __init__(self, epoch=None, batch=None):
        super().__init__()
        self._at = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self._here = epoch + 1
        if self._at == (self._here, None):
            raise Stop

    def on_train_batch_end(self, batch, logs=None):
        if self._at == (self._here, batch + 1):
            raise Stop


def network(optimizer=None, **compiled):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(**{"optimizer": optimizer or keras.optimizers.Adam(0.01), "loss": "mse"} | compiled)
    return model


def train(folder, crash=None, *more, model=None, backup=None, **arguments):
    model = model or network()
    arguments = {"batch_size": 16, "epochs": 4, "verbose": 0} | arguments
    callbacks = [*more, crash or Crash(), kerasfit.BackupAndRestore(folder, **backup or {})]
    history = kerasfit.fit(model, X, Y, callbacks=callbacks, **arguments)
    return history, model


def crashed(folder, *more, epoch=3, batch=None, **arguments):
    with pytest.raises(Stop):
        train(folder, Crash(epoch, batch), *more, **arguments)
    return folder / "state.npz"


def weights(model):
    return [value.tolist() for value in model.get_weights()]


# ---- a backup is not lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["after epoch 3", "in epoch 3"])
def test_fewer_epochs_than_the_checkpoint_has_is_an_error_naming_both(tmp_path, stored):
    file = tmp_path / "state" / "state.npz"
    backup = {"save_freq": 1, "delete_checkpoint": False}
    if stored == "after epoch 3":
        train(tmp_path / "state", epochs=3, backup=backup)
    else:
        crashed(tmp_path / "state", batch=2, backup=backup)
    kept = file.read_bytes()
    model = network()
    before = weights(model)
    with pytest.raises(kerasfit.ArgumentError, match=f"`epochs` is 2, but .* saved {stored}") as error:
        train(tmp_path / "state", model=model, epochs=2, backup={"save_freq": 1})
    assert error.value.argument == "epochs"
    assert file.read_bytes() == kept
    assert weights(model) == before
    assert weights(train(tmp_path / "state", backup=backup)[1]) == weights(train(tmp_path / "other")[1])


def test_a_run_without_any_step_keeps_the_checkpoint(tmp_path):
    expected = train(tmp_path / "other")
    train(tmp_path / "state", epochs=3, backup={"delete_checkpoint": False})
    history, model = train(tmp_path / "state", epochs=3)
    assert history.epochs == [1, 2, 3]
    assert (tmp_path / "state" / "state.npz").exists()
    history, model = train(tmp_path / "state")
    assert history.metrics == expected[0].metrics
    assert weights(model) == weights(expected[1])
    assert not (tmp_path / "state").exists()


def test_a_run_whose_last_callback_fails_keeps_the_checkpoint(tmp_path):
    class Fails(keras.callbacks.Callback):
        fails = True

        def on_train_end(self, logs=None):
            if self.fails:
                raise RuntimeError("the disk of the user is full")

    last = Fails()
    with pytest.raises(RuntimeError):
        train(tmp_path / "state", None, last)
    assert (tmp_path / "state" / "state.npz").exists()
    last.fails = False
    _, model = train(tmp_path / "state", None, last)
    assert weights(model) == weights(train(tmp_path / "other")[1])


def test_files_and_folders_of_the_user_are_kept(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    names = ["writable", "state.npz.new", "notes.txt", "state.json"]
    for name in names:
        (folder / name).write_text("mine")
    train(folder, backup={"save_freq": 1})
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(names, "mine")
    empty = tmp_path / "empty"
    empty.mkdir()
    train(empty)
    assert empty.is_dir()
    train(tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("has_state", [False, True])
def test_double_checkpoint_does_not_overwrite_a_file_of_the_user(tmp_path, has_state):
    folder = tmp_path / "state"
    if has_state:
        crashed(folder)
    folder.mkdir(exist_ok=True)
    (folder / "previous.npz").write_text("mine")
    with pytest.raises(kerasfit.ArgumentError, match=r"previous\.npz was not written by kerasfit"):
        train(folder, backup={"save_freq": 1, "double_checkpoint": True})
    assert (folder / "previous.npz").read_text() == "mine"


@posix
def test_a_checkpoint_is_not_written_into_a_replacement_of_the_folder(tmp_path):
    other = tmp_path / "other"
    other.mkdir()

    class Swap(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                (tmp_path / "state").rename(tmp_path / "moved")
                (tmp_path / "state").symlink_to(other)

    with pytest.raises(kerasfit.KerasfitError, match="The folder has been replaced"):
        train(tmp_path / "state", None, Swap(), backup={"save_freq": 1})
    assert not list(other.iterdir())


@posix  # Windows cannot rename a folder with an open file in it
@pytest.mark.parametrize("before", ["the new file", "its last name"])
def test_a_folder_swapped_during_a_write_is_not_written_to(tmp_path, monkeypatch, before):
    folder, other = RunFolder(tmp_path / "state"), tmp_path / "other"
    other.mkdir()
    (other / "state.npz").write_text("of the user")

    def swap():
        folder.path.rename(tmp_path / "moved")
        folder.path.symlink_to(other)

    with contextlib.suppress(FileNotFoundError):
        if before == "the new file":
            swap()
        else:
            monkeypatch.setattr(store, "sync", lambda descriptor: swap())
        store.write_encoded(folder.state, "1", [], folder.previous, folder.descriptor)
    assert [file.name for file in other.iterdir()] == ["state.npz"]
    assert (other / "state.npz").read_text() == "of the user"
    folder.release()


def test_a_too_long_folder_name_is_an_argument_error(tmp_path):
    with pytest.raises(kerasfit.ArgumentError, match="cannot be written: File name too long"):
        train(tmp_path / ("x" * 300))


# ---- logs continue -------------------------------------------------------------------------------------


class Metrics(keras.callbacks.Callback):
    """Adds metrics named like columns of the log, and one that first appears in epoch 3."""

    def on_epoch_end(self, epoch, logs=None):
        logs |= {"seconds": 7.0, "epoch": 8.0} | ({"late": 9.0} if epoch == 2 else {})


def log_rows(file):
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "größe.csv"])
@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("save_freq", models.few(["epoch", 2], [2]))
def test_a_metrics_log_continues_as_in_an_uninterrupted_run(tmp_path, name, append, save_freq):
    def outcome(folder, crashes):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / name
        if append:
            first = kerasfit.MetricsLog(file)
            train(tmp_path / folder / "before", None, Metrics(), first, epochs=2)
        for crash in (*crashes, None):
            log = kerasfit.MetricsLog(file, append=append)
            backup = {"save_freq": save_freq}
            with contextlib.suppress(Stop):
                train(tmp_path / folder / "state", crash, Metrics(), log, backup=backup)
        rows = log_rows(file)
        for row in rows:
            assert float(row.pop("seconds")) >= 0
            assert float(row["seconds_metric"]) == 7
        return rows

    expected = outcome("plain", [])
    assert [int(row["epoch"]) for row in expected] == [1, 2] * append + [1, 2, 3, 4]
    assert outcome("state", [Crash(3, 1), Crash(4)]) == expected


@pytest.mark.parametrize("size", [None, 2**40, -1, "1"])
def test_a_csv_log_is_truncated_to_the_checkpoint_but_never_padded(tmp_path, size):
    log = tmp_path / "log.csv"
    train(tmp_path / "plain", None, keras.callbacks.CSVLogger(str(log)))
    expected = log.read_text()
    file = crashed(tmp_path / "state", keras.callbacks.CSVLogger(str(log)))
    if size is not None:
        forge(file, lambda state: state["callbacks"][0].update(size=size))
    logger = keras.callbacks.CSVLogger(str(log))
    train(tmp_path / "state", None, logger)
    assert log.stat().st_size < 2 * len(expected)
    assert size is not None or log.read_text() == expected
    assert logger.append is False


# ---- random numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_keras_generator", [False, True])
def test_a_backup_does_not_change_the_state_of_random_generators(tmp_path, has_keras_generator):
    def states(folder):
        keras.backend.clear_session()
        model = network()
        if has_keras_generator:
            keras.random.normal((1,))
        backup = [kerasfit.BackupAndRestore(folder, save_freq=2)] if folder else []
        kerasfit.fit(model, X, Y, validation_split=0.2, epochs=2, verbose=0, callbacks=[Crash(), *backup])
        return get_random_states(), numbers_of_backends()

    np.testing.assert_equal(states(tmp_path / "state"), states(None))


def numbers_of_backends():
    import tensorflow as tf

    of_torch = sys.modules["torch"].rand(3).numpy() if keras.backend.backend() == "torch" else None
    return of_torch, tf.random.uniform((3,)).numpy(), tf.random.get_global_generator().state.numpy()


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["random", "numpy"])
def test_data_generators_that_draw_random_numbers_resume_exactly(tmp_path, draw):
    def batches():
        while True:
            yield X[:8] * draw(), Y[:8]

    def run(folder, crash=None):
        keras.backend.clear_session()  # so that Keras has no global generator
        model = network()
        callbacks = [crash or Crash(), *([kerasfit.BackupAndRestore(folder)] if folder else [])]
        arguments = {"steps_per_epoch": 3, "epochs": 4, "verbose": 0}
        history = kerasfit.fit(model, batches(), callbacks=callbacks, **arguments)
        return history.metrics, weights(model)

    expected = run(None)
    with pytest.raises(Stop):
        run(tmp_path / "state", Crash(3))
    assert run(tmp_path / "state") == expected


def test_endless_validation_data_resume_where_they_were(tmp_path):
    def validation():
        number = 0
        while True:
            number += 1
            yield X[:4] + number, Y[:4]

    def run(folder, crash=None):
        plateau = keras.callbacks.ReduceLROnPlateau("val_loss", patience=1)
        arguments = {"validation_data": validation(), "validation_steps": 2, "validation_freq": 1}
        history, model = train(folder, crash, plateau, **arguments)
        return history.metrics, weights(model)

    expected = run(tmp_path / "plain")
    for crash in (Crash(2), Crash(4)):
        with pytest.raises(Stop):
            run(tmp_path / "state", crash)
    assert run(tmp_path / "state") == expected


# ---- what was changed ----------------------------------------------------------------------------------

SGD = keras.optimizers.SGD
CHANGES = {
    "beta_1 of the optimizer was 0.9 and is now 0.8": {
        "model": lambda: network(keras.optimizers.Adam(0.01, beta_1=0.8))
    },
    "clipnorm of the optimizer was not set and is now 1": {
        "model": lambda: network(keras.optimizers.Adam(0.01, clipnorm=1.0))
    },
    "class of the optimizer was Adam and is now RMSprop": {
        "model": lambda: network(keras.optimizers.RMSprop(0.01))
    },
    r"loss of the model's compile\(\) was mse and is now mae": {"model": lambda: network(loss="mae")},
    r"metrics of the model's compile\(\)": {"model": lambda: network(metrics=["mae"])},
    "delta of": {"model": lambda: network(loss=keras.losses.Huber(0.5))},
    "`validation_freq` was 1 and is now 2": {"validation_freq": 2},
    "`validation_steps` was not set and is now 1": {"validation_steps": 1},
    "the validation data are not the same": {"validation_data": (X[1:9], Y[1:9])},
    "the weights of the samples are not the same": {"sample_weight": np.arange(48.0)},
    "the number of validation samples was 8 and is now 7": {"validation_data": (X[:7], Y[:7])},
    "patience of the callback EarlyStopping was 3 and is now 4": {
        "more": keras.callbacks.EarlyStopping("loss", patience=4)
    },
    "monitor of the callback EarlyStopping was loss and is now val_loss": {
        "more": keras.callbacks.EarlyStopping("val_loss", patience=3)
    },
}


@pytest.mark.parametrize("difference", CHANGES)
def test_a_change_between_crash_and_resume_is_an_error_that_names_it(tmp_path, difference):
    loss = keras.losses.Huber(1.0) if difference == "delta of" else "mse"
    stopping = keras.callbacks.EarlyStopping("loss", patience=3)
    validation = {"validation_data": (X[:8], Y[:8])}
    file = crashed(tmp_path / "state", stopping, model=network(loss=loss), **validation)
    kept = file.read_bytes()
    change = validation | CHANGES[difference]
    model = change.pop("model", network)()
    before = weights(model)
    numbers = random.getstate()
    with pytest.raises(kerasfit.ArgumentError, match=difference) as error:
        train(tmp_path / "state", None, change.pop("more", stopping), model=model, **change)
    assert error.value.argument == "callbacks"
    assert (file.read_bytes(), weights(model), random.getstate()) == (kept, before, numbers)


@pytest.mark.parametrize("optimizer", [SGD, lambda rate: keras.optimizers.LossScaleOptimizer(SGD(rate))])
def test_another_learning_rate_is_an_error_and_can_be_allowed(tmp_path, optimizer):
    file = crashed(tmp_path / "state", model=network(optimizer(0.01)))
    with pytest.raises(kerasfit.ArgumentError, match=r"The learning rate is 0\.5, but 0\.0[01].*\"model\""):
        train(tmp_path / "state", model=network(optimizer(0.5)))
    kept = file.read_bytes()
    mine = {"model": network(optimizer(0.5)), "backup": {"learning_rate": "model"}}
    model = train(tmp_path / "state", **mine)[1]
    assert float(kerasfit.checkpoint.fingerprint.rate_variable(model.optimizer)) == 0.5
    file.parent.mkdir()
    file.write_bytes(kept)
    slow = train(tmp_path / "state", model=network(optimizer(0.01)))[1]
    assert weights(model) != weights(slow)


def test_a_schedule_instead_of_a_learning_rate_can_be_allowed(tmp_path):
    crashed(tmp_path / "state", model=network(SGD(0.01)))
    model = network(SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)))
    with pytest.raises(kerasfit.ArgumentError, match="The learning rate is"):
        train(tmp_path / "state", model=model)
    history, _ = train(tmp_path / "state", model=model, backup={"learning_rate": "model"})
    assert history.epochs == [1, 2, 3, 4]


def test_the_same_model_resumes_in_the_same_session_with_a_changed_rate(tmp_path):
    def callbacks():
        return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)]

    expected = train(tmp_path / "plain", None, *callbacks())
    model = network()
    crashed(tmp_path / "state", *callbacks(), model=model)
    history, model = train(tmp_path / "state", None, *callbacks(), model=model)
    assert history.metrics == expected[0].metrics
    assert weights(model) == weights(expected[1])


# ---- files that have been replaced or damaged ----------------------------------------------------------


@posix
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_checkpoint_that_is_not_a_regular_file_is_an_error_before_training(tmp_path, make):
    folder = tmp_path / "state"
    folder.mkdir()
    make(folder / "state.npz")
    with pytest.raises(kerasfit.ArgumentError, match=r"state\.npz is (not a regular file|a link)"):
        train(folder)
    assert [path.name for path in folder.iterdir()] == ["state.npz"]


def test_a_damaged_checkpoint_is_reported_and_the_previous_one_resumed(tmp_path):
    expected = train(tmp_path / "plain")
    backup = {"save_freq": 1, "double_checkpoint": True}
    file = crashed(tmp_path / "state", batch=2, backup=backup)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=r"state\.npz is damaged.*previous\.npz"):
        history, model = train(tmp_path / "state", backup=backup)
    assert history.metrics == expected[0].metrics
    assert weights(model) == weights(expected[1])
    assert not (tmp_path / "state").exists()


def forge(file, change):
    state = store.read(file)
    change(state)
    store.write(file, state)


def test_arguments_of_a_callback_are_never_read_from_the_file(tmp_path):
    class Mine(keras.callbacks.Callback):
        def __init__(self, target):
            super().__init__()
            self.target, self._path, self.count = str(target), Path(target), 0

        def on_epoch_end(self, epoch, logs=None):
            self.count += 1

    precious = tmp_path / "precious.keras"
    precious.write_text("mine")

    def callbacks():
        checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"), monitor="loss")
        return checkpoint, Mine(tmp_path / "mine"), keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))

    file = crashed(tmp_path / "state", *callbacks())
    paths = dict.fromkeys(["filepath", "filename", "target", "_path", "csv_file"], str(precious))
    others = dict.fromkeys(["on_epoch_end", "_model", "params", "__class__", "model", "save_freq"], 1)

    def change(state):
        for callback in state["callbacks"]:
            callback["attributes"] |= paths | others

    forge(file, change)
    checkpoint, mine, logger = callbacks()
    history, _ = train(tmp_path / "state", None, checkpoint, mine, logger)
    assert history.epochs == [1, 2, 3, 4]
    assert precious.read_text() == "mine"
    assert mine.count == 4
    assert (mine.target, checkpoint.save_freq) == (str(tmp_path / "mine"), "epoch")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(random={"numpy": 1}),
        lambda state: state["random"].update(python=(3, (1, 2), None)),
        lambda state: state.update(callbacks=[1]),
        lambda state: state.update(stage=None),
        lambda state: state.pop("variables"),
        lambda state: state.update(format=1),
    ],
)
def test_an_invalid_checkpoint_is_an_error_and_changes_nothing(tmp_path, change):
    file = crashed(tmp_path / "state")
    forge(file, change)
    model = network()
    before, numbers = weights(model), random.getstate()
    with pytest.raises(kerasfit.ArgumentError, match=r"not a checkpoint|no valid state of the random"):
        train(tmp_path / "state", model=model)
    assert (weights(model), random.getstate()) == (before, numbers)


def test_a_callback_that_lost_its_set_state_is_a_clear_error(tmp_path):
    class Mine(keras.callbacks.Callback):
        def get_state(self):
            return 1

        def set_state(self, state):
            pass

    class Other(keras.callbacks.Callback):
        pass

    Other.__name__ = "Mine"
    crashed(tmp_path / "state", Mine())
    with pytest.raises(
        kerasfit.ArgumentError, match=r"get_state\(\) of the callback Mine was True and is now False"
    ):
        train(tmp_path / "state", None, Other())
    del Mine.set_state
    with pytest.raises(kerasfit.ArgumentError, match=r"has a method get_state\(\), but no set_state\(\)"):
        train(tmp_path / "state", None, Mine())


def test_a_callback_state_that_cannot_be_stored_is_an_error_before_training(tmp_path):
    class Mine(keras.callbacks.Callback):
        def get_state(self):
            return {"model": [self]}

        def set_state(self, state):
            pass

    model = network()
    before = weights(model)
    with pytest.raises(
        kerasfit.ArgumentError, match=r"callback Mine cannot be saved: element \['model'\]\[0\]"
    ):
        train(tmp_path / "state", None, Mine(), model=model)
    assert weights(model) == before
    assert not (tmp_path / "state").exists()


@posix
def test_only_the_owner_can_read_the_folder_and_the_checkpoint(tmp_path):
    file = crashed(tmp_path / "state")
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.warns(UserWarning, match="Other users can write to the folder"):
        train(shared)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(shared)


@posix
def test_links_in_the_folder_are_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "state"
    folder.mkdir()
    for name in ("state.npz.new", "previous.npz.new", "state.json.new", "writable", ".kerasfit-x.tmp"):
        (folder / name).symlink_to(precious)
    train(folder, backup={"save_freq": 1})
    assert precious.read_text() == "mine"
    (folder / ".kerasfit-lock").symlink_to(precious)
    with pytest.raises(kerasfit.ArgumentError, match="cannot be written"):
        train(folder)
    assert precious.read_text() == "mine"


# ---- faults around a run -------------------------------------------------------------------------------

HOLD = """
import sys, time
import numpy as np
from kerasfit.checkpoint.run_folder import RunFolder
from pathlib import Path
folder = RunFolder(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_in_use_is_an_error_that_names_the_process(tmp_path):
    folder = tmp_path / "state"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLD, str(folder)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(kerasfit.ArgumentError, match=f"in use by process {holder.pid} on") as error:
            train(folder)
        assert error.value.argument == "callbacks"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    train(folder)  # the lock of a killed process does not count


def full_disk(monkeypatch, after=0):
    calls = []

    def fill_up(descriptor):
        calls.append(descriptor)
        if len(calls) > after:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)


def test_a_full_disk_does_not_fail_a_run_whose_checkpoint_would_be_deleted(tmp_path, monkeypatch):
    ended = []
    end = keras.callbacks.LambdaCallback(on_train_end=lambda logs: ended.append(True))

    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                full_disk(monkeypatch)

    history, _ = train(tmp_path / "state", None, end, Fill())
    assert history.epochs == [1, 2, 3, 4]
    assert ended == [True]


def test_a_final_checkpoint_that_cannot_be_stored_is_a_warning(tmp_path, monkeypatch):
    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                full_disk(monkeypatch)

    with pytest.warns(
        UserWarning, match="could not be saved .*No space left.*The previous checkpoint is still there"
    ):
        history, _ = train(tmp_path / "state", None, Fill(), backup={"delete_checkpoint": False})
    assert history.epochs == [1, 2, 3, 4]


@pytest.mark.parametrize("fault", ["full", "gone"])
def test_an_interrupt_reports_that_the_checkpoint_could_not_be_stored(tmp_path, monkeypatch, fault):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                if fault == "full":
                    full_disk(monkeypatch)
                else:
                    time.sleep(0.2)  # until the previous checkpoint has been written
                    for file in (tmp_path / "state").iterdir():
                        file.unlink()
                    (tmp_path / "state").rmdir()
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"The checkpoint could not be saved to .*state\.npz"):
        history, _ = train(tmp_path / "state", None, Interrupt())
    assert history.params["interrupted"]
    assert history.epochs == [1, 2]


@posix
def test_paths_the_locale_cannot_represent_are_an_error_that_says_so():
    script = (
        "import kerasfit\n"
        "for make in (kerasfit.BackupAndRestore, kerasfit.MetricsLog):\n"
        "    try:\n        make('gr\\u00f6\\u00dfe')\n"
        "    except kerasfit.ArgumentError as error:\n        print(error.argument, 'UTF-8' in str(error))\n"
    )
    environment = os.environ | {
        "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["backup_dir", "True", "filename", "True"]
