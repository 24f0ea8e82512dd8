"""Loads Keras faster, and without the messages of its backend.

TensorFlow writes messages about CPU features and missing GPUs to the process's standard error while it loads,
some of them before it reads its log level (``TF_CPP_MIN_LOG_LEVEL``). They are shown if the user has set that
variable to anything but 3.

Loading creates half a million objects, nearly all of which stay. Python's repeated garbage collections of
them take a quarter of the time, and free nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

from kerasfit.runtime.compilation_cache import configure_backends, restore_variables
from kerasfit.runtime.torch_blas import load_torch_library

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
FATAL = "3"  # the other errors are raised as exceptions too
INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard output to the file descriptor of standard error, unless the user has set a log level."""
    if os.environ.setdefault(LOG_LEVEL, FATAL) != FATAL:
        yield
        return
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sys.stderr.flush()
    with contextlib.ExitStack() as afterwards:
        with contextlib.suppress(OSError):  # a process without standard error, for example Rgui
            stderr = os.dup(2)
            afterwards.callback(os.close, stderr)
            afterwards.callback(os.dup2, stderr, 2)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Turn off garbage collection in the block, and exempt the objects at its end from later collections.

    Does nothing if Keras was loaded before.
    """
    if "keras" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    gc.freeze()


@contextlib.contextmanager
def no_empty_folder() -> Iterator[None]:
    """Remove the temporary folder for ``torch.compile()`` that PyTorch creates when it loads.

    PyTorch creates it again when needed. A folder named by the user, or one with files, is kept.
    """
    given = os.environ.get(INDUCTOR_CACHE)
    try:
        yield
    finally:
        made = os.environ.get(INDUCTOR_CACHE)
        if made and not given:
            with contextlib.suppress(OSError):
                os.rmdir(made)


configure_backends()
load_torch_library()
with quiet(), no_collection(), no_empty_folder():
    import keras
restore_variables(keras.backend.backend())
