"""The callback with which the user configures checkpoints of a run."""

from __future__ import annotations

import keras

from kerasfit import arguments
from kerasfit.checkpoint.random_state import Session
from kerasfit.errors import ArgumentError


class BackupAndRestore(keras.callbacks.Callback):
    """Saves the state of a run to a folder, and resumes ``fit()`` from it after a crash of any kind.

    If the folder has a saved state when ``fit()`` begins, training continues from it. The final weights,
    optimizer and history then equal those of an uninterrupted run, bit for bit on the same machine, also with
    shuffling, dropout, callbacks and validation. The saved state comprises all variables of model, optimizer
    and metrics, the states of random generators, the order of the samples, the history, and the state of
    callbacks. The latter is the result of a callback's ``get_state()``, which is passed to ``set_state()``;
    without these methods, it consists of the attributes with plain values that have changed since training
    began. Arguments of a callback's constructor are never read from the folder.

    Resuming is also exact for a ``PyDataset`` or ``tf.data.Dataset`` that yields the same batches in each
    pass, and for a generator that starts from its beginning in the new process: the batches drawn before are
    drawn again and discarded. State that a generator keeps elsewhere, and the order of a dataset that
    shuffles its own batches, cannot be restored.

    The saved state is deleted when ``fit()`` ends successfully, if it has run at least one step (see
    ``delete_checkpoint``). Other files in the folder are never touched.

    Parameters
    ----------
    backup_dir
        The folder. If it does not exist, it is created, for its owner only. It serves one run, and one
        process at a time.
    save_freq
        "epoch": save after epochs, but skip some if they are so short that saving would take more than 3 % of
        the time. Or the number of steps between saves. An interrupt saves the state too.
    double_checkpoint
        Whether to keep the previous state too, in case the disk damages the last one.
    delete_checkpoint
        Whether to delete the state when training ends without an interrupt or error.
    learning_rate
        The learning rate of a resumed run: "stored", the saved one; "model", that of the model passed to
        ``fit()``. With "stored", it is an error if the model has another learning rate.
    session
        The random generator of the program that hosts Python, with ``get_state()`` and ``set_state(state)``.

    Raises
    ------
    ArgumentError
        By ``fit()``, before the first step, if the saved state is damaged, belongs to a run with other data
        or settings, or has more epochs than ``epochs``; or if another process uses the folder.
    StateError
        By ``fit()``, if a state cannot be saved. The previous one is kept. If the run is ending, it is a
        warning instead.
    """

    def __init__(
        self,
        backup_dir: str,
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        learning_rate: str = "stored",
        session: Session | None = None,
    ):
        super().__init__()
        self.backup_dir = arguments.path("backup_dir", backup_dir, "a folder")
        self.steps = (
            None if save_freq == "epoch" else arguments.whole_number("save_freq", save_freq, minimum=1)
        )
        self.double_checkpoint = arguments.flag("double_checkpoint", double_checkpoint)
        self.delete_checkpoint = arguments.flag("delete_checkpoint", delete_checkpoint)
        self.learning_rate = arguments.choice("learning_rate", learning_rate, ("stored", "model"))
        self.session = session


def backup_among(callbacks: list[keras.callbacks.Callback]) -> BackupAndRestore | None:
    """Return the callback that saves the state of the run, if any."""
    found = [callback for callback in callbacks if isinstance(callback, BackupAndRestore)]
    if len(found) > 1:
        raise ArgumentError("callbacks", "`callbacks` has more than one backup: one is enough.")
    return found[0] if found else None
