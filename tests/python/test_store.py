"""A file with plain values is read back intact or reported as damaged, and nothing in it can run."""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from hashlib import sha256
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasfit
from kerasfit.checkpoint import store
from kerasfit.checkpoint.store import CorruptFile

STATE = {"epoch": 3, "logs": {"loss": 0.5}, "variables": [np.arange(3, dtype="float32")], "key": b"raw"}


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, 2.5, "x"], 3: (True, None, b"raw")},
        float("inf"),
        np.float32(2.5),
        {"array": np.arange(6).reshape(2, 3), "empty": np.empty((0, 2)), "text": np.array(["a", "bc"])},
        {"columns": np.asfortranarray(np.arange(6).reshape(2, 3)), "none": np.array(3.0)},
        {"ä": "\ud800 ß", "numbers": [2**80, -0.0]},
    ],
)
def test_values_can_be_read_back_from_a_file(tmp_path, value):
    store.write(tmp_path / "value", value)
    back = store.read(tmp_path / "value")
    assert type(back) is type(value)
    np.testing.assert_equal(back, value)


def test_arrays_from_a_file_can_be_changed(tmp_path):
    store.write(tmp_path / "value", np.arange(3))
    array = store.read(tmp_path / "value")
    array[0] = 5
    np.testing.assert_array_equal(array, [5, 1, 2])


def test_half_precision_arrays_can_be_read_back_from_a_file(tmp_path):
    for dtype in ("bfloat16", "float16"):
        array = keras.ops.convert_to_numpy(keras.ops.ones((2, 3), dtype))
        store.write(tmp_path / "value", array)
        assert store.read(tmp_path / "value").dtype == array.dtype


def test_every_flipped_bit_and_every_truncation_is_detected(tmp_path):
    file = tmp_path / "state.npz"
    store.write(file, STATE)
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        file.write_bytes(spoilt)
        with pytest.raises(CorruptFile):
            store.read(file)
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(CorruptFile):
            store.read(file)
    file.write_bytes(whole)
    np.testing.assert_equal(store.read(file), STATE)


def signed(content: bytes) -> bytes:
    """Return a zip archive that carries the signature of our files."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = bytes(store.TRAILER)
    body = buffer.getvalue()[: -store.TRAILER]
    return body + store.MARK + sha256(body).digest()


def archive_of(compression=zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return signed(buffer.getvalue())


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def text(json: str) -> bytes:
    return npy(np.frombuffer(json.encode(), np.uint8))


class Payload:
    """The object whose code pickle would run."""

    def __reduce__(self):
        return os.mkdir, ("/tmp/kerasfit-payload-has-run",)


FORGED = {
    "not a zip": store.MARK + sha256(b"").digest(),
    "no value": archive_of(other=b""),
    "pickle": archive_of(value=npy(np.array([Payload()], dtype=object))),
    "pickled element": archive_of(
        value=text('{"array": 0, "dtype": "|O", "shape": [1]}'), **{"0": npy(np.zeros(8, np.uint8))}
    ),
    "compressed to nothing": archive_of(zipfile.ZIP_DEFLATED, value=npy(np.zeros(10_000_000, np.uint8))),
    "huge shape": archive_of(value=header("{'descr': '|u1', 'fortran_order': False, 'shape': (1<<60,)}\n")),
    "huge number of rows": archive_of(
        value=header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n") + bytes(8)
    ),
    "code as header": archive_of(value=header("__import__('os').mkdir('/tmp/kerasfit-payload-has-run')\n")),
    "version": archive_of(value=header("{}", b"\x09\x00")),
    "deep": archive_of(value=text("[" * 100_000 + "]" * 100_000)),
    "deep value": archive_of(value=text('{"list": [' * 5_000 + "1" + "]}" * 5_000)),
    "no such array": archive_of(value=text('{"array": 7, "dtype": "<f4", "shape": [1]}')),
    "other shape": archive_of(
        value=text('{"array": 0, "dtype": "<f4", "shape": [-1, 5, 1]}'), **{"0": npy(np.zeros(8, np.uint8))}
    ),
    "unhashable key": archive_of(value=text('{"dict": [[{"list": []}, 1]]}')),
    "other json": archive_of(value=text('{"what": 1}')),
    "no json": archive_of(value=text("nonsense")),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_file_is_damaged_and_nothing_in_it_runs(tmp_path, kind):
    (tmp_path / "state.npz").write_bytes(FORGED[kind])
    with pytest.raises(CorruptFile):
        store.read(tmp_path / "state.npz")
    assert not Path("/tmp/kerasfit-payload-has-run").exists()


def test_a_sparse_file_of_a_terabyte_takes_no_memory(tmp_path):
    with open(tmp_path / "state.npz", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(CorruptFile):
        store.read(tmp_path / "state.npz")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
@pytest.mark.parametrize(
    "make, reason",
    [
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to(path.with_name("other")), "a link"),
        (lambda path: path.symlink_to("/dev/zero"), "a link"),
    ],
    ids=["folder", "pipe", "link", "link to a device"],
)
def test_a_file_that_is_not_regular_is_not_read(tmp_path, make, reason):
    store.write(tmp_path / "other", 1)
    make(tmp_path / "state.npz")
    with pytest.raises(CorruptFile, match=reason):
        store.read(tmp_path / "state.npz")
    assert not store.is_state(tmp_path / "state.npz")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_a_file_is_private_to_its_owner_and_never_written_through_a_link(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "state"
    folder.mkdir()
    for name in ("state.npz", "state.npz.new", "previous.npz", "state.json", "writable"):
        (folder / name).symlink_to(precious)
    store.write(folder / "state.npz", STATE, folder / "previous.npz")
    store.write(folder / "state.npz", STATE, folder / "previous.npz")
    assert precious.read_text() == "mine"
    for name in ("state.npz", "previous.npz"):
        assert stat.S_IMODE((folder / name).lstat().st_mode) == 0o600
        assert store.is_state(folder / name)


def test_only_our_own_leftover_files_are_deleted(tmp_path):
    (tmp_path / ".kerasfit-abc_1234.tmp").write_text("a process was killed here")
    others = [".kerasfit-abc.tmp.txt", "kerasfit-abc.tmp", ".kerasfit-.tmp", "state.npz", "x.tmp"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".kerasfit-folder.tmp").mkdir()
    (tmp_path / ".kerasfit-link.tmp").symlink_to(tmp_path / "x.tmp")
    store.delete_leftovers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, ".kerasfit-folder.tmp", ".kerasfit-link.tmp"}


@pytest.mark.parametrize(
    "value, where",
    [
        (lambda: 1, "a function"),
        ({"a": [1, {"b": object()}]}, r"element \['a'\]\[1\]\['b'\] is a object"),
        (np.array([object()]), "a ndarray"),
    ],
)
def test_a_value_that_is_not_plain_is_an_error_that_names_the_element(tmp_path, value, where):
    with pytest.raises(store.NotPlain, match=where):
        store.write(tmp_path / "value", value)
    assert not list(tmp_path.iterdir())


def test_the_core_has_no_reader_that_runs_code():
    core = Path(kerasfit.__file__).parent
    runs_code = re.compile(
        r"\b(pickle|cloudpickle|dill|joblib|marshal|shelve)\b|allow_pickle=True|(?<!\.)\beval\(|\bexec\(|unserialize\("
    )
    found = {
        f"{file.relative_to(core)}: {line.strip()}"
        for file in core.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if runs_code.search(line.partition("#")[0])
    }
    assert not found
