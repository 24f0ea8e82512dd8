"""How Keras is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from sessions import ENVIRONMENT


@pytest.mark.parametrize(
    ("before", "freezes"),
    [
        ("pass", True),
        pytest.param("import keras", False, marks=pytest.mark.full),
        pytest.param("gc.disable()", False, marks=pytest.mark.full),
    ],
    ids=["nothing", "Keras is there", "nobody collects"],
)
def test_loading_does_not_change_the_state_of_the_garbage_collector(before, freezes):
    """Loaded objects are frozen; objects that others created, which may become garbage, are not."""
    report = "print(was == gc.isenabled(), gc.get_freeze_count())"
    code = f"import gc; {before}; was = gc.isenabled(); import kerasfit; {report}"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    same, frozen = answer.stdout.splitlines()[-1].split()  # TensorFlow may print something before
    assert same == "True"
    assert (int(frozen) > 100_000) == freezes


def test_loading_pytorch_leaves_no_temporary_folder(tmp_path):
    pytest.importorskip("torch")
    environment = os.environ | {"KERAS_BACKEND": "torch", "TMPDIR": str(tmp_path)}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", "import kerasfit"], env=environment, check=True)
    assert not list(tmp_path.iterdir())
