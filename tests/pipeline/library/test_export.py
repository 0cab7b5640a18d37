"""Folders, tables and sidecars of a library; and forgetting."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from pipeline.library import decide
from pipeline.library.export.files import write_csv, write_folders, write_sidecars
from pipeline.library.forget import forget_faces
from pipeline.library.parts import read_rows
from pipeline.library.people import Library
from pipeline.library.plan import Known, make_plan
from pipeline.library.scan import scan
from pipeline.service.runtime.file_locks import hold
from recognizer.rule import Thresholds
from tests.pipeline.library.made import digest, face_row, make_library, two_people, vectors
from tests.pipeline.library.test_sidecars import read


@pytest.fixture(autouse=True)
def calibrated(monkeypatch):
    monkeypatch.setattr(
        "pipeline.library.people.default_thresholds", lambda _: Thresholds(gallery=0.45)
    )


@pytest.fixture
def library(tmp_path):
    """Photos that are there; one lies in a folder below, under the name of another."""
    photos = tmp_path / "photos"
    rows = two_people(str(photos))
    for row in rows:
        if row["path"].endswith("b.jpg"):
            row["path"] = f"{photos}/more/A.jpg"
    rows.append(face_row(f"{photos}/=1+2.jpg", 0, vectors(1, 1, seed=3)[0]))
    for path in {row["path"] for row in rows}:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(path)
    with Library(make_library(tmp_path / "lib", rows)) as library:
        library.people()
        decide.name(library, [library.find("1")], "Ann")
        decide.name(library, [library.find("2")], "=Bob")
        yield library


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("copy", [False, True])
def test_a_folder_for_each_person(library, tmp_path, copy):
    people, out = library.people(), tmp_path / "out"
    done = write_folders(people, people.everybody, out, copy=copy, replace=False)
    assert names(out) == ["Ann", "Bob"]
    # "A.jpg" and "a.jpg" are one file on many systems.
    [other] = set(names(out / "Ann")) - {"=1+2.jpg", *(f"{c}.jpg" for c in "acdef")}
    assert other.startswith(("A-", "a-"))
    assert sum(done.done.values()) == 7 + 5
    assert (out / "Ann" / "c.jpg").is_symlink() is not copy
    for path in (out / "Ann").iterdir():  # links lead somewhere after the folder got its name
        assert path.read_bytes()[:2] == b"\xff\xd8"


def test_folders_of_others_are_never_replaced(library, tmp_path):
    people, out = library.people(), tmp_path / "out"
    (out / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match="new folder"):
        write_folders(people, people.everybody, out, copy=False, replace=True)
    assert names(out) == ["mine"]
    ours = tmp_path / "ours"
    write_folders(people, people.everybody, ours, copy=False, replace=False)
    with pytest.raises(UserError, match="--overwrite"):
        write_folders(people, people.everybody, ours, copy=False, replace=False)
    write_folders(people, people.everybody[:1], ours, copy=False, replace=True)
    assert names(ours) == ["Ann"]


def test_a_photo_that_is_gone_is_said_and_the_others_are_there(library, tmp_path):
    people = library.people()
    (tmp_path / "photos" / "c.jpg").unlink()
    done = write_folders(people, people.everybody, tmp_path / "out", copy=False, replace=False)
    assert len(done.failed) == 2
    assert "c.jpg" in done.failed[0]
    assert sum(done.done.values()) == 10


def test_a_table_without_formulas(library, tmp_path):
    people, path = library.people(), tmp_path / "people.csv"
    assert write_csv(people, people.everybody, path) == 12
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"Ann", "'=Bob"}
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    [row] = [row for row in rows if row["path"].endswith("/c.jpg") and row["name"] == "Ann"]
    assert (row["x1"], row["width"], row["taken"]) == ("10.0", "400", "2024-03-10T12:00:00")


def test_sidecars_beside_photos_and_elsewhere(library, tmp_path):
    done = write_sidecars(library.folder, library.people(), "photo.jpg.xmp")
    assert done.done == {"written": 8}
    photos = tmp_path / "photos"
    regions, people = read(photos / "c.jpg.xmp")
    assert people == ["Ann", "=Bob"]
    assert regions[0][1:] == pytest.approx((50 / 400, 70 / 300, 80 / 400, 100 / 300), abs=1e-6)
    assert write_sidecars(library.folder, library.people(), "photo.jpg.xmp").done == {
        "unchanged": 8
    }
    # What is taken back leaves the sidecars with the next export.
    library.decisions.undo()
    again = write_sidecars(library.folder, library.people(), "photo.jpg.xmp")
    assert again.done == {"unchanged": 3, "updated": 5}
    assert read(photos / "c.jpg.xmp")[1] == ["Ann"]
    elsewhere = write_sidecars(library.folder, library.people(), "photo.xmp", tmp_path / "xmp")
    assert elsewhere.done == {"written": 7}
    assert len(list((tmp_path / "xmp").rglob("a.xmp"))) == 1


def test_sidecars_know_turned_photos_and_refuse_changed_ones(tmp_path):
    photo = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its side: 300 x 400 is shown as 400 x 300
    Image.fromarray(np.zeros((400, 300, 3), np.uint8)).save(photo, exif=exif)
    changed = tmp_path / "changed.jpg"
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(changed)
    rows = [face_row(str(p), 0, v) for p, v in zip((photo, changed), vectors(1, 2), strict=True)]
    with Library(make_library(tmp_path / "lib", rows)) as library:
        library.people()
        decide.name(library, [library.find("1")], "Ann")
        exif[274] = 3  # turned in a viewer: as large as before
        Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(changed, exif=exif)
        done = write_sidecars(library.folder, library.people(), "photo.jpg.xmp")
    [region] = read(tmp_path / "turned.jpg.xmp")[0]
    # Shown at (50, 70) of 400 x 300; turned back, 70 from the left and 50 from the bottom.
    assert region[1:] == pytest.approx((70 / 300, 1 - 50 / 400, 100 / 300, 80 / 400), abs=1e-6)
    assert len(done.failed) == 1
    assert "has changed" in done.failed[0]


def test_forgetting_leaves_nothing_of_somebody(library, tmp_path):
    people = library.people()
    write_sidecars(library.folder, people, "photo.jpg.xmp")
    ann = library.find("Ann")
    faces = [(str(people.faces.face[row]), library.keys(np.array([row]))[0]) for row in ann.rows]
    vector = people.faces.embedding[ann.rows[0]].tobytes()
    assert forget_faces(library.folder, ["Ann"], faces) == 7
    library.close()
    for file in library.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"Ann" not in content
            assert vector not in content
    rows = read_rows(library.folder).to_pylist()
    assert len(rows) == 5 + 3  # Bob's faces, and three photos that have none now
    nobody = {row["path"] for row in rows if row["face"] is None}
    assert {path[-5] for path in nobody} == set("aA2")
    assert all(row["digest"] for row in rows)
    with Library(library.folder) as again:
        assert [(p.name, p.moments) for p in again.people().everybody] == [("=Bob", 5)]
        # The names of who was forgotten leave the sidecars, too.
        write_sidecars(again.folder, again.people(), "photo.jpg.xmp")
    assert read(tmp_path / "photos" / "c.jpg.xmp")[1] == ["=Bob"]
    assert [read(f"{path}.xmp") for path in nobody] == [([], [])] * 3


def test_a_sidecar_of_two_photos_keeps_the_names_of_either(library, tmp_path):
    photos = tmp_path / "photos"
    write_sidecars(library.folder, library.people(), "photo.xmp")
    rows = read_rows(library.folder).to_pylist()
    blank = {k: v for k, v in rows[0].items() if k in ("size", "modified", "digest")}
    make_library(library.folder, [*rows, {**blank, "path": f"{photos}/a.png"}])
    again = library.again()
    assert set(write_sidecars(again.folder, again.people(), "photo.xmp").done) == {"unchanged"}
    assert read(photos / "a.xmp")[1] == ["Ann"]
    # Where both show somebody with a name it is the first one's, again and again.
    make_library(library.folder, [*rows, {**rows[0], "path": f"{photos}/a.png"}])
    again = library.again()
    for _ in range(2):
        done = write_sidecars(again.folder, again.people(), "photo.xmp")
        assert set(done.done) == {"unchanged"}
        [told] = done.failed
        assert "another photo has the sidecar a.xmp already" in told
    assert read(photos / "a.xmp")[1] == ["Ann"]


def test_an_export_among_the_photos_is_no_photo_of_theirs(library, tmp_path):
    """Else the next export would hold links to those of this one, which it replaces."""
    photos, people = tmp_path / "photos", library.people()
    whole = scan([str(photos)]).table["path"].to_pylist()
    out = photos / "out"
    write_folders(people, people.everybody, out, copy=False, replace=False)
    found = scan([str(photos)])
    assert found.table["path"].to_pylist() == whole
    assert found.exports == {f"{out.as_posix()}/"}
    assert len(scan([str(out)]).table), "it may be asked for"
    # As an older version indexed it: dropped, and not linked to.
    rows = read_rows(library.folder).to_pylist()
    make_library(library.folder, [*rows, {**rows[0], "path": f"{out.as_posix()}/Ann/a.jpg"}])
    gone = make_plan(Known.read(library.folder), found).gone
    assert gone.sum() == 1
    people = library.again().people()
    done = write_folders(people, people.everybody, out, copy=False, replace=True)
    assert sum(done.done.values()) == 12
    assert all(path.exists() for path in out.rglob("*.jpg"))


def test_copies_that_are_all_there_is_are_never_replaced_by_nothing(library, tmp_path):
    """An export by copies, the photos themselves gone, indexed as a library of its own."""
    people, out = library.people(), tmp_path / "out"
    write_folders(people, people.everybody, out, copy=True, replace=False)
    copies = sorted(out.rglob("*.jpg"))
    rows = [face_row(path.as_posix(), 0, vectors(1, 1, seed=i)[0]) for i, path in enumerate(copies)]
    with Library(make_library(tmp_path / "own", rows)) as own:
        people = own.people()
        with pytest.raises(UserError, match="is a copy in the folder that would be replaced"):
            write_folders(people, people.everybody, out, copy=False, replace=True)
        assert sorted(out.rglob("*.jpg")) == copies
        done = write_folders(people, people.everybody, out, copy=True, replace=True)
    assert done.done == {"copied": len(copies)}
    assert len(list(out.rglob("*.jpg"))) == len(copies)


def test_forgetting_reaches_all_copies(tmp_path):
    content = digest("one")
    rows = [
        face_row(f"/{place}/a.jpg", 0, vectors(1, 1)[0], digest=content) for place in ("x", "y")
    ]
    with Library(make_library(tmp_path / "lib", rows)) as library:
        meant = library.find(f"{content[:16]}-0")
        assert len(meant.rows) == 2
        forget_faces(library.folder, [], [(f"{content[:16]}-0", library.keys(meant.rows)[0])])
    with Library(tmp_path / "lib") as again:
        assert again.people().everybody == ()


def test_nothing_is_forgotten_while_photos_are_looked_at(library):
    """An index that is at work could write what was forgotten once more."""
    people = library.people()
    faces = [(str(people.faces.face[0]), library.keys(np.array([0]))[0])]
    for name in (".lock", ".lock-3-of-8"):
        with hold(library.folder / name), pytest.raises(UserError, match="faces index"):
            forget_faces(library.folder, [], faces)
    assert forget_faces(library.folder, [], faces) == 1
