"""One look at everything, and none at what is known."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from faces.files import file_digest
from pipeline.library.index import check_manifest
from pipeline.library.parts import (
    part_files,
    read_faces,
    read_manifest,
    table_of,
    write_manifest,
    write_part,
)
from tests.pipeline.library.looking import SETTINGS, Here, QuickLooker, index, names, rows
from tests.pipeline.people_photos import person, photo, save


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two people on a.png, one on b.png, nobody on c.png, and d.jpg, which is no picture."""
    folder = tmp_path / "photos"
    save(folder / "a.png", person(1), person(2))
    save(folder / "sub" / "b.png", person(3))
    save(folder / "c.png")
    (folder / "d.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return tmp_path / "lib"


@pytest.mark.slow
def test_every_file_has_a_row_and_every_face_its_own(library, photos):
    tally = index(library, photos)
    assert (tally.looked, tally.faces, tally.failed) == (4, 3, 1)
    found = rows(library)
    digest = file_digest(photos / "a.png")
    assert [(Path(r["path"]).name, r["face"]) for r in found] == [
        ("a.png", f"{digest[:16]}-0"),
        ("a.png", f"{digest[:16]}-1"),
        ("c.png", None),
        ("d.jpg", None),
        ("b.png", f"{file_digest(photos / 'sub' / 'b.png')[:16]}-0"),
    ]
    first, nobody, bad = found[0], found[2], found[3]
    assert first["path"] == (photos / "a.png").as_posix()
    assert first["digest"] == digest
    assert (first["width"], first["height"]) == (400, 300)
    status = (photos / "a.png").stat()
    assert (first["size"], first["modified"]) == (status.st_size, status.st_mtime)
    assert (first["x1"], first["y1"], first["x2"], first["y2"]) == (30, 40, 110, 120)
    assert 0 < first["quality"] <= 1
    assert abs(np.linalg.norm(first["embedding"]) - 1) < 1e-6
    assert first["seconds"] is None
    assert nobody["error"] is None
    assert nobody["width"] == 400
    assert "no" in bad["error"]
    assert str(photos) not in bad["error"]
    assert bad["digest"] == file_digest(photos / "d.jpg")


def test_nothing_is_looked_at_twice(library, photos):
    index(library, photos)
    before = {path: path.stat().st_mtime_ns for path in part_files(library)}
    executor = Here()
    tally = index(library, photos, executor=executor)
    assert (tally.looked, tally.unchanged, executor.looker.looked) == (0, 4, 0)
    assert {path: path.stat().st_mtime_ns for path in part_files(library)} == before


def test_new_and_changed_files_are_looked_at(library, photos):
    index(library, photos)
    save(photos / "a.png", person(4))
    save(photos / "e.png", person(5))
    tally = index(library, photos)
    assert (tally.looked, tally.unchanged) == (2, 3)
    faces = [name for name, face in names(library) if face]
    assert faces == ["a.png", "e.png", "b.png"], "the two old faces of a.png are gone"
    # Adding the same again changes nothing.
    assert index(library, photos).looked == 0


def test_a_file_that_was_only_touched_is_not_looked_at(library, photos):
    index(library, photos)
    before = rows(library)
    os.utime(photos / "a.png", (1, 1))
    executor = Here()
    tally = index(library, photos, executor=executor)
    assert (tally.looked, tally.known, executor.looker.looked) == (0, 1, 0)
    after = rows(library)
    assert [row["modified"] for row in after if row["path"].endswith("a.png")] == [1.0, 1.0]
    assert [r | {"modified": 0} for r in after] == [r | {"modified": 0} for r in before]


def test_moved_files_keep_their_faces_without_a_look(library, photos):
    index(library, photos)
    before = {row["face"]: row for row in rows(library) if row["face"]}
    (photos / "sub").rename(photos / "elsewhere")
    executor = Here()
    tally = index(library, photos, executor=executor)
    assert (tally.known, tally.gone, executor.looker.looked) == (1, 1, 0)
    after = {row["face"]: row for row in rows(library) if row["face"]}
    assert before.keys() == after.keys()
    [(face, row)] = [(f, r) for f, r in after.items() if "elsewhere" in r["path"]]
    assert row == before[face] | {"path": row["path"]}


def test_deleted_files_are_dropped(library, photos):
    index(library, photos)
    (photos / "a.png").unlink()
    tally = index(library, photos)
    assert tally.gone == 1
    assert [name for name, _ in names(library)] == ["c.png", "d.jpg", "b.png"]
    shutil.rmtree(photos / "sub")
    index(library, photos)
    assert [name for name, _ in names(library)] == ["c.png", "d.jpg"]


def test_what_was_not_searched_stays(library, photos, tmp_path):
    save(tmp_path / "other" / "x.png", person(7))
    index(library, photos)
    index(library, tmp_path / "other")
    index(library, photos / "a.png")
    assert [name for name, _ in names(library)].count("a.png") == 2
    assert {"x.png", "b.png"} <= {name for name, _ in names(library)}


def test_a_folder_that_is_suddenly_empty_is_taken_for_a_missing_disk(library, photos, caplog):
    index(library, photos)
    shutil.rmtree(photos)
    photos.mkdir()
    with pytest.raises(UserError, match="there is no photo"):
        index(library, photos)
    assert "is a disk missing" in caplog.text
    assert len(names(library)) == 5
    assert index(library, photos, drop_missing=True).gone == 4
    assert names(library) == []


def test_a_folder_that_was_moved_is_said_and_can_be_dropped_by_its_old_name(
    library, photos, tmp_path, caplog
):
    index(library, photos)
    (photos.parent / "pics" / "2024").mkdir(parents=True)
    moved = photos.rename(tmp_path / "pics" / "2024" / "photos")
    assert index(library, moved).known == 3
    old = photos.as_posix()
    assert f"{old} is not there any more, and the library still has 3 files of it" in caplog.text
    assert f"`faces index {old} --library {library} --drop-missing`" in caplog.text
    with pytest.raises(UserError, match="there is no such file"):
        index(library, photos)
    tally = index(library, photos, moved, drop_missing=True)
    assert (tally.gone, tally.unchanged) == (4, 4)
    assert {row["path"] for row in rows(library)} == {
        (moved / name).as_posix() for name in ("a.png", "c.png", "d.jpg", "sub/b.png")
    }
    with pytest.raises(UserError, match=r"photos/: there is no such file .* nothing of it"):
        index(library, photos, moved, drop_missing=True)


def test_a_disk_that_is_not_there_loses_only_what_is_elsewhere(library, photos, tmp_path, caplog):
    here = tmp_path / "here"
    index(library, photos)
    save(here / "a copy.png", person(1), person(2))
    save(here / "new.png", person(7))
    shutil.rmtree(photos)
    assert index(library, photos, here, drop_missing=True).gone == 1
    assert {name for name, _ in names(library)} == {
        *("a copy.png", "new.png", "b.png", "c.png", "d.jpg")
    }
    assert f"{photos.as_posix()}/ is not there, and the library has 3 files of it" in caplog.text
    (here / "a copy.png").rename(here / "c.png")  # what is known of it alone is no copy
    assert index(library, photos, drop_missing=True).gone == 0
    photos.mkdir()
    assert index(library, photos, drop_missing=True).gone == 3


def test_a_copy_on_another_disk_that_is_not_there_counts_for_nothing(library, photos, tmp_path):
    index(library, photos)
    index(library, shutil.copytree(photos, tmp_path / "copies"))
    shutil.rmtree(photos)
    shutil.rmtree(tmp_path / "copies")
    assert index(library, photos, drop_missing=True).gone == 0
    assert index(library, photos, tmp_path / "copies", drop_missing=True).gone == 0


def test_a_copy_beside_its_first_is_no_folder_that_was_moved(library, photos, tmp_path, caplog):
    index(library, photos)
    shutil.copytree(photos, tmp_path / "copies")
    assert index(library, tmp_path / "copies").known == 3
    assert "not there any more" not in caplog.text


def test_thumbnails_of_a_network_disk_leave_a_library_that_has_them(library, photos, monkeypatch):
    save(photos / "@eaDir" / "a.png", person(1))
    with monkeypatch.context() as earlier:
        earlier.setattr("faces.images.find._SYSTEM_FOLDERS", frozenset())
        index(library, photos)
    assert index(library, photos).gone == 1
    assert not [row for row in rows(library) if "@eaDir" in row["path"]]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions to fail")
def test_a_folder_that_may_not_be_entered_loses_nothing(library, photos):
    index(library, photos)
    (photos / "sub").chmod(0)
    try:
        assert index(library, photos).gone == 0
    finally:
        (photos / "sub").chmod(0o755)


def test_copies_are_looked_at_once_and_share_the_names_of_their_faces(library, photos):
    shutil.copy(photos / "a.png", photos / "z.png")
    executor = Here()
    tally = index(library, photos, executor=executor, shard=1)
    assert executor.looker.looked == 3
    shutil.copy(photos / "a.png", photos / "sub" / "later.png")
    index(library, photos, executor=executor)
    assert executor.looker.looked == 3
    copies = [face for name, face in names(library) if name in ("a.png", "z.png", "later.png")]
    assert len(copies) == 6
    assert len(set(copies)) == 2
    assert tally.failed == 1
    faces = read_faces(library)
    assert len(faces.path) == 4


def test_copies_within_one_task_are_looked_at_once(photos):
    from pipeline.library.look import Item

    looker = QuickLooker(SETTINGS)
    shutil.copy(photos / "a.png", photos / "z.png")
    size = (photos / "a.png").stat().st_size
    first, second = looker.look(
        [
            Item((photos / name).as_posix(), size, time)
            for name, time in (("a.png", 1), ("z.png", 2))
        ]
    )
    assert looker.looked == 1
    other = {"path": (photos / "z.png").as_posix(), "modified": 2}
    assert [row | other for row in first] == second


def test_a_copy_whose_first_was_replaced_meanwhile_is_looked_at(library, photos):
    index(library, photos)
    shutil.copy2(photos / "a.png", photos / "z.png")
    save(photos / "a.png", person(4))
    tally = index(library, photos, shard=1)
    assert tally.looked + tally.known == 2
    faces = sorted(name for name, face in names(library) if face)
    assert faces == ["a.png", "b.png", "z.png", "z.png"]


def test_a_file_that_could_not_be_read_is_tried_again(library, photos, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{photos / 'late.png'}\n{photos / 'a.png'}\n", encoding="utf-8")
    tally = index(library, lists=[str(listed)])
    assert (tally.looked, tally.failed) == (2, 1)
    [late] = [row for row in rows(library) if row["path"].endswith("late.png")]
    assert (late["error"], late["digest"], late["size"]) == ("there is no such file", None, None)
    save(photos / "late.png", person(8))
    tally = index(library, f"@{listed}")
    assert (tally.looked, tally.failed, tally.unchanged) == (1, 0, 1)
    assert [face is not None for name, face in names(library) if name == "late.png"] == [True]


def test_failed_files_are_looked_at_again_when_asked(library, photos):
    index(library, photos)
    assert index(library, photos).failed == 0
    assert index(library, photos, retry_failed=True).failed == 1


def test_a_fault_in_a_network_costs_one_file(library, photos):
    class Faulty(QuickLooker):
        def _photo(self, base, image):
            if base["path"].endswith("a.png"):
                raise ZeroDivisionError("oops")
            return super()._photo(base, image)

    tally = index(library, photos, executor=Here(Faulty(SETTINGS)))
    assert tally.failed == 2
    [bad] = [row for row in rows(library) if row["path"].endswith("a.png")]
    assert bad["error"] == "ZeroDivisionError: oops"


def test_names_of_any_kind(library, tmp_path):
    folder = tmp_path / "größe 日本"
    save(folder / "ä[1].png", person(1))
    strange = os.fsdecode(b"caf\xe9.png")
    try:
        shutil.copy(folder / "ä[1].png", folder / strange)
    except OSError:  # macOS and Windows
        strange = ""
    tally = index(library, folder)
    assert tally.failed == 0
    assert index(library, folder).unchanged == 1 + bool(strange)
    (folder / "ä[1].png").unlink()
    assert index(library, folder).gone == 1


def test_the_library_may_lie_among_the_photos(photos):
    library = photos / "lib"
    index(library, photos)
    save(library / "cache" / "thumb.png", person(1))
    assert index(library, photos).looked == 0


def test_when_a_photo_was_taken_and_which_side_is_up(library, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 10:20:30"
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photo(person(1))).save(folder / "a.jpg", exif=exif)
    exif.get_ifd(0x8769)[0x9003] = "0000:00:00 00:00:00"
    Image.fromarray(photo(person(2))).save(folder / "b.jpg", exif=exif)
    index(library, folder)
    a, *_, b = rows(library)
    assert (a["width"], a["height"]) == (300, 400)
    assert a["taken"] == datetime(2024, 5, 1, 10, 20, 30)
    assert b["taken"] is None


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_where_it_was(library, photos):
    class Killed(Here):
        def send(self, worker, items):
            if self._tasks == 6:
                raise KeyboardInterrupt
            super().send(worker, items)

    for i in range(6):
        save(photos / f"p{i}.png", person(10 + i))
    with pytest.raises(KeyboardInterrupt):
        index(library, photos, executor=Killed(), shard=1)
    assert 0 < len(part_files(library)) < 10
    (library / "parts" / ".part-0123").write_bytes(b"half of it")
    index(library, photos, shard=1)
    assert not list((library / "parts").glob(".*"))
    fresh = library.with_name("fresh")
    index(fresh, photos, shard=1)
    assert rows(library) == rows(fresh)
    assert [p.name for p in part_files(library)] == [p.name for p in part_files(fresh)]


def test_jobs_that_share_the_work_make_the_same_library(library, photos):
    for i in range(6):
        save(photos / f"p{i}.png", person(10 + i))
    whole = library.with_name("whole")
    index(whole, photos, shard=2)
    found = [index(library, photos, part=(k, 3), shard=2).looked for k in (3, 1, 2)]
    assert sum(found) == 10
    assert min(found) > 0
    assert rows(library) == rows(whole)
    assert [p.name for p in part_files(library)] == [p.name for p in part_files(whole)]


def test_jobs_leave_what_has_changed_to_a_whole_run(library, photos):
    index(library, photos)
    save(photos / "a.png", person(4))
    (photos / "c.png").unlink()
    tallies = [index(library, photos, part=(k, 2), shard=1) for k in (1, 2)]
    assert [(tally.looked, tally.left) for tally in tallies] == [(0, 2), (0, 2)]
    tally = index(library, photos)
    assert (tally.looked, tally.gone) == (1, 1)


def test_a_photo_that_two_jobs_have_looked_at_is_there_once_after_a_whole_run(library, photos):
    index(library, photos)
    doubled = [row for row in rows(library) if row["path"].endswith("a.png")]
    write_part(library, "zz", table_of(doubled, 48))
    assert index(library, photos).looked == 0
    assert [name for name, _ in names(library)].count("a.png") == 2


def test_another_network_or_setting_does_not_mix(library, photos):
    index(library, photos)
    manifest = library / "library.json"
    manifest.write_text(manifest.read_text().replace('"min_face": 20', '"min_face": 40'))
    with pytest.raises(UserError, match="was made with min_face 40, not 20"):
        index(library, photos)


def test_vectors_with_and_without_mirror_images_do_not_mix(library, photos):
    index(library, photos)
    manifest = read_manifest(library)
    assert manifest is not None
    assert "flip" not in manifest.settings  # as in libraries of before
    flipped = replace(manifest, settings={**manifest.settings, "flip": True})
    with pytest.raises(UserError, match="was made with flip False, not True"):
        check_manifest(library, flipped)
    write_manifest(library, flipped)
    with pytest.raises(UserError, match="was made with flip True, not False"):
        index(library, photos)


def test_a_library_that_cannot_be_written_is_said(library, photos):
    library.mkdir()
    (library / "parts").write_bytes(b"a file")
    with pytest.raises(UserError, match="cannot be written"):
        index(library, photos)


def test_warnings_name_what_failed(library, photos, caplog):
    with caplog.at_level(logging.WARNING):
        index(library, photos)
    assert f"{(photos / 'd.jpg').as_posix()}: " in caplog.text


@pytest.mark.slow
def test_workers_that_die_cost_no_photo_and_make_none_twice(library, photos):
    for i in range(40):
        save(photos / f"p{i:02}.png", person(i))
    index(library, photos, executor=Here(dies=(2, 3, 11)), shard=20)
    fresh = library.with_name("fresh")
    index(fresh, photos, shard=20)
    assert rows(library) == rows(fresh)
