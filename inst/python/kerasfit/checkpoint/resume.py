"""Resumes a run: reads, checks and restores a saved state."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

import keras

from kerasfit import keras_private
from kerasfit.checkpoint import store
from kerasfit.checkpoint.callback_state import is_callback_state, restore_callback_state
from kerasfit.checkpoint.fingerprint import difference, in_words, learning_rates, optimizers, rate_variable
from kerasfit.checkpoint.random_state import BadRandomState, set_random_states
from kerasfit.checkpoint.run_folder import RunFolder
from kerasfit.checkpoint.run_state import STAGES, Position, RunState, batch_like, stored_variables
from kerasfit.checkpoint.settings import BackupAndRestore
from kerasfit.errors import ArgumentError
from kerasfit.sources import ArraySource, Batch, BatchStream, IteratorSource, Source
from kerasfit.tensors import to_backend
from kerasfit.variables import own_optimizers

FORMAT = 2
RANDOM = {"keras", "numpy", "python", "session"}

# The learning rates of models at the end of runs in this process
_final_rates: WeakKeyDictionary[keras.Model, list[Any]] = WeakKeyDictionary()


def remember_rates(model: keras.Model) -> None:
    """Remember the learning rates at the end of a run, to tell them from rates that the user has set."""
    _final_rates[model] = learning_rates(model)


class StoredRun:
    """A saved state from which a run resumes.

    Parameters
    ----------
    file
        The file of the state, named in errors.
    state
        Its content.
    run
        The run that resumes from it.
    settings
        The user's settings.
    """

    def __init__(self, file: Any, state: dict[str, Any], run: RunState, settings: BackupAndRestore):
        self.file = file
        self.state = state
        self.run = run
        self.settings = settings
        self.position = Position(state["epoch"], state["stage"], state["logs"])

    # ---- checking that the state belongs to this run -----------------------------------------------

    def check(self, fingerprint: dict[str, Any], epochs: int) -> None:
        """Raise an ``ArgumentError`` if the state is that of another run, or has more epochs."""
        if how := difference(self.state["run"], fingerprint):
            raise self._of_another_run(how)
        if len(self.state["callbacks"]) != len(self.run.callbacks):
            raise self._of_another_run("the number of callbacks is not the same")
        if self.position.epoch > epochs:
            begun = "in" if self.position.is_within_epoch else "after"
            raise ArgumentError(
                "epochs",
                f"`epochs` is {epochs}, but the checkpoint {self.file} was saved {begun} epoch "
                f"{self.position.epoch}.",
                f"Give `epochs` of {self.position.epoch} or more to continue, or another folder.",
            )
        if self.settings.learning_rate == "stored":
            self._check_rates()

    def _check_rates(self) -> None:
        """Raise an ``ArgumentError`` if the learning rate was changed.

        The valid rates are the run's first, the saved one, and one that a run of this process left in the
        model.
        """
        stored, rates = self.state["learning_rates"], self.run.rates
        if rates not in (stored["first"], stored["now"], _final_rates.get(self.run.model)):
            then, now = (", ".join(map(in_words, each)) for each in (stored["now"], rates))
            raise ArgumentError(
                "callbacks",
                f"The learning rate is {now}, but {then} in {self.file}.",
                "To continue with the learning rate of the model, use "
                '`callback_backup_and_restore(folder, learning_rate = "model")`.',
            )
        self.run.rates = stored["first"]

    def check_variables(self) -> None:
        """Raise an ``ArgumentError`` if the built model's variables have other shapes than the state's."""
        values = [variable.value for variable in stored_variables(self.run.model)]
        shapes = [(tuple(value.shape), keras.backend.standardize_dtype(value.dtype)) for value in values]
        if shapes != [(value.shape, value.dtype.name) for value in self.state["variables"]]:
            raise self._of_another_run(
                "the shapes of the variables of the model and its optimizer are not the same"
            )

    def _of_another_run(self, how: str) -> ArgumentError:
        return ArgumentError(
            "callbacks",
            f"{self.file} is the checkpoint of another run: {how}.",
            f"Delete {self.file} to start over, or give this run another folder.",
        )

    # ---- restoring ---------------------------------------------------------------------------------

    def restore_data(self) -> None:
        """Move the data to the saved position, drawing batches again with the same random numbers."""
        run, state = self.run, self.state
        run.stream.restore(state["stream"])
        if isinstance(run.validation, BatchStream):
            there = state["validation"]
            run.validation.skip(there["drawn"])
            run.validation.passed = 0
            self._draw_again(run.validation, there)
        if isinstance(run.stream, BatchStream):
            self._draw_again(run.stream, state)
        self._set_random_states(state["random"])

    def _draw_again(self, stream: BatchStream, there: dict[str, Any]) -> None:
        """Draw again the batch that had been drawn ahead, if any."""
        if there["before_draw"]:
            self._set_random_states(there["before_draw"])
            stream.peek()
        elif there["shapes"] is not None and isinstance(stream.source, IteratorSource):
            stream.stand_in = batch_like(there["shapes"])

    def restore(self) -> None:
        """Restore model, optimizers, callbacks, history, engine and random generators."""
        run, state, model = self.run, self.state, self.run.model
        run.engine.sync()
        for variable, value in zip(stored_variables(model), state["variables"], strict=True):
            variable.assign(value)
        if self.settings.learning_rate == "stored":
            for optimizer, value in zip(optimizers(model), state["rates"], strict=True):
                if value is not None and (rate := rate_variable(optimizer)) is not None:
                    rate.assign(value)
        for callback, of_callback in zip(run.callbacks, state["callbacks"], strict=True):
            restore_callback_state(callback, of_callback)
        run.history.epochs[:] = state["history"]["epochs"]
        run.history.metrics.update(state["history"]["metrics"])
        run.history.seconds[:] = state["history"]["seconds"]
        model.stop_training = state["stopped"]
        run.engine.restore(state["engine"])
        self._set_random_states(state["random"])

    def _set_random_states(self, states: dict[str, Any]) -> None:
        try:
            set_random_states(states, self.run.session)
        except BadRandomState as error:
            raise ArgumentError(
                "callbacks",
                f"{self.file} has no valid state of the random number generators.",
                "Delete it to start over.",
            ) from error


def find_state(folder: RunFolder, run: RunState, settings: BackupAndRestore) -> StoredRun | None:
    """Return the state in a folder, or the previous one if it is damaged; None if there is no state.

    Raises
    ------
    ArgumentError
        If every state in the folder is damaged; or if the previous state would replace a file that is not
        kerasfit's.
    """
    if settings.double_checkpoint and store.is_foreign(folder.previous):
        raise ArgumentError(
            "callbacks",
            f"{folder.previous} was not written by kerasfit, and would be replaced.",
            "Give `backup_dir` another folder, or move the file.",
        )
    damaged: list[str] = []
    for file in (folder.state, folder.previous):
        try:
            state = store.read(file)
            check_form(state)
        except FileNotFoundError:
            continue
        except store.CorruptFile as error:
            damaged.append(f"{file} {error}")
            continue
        if damaged:
            warnings.warn(
                f"{damaged[0]}. Training resumes from the previous checkpoint, {file}.", stacklevel=2
            )
        folder.is_ours |= state["folder_is_ours"]
        return StoredRun(file, state, run, settings)
    if damaged:
        hint = "Give `backup_dir` another folder, or delete the file to start over."
        raise ArgumentError("callbacks", f"{damaged[0]}.", hint)
    return None


FORM: dict[str, Any] = {
    "format": int,
    "run": dict,
    "learning_rates": {"first": list, "now": list},
    "epoch": int,
    "stage": str,
    "stopped": bool,
    "logs": dict,
    "history": {"epochs": list, "metrics": dict, "seconds": list},
    "variables": list,
    "rates": list,
    "stream": {"taken": int, "passed": int, "in_pass": bool, "steps": object, "shuffling": dict},
    "before_draw": object,
    "random": dict.fromkeys(RANDOM, object),
    "shapes": object,
    "validation": object,
    "engine": object,
    "callbacks": list,
    "folder_is_ours": bool,
}


def check_form(state: Any) -> None:
    """Raise ``CorruptFile`` if a value from a file does not have the form of a state."""
    if (
        not has_form(state, FORM)
        or state["format"] != FORMAT
        or state["stage"] not in STAGES
        or not all(map(is_callback_state, state["callbacks"]))
    ):
        raise store.CorruptFile("is not a checkpoint of this version of kerasfit")


def has_form(value: Any, form: Any) -> bool:
    if isinstance(form, dict):
        return isinstance(value, dict) and all(
            name in value and has_form(value[name], inner) for name, inner in form.items()
        )
    return isinstance(value, form)


def build(run: RunState) -> None:
    """Create the variables of a run's model and optimizers, so that a state can be restored."""
    if (batch := run.stream.example() or some_batch(run.stream.source)) is not None:
        keras_private.build_state(run.model, to_backend(tuple(batch)))
    for optimizer in own_optimizers(run.model):
        if not optimizer.built:  # else its first step builds it, maybe after the state is restored
            optimizer.build(run.model.trainable_variables)


def some_batch(source: Source) -> Batch | None:
    """Return any batch of a source; for a generator the last one drawn, or None if there is none."""
    if isinstance(source, IteratorSource):
        return source.example
    return source.batch(None, 0) if isinstance(source, ArraySource) else next(iter(source), None)
