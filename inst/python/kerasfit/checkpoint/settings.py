"""What the user asks for: the callback that keeps the state of a run."""

from __future__ import annotations

import keras

from kerasfit import arguments
from kerasfit.checkpoint.random_state import Session
from kerasfit.errors import ArgumentError


class BackupAndRestore(keras.callbacks.Callback):
    """Keeps the state of a run in a folder, and lets ``fit()`` go on from there after a crash of any kind.

    If the folder has a state when ``fit()`` begins, training continues from it, and the final weights,
    optimizer and history are those of a run that was never interrupted, bit for bit on the same machine:
    with shuffling, dropout, callbacks and validation. Stored are all variables of model, optimizer and
    metrics, the states of random generators, the order of the samples, the history, and the state of
    callbacks: what ``get_state()`` of a callback returns, which ``set_state()`` gets back; or else those of
    its attributes that are plain values and have changed since training began. What was given to a callback
    when it was made is never taken from the folder.

    A ``PyDataset`` or a ``tf.data.Dataset`` that gives the same batches at each pass, and a generator that
    starts anew in the new process, are exact too: the batches that have been drawn are drawn again and
    dropped. What a generator keeps elsewhere, and the order of a dataset that shuffles itself, cannot be
    restored.

    The state is deleted when a run has ended well that began without one, or went on from it, and has made
    at least one step. Files of others in the folder are never touched.

    Parameters
    ----------
    backup_dir
        The folder, made if it is not there, for its owner only. It is for one run, and for one process at a
        time.
    save_freq
        "epoch": after epochs, but not after all if they are so short that storing would take more than 3 % of
        the time. Or a number of steps after which the state is stored. An interrupt stores it too.
    double_checkpoint
        Whether to keep the state before the last one too, for the case that the disk damages the last one.
    delete_checkpoint
        Whether to delete the state when training has ended by itself.
    learning_rate
        What a run goes on with: "stored", the learning rate in the state; "model", that of the model that
        ``fit()`` is called with. With "stored", another learning rate of the model is an error.
    session
        The random generator of the program that hosts Python, with ``get_state()`` and ``set_state(state)``.

    Raises
    ------
    ArgumentError
        By ``fit()``, before the first step, if the folder has a state that is damaged, or that of a run with
        other data or settings, or of more epochs than ``epochs``; or if another process uses the folder.
    StateError
        By ``fit()``, if a state cannot be stored. The one before is still there.
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
    """The one of the callbacks that keeps the state of the run, if any."""
    found = [callback for callback in callbacks if isinstance(callback, BackupAndRestore)]
    if len(found) > 1:
        raise ArgumentError("callbacks", "`callbacks` has two that keep the state of the run: one is enough.")
    return found[0] if found else None
