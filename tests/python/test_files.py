"""File operations on systems that lack one or implement it differently."""

from __future__ import annotations

import errno
import os

import pytest

from kerasfit.runtime import files


def test_a_link_is_not_opened_even_if_the_system_cannot_refuse_it(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for has_flag in (True, False):
        if not has_flag:
            monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
        os.close(files.open_no_link(tmp_path / "file", os.O_RDONLY))
        for link in ("link", "nowhere"):
            with pytest.raises(OSError):
                files.open_no_link(tmp_path / link, os.O_RDWR | os.O_CREAT)
    assert not (tmp_path / "missing").exists()


def test_windows_waits_for_readers_before_it_replaces_a_file(monkeypatch, tmp_path):
    refusals = [PermissionError(13, "in use")] * 3
    replace = os.replace

    def replace_later(*names, **folders):
        if refusals:
            raise refusals.pop()
        replace(*names, **folders)

    monkeypatch.setattr(os, "replace", replace_later)
    (tmp_path / "new").write_text("new", encoding="utf-8")
    with pytest.raises(PermissionError):
        files.replace(tmp_path / "new", tmp_path / "old")
    monkeypatch.setattr(files, "IS_WINDOWS", True)
    files.replace(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text(encoding="utf-8") == "new"
    refusals = [PermissionError(13, "in use")] * 1000
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.1)
    with pytest.raises(PermissionError):
        files.replace(tmp_path / "old", tmp_path / "older")


def test_a_disk_error_in_sync_is_raised_but_a_file_system_without_sync_is_accepted(monkeypatch):
    def fail(number):
        def fsync(descriptor):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    fail(errno.EINVAL)
    files.sync(0)
    fail(errno.EIO)
    with pytest.raises(OSError):
        files.sync(0)
