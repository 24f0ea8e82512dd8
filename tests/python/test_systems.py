"""Training where the system refuses or lacks a call that kerasfit can do without."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import sessions

import kerasfit
from kerasfit import interrupts
from kerasfit.checkpoint import run_folder
from kerasfit.live import View
from kerasfit.random_seed import set_random_seed
from kerasfit.runtime import compilation_cache, cpu, memory, torch_blas

pytest.importorskip("fcntl")


def failing(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def without_huge_pages(monkeypatch):
    class Block(mmap.mmap):
        def madvise(self, advice):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(memory.mmap, "mmap", Block)


def without_madvise(monkeypatch):
    class Block(mmap.mmap):
        madvise = property()

    monkeypatch.setattr(memory.mmap, "mmap", Block)


def without_mapped_memory(monkeypatch):
    monkeypatch.setattr(memory.mmap, "mmap", failing(errno.ENOMEM))


def without_advice(monkeypatch):
    for name in ("MADV_FREE", "MADV_HUGEPAGE", "MAP_ANONYMOUS"):
        monkeypatch.delattr(mmap, name, raising=False)


def without_fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))


def without_opening_folders(monkeypatch):
    opened = os.open

    def open_file(path, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_file)


def without_locks(monkeypatch):
    monkeypatch.setattr(run_folder.fcntl, "flock", failing(errno.ENOLCK))


def without_standard_error(monkeypatch):
    monkeypatch.setattr(os, "dup", failing(errno.EBADF))
    monkeypatch.setattr(sys, "stderr", None)


def without_standard_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)


def without_null_device(monkeypatch):
    monkeypatch.setattr(os, "devnull", "/missing/null")


def without_modes_of_files(monkeypatch):
    monkeypatch.setattr(os, "chmod", failing(errno.EPERM))


def without_times_of_files(monkeypatch):
    monkeypatch.setattr(os, "utime", failing(errno.EPERM))


def without_name_of_the_machine(monkeypatch):
    for name in ("gethostname", "getfqdn"):
        monkeypatch.setattr(socket, name, failing(errno.ENOSYS))


def without_proc(monkeypatch):
    monkeypatch.setattr(Path, "read_text", failing(errno.ENOENT))


def without_users(monkeypatch):
    for name in ("geteuid", "getuid", "O_NOFOLLOW", "O_NONBLOCK"):
        monkeypatch.delattr(os, name)
    for name in ("grp", "pwd"):
        monkeypatch.setitem(sys.modules, name, None)


def without_handlers_in_c(monkeypatch):
    monkeypatch.setattr(ctypes, "pythonapi", object())


def without_symbols_of_the_process(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", failing(errno.ENOENT))
    monkeypatch.setattr(torch_blas, "_done", False)
    assert torch_blas.load_torch_library()


FAILURES = [value for name, value in globals().items() if name.startswith("without_")]


def train(folder):
    """Train with everything that kerasfit uses of the system, and return the weights."""
    set_random_seed(1)
    x, y = np.arange(96.0).reshape(8, 12).T / 96, np.arange(12.0)  # neither in rows nor of Keras's type
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callbacks = [
        kerasfit.BackupAndRestore(folder / "run", save_freq=2, delete_checkpoint=False),
        kerasfit.MetricsLog(folder / "log.csv"),
    ]
    (folder / "view").mkdir()
    view = View.in_folder(folder / "view")
    with kerasfit.runtime.keras_loading.quiet():
        kerasfit.fit(model, x, y, batch_size=4, epochs=2, callbacks=callbacks, view=view)
    assert (folder / "run" / "state.npz").stat().st_size > 0
    assert len((folder / "log.csv").read_bytes().splitlines()) == 3
    assert b'"ended"' in (folder / "view" / "kerasfit-view" / "state.json").read_bytes()
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return train(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.__name__.replace("_", " "))
def test_training_works_if_any_one_optional_system_call_fails(expected, monkeypatch, tmp_path, failure):
    monkeypatch.setattr(memory, "LARGE", 1)
    monkeypatch.setattr(memory, "_kept", [])
    cpu.cpu_flags.cache_clear()
    monkeypatch.setattr(os, "environ", os.environ | {"KERASFIT_CACHE": str(tmp_path / "cache")})
    monkeypatch.setattr(compilation_cache, "_folder", None)
    monkeypatch.setattr(compilation_cache, "_refusals", {})
    with monkeypatch.context() as broken:
        failure(broken)
        compilation_cache.configure_backends()
        weights = train(tmp_path)
    np.testing.assert_array_equal(weights, expected)
    assert not compilation_cache._refusals
    cpu.cpu_flags.cache_clear()


def test_an_interrupt_is_noticed_without_the_flag_of_the_host(monkeypatch):
    with interrupts.hosted(interrupts.Host(None)), interrupts.deferring_sigint():
        assert not interrupts.requested()
        signal.raise_signal(signal.SIGINT)
        assert interrupts.take_request()
    with interrupts.hosted(interrupts.Host(None)), interrupts.deferring_sigint():
        interrupts.request()


def test_without_the_flag_of_r_no_interrupt_is_pending(monkeypatch):
    for name in ("rpytools", "rpytools.call", "rpycall"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(call=None, call_r_function=None))
    monkeypatch.delitem(sys.modules, "kerasfit.bridges.reticulate", raising=False)
    from kerasfit.bridges import reticulate

    assert reticulate.r_interrupts_pending() is None  # this process is not R
    assert not reticulate.take_interrupt()
    monkeypatch.delitem(sys.modules, "kerasfit.bridges.reticulate")


LIKE_WINDOWS = """
import errno, os, stat, sys, types
import keras, numpy, pandas, http.server, tempfile, shutil, multiprocessing, asyncio

