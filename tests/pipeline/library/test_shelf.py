"""A library as the page shows it: lists in pages, decisions, what changes meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.library import made
from faces.errors import UserError
from pipeline.library import decide
from pipeline.library.forget import forget_faces
from pipeline.library.page.lists import PAGE
from pipeline.library.page.shelf import FACE, Shelf
from pipeline.library.people import Library
from pipeline.service.runtime.file_locks import hold
from recognizer.gallery import Gallery
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from tests.pipeline.library.made import (
    EMBEDDER,
    D,
    digest,
    face_row,
    make_library,
    two_people,
    vectors,
)

WAIT = 300.0


@pytest.fixture(autouse=True)
def calibrated(monkeypatch):
    monkeypatch.setattr(
        "pipeline.library.people.default_thresholds", lambda _: Thresholds(gallery=0.45)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_library(tmp_path / "lib", two_people())


@pytest.fixture
def shelf(folder: Path) -> Iterator[Shelf]:
    with Shelf(Library(folder)) as opened:
        assert settled(opened)
        yield opened


def settled(shelf: Shelf) -> bool:
    return shelf._lists.wait(WAIT)


def listed(shelf: Shelf, kind: str = "unnamed") -> list[tuple[str | None, int]]:
    assert settled(shelf)
    return [(row["name"], row["moments"]) for row in shelf.people(kind)["rows"]]  # type: ignore[arg-type]


def say(shelf: Shelf, do: str, *faces: str, whole: bool = True, **more: str) -> None:
    number = shelf.status()["view"]
    shelf.decide(number, do, faces, whole, **more)  # type: ignore[arg-type]
    assert settled(shelf)


def first(shelf: Shelf, kind: str = "unnamed", at: int = 0) -> str:
    return shelf.people(kind)["rows"][at]["face"]  # type: ignore[arg-type]


def test_everybody_is_listed_and_decisions_change_the_lists(shelf):
    assert listed(shelf) == [(None, 6), (None, 5)]
    assert shelf.status()["kinds"] == {"named": 0, "unnamed": 2, "once": 0, "ignored": 0}
    say(shelf, "name", first(shelf), name=" Ann ")
    assert listed(shelf, "named") == [("Ann", 6)]
    assert shelf.status()["undo"] == {"number": 1, "what": "6 is Ann"}
    photo = shelf.photos(first(shelf, "named"))["rows"][0]
    say(shelf, "not", photo["face"], whole=False, who=first(shelf, "named"))
    assert listed(shelf, "named") == [("Ann", 5)]
    assert listed(shelf, "once") == [(None, 1)]
    say(shelf, "ignore", first(shelf))
    assert listed(shelf, "ignored") == [(None, 5)]
    shelf.undo(shelf.status()["undo"]["number"])
    say(shelf, "same", first(shelf), first(shelf, "named"))
    assert listed(shelf, "named") == [("Ann", 10)]
    say(shelf, "not_a_face", first(shelf, "named"))
    assert listed(shelf, "named") == []


def test_numbers_of_the_command_line_stay_whatever_the_page_does(shelf, folder):
    with Library(folder) as library:
        library.people()
        say(shelf, "name", first(shelf, at=1), name="Ann")
        say(shelf, "not_a_face", first(shelf, at=0))
        decide.name(library, [library.find("1")], "Bob")
    assert sorted(listed(shelf, "named")) == [("Ann", 5), ("Bob", 6)]


def test_what_is_decided_is_about_the_list_that_was_seen(shelf):
    seen, face, other = shelf.status()["view"], first(shelf), first(shelf, at=1)
    say(shelf, "name", face, name="Ann")
    # On the list before, both are nobody: the name that one has by now is that of both.
    shelf.decide(seen, "same", [face, other], True)
    assert listed(shelf, "named") == [("Ann", 11)]
    with pytest.raises(UserError, match="look at it again"):
        shelf.decide(seen, "name", [face], True, "Bob")
    with pytest.raises(UserError, match="not in the library"):
        say(shelf, "name", "0123456789abcdef-7", name="Bob")
    with pytest.raises(UserError, match="no decision 99"):
        shelf.undo(99)


def test_pages_hold_everything_once_and_in_order(tmp_path):
    count = 2 * PAGE + 5
    rows = [
        face_row(f"/photos/{person:03}-{i}.jpg", 0, vector)
        for person in range(count)
        for i, vector in enumerate(vectors(person, 2 + person % 3, 0.95))
    ]
    with Shelf(Library(make_library(tmp_path / "lib", rows))) as shelf:
        assert settled(shelf)
        pages = [shelf.people("unnamed", offset) for offset in range(0, 4 * PAGE, PAGE)]
        assert {page["total"] for page in pages} == {count}
        assert [len(page["rows"]) for page in pages] == [PAGE, PAGE, 5, 0]
        everybody = [row for page in pages for row in page["rows"]]
        assert len({row["face"] for row in everybody}) == count
        moments = [row["moments"] for row in everybody]
        assert moments == sorted(moments, reverse=True)
        say(shelf, "name", *(row["face"] for row in everybody), name="Ann")
        ann = first(shelf, "named")
        pages = [shelf.photos(ann, offset) for offset in range(0, len(rows) + PAGE, PAGE)]
        paths = [row["path"] for page in pages for row in page["rows"]]
        assert paths == sorted(str(row["path"]) for row in rows)
        assert max(len(page["rows"]) for page in pages) == PAGE
        assert shelf.people("named", text="aN")["total"] == 1
        assert shelf.people("named", text="Bob") == {
            "view": shelf.status()["view"], "total": 0, "rows": [],
        }  # fmt: skip


def test_searching_by_a_vector_in_pages(shelf):
    key = shelf.search(vectors(1, 1)[0])
    found = shelf.found(key)
    assert found["total"] == 6
    alike = [row["similarity"] for row in found["rows"]]
    assert alike == sorted(alike, reverse=True)
    assert alike[0] == 1
    assert shelf.found(key, 4)["rows"] == found["rows"][4:]
    with pytest.raises(UserError, match="search again"):
        shelf.found("no such key")


def test_names_of_a_gallery_and_its_changes(folder):
    gallery = Gallery.empty(EMBEDDER, D).add("Ann", vectors(1, 2, seed=5))
    known = [Snapshot(gallery, thresholds=Thresholds(gallery=0.45), version=1)]
    with Shelf(Library(folder), lambda: (known[0], str(known[0].version))) as shelf:
        assert listed(shelf, "named") == [("Ann", 6)]
        other = gallery.add("Bob", vectors(2, 2, seed=5))
        known[0] = Snapshot(other, thresholds=Thresholds(gallery=0.45), version=2)
        assert listed(shelf, "named") == [("Ann", 6), ("Bob", 5)]


def test_new_photos_come_when_faces_index_has_ended(shelf, folder, monkeypatch):
    monkeypatch.setattr("pipeline.library.page.lists.AGAIN", 0.05)
    more = [face_row(f"/new/{i}.jpg", 0, v) for i, v in enumerate(vectors(1, 4, seed=7))]
    lock = hold(folder / ".lock")
    assert lock is not None
    with lock:
        make_library(folder, two_people()[4:] + more)  # some parts are gone, some are there
        assert listed(shelf) == [(None, 6), (None, 5)]
        assert shelf.status()["writing"]
        say(shelf, "name", first(shelf), name="Ann")
        assert listed(shelf, "named") == [("Ann", 6)]
        make_library(folder, two_people() + more)
        assert listed(shelf, "named") == [("Ann", 6)]
    until_named(shelf, [("Ann", 10)])
    assert not shelf.status()["writing"]


def test_a_page_that_is_opened_while_faces_index_writes_shows_the_last_list(folder, monkeypatch):
    monkeypatch.setattr("pipeline.library.page.lists.AGAIN", 0.05)
    with Library(folder) as library:
        library.people()
        decide.name(library, [library.find("1")], "Ann")
        library.people()
    more = [face_row(f"/new/{i}.jpg", 0, v) for i, v in enumerate(vectors(1, 4, seed=7))]
    lock = hold(folder / ".lock")
    assert lock is not None
    with lock:
        make_library(folder, two_people() + more)
        with Shelf(Library(folder)) as shelf:
            assert listed(shelf, "named") == [("Ann", 6)]
            assert shelf.status()["writing"]
            say(shelf, "name", first(shelf), name="Bob")
            assert listed(shelf, "named") == [("Ann", 6), ("Bob", 5)]
            lock.close()
            until_named(shelf, [("Ann", 10), ("Bob", 5)])


def until_named(shelf: Shelf, expected: list[tuple[str | None, int]]) -> None:
    for _ in range(600):
        if listed(shelf, "named") == expected:
            return
        shelf._lists._closed or shelf._lists._thread.join(0.05)
    assert listed(shelf, "named") == expected


def test_whoever_was_forgotten_is_not_shown_nor_decided_about(shelf, folder):
    say(shelf, "name", first(shelf), name="Ann")
    seen, face = shelf.status()["view"], first(shelf, "named")
    with Library(folder) as library:
        library.people()
        rows = library.find("Ann").rows
        faces = [(str(library.faces.face[r]), library.keys(np.array([r]))[0]) for r in rows]
    forget_faces(folder, ["Ann"], faces)
    assert listed(shelf, "named") == []
    assert listed(shelf) == [(None, 5)]
    with pytest.raises(UserError, match="look at it again"):
        shelf.decide(seen, "name", [face], True, "Ann")
    assert b"Ann" not in (folder / "decisions.db").read_bytes()


def test_a_library_that_goes_away_stays_on_the_page_with_the_reason(shelf, folder):
    (folder / "library.json").rename(folder / "away.json")
    for part in folder.glob("parts/*.parquet"):
        part.unlink()
    assert settled(shelf)
    assert listed(shelf) == [(None, 6), (None, 5)]
    assert "no library" in str(shelf.status()["error"])
    make_library(folder, two_people())
    (folder / "away.json").unlink()
    assert settled(shelf)
    assert shelf.status()["error"] is None


def test_a_damaged_part_is_said_and_not_read_again_and_again(folder, monkeypatch):
    part = next(folder.glob("parts/*.parquet"))
    part.write_bytes(b"PAR1 no more")
    with Shelf(Library(folder)) as shelf:
        assert settled(shelf)
        assert str(part) in str(shelf.status()["error"])
        with pytest.raises(UserError, match="cannot be read"):
            shelf.people("named")
        monkeypatch.setattr("pipeline.library.people.read_faces", None)  # would fail if asked
        assert str(part) in str(shelf.status()["error"])


def test_an_empty_library(tmp_path):
    with Shelf(Library(make_library(tmp_path / "lib", []))) as shelf:
        assert listed(shelf) == []
        assert shelf.status()["faces"] == 0


def test_pictures_are_small_and_what_is_gone_is_none(tmp_path):
    photo = np.zeros((3000, 4000, 3), np.uint8)
    photo[200:2200, 100:1900] = (200, 30, 40)
    Image.fromarray(photo).save(tmp_path / "\u00e4.jpg")
    big = {"x1": 100.0, "y1": 200.0, "x2": 1900.0, "y2": 2200.0, "width": 4000, "height": 3000}
    same = digest("same")
    rows = [
        face_row(f"{tmp_path}/\u00e4.jpg", 0, vectors(1, 1)[0], digest=same, **big),
        face_row(f"{tmp_path}/a copy that is gone.jpg", 0, vectors(1, 1)[0], digest=same, **big),
        face_row(f"{tmp_path}/gone.jpg", 0, vectors(3, 1)[0]),
    ]
    with Shelf(Library(make_library(tmp_path / "lib", rows))) as shelf:
        assert settled(shelf)
        sizes = []
        for whole in (False, True):
            data = shelf.picture(f"{same[:16]}-0", whole)
            assert data is not None
            (tmp_path / "shown.jpg").write_bytes(data)
            with Image.open(tmp_path / "shown.jpg") as shown:
                sizes.append(shown.size)
                middle = shown.convert("RGB").getpixel((int(0.25 * shown.width), shown.height // 3))
                assert middle == pytest.approx((200, 30, 40), abs=12)
        assert max(sizes[0]) == FACE
        assert sizes[1] == (1280, 960)
        assert shelf.picture(digest(f"{tmp_path}/gone.jpg")[:16] + "-0") is None
        assert shelf.picture("../../etc/passwd", True) is None


def test_no_answer_about_many_faces_has_more_than_a_page(tmp_path):
    made(tmp_path / "lib", 1_500, 5, D)
    with Shelf(Library(tmp_path / "lib")) as shelf:
        assert settled(shelf)
        page = shelf.people("unnamed", 2 * PAGE)
        assert page["total"] == shelf.status()["kinds"]["unnamed"] >= 300
        assert len(page["rows"]) == PAGE
        assert len(json.dumps(page)) < 20_000
        photos = shelf.photos(page["rows"][0]["face"])
        assert 1 <= photos["total"] <= 5
