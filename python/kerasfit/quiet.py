"""Loading Keras without its backend's chatter.

TensorFlow writes lines about CPU features and missing GPUs to the process's standard error while it loads,
some of them before its own log level (``TF_CPP_MIN_LOG_LEVEL``) is looked at. Whoever has set that variable
to less than 3 wants to see them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from kerasfit.cache import keep_programs

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
FATAL = "3"  # other errors are exceptions too


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is written to the file descriptor of standard error, unless the user has set a log level."""
    if os.environ.setdefault(LOG_LEVEL, FATAL) != FATAL:
        yield
        return
    with contextlib.suppress(AttributeError, ValueError):
        sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


keep_programs()
with quiet():
    import keras  # noqa: F401
