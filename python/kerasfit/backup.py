"""The state of a run in a folder, from which another process goes on exactly where this one stopped."""

from __future__ import annotations

import json
import math
import random
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasfit import arguments, keras_private, store
from kerasfit.callback_state import give_state, plain_attributes, state_of
from kerasfit.engines import Engine
from kerasfit.errors import ArgumentError, StateError
from kerasfit.history import History
from kerasfit.sources import (
    ArraySource,
    Batch,
    BatchStream,
    DatasetSource,
    IteratorSource,
    Source,
    Stream,
)
from kerasfit.tensors import numbers, to_backend
from kerasfit.variables import all_variables, own_optimizers

FORMAT = 1
CHECKSUM = "the checksum of "
CHECKED_BYTES = 2**26  # of each array
SHARE = 0.015  # of the time, that storing may take: half of what users are told, as it slows steps too


class BackupAndRestore(keras.callbacks.Callback):
    """Keeps the state of a run in a folder, and lets ``fit()`` go on from there after a crash of any kind.

    If the folder has a state when ``fit()`` begins, training continues from it, and the final weights,
    optimizer and history are those of a run that was never interrupted, bit for bit on the same machine:
    with shuffling, dropout, callbacks and validation. Stored are all variables of model, optimizer and
    metrics, the states of random generators, the order of the samples, the history, and the state of
    callbacks: what ``get_state()`` of a callback returns, which ``set_state()`` gets back; or else those of
    its attributes that are plain values and have changed since training began.

    A ``PyDataset`` or a ``tf.data.Dataset`` that gives the same batches at each pass, and a generator that
    starts anew in the new process, are exact too: the batches that the current pass has had are drawn again
    and dropped. What a generator keeps elsewhere, and the order of a dataset that shuffles itself, cannot be
    restored.

    Parameters
    ----------
    backup_dir
        The folder, made if it is not there. It is for one run.
    save_freq
        "epoch": after epochs, but not after all if they are so short that storing would take more than 3 % of
        the time. Or a number of steps after which the state is stored.
    double_checkpoint
        Whether to keep the state before the last one too, for the case that the disk damages the last one.
    delete_checkpoint
        Whether to delete the state when training has ended by itself.
    session
        An object with ``get_state()`` and ``set_state(bytes)``, for what else belongs to a run: R's random
        seed.

    Raises
    ------
    ArgumentError
        By ``fit()``, before the first step, if the folder has a state that is damaged or that of another run:
        another model, other data, another batch size; or if it cannot be written.
    StateError
        If the state cannot be stored later, as on a full disk. The state before is still there.
    """

    def __init__(
        self,
        backup_dir: str,
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        session: Any = None,
    ):
        super().__init__()
        if not isinstance(backup_dir, (str, Path)) or not str(backup_dir):
            described = arguments.describe(backup_dir)
            raise ArgumentError("backup_dir", f"`backup_dir` must be the path of a folder, not {described}.")
        self.backup_dir = Path(backup_dir).expanduser().absolute()
        self.steps = (
            None if save_freq == "epoch" else arguments.whole_number("save_freq", save_freq, minimum=1)
        )
        self.double_checkpoint = arguments.flag("double_checkpoint", double_checkpoint)
        self.delete_checkpoint = arguments.flag("delete_checkpoint", delete_checkpoint)
        self.session = session

    @property
    def file(self) -> Path:
        return self.backup_dir / "state.npz"

    @property
    def previous_file(self) -> Path:
        return self.backup_dir / "previous.npz"


def backup_among(callbacks: list[keras.callbacks.Callback]) -> BackupAndRestore | None:
    """The one of the callbacks that keeps the state of the run, if any."""
    found = [callback for callback in callbacks if isinstance(callback, BackupAndRestore)]
    if len(found) > 1:
        raise ArgumentError("callbacks", "`callbacks` has two that keep the state of the run: one is enough.")
    return found[0] if found else None


