"""Who is in a library: groups, names of a gallery, decisions that outlive a new index."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.library import decide
from pipeline.library.parts import part_files
from pipeline.library.people import Library
from pipeline.library.who.decisions import FaceKey
from pipeline.library.who.grouping import Rule
from pipeline.library.who.naming import known_of, name_groups
from recognizer.gallery import Gallery
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.types import unit
from tests.pipeline.library.made import (
    EMBEDDER,
    D,
    digest,
    face_row,
    make_library,
    two_people,
    vectors,
)


@pytest.fixture
def library(tmp_path):
    with Library(make_library(tmp_path / "lib", two_people())) as opened:
        yield opened


@pytest.fixture(autouse=True)
def calibrated(monkeypatch):
    monkeypatch.setattr(
        "pipeline.library.people.default_thresholds", lambda _: Thresholds(gallery=0.45)
    )


def listed(library, known=None):
    return [(p.name, p.moments) for p in library.people(known).everybody]


def known(**people: np.ndarray) -> Snapshot:
    gallery = Gallery.empty(EMBEDDER, D)
    for name, rows in people.items():
        gallery = gallery.add(name, rows)
    return Snapshot(gallery, thresholds=Thresholds(gallery=0.45), version=1)


def reopened(library) -> Library:
    library.close()
    return Library(library.folder)


def test_groups_are_listed_with_a_picture(library):
    people = library.people()
    assert [(p.number, p.name, p.moments) for p in people.everybody] == [(1, None, 6), (2, None, 5)]
    assert all(p.picture in p.rows for p in people.everybody)
    assert (people.group >= 0).all()


def test_the_best_picture_is_shown(tmp_path):
    rows = two_people()
    next(row for row in rows if row["path"] == "/photos/d.jpg")["quality"] = 1.0
    with Library(make_library(tmp_path / "lib", rows)) as library:
        people = library.people()
        picture = people.everybody[0].picture
        assert people.faces.path[people.faces.photo[picture]] == "/photos/d.jpg"


def test_people_of_the_gallery_get_their_names(library):
    snapshot = known(Ann=vectors(1, 2, seed=5), Zoe=vectors(9, 2))
    assert listed(library, snapshot) == [("Ann", 6), (None, 5)]
    assert not library.people(snapshot).everybody[0].decided
    other = Snapshot(Gallery.empty("another", D), thresholds=Thresholds())
    with pytest.raises(UserError, match="vectors of another"):
        library.people(other)


def test_of_two_groups_of_one_photo_the_nearer_gets_the_name(library):
    both = known(Ann=unit(vectors(1, 1) + 0.9 * vectors(2, 1)))
    assert sorted(name or "" for name, _ in listed(library, both)) == ["", "Ann"]


def test_decisions_hold_for_later_runs(library):
    library.people()
    decide.name(library, [library.find("1")], "Ann")
    assert listed(library) == [("Ann", 6), (None, 5)]
    with reopened(library) as again:
        assert listed(again) == [("Ann", 6), (None, 5)]
        again.decisions.undo()
        assert listed(again) == [(None, 6), (None, 5)]


def test_numbers_are_those_of_the_list_that_was_shown(library):
    """Naming 2 first must not change who 1 is, though the list would now look different."""
    library.people()
    decide.name(library, [library.find("2")], "Bob")
    decide.not_faces(library, [library.find("1")])
    decide.name(library, [library.find("1")], "Ann")
    assert dict(listed(library)) == {"Ann": 6, "Bob": 5}
    with pytest.raises(UserError, match="nobody '7'"):
        library.find("7")
    with pytest.raises(UserError, match="did you mean 'Bob'"):
        library.find("Bobb")


def test_a_name_that_was_just_given_means_those_faces_without_another_list(library):
    library.people()
    decide.name(library, [library.find("2")], "Bob")
    bob = library.find("Bob")
    assert bob.name == "Bob"
    assert np.array_equal(bob.rows, library.find("2").rows)
    decide.same(library, [library.find("1"), library.find(" bob ".title())])
    assert listed(library) == [("Bob", 11)]
    library.decisions.undo()
    library.decisions.undo()
    with pytest.raises(UserError, match="nobody 'Robert'"):
        library.find("Robert")


def test_digits_are_a_name_where_somebody_has_it_and_never_somebody_else(library):
    """Bib numbers, years, numbers in a class."""
    library.people()
    second = library.find("2").rows
    decide.name(library, [library.find("2")], "2024")
    assert np.array_equal(library.find("2024").rows, second)
    assert np.array_equal(library.find("2024", library.people()).rows, second)
    decide.name(library, [library.find("2")], "1")
    now = library.people()
    for people in (None, now):
        with pytest.raises(UserError, match="1 is the number of somebody without a name in"):
            library.find("1", people)
        assert library.find("2", people).name == "1"
    decide.name(library, [library.find("2")], "2")
    assert library.find("2", library.people()).name == "2"  # both mean the same
    with pytest.raises(UserError, match="nobody '7' in the last list: see `faces"):
        library.find("7")


def test_decisions_survive_another_model(tmp_path):
    """Other vectors, other boxes, other numbers of faces: only pictures and places are the same."""
    folder = make_library(tmp_path / "lib", two_people())
    with Library(folder) as library:
        library.people()
        decide.name(library, [library.find("1")], "Ann")
        wrong = library.find(str(library.faces.face[library.people().everybody[1].rows[0]]))
        decide.not_faces(library, [wrong])
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((D, D)))[0]
    rows = two_people()
    for row in rows:
        row["embedding"] = unit(row["embedding"] @ turn)
        row["x1"] += 4
        row["y2"] -= 5
        row["face"] = f"{row['face'][:16]}-{9 - int(row['face'][17:])}"
    make_library(folder, rows, embedder="another-64")
    with Library(folder) as library:
        assert listed(library) == [("Ann", 6), (None, 4)]


def test_decisions_follow_files_that_move_and_hold_for_copies(tmp_path):
    folder = make_library(tmp_path / "lib", two_people())
    with Library(folder) as library:
        library.people()
        decide.name(library, [library.find("1")], "Ann")
    moved = [
        row | {"path": row["path"].replace("/photos", "/elsewhere")} for row in two_people()
    ]  # the content, and so the digest, is the same
    copies = [row | {"path": row["path"].replace("/photos", "/backup")} for row in two_people()]
    with Library(make_library(folder, moved + copies)) as library:
        [ann, other] = library.people().everybody
        assert (ann.name, ann.moments, len(ann.rows)) == ("Ann", 6, 12)
        assert (other.moments, len(other.rows)) == (5, 10)


def test_new_photos_of_somebody_named_get_the_name(tmp_path):
    folder = make_library(tmp_path / "lib", two_people())
    with Library(folder) as library:
        library.people()
        decide.name(library, [library.find("1")], "Ann")
    more = [face_row(f"/new/{i}.jpg", 0, v) for i, v in enumerate(vectors(1, 4, seed=7))]
    with Library(make_library(folder, two_people() + more)) as library:
        assert listed(library) == [("Ann", 10), (None, 5)]


def test_not_ann_is_respected_against_gallery_and_group(library):
    snapshot = known(Ann=vectors(1, 2, seed=5))
    people = library.people(snapshot)
    row = int(people.everybody[0].rows[2])
    face = str(library.faces.face[row])
    decide.tell_apart(library, [library.find(face)], "Ann")
    again = library.people(snapshot)
    assert sorted((p.moments, p.name or "") for p in again.everybody) == [
        (1, ""), (5, ""), (5, "Ann"),
    ]  # fmt: skip
    assert again.group[row] == 2
    # Whoever says later that it is Ann after all is believed.
    decide.name(library, [library.find(face)], "Ann")
    assert listed(library, snapshot)[0] == ("Ann", 6)


def test_a_face_can_be_told_apart_from_somebody_without_a_name(library):
    row = int(library.people().everybody[0].rows[0])
    face = library.find(str(library.faces.face[row]))
    decide.tell_apart(library, [face], library.find("1"))
    assert [p.moments for p in library.people().everybody] == [5, 5, 1]
    with pytest.raises(UserError, match="apart from themselves"):
        decide.tell_apart(library, [library.find("3")], library.find("3"))


@pytest.mark.parametrize(
    ("before", "after"), [("Ann", "Ann Lind"), (None, "Ann Lind"), ("Ann", "3")]
)
def test_whom_a_face_is_not_it_is_not_under_their_new_name(library, before, after):
    """Also where the new name is a number of the list."""
    row, other = library.people().everybody[0].rows[:2].tolist()
    face = library.find(str(library.faces.face[row]))
    if before:
        decide.name(library, [library.find("1")], before)
    decide.tell_apart(library, [face], before or library.find("1"))
    people = library.people()
    theirs = str(people.everybody[people.group[other]].number)
    number = decide.name(library, [library.find(theirs)], after)
    assert sorted(n for _, n in listed(library)) == [1, 5, 5]
    library.people()
    decide.name(library, [face], "Carl")  # one face of theirs, or none, is not renamed
    assert dict(listed(library)) == {after: 5, None: 5, "Carl": 1}
    library.decisions.undo()
    library.decisions.undo(number)
    assert sorted(n for _, n in listed(library)) == [1, 5, 5]


def test_two_groups_can_be_one_person_and_somebody_be_ignored(library):
    library.people()
    decide.same(library, [library.find("1"), library.find("2")])
    assert listed(library) == [(None, 11)]
    library.decisions.undo()
    library.people()
    decide.ignore(library, [library.find("2")])
    assert [p.ignored for p in library.people().everybody] == [False, True]


def test_two_names_are_two_people(library):
    library.people()
    decide.name(library, [library.find("1")], "Ann")
    decide.name(library, [library.find("2")], "Bob")
    library.people()
    with pytest.raises(UserError, match="two names"):
        decide.same(library, [library.find("Ann"), library.find("Bob")])
    decide.name(library, [library.find("Ann")], "Anna")
    assert dict(listed(library)) == {"Anna": 6, "Bob": 5}


def test_films_show_somebody_again_and_again(tmp_path):
    rows = [
        face_row("/film.mp4", n, v, seconds=float(s), digest=digest("film"), x1=10.0, x2=90.0)
        for n, (v, s) in enumerate(zip(vectors(1, 4), (1, 9, 300, 300), strict=True))
    ]
    with Library(make_library(tmp_path / "lib", rows)) as library:
        groups = library.people().group.tolist()
        assert groups[0] == groups[1]
        assert sorted(g == groups[0] for g in groups[2:]) == [False, True]  # at the same second
        assert library.people().everybody[0].moments == 2  # 1 and 9 s are one moment


def test_what_is_kept_is_used_and_may_be_lost(library, monkeypatch):
    first = library.people()
    with monkeypatch.context() as broken:
        broken.setattr("pipeline.library.people.name_groups", None)  # would fail if it were asked
        assert library.people().group.tolist() == first.group.tolist()
    for file in (library.folder / "cache").iterdir():
        file.write_bytes(b"not any more")
    assert listed(library)[0][1] == 6


def test_a_part_that_has_just_gone_changes_the_key_and_no_more(library, monkeypatch):
    there = library.parts_key_now()
    gone = library.folder / "parts" / "gone.parquet"
    files = [*part_files(library.folder), gone]
    monkeypatch.setattr("pipeline.library.people.part_files", lambda _: files)
    assert library.parts_key_now() == there


def test_a_library_without_faces_and_a_folder_that_is_none(tmp_path):
    empty = {"path": "/a.jpg", "size": 1, "modified": 1.0, "digest": digest("a")}
    with Library(make_library(tmp_path / "lib", [empty])) as library:
        assert library.people().everybody == ()
    with pytest.raises(UserError, match="faces index"):
        Library(tmp_path / "nothing")


def test_a_burst_counts_once(tmp_path):
    rows = [
        face_row(f"/{i}.jpg", 0, v, datetime(2024, 1, 1, 12, 0, i % 4 * 5 + i // 4))
        for i, v in enumerate(vectors(1, 4))
    ]
    with Library(make_library(tmp_path / "lib", rows)) as library:
        assert listed(library) == [(None, 1)]


@pytest.mark.parametrize(("cosine", "named"), [(0.5, False), (0.6, True)])
def test_a_gallery_names_strangers_only_when_they_are_very_near(cosine, named):
    """The calibrated threshold is for one question; a library asks thousands."""
    own = vectors(1, 1, 1.0)
    [face] = vectors(1, 1, cosine)
    nothing = known_of([], [FaceKey("aa", (0, 0, 1, 1))])
    graph = (np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32))
    rule = Rule(single=1.2, decade=0.0)
    found = name_groups(
        face[None], np.zeros(1, int), 0.45, nothing, known(Ann=own), graph=graph, rule=rule
    )
    assert found.names == (("Ann",) if named else (None,))


def test_a_name_given_since_the_list_was_made_is_not_lost(library):
    """Numbers stay those of the list, in which 1 has no name yet."""
    library.people()
    decide.name(library, [library.find("1")], "Ann")
    decide.same(library, [library.find("1"), library.find("2")])
    assert listed(library) == [("Ann", 11)]
    library.decisions.undo()
    library.people()
    decide.name(library, [library.find("Ann")], "Anna")
    row = int(library.people().everybody[0].rows[0])
    decide.tell_apart(library, [library.find(str(library.faces.face[row]))], library.find("Anna"))
    assert ("Anna", 5) in listed(library)


def test_two_names_given_since_the_list_was_made_are_two_people(library):
    library.people()
    decide.name(library, [library.find("1")], "Ann")
    decide.name(library, [library.find("2")], "Bob")
    with pytest.raises(UserError, match="two names"):
        decide.same(library, [library.find("1"), library.find("2")])
