"""Decisions are facts about boxes in pictures: they hold for other detectors, and can be undone."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from faces.errors import UserError
from pipeline.library.who.decisions import Decisions, FaceKey, match

A = FaceKey("aa" * 32, (10.0, 20.0, 90.0, 120.0))
B = FaceKey("bb" * 32, (10.0, 20.0, 90.0, 120.0))
FILM = FaceKey("cc" * 32, (10.0, 20.0, 90.0, 120.0), 3.5)


def test_facts_come_back_after_the_file_was_closed(tmp_path):
    path = tmp_path / "lib" / "decisions.db"
    with Decisions(path) as decisions:
        one = decisions.decide({"is": [A, FILM]}, "Ann  Lind")
        two = decisions.decide({"is": [A], "not": [B]})
        version = decisions.version
    with Decisions(path) as decisions:
        facts = decisions.facts()
        assert [(f.decision, f.name, f.says, f.face) for f in facts] == [
            (one, "Ann Lind", "is", A), (one, "Ann Lind", "is", FILM),
            (two, None, "is", A), (two, None, "not", B),
        ]  # fmt: skip
        assert decisions.version == version
        assert "2 is Ann Lind" in str(decisions.all()[0])
    assert path.stat().st_mode & 0o077 == 0


def test_undo_takes_the_last_or_any_decision_back(tmp_path):
    with Decisions(tmp_path / "d.db") as decisions:
        numbers = [decisions.decide({"is": [A]}, name) for name in ("Ann", "Bob", "Cy")]
        assert decisions.undo(numbers[1]).name == "Bob"
        assert decisions.undo().name == "Cy"
        assert [one.name for one in decisions.all()] == ["Ann"]
        # A number that somebody noted never comes to mean another decision.
        assert decisions.decide({"is": [B]}, "Dan") > numbers[2]
        with pytest.raises(UserError, match="no decision 2"):
            decisions.undo(numbers[1])


@pytest.mark.parametrize(
    ("face", "found"),
    [
        (A, True),
        (replace(A, box=(14.0, 18.0, 95.0, 118.0)), True),  # as another detector draws it
        (replace(A, box=(60.0, 20.0, 140.0, 120.0)), False),  # a neighbor
        (replace(A, digest="dd" * 32), False),
        (replace(A, seconds=3.5), False),
    ],
)
def test_a_fact_finds_its_face_by_content_and_box(face, found):
    assert (match([A], [B, face]).tolist() == [1]) is found


def test_a_fact_of_a_film_finds_the_look_of_its_time():
    later = replace(FILM, seconds=60.0)
    assert match([FILM, later], [later, replace(FILM, seconds=3.9)]).tolist() == [1, 0]


def test_of_two_faces_the_one_that_overlaps_more():
    near = replace(A, box=(15.0, 20.0, 95.0, 120.0))
    assert match([A], [near, replace(A, box=(12.0, 20.0, 92.0, 120.0))]).tolist() == [1]


def test_forgetting_leaves_nothing_in_the_file(tmp_path):
    path = tmp_path / "d.db"
    with Decisions(path) as decisions:
        decisions.decide({"is": [A]}, "Annabella")
        decisions.decide({"not": [B]}, "Annabella")
        decisions.decide({"is": [replace(A, box=(11.0, 20.0, 90.0, 120.0)), B]}, "Bob")
        decisions.forget("Annabella", [A])
        assert [(f.name, f.face) for f in decisions.facts()] == [("Bob", B)]
    assert b"Annabella" not in path.read_bytes()
    assert A.digest.encode() not in path.read_bytes()


def test_files_that_are_no_decisions_are_refused(tmp_path):
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(UserError, match="another program"):
        Decisions(other)
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at")
    with pytest.raises(UserError, match=r"text\.db"):
        Decisions(tmp_path / "text.db")


def test_settings_are_no_decisions(tmp_path):
    with Decisions(tmp_path / "d.db") as decisions:
        version = decisions.version
        decisions.remember("gallery", "people.db")
        assert decisions.setting("gallery") == "people.db"
        decisions.remember("gallery", None)
        assert decisions.setting("gallery") is None
        assert decisions.version == version
        with pytest.raises(ValueError, match="needs faces"):
            decisions.decide({"is": []}, "Ann")
        with pytest.raises(UserError, match="unknown"):
            decisions.decide({"is": [A]}, "unknown")
