"""Makes PyTorch use its own BLAS in a process, such as R, that has already loaded another one.

PyTorch's library contains a BLAS under the usual names (``sgemm_``). On Linux these names resolve to the
first library of the process that defines them: in R, the BLAS of R. That may be the reference implementation,
with which training takes ten times as long, or an OpenBLAS, with which it may crash
(https://github.com/pytorch/pytorch/issues/182263). A library loaded with ``RTLD_DEEPBIND`` resolves names in
itself first.

R loads this file alone, before the rest of the package and Keras.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path

_done = False


def load_torch_library() -> bool:
    """Load PyTorch's library with its own BLAS, if PyTorch is the backend and the process has another BLAS.

    Returns False if PyTorch was loaded before, when it is too late.
    """
    global _done
    if _done or os.environ.get("KERAS_BACKEND") != "torch" or not has_other_blas():
        return True
    if "torch" in sys.modules:
        return False
    package = find_spec("torch")
    if package and package.origin:
        library = Path(package.origin).parent / "lib" / "libtorch_cpu.so"
        with contextlib.suppress(OSError):  # importing PyTorch then raises its own error
            ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
        _done = True
    return True


def has_other_blas() -> bool:
    """Whether the process has a BLAS whose symbols are visible to all libraries."""
    if not hasattr(os, "RTLD_DEEPBIND"):
        return False
    try:
        return hasattr(ctypes.CDLL(None), "sgemm_")
    except OSError:  # a statically linked Python
        return False
