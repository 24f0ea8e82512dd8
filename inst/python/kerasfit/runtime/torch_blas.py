"""PyTorch's own matrix products, in a process that has others under the same names.

PyTorch's library has a BLAS under the usual names (``sgemm_``), and asks for them in a way in which, on
Linux, the first library of the process with such names answers: in R, the one that R computes with. That may
be the reference implementation, with which training takes ten times as long, or an OpenBLAS, with which it
may crash (https://github.com/pytorch/pytorch/issues/182263). A library that loads with ``RTLD_DEEPBIND``
asks itself first.

R loads this file by itself, before the rest of the package and Keras.
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
    """Load PyTorch's library so that it uses its own BLAS, if it is the backend and there is another BLAS.

    Returns False if it is too late for that: PyTorch has been loaded before.
    """
    global _done
    if _done or os.environ.get("KERAS_BACKEND") != "torch" or not has_other_blas():
        return True
    if "torch" in sys.modules:
        return False
    package = find_spec("torch")
    if package and package.origin:
        library = Path(package.origin).parent / "lib" / "libtorch_cpu.so"
        with contextlib.suppress(OSError):  # which importing PyTorch will say in its own words
            ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
        _done = True
    return True


def has_other_blas() -> bool:
    """Whether a library of the process answers to all others for a BLAS."""
    if not hasattr(os, "RTLD_DEEPBIND"):
        return False
    try:
        return hasattr(ctypes.CDLL(None), "sgemm_")
    except OSError:  # a Python that is linked statically
        return False
