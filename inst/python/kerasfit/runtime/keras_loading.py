"""Loading Keras, without its backend's chatter and in less time.

TensorFlow writes lines about CPU features and missing GPUs to the process's standard error while it loads,
some of them before its own log level (``TF_CPP_MIN_LOG_LEVEL``) is looked at. Whoever has set that variable
to less than 3 wants to see them.

Python looks for garbage again and again while half a million objects come to be: a fifth of the time.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

from kerasfit.runtime.compilation_cache import keep_programs, restore_variables
from kerasfit.runtime.torch_blas import load_torch_library

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
FATAL = "3"  # other errors are exceptions too
INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is written to the file descriptor of standard error, unless the user has set a log level."""
    if os.environ.setdefault(LOG_LEVEL, FATAL) != FATAL:
        yield
        return
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sys.stderr.flush()
    with contextlib.ExitStack() as afterwards:
        with contextlib.suppress(OSError):  # a process without standard error, as that of Rgui
            stderr = os.dup(2)
            afterwards.callback(os.close, stderr)
            afterwards.callback(os.dup2, stderr, 2)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield


@contextlib.contextmanager
def one_collection() -> Iterator[None]:
    """Have Python look for garbage once, at the end; later collections pass over all that is there by then.

    What there is by then are modules, unless Keras had been loaded before.
    """
    if "keras" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def no_empty_folder() -> Iterator[None]:
    """Remove the folder for ``torch.compile()`` that PyTorch makes among temporary files when it loads.

    PyTorch makes it again where it needs it. A folder that the user names, or one with files, stays.
    """
    given = os.environ.get(INDUCTOR_CACHE)
    try:
        yield
    finally:
        made = os.environ.get(INDUCTOR_CACHE)
        if made and not given:
            with contextlib.suppress(OSError):
                os.rmdir(made)


keep_programs()
load_torch_library()
with quiet(), one_collection(), no_empty_folder():
    import keras
restore_variables(keras.backend.backend())
