"""Checkpoints: saves the state of a run to a folder, so that another process can resume it exactly.

``settings``        the callback ``BackupAndRestore``, with which the user configures checkpoints
``backup``          decides when a checkpoint is saved and when it is deleted
``resume``          reads, checks and restores a checkpoint
``run_state``       the state of a run as plain values
``fingerprint``     the properties of a run that must not change when it is resumed
``callback_state``  the state of callbacks, and the log files that they append to
``random_state``    the states of random number generators
``run_folder``      the folder, created for this user only and locked by one process at a time
``packed_model``    a model with its state as a plain value, to send it to another process
``store``           a file of plain values, with a checksum that reveals damage
"""

from kerasfit.checkpoint.backup import Backup
from kerasfit.checkpoint.fingerprint import run_fingerprint
from kerasfit.checkpoint.resume import StoredRun
from kerasfit.checkpoint.run_state import Position
from kerasfit.checkpoint.settings import BackupAndRestore, backup_among

__all__ = ["Backup", "BackupAndRestore", "Position", "StoredRun", "backup_among", "run_fingerprint"]
