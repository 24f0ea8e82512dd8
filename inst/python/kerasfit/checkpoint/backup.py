"""Decides when the checkpoint of a run is saved and when it is deleted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import keras

from kerasfit.callbacks.progress_style import ProgressStyle
from kerasfit.checkpoint import resume, store
from kerasfit.checkpoint.callback_state import continued_logs
from kerasfit.checkpoint.random_state import set_random_states
from kerasfit.checkpoint.resume import StoredRun, find_state
from kerasfit.checkpoint.run_folder import RunFolder
from kerasfit.checkpoint.run_state import Position, RunState
from kerasfit.checkpoint.settings import BackupAndRestore
from kerasfit.engines import Engine
from kerasfit.errors import KerasfitError, StateError
from kerasfit.history import History
from kerasfit.logs import Logs
from kerasfit.sources import BatchStream, IteratorSource, Stream

MAX_TIME_SHARE = 0.015  # of the run's time, for saving: half of the documented 3 %, as saving slows steps too


class Backup:
    """Saves checkpoints of one run, and finds the checkpoint from which the run resumes.

    Parameters
    ----------
    settings
        The user's settings.
    engine, stream, validation, callbacks, history
        The parts of the run.
    fingerprint
        Called with the callbacks that have a state; returns the properties that must not change when the run
        is resumed.
    epochs
        The last epoch to train.

    Attributes
    ----------
    found
        The checkpoint from which the run resumes, if any.
    in_step
        Whether a step may be half done, so that no state can be saved.

    Raises
    ------
    ArgumentError
        If the folder cannot be used, or has a checkpoint that is damaged or belongs to another run.
    """

    def __init__(
        self,
        settings: BackupAndRestore,
        engine: Engine,
        stream: Stream,
        validation: Stream | None,
        callbacks: Sequence[keras.callbacks.Callback],
        history: History,
        fingerprint: Callable[[list[keras.callbacks.Callback]], dict[str, Any]],
        epochs: int,
    ):
        self._began = time.monotonic()
        self.settings = settings
        self._epochs = epochs
        callbacks = [each for each in callbacks if not isinstance(each, (BackupAndRestore, ProgressStyle))]
        self.run = RunState(engine, stream, validation, callbacks, history, settings.session)
        self._fingerprint = fingerprint(callbacks)
        self._random_at_first = self.run.random_states()
        self._position: Position | None = None
        self.in_step = False
        self._is_stored = True  # whether the state at this position is saved
        self._steps = self._unsaved = 0
        self._has_saved, self._seconds = False, 0.0  # how long all saving took
        self._is_released = False
        self._writer = store.Writer()
        self.folder = RunFolder(settings.backup_dir)
        self.found: StoredRun | None = None
        try:
            self.found = find_state(self.folder, self.run, settings)
            if self.found:
                self.found.check(self._fingerprint, epochs)
                self.found.restore_data()
        except BaseException:
            self.abandon()
            raise

    # ---- the beginning -----------------------------------------------------------------------------

    def check_variables(self) -> None:
        """Create the variables of the model, and check that the checkpoint has values for them."""
        resume.build(self.run)
        if self.found:
            self.found.check_variables()

    @contextmanager
    def continuing_logs(self) -> Iterator[None]:
        """Let callbacks continue their log files; the block calls their ``on_train_begin``.

        Raises
        ------
        ArgumentError
            After the block, if the state of a callback cannot be saved.
        """
        states = self.found and self.found.state["callbacks"]
        with continued_logs(self.run.callbacks, states) if states else nullcontext():
            yield
        self.run.callback_states()

    # ---- the position of the run -------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """Where the run is; known once training has begun."""
        assert self._position is not None
        return self._position

    def set_position(self, position: Position) -> None:
        """Record that the run is at a position from which it can be resumed."""
        self._position = position
        self.in_step = self._is_stored = False

    def before_next_epoch(self) -> None:
        """Copy the state before the user's callbacks are called at the beginning of an epoch."""
        if self._position and not self._position.before:
            self._position.before = self.run.before_user_code()

    def steps_at_once(self, steps: int, *, fixed: bool) -> int:
        """Return how many of the ``steps`` to run before ``steps_done`` is called.

        If the user's code makes the batches, this is 1: an interrupt may occur in that code, and the state
        must then be saved between two executions. This does not apply if callbacks expect a ``fixed`` number
        of steps in each execution.
        """
        if isinstance(self.run.stream.source, IteratorSource) and not fixed:
            return 1
        until_due = steps if self.settings.steps is None else self.settings.steps - self._unsaved
        return min(steps, max(1, until_due))

    def steps_done(self, steps: int, logs: Logs) -> Logs:
        """Record that ``steps`` more steps were run; save the state if it is due. Returns the logs."""
        self._steps += steps
        self._unsaved += steps
        self.set_position(Position(self.position.epoch, "steps", logs))
        if self.settings.steps is not None and self._unsaved >= self.settings.steps:
            self.position.logs = logs = self.run.engine.latest(logs)
            self.save()
        return logs

    def before_validation(self, epoch: int, logs: Logs, *, hooks: bool) -> None:
        """Copy the state that validation may change; with ``hooks`` (it calls callbacks), copy all of it."""
        self.set_position(Position(epoch, "validation", logs, self.run.before_validation(hooks=hooks)))

    def before_callbacks(self, epoch: int, logs: Logs) -> None:
        """Copy the state before the user's callbacks are called at the end of an epoch."""
        self.set_position(Position(epoch, "callbacks", dict(logs), self.run.before_user_code()))

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        """Record that an epoch, its callbacks and its history row are done; save the state if it is due."""
        self.set_position(Position(epoch, "done", logs))
        is_last = epoch == self._epochs or self.run.model.stop_training  # ``completed`` will be called
        spent, elapsed = self._seconds + self._writer.seconds, time.monotonic() - self._began
        is_cheap = not self._has_saved or spent <= MAX_TIME_SHARE * elapsed
        if self.settings.steps is None and is_cheap and not is_last:
            self.save()

    # ---- saving ------------------------------------------------------------------------------------

    def save(self) -> None:
        """Save the state at this position.

        Raises
        ------
        StateError
            If this save or the previous one failed.
        """
        began = time.monotonic()
        about = {"format": resume.FORMAT, "run": self._fingerprint, "folder_is_ours": self.folder.is_ours}
        state = about | self.run.at(self.position)
        previous = self.folder.previous if self.settings.double_checkpoint else None
        try:
            self.folder.check()
            self._writer.write(self.folder.state, state, previous, self.folder.descriptor)
        except OSError as error:
            raise self._not_stored(error) from error
        self._unsaved = 0
        self._has_saved = self._is_stored = True
        self._seconds += time.monotonic() - began

    def _not_stored(self, error: OSError) -> StateError:
        is_there = "The previous checkpoint is still there: fit() can resume from it."
        return StateError(
            f"The checkpoint could not be saved to {self.folder.state}: {error.strerror or error}.",
            argument="callbacks",
            hint=is_there if self.folder.state.exists() else None,
        )

    # ---- the end -----------------------------------------------------------------------------------

    def interrupted(self) -> None:
        """Save the state of an interrupted run unless it is saved already. Warns if that fails."""
        stream = self.run.stream
        in_draw = isinstance(stream, BatchStream) and stream.is_drawing
        try:
            if not self._is_stored and (not self.in_step or in_draw):
                self.save()
            self._writer.finish()
        except OSError as error:
            warnings.warn(str(self._not_stored(error)), stacklevel=2)
        except KerasfitError as error:
            warnings.warn(str(error), stacklevel=2)

    def completed(self, *, keep: bool) -> None:
        """Save the final state after the last epoch if it is to be kept. Warns if that fails."""
        if keep or not self.settings.delete_checkpoint:
            self.interrupted()

    def ended(self) -> None:
        """Delete the checkpoint of a run that has ended successfully, if the settings say so."""
        with suppress(OSError):
            self._writer.finish()
        if self.settings.delete_checkpoint and self._steps:
            self.folder.delete_states()

    def close(self) -> None:
        """Finish writing and unlock the folder, however the run has ended."""
        if not self._is_released:
            resume.remember_rates(self.run.model)
            self._release()

    def abandon(self) -> None:
        """Restore random generators and unlock the folder of a run that does not begin."""
        set_random_states(self._random_at_first, self.settings.session)
        self._release()

    def _release(self) -> None:
        self._is_released = True
        with suppress(OSError):
            self._writer.finish()
        self._writer.close()
        self.folder.release()
