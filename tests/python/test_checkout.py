"""The files of a checkout of the repository work on every operating system."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="is no checkout")
def test_no_file_is_a_symbolic_link_which_windows_would_check_out_as_text():
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = listed.stdout.splitlines()
    assert len(files) > 100
    assert [file for file in files if file.startswith("120000")] == []
