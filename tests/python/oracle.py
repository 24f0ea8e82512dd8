"""Results of Keras itself, cached in build/ between test runs.

They depend on the versions of Keras and its backend and on the test files that use them: if any of these
changes, the results are computed again.
"""

from __future__ import annotations

import collections
import hashlib
import os
import pickle
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import keras

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "build" / "oracle"
PACKAGES = ("keras", "keras-nightly", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy")
FILES = ("models.py", "test_parity.py", "conftest.py", "oracle.py")

_questions_by_test: collections.Counter[str] = collections.Counter()


def _circumstances() -> bytes:
    installed = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    versions = [f"{name} {installed.get(name)}" for name in PACKAGES]
    texts = [(HERE / name).read_text(encoding="utf-8") for name in FILES]
    return "\n".join([keras.backend.backend(), *versions, *texts]).encode()


_CIRCUMSTANCES = _circumstances()


def cached_answer(question: str | None, ask: Callable[[], Any]) -> Any:
    """Return the result of ``ask()``, from build/ if the same question has been asked before.

    Questions without a name are numbered within each test: its first, its second, and so on.
    """
    if question is None:
        test = os.environ["PYTEST_CURRENT_TEST"]
        _questions_by_test[test] += 1
        question = f"{test} {_questions_by_test[test]}"
    file = FOLDER / f"{hashlib.sha256(_CIRCUMSTANCES + question.encode()).hexdigest()[:32]}.pickle"
    if file.exists():
        return pickle.loads(file.read_bytes())
    answer = ask()
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(pickle.dumps(answer))
    unfinished.replace(file)
    return answer
