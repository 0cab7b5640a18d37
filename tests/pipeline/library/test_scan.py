"""What arguments and lists name."""

from __future__ import annotations

import io
import sys

import pytest

from faces.errors import UserError
from pipeline.library.plan import FILM, shards
from pipeline.library.scan import scan
from pipeline.library.schema import MISSING
from tests.pipeline.people_photos import save


def paths(found) -> list[str]:
    return found.table["path"].to_pylist()


def test_folders_patterns_and_files_each_once_sorted(tmp_path, monkeypatch):
    for name in ("b.png", "a.png", "sub/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    monkeypatch.chdir(tmp_path)
    here = tmp_path.as_posix()
    found = scan(["sub", ".", "a.png", "*.png"])
    assert paths(found) == [f"{here}/{name}" for name in ("a.png", "b.png", "sub/c.png")]
    assert found.roots == {f"{here}/sub/": 1, f"{here}/": 2}
    assert found.table["size"].to_pylist() == [5, 5, 5]


def test_lists_name_files_folders_and_what_is_gone(tmp_path, monkeypatch):
    save(tmp_path / "sub" / "a [1].png")
    text = f"{tmp_path / 'sub'}\r\n\n{tmp_path / 'gone.png'}\n"
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = scan([f"@{tmp_path / 'list.txt'}"])
    assert [path.rpartition("/")[2] for path in paths(found)] == ["gone.png", "a [1].png"]
    assert found.table["size"].to_pylist()[0] == MISSING
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert paths(scan([], ["-"])) == paths(found)


def test_a_file_whose_name_begins_with_the_sign_of_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "@me.png")
    assert paths(scan(["@me.png"])) == [(tmp_path / "@me.png").as_posix()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to look at"),
        (["nowhere"], "no such file"),
        (["@nowhere.txt"], "the list nowhere.txt cannot be read"),
        (["*.png"], "matches no image"),
    ],
)
def test_what_names_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        scan(arguments)


def test_a_list_that_windows_wrote_and_one_that_is_no_text(tmp_path):
    save(tmp_path / "ä.png")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path / 'ä.png'}\r\n", encoding="utf-16")
    assert paths(scan([], [str(listed)])) == [(tmp_path / "ä.png").as_posix()]
    listed.write_bytes(b"a.png\0b.png\0")  # of `find -print0`
    with pytest.raises(UserError, match=r"list\.txt has null bytes"):
        scan([], [str(listed)])


def test_an_empty_list_is_said(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\n")
    with pytest.raises(UserError, match="is empty"):
        scan([f"@{tmp_path / 'list.txt'}"])


def test_shards_hold_about_as_much_work_and_everything_once():
    import pyarrow as pa

    names = pa.array([f"{i}.MP4" if i % 10 == 0 else f"{i}.jpg" for i in range(100)])
    found = shards(names, 100)
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
    assert found[-1][1] == 100
    for start, stop in found[:-1]:
        weights = [FILM if i % 10 == 0 else 1 for i in range(start, stop)]
        assert sum(weights) >= 100 > sum(weights[:-1])
    assert shards(names.slice(0, 0), 100) == []
