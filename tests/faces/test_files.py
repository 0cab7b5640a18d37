"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from faces.errors import UserError
from faces.files import atomic_write, atomic_write_text, check_writable


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_name_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "model.pt"
    with atomic_write(path) as file:
        file.write(b"weights")
        assert not path.exists()
    assert path.read_bytes() == b"weights"
    assert names(tmp_path) == ["model.pt"]


def test_the_parent_folder_is_made(tmp_path):
    with atomic_write(str(tmp_path / "runs" / "a" / "model.pt")) as file:
        file.write(b"x")
    assert (tmp_path / "runs" / "a" / "model.pt").read_bytes() == b"x"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [None, b"the last good one"], ids=["new", "existing"])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / "model.pt"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(error), atomic_write(path) as file:  # noqa: PT012
        file.write(b"half of the wei")
        raise error
    assert names(tmp_path) == ([] if before is None else ["model.pt"])
    assert before is None or path.read_bytes() == before


def test_a_reader_of_the_old_file_keeps_it(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "etc").mkdir()
    link, real = tmp_path / "keys.json", tmp_path / "etc" / "keys.json"
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("this system makes no links")
    for text in ("new", "changed"):  # first it leads nowhere
        atomic_write_text(link, text)
        assert link.is_symlink()
        assert real.read_text(encoding="utf-8") == text
    assert (names(tmp_path), names(tmp_path / "etc")) == (["etc", "keys.json"], ["keys.json"])


def test_the_folder_that_a_link_leads_to_is_not_made(tmp_path):
    """It may be on a disk that is not there just now."""
    try:
        (tmp_path / "a.json").symlink_to(tmp_path / "usb" / "sub" / "a.json")
    except OSError:
        pytest.skip("this system makes no links")
    with pytest.raises(UserError, match=r"cannot write .*a\.json: it is a link to .*no such"):
        atomic_write_text(tmp_path / "a.json", "x")
    assert names(tmp_path) == ["a.json"]


KILLED = """
import os, signal, sys
from faces.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_process_costs_no_earlier_file(tmp_path):
    path = tmp_path / "last.pt"
    path.write_bytes(b"the last good one")
    result = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"the last good one"
    [left] = set(names(tmp_path)) - {"last.pt"}
    assert left.startswith(".part-")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_files_get_the_ordinary_permissions(tmp_path):
    mask = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "a.txt", "x")
        (tmp_path / "b.txt").write_text("x", encoding="utf-8")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_the_umask_is_never_touched(tmp_path, monkeypatch):
    """It belongs to all threads: one that opens a file meanwhile, or puts it back late, suffers."""
    monkeypatch.setattr(os, "umask", None)
    atomic_write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127])
def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path, name):
    try:
        (tmp_path / name).write_bytes(b"old")
    except OSError:
        pytest.skip("this file system allows no such name")
    atomic_write_text(tmp_path / name, "x")
    assert (tmp_path / name).read_bytes() == b"x"


def test_a_name_that_is_no_utf_8_is_written_as_json_reads_it(tmp_path):
    name = "caf\udce9.jpg"  # what Python makes of b"caf\xe9.jpg"
    atomic_write_text(tmp_path / "a.json", f'"{name}"')
    assert (tmp_path / "a.json").read_bytes() == b'"caf\\udce9.jpg"'
    assert json.loads((tmp_path / "a.json").read_bytes()) == name


def test_text_is_utf_8_with_unix_line_ends(tmp_path):
    atomic_write_text(tmp_path / "a.txt", "größe\nΩ\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe\nΩ\n".encode()


def test_a_folder_in_the_way_is_an_error_and_nothing_is_left(tmp_path):
    (tmp_path / "model.pt").mkdir()
    with pytest.raises(OSError, match=r"model\.pt"):
        atomic_write_text(tmp_path / "model.pt", "x")
    assert names(tmp_path) == ["model.pt"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "Read-only file system")],
)
def test_a_full_or_fixed_disk_is_no_fault_of_the_program(tmp_path, monkeypatch, number, reason):
    """It is one line for the user, and for those who expect it an OSError as `open` raises it."""

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "a.json").write_text("the last good one", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=rf"cannot write .*a\.json: {reason}$") as caught:
        atomic_write_text(tmp_path / "a.json", "x")
    assert isinstance(caught.value, OSError)
    assert (caught.value.errno, caught.value.strerror) == (number, os.strerror(number))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "the last good one"


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path):
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(OSError, match="runs"):
        atomic_write_text(tmp_path / "runs" / "a.txt", "x")
    assert names(tmp_path) == ["runs"]


def test_where_results_cannot_go_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "results")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"written to .*file: .*name another folder with --out"):
            check_writable(folder)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_flag_for_another_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="name another folder with --report"):
        check_writable(tmp_path / "file", "--report")


def test_a_folder_that_may_not_be_entered_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, **_: object) -> None:  # to root nothing is denied
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(UserError, match=r"written to .*locked.*: Permission denied"):
        check_writable(tmp_path / "locked" / "a" / "b")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_private_file_is_nobody_elses_at_any_moment(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a", private=True) as file:
        [part] = tmp_path.iterdir()
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
        file.write(b"faces")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