class Backup:
    """Stores the state of one run, and restores it.

    Parameters
    ----------
    settings
        What the user asked for.
    engine, stream, callbacks, history
        The parts of the run. Its epoch is in the attribute ``epoch``.
    run
        What must be the same when the run goes on: names, as errors call them, and plain values.
    """

    def __init__(
        self,
        settings: BackupAndRestore,
        engine: Engine,
        stream: Stream,
        callbacks: list[keras.callbacks.Callback],
        history: History,
        run: dict[str, Any],
    ):
        self._began = time.monotonic()
        self.settings = settings
        self.engine = engine
        self.stream = stream
        self.history = history
        self.callbacks = [callback for callback in callbacks if callback is not settings]
        self.run = run | {"callbacks": [type(callback).__name__ for callback in self.callbacks]}
        self._at_first = [plain_attributes(callback) for callback in self.callbacks]
        self.epoch = 0
        self._unsaved = 0
        self._writer = store.Writer()
        self._saved, self._seconds = False, 0.0  # whether a state has been stored, how long all took
        self._make_folder()
        self.found = self._find()
        self._random = self._go_to_batch()

    # ---- storing -----------------------------------------------------------------------------------

    def steps_until_due(self) -> int | None:
        """How many steps may be made before the state is to be stored; None if that is after the epoch."""
        return None if self.settings.steps is None else max(1, self.settings.steps - self._unsaved)

    def due_after(self, steps: int, *, now: bool) -> bool:
        """Whether to store the state, ``now`` or because it is time, after so many steps more in an epoch."""
        self._unsaved += steps
        return now or (self.settings.steps is not None and self._unsaved >= self.settings.steps)

    def epoch_end(self, logs: dict[str, Any]) -> None:
        """An epoch is over, its callbacks and its row in the history too; store the state if it is time."""
        spent, elapsed = self._seconds + self._writer.seconds, time.monotonic() - self._began
        if self.settings.steps is None and (not self._saved or spent <= SHARE * elapsed):
            self.save(logs, inside=False)

    def save(self, logs: dict[str, Any], *, inside: bool) -> None:
        """Store the state of the run: after an epoch, or ``inside`` one after some of its steps."""
        began = time.monotonic()
        self.engine.sync()
        self._unsaved = 0
        state = {
            "format": FORMAT,
            "run": self.run,
            "epoch": self.epoch,
            "inside": inside,
            "stopped": bool(self.engine.model.stop_training),
            "logs": plain(numbers(logs)),
            "history": {
                "epochs": self.history.epochs,
                "metrics": self.history.metrics,
                "seconds": self.history.seconds,
            },
            "variables": [
                keras.ops.convert_to_numpy(variable.value) for variable in all_variables(self.engine.model)
            ],
            "stream": self.stream.state(inside=inside),
            "callbacks": [
                state_of(callback, first)
                for callback, first in zip(self.callbacks, self._at_first, strict=True)
            ],
            "engine": self.engine.state(),
            "random": self._random_states(),
        }
        previous = self.settings.previous_file if self.settings.double_checkpoint else None
        with self._stored():
            self._writer.write(self.settings.file, state, previous)
        self._saved = True
        self._seconds += time.monotonic() - began

    @contextmanager
    def _stored(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(
                f"The state could not be stored in {self.settings.file}: {error.strerror or error}.",
                argument="callbacks",
                hint="The state before is still there: fit() can go on from it."
                if self.settings.file.exists()
                else None,
            ) from error

    def close(self) -> None:
        """Training has ended in whatever way: let the last state get to the disk."""
        with suppress(OSError):
            self._writer.finish()
        self._writer.close()

    def end(self, logs: dict[str, Any]) -> None:
        """Training has ended by itself; the state is not needed any more, or is the last one."""
        if not self.settings.delete_checkpoint:
            self.save(logs, inside=False)
        with self._stored():
            self._writer.finish()
        if self.settings.delete_checkpoint:
            for file in (self.settings.file, self.settings.previous_file):
                file.unlink(missing_ok=True)
            with suppress(OSError):  # something of somebody else's is there
                self.settings.backup_dir.rmdir()

    # ---- restoring ---------------------------------------------------------------------------------

    def _go_to_batch(self) -> dict[str, Any]:
        """Go to where the stream was, before others draw from it: the states of random generators then.

        What is drawn once more and dropped, random generators may have had a part in; they are set after it.
        """
        if self.found:
            self.stream.restore(self.found["stream"])
            self._set_random_states(self.found["random"])
            if isinstance(self.stream, BatchStream):
                self.stream.peek()
        return self._random_states()

    def check_variables(self) -> None:
        """See whether the state found is one of this model, which has all its variables then."""
        if (batch := self.stream.peek() or some_batch(self.stream.source)) is not None:
            keras_private.build_state(self.engine.model, to_backend(tuple(batch)))
        for optimizer in own_optimizers(self.engine.model):
            if not optimizer.built:  # by its first step, which may come after the state is restored
                optimizer.build(self.engine.model.trainable_variables)
        values = [variable.value for variable in all_variables(self.engine.model)]
        shapes = [(tuple(value.shape), keras.backend.standardize_dtype(value.dtype)) for value in values]
        if self.found and shapes != [(value.shape, value.dtype.name) for value in self.found["variables"]]:
            raise self._of_another_run("the variables of the model and its optimizer have other shapes there")

    def reopen_files(self) -> None:
        """Before callbacks are told that training begins: let files that they write go on."""
        for callback, state in zip(self.callbacks, self.found["callbacks"], strict=True):
            if isinstance(callback, keras.callbacks.CSVLogger):
                callback.append = True
                with suppress(OSError), open(callback.filename, "r+b") as file:
                    if state["size"] is not None:
                        file.truncate(state["size"])

    def restore(self) -> None:
        """Make all as it was when the state was stored."""
        found = self.found
        self.engine.sync()
        for variable, value in zip(all_variables(self.engine.model), found["variables"], strict=True):
            variable.assign(value)
        for callback, state in zip(self.callbacks, found["callbacks"], strict=True):
            give_state(callback, state)
        self.history.epochs[:] = found["history"]["epochs"]
        self.history.metrics.update(found["history"]["metrics"])
        self.history.seconds[:] = found["history"]["seconds"]
        self.engine.model.stop_training = found["stopped"]
        self.engine.restore(found["engine"])
        self._set_random_states(self._random)

    def _find(self) -> dict[str, Any] | None:
        """The state in the folder, if there is one of this run."""
        damaged = None
        for file in (self.settings.file, self.settings.previous_file):
            try:
                state = store.read(file)
                if not isinstance(state, dict) or state.get("format") != FORMAT:
                    raise store.Damaged
            except FileNotFoundError:
                continue
            except store.Damaged:
                damaged = file
                continue
            self._check(state)
            return state
        if damaged is not None:
            raise ArgumentError(
                "callbacks",
                f"The file {damaged} is damaged, or no state of a run that kerasfit has stored.",
                "Delete it to begin anew.",
            )
        return None

    def _check(self, state: dict[str, Any]) -> None:
        for name, value in self.run.items():
            if (stored := state["run"].get(name)) != value:
                what = name.removeprefix(CHECKSUM)
                raise self._of_another_run(
                    f"{name} was {in_words(stored)} there and is {in_words(value)} here"
                    if what == name
                    else f"{what} were others there"
                )

    def _of_another_run(self, how: str) -> ArgumentError:
        return ArgumentError(
            "callbacks",
            f"{self.settings.file} has the state of another run: {how}.",
            f"Delete the folder {self.settings.backup_dir} to begin anew, or give this run one of its own.",
        )

    # ---- parts of the state ------------------------------------------------------------------------

    def _random_states(self) -> dict[str, Any]:
        name, *state = np.random.get_state()
        session = self.settings.session
        return {
            "numpy": (name, *state),
            "python": random.getstate(),
            "keras": keras.ops.convert_to_numpy(keras_private.global_seed().value),
            "session": None if session is None else bytes(session.get_state()),
        }

    def _set_random_states(self, states: dict[str, Any]) -> None:
        np.random.set_state(states["numpy"])
        random.setstate(states["python"])
        keras_private.global_seed().assign(states["keras"])
        if self.settings.session is not None and states["session"] is not None:
            self.settings.session.set_state(states["session"])

    def _make_folder(self) -> None:
        folder = self.settings.backup_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            store.write(folder / "writable", None)
            (folder / "writable").unlink()
        except OSError as error:
            raise ArgumentError(
                "callbacks",
                f"The folder {folder} cannot be written: {error.strerror or error}.",
                "Give `backup_dir` another folder.",
            ) from error


def some_batch(source: Source) -> Batch | None:
    """A batch that may have been drawn before."""
    if isinstance(source, IteratorSource):
        return source.example
    return next(iter(source), None) if isinstance(source, DatasetSource) else source.batch(None, 0)


def facts_of(
    model: keras.Model,
    source: Source,
    validation: Source | None,
    *,
    steps_per_epoch: int | None,
    initial_epoch: int,
) -> dict:
    """What must be the same when a run goes on."""
    return {
        "the backend": keras.backend.backend(),
        CHECKSUM + "the model's layers": checksum_of_config(
            lambda: keras.saving.serialize_keras_object(model) | {"compile_config": None}
        ),
        CHECKSUM + "loss and metrics": checksum_of_config(
            lambda: model.get_compile_config() | {"optimizer": None}
        ),
        "the optimizer": type(model.optimizer).__name__,
        "batch_size": source.batch_size,
        "steps_per_epoch": steps_per_epoch,
        "initial_epoch": initial_epoch,
        "shuffle": isinstance(source, ArraySource) and source.shuffling.seed is not None,
        "the number of samples": source.samples,
        CHECKSUM + "the data": checksum(source),
        CHECKSUM + "the validation data": checksum(validation),
    }


def checksum(source: Source | None) -> int | None:
    """A number that is likely to be another one for other arrays: of all rows, or some that are spread."""
    if not isinstance(source, ArraySource):
        return None
    value = 0
    for leaf in keras.tree.flatten(source.data):
        if leaf is not None:
            rows = max(1, CHECKED_BYTES // (leaf.dtype.itemsize * math.prod(leaf.shape[1:])))
            chosen = np.linspace(0, source.samples - 1, min(rows, source.samples)).astype(int)
            value = zlib.crc32(np.ascontiguousarray(leaf[chosen]), value)
    return value


def checksum_of_config(config: Callable[[], Any]) -> int | None:
    """The same for what Keras can say of a model, without the numbers that make automatic names unique."""
    with suppress(Exception):  # of a model, loss or metric of the user's that has no configuration
        text = json.dumps(config(), sort_keys=True, default=lambda value: type(value).__name__)
        return zlib.crc32(re.sub(r'_\d+"', '"', text).encode())
    return None


def in_words(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def plain(logs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in logs.items() if store.is_plain(value)}