# names and modules that Windows lacks
missing = '''\
geteuid getuid getegid getgid O_NOFOLLOW O_NONBLOCK O_DIRECTORY fchmod fchown chown mkfifo uname getpgid
sched_getaffinity RTLD_DEEPBIND RTLD_NOW posix_fadvise sysconf'''
for name in missing.split():
    if hasattr(os, name):
        delattr(os, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
import mmap, signal
for name in dir(mmap):
    if name.startswith(("MADV_", "MAP_")):
        delattr(mmap, name)
for name in ("SIGALRM", "pthread_kill", "pthread_sigmask", "SIGKILL", "SIGUSR1", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)

# Windows locks by byte range, and refuses other processes
locked = set()
def locking(descriptor, mode, count):
    key = os.fstat(descriptor).st_ino
    if key in locked:
        raise PermissionError(errno.EACCES, "Permission denied")
    locked.add(key)
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)

# Windows cannot rename or delete open files, or open folders
def open_files():
    for number in os.listdir("/proc/self/fd"):
        try:
            info = os.stat(int(number))
            yield info.st_dev, info.st_ino
        except OSError:
            pass

def refuse_open(*paths):
    for path in paths:
        if isinstance(path, (str, os.PathLike)) and os.path.lexists(path) and not os.path.isdir(path):
            info = os.stat(path)
            if (info.st_dev, info.st_ino) in open_files():
                raise PermissionError(errno.EACCES, "is used by another process", str(path))

def on_closed(function):
    def call(*paths, **kwargs):
        refuse_open(*paths)
        return function(*paths, **kwargs)
    return call

for name in ("unlink", "remove", "rename", "replace"):
    setattr(os, name, on_closed(getattr(os, name)))

posix_open = os.open
def open_file(path, *args, **kwargs):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied")
    return posix_open(path, *args, **kwargs)
os.open = open_file
"""

TRAIN = """
from pathlib import Path
import kerasfit
from kerasfit.runtime.compilation_cache import _refusals
from kerasfit.checkpoint.run_folder import RunFolder
from kerasfit.live import View

folder = Path(sys.argv[1])
(folder / "view").mkdir()

def fit(epochs, **settings):
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = numpy.arange(96.0).reshape(8, 12).T / 96, numpy.arange(12.0)
    callbacks = [
        kerasfit.BackupAndRestore(folder / "run", save_freq=1, double_checkpoint=True, **settings),
        kerasfit.MetricsLog(folder / "log.csv"),
        keras.callbacks.CSVLogger(folder / "keras.csv"),
    ]
    view = View.in_folder(folder / "view")
    return kerasfit.fit(model, x, y, batch_size=4, epochs=epochs, callbacks=callbacks, verbose=0, view=view)

fit(2, delete_checkpoint=False)
assert sorted(os.listdir(folder / "run")) == ["previous.npz", "state.npz"], os.listdir(folder / "run")
locked.clear()  # as closing a file does
history = fit(4)
assert len(history.metrics["loss"]) == 4, history.metrics
assert len((folder / "log.csv").read_text(encoding="utf-8").splitlines()) == 5
assert b'"ended"' in (folder / "view" / "kerasfit-view" / "state.json").read_bytes()
assert not (folder / "run").exists(), os.listdir(folder / "run")
assert not _refusals and (folder / "cache" / "kerasfit-programs" / "FORMAT").exists()
assert not [name for name in os.listdir(folder) if name.startswith(".")]

locked.clear()
run = RunFolder(folder / "other")
try:
    RunFolder(folder / "other")
except kerasfit.ArgumentError as error:
    assert f"in use by process {os.getpid()}" in str(error), error
else:
    raise AssertionError("two processes use one folder")
run.release()
assert not (folder / "other").exists()
"""


def test_training_backup_and_resuming_work_with_the_calls_of_windows(tmp_path):
    environment = sessions.ENVIRONMENT | {"KERASFIT_CACHE": str(tmp_path / "cache")}
    code = [sys.executable, "-c", LIKE_WINDOWS + TRAIN, str(tmp_path)]
    done = subprocess.run(code, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
