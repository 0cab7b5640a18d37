"""Folders that appear whole, whatever stops the process that makes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faces.folders import atomic_folder, copy_file


def files(folder: Path) -> list[str]:
    return sorted(x.relative_to(folder).as_posix() for x in folder.rglob("*") if not x.is_dir())


def make_old(path: Path) -> Path:
    path.mkdir()
    (path / "old").touch()
    return path


KILLED = """
import os, signal, sys
from pathlib import Path
from faces.folders import atomic_folder
real = Path.rename
def rename(self, target):
    if self.name.endswith(".part"):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
Path.rename = rename
with atomic_folder(Path(sys.argv[1])) as new:
    (new / "new").touch()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_folder_killed_between_its_two_renames_is_not_lost(tmp_path: Path) -> None:
    path = make_old(tmp_path / "a")
    result = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert not path.exists()

    def fail() -> None:
        with atomic_folder(path):
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert files(tmp_path) == ["a/old"]


def test_a_rename_that_fails_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_old(tmp_path / "a")
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == ".a.part":  # as Windows does while a scanner has a file in it open
            raise PermissionError("in use")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(PermissionError, match="in use"), atomic_folder(path) as new:
        (new / "new").touch()
    assert files(tmp_path) == ["a/old"]


def test_a_copy_may_have_the_longest_name(tmp_path: Path) -> None:
    source = tmp_path / ("a" * 251 + ".jpg")
    try:
        source.write_bytes(b"picture")
    except OSError:
        pytest.skip("this file system allows no such name")
    copy_file(source, tmp_path / "copies" / source.name)
    assert files(tmp_path / "copies") == [source.name]
