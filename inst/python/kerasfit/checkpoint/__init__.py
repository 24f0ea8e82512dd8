"""The state of a run in a folder, from which another process goes on exactly where this one stopped.

``settings``        what the user asks for: the callback ``BackupAndRestore``
``backup``          when the state is stored, and when it is deleted
``resume``          how a run goes on from a stored state
``run_state``       the state of a run as a plain value
``fingerprint``     what must be the same when a run goes on
``callback_state``  what training has changed in callbacks, and the files that they append to
``random_state``    the generators of random numbers
``run_folder``      the folder: private to the user, and used by one process at a time
``store``           plain values in one file, which is whole or known to be damaged
"""

from kerasfit.checkpoint.backup import Backup
from kerasfit.checkpoint.fingerprint import run_fingerprint
from kerasfit.checkpoint.run_state import Position
from kerasfit.checkpoint.settings import BackupAndRestore, backup_among

__all__ = ["Backup", "BackupAndRestore", "Position", "backup_among", "run_fingerprint"]
