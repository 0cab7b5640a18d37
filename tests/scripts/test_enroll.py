"""`faces enroll` and `faces people`: what they say, what they store, and how they end."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import sys
from pathlib import Path

import pytest

from faces.errors import UserError
from recognizer.store.people import Store
from scripts.main import main
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.people_photos import PatchDetector, person, save

OLD = FakeEmbedder()
NEW = FakeEmbedder(size=48, dimension=24, seed=1)


@pytest.fixture(autouse=True)
def networks(tmp_path, monkeypatch):
    """Fakes in place of the networks, and a folder of its own to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def load_embedder(name: str, weights: Path | None = None, **more: object) -> FakeEmbedder:
        if weights is not None:
            raise UserError(f"{weights} is damaged")
        return NEW if name == "inception" else OLD

    monkeypatch.setattr("recognizer.embedders.load.load_embedder", load_embedder)
    monkeypatch.setattr(
        "detector.inference.load.load_detector", lambda path, **options: PatchDetector()
    )


def enroll(*numbers: int, keep: bool = False, photos: int = 2) -> None:
    """Person 1 is P1 and so on."""
    for number in numbers:
        paths = [save(Path(f"p{number}-{i}.png"), person(number, variant=i)) for i in range(photos)]
        flags = ["--keep-crops"] if keep else []
        assert main(["enroll", f"P{number}", *map(str, paths), "--quiet", *flags]) == 0


def listed(capsys: pytest.CaptureFixture[str], *flags: str) -> list[tuple[str, int, int]]:
    capsys.readouterr()
    assert main(["people", "list", "--json", *flags]) == 0
    people = json.loads(capsys.readouterr().out)["people"]
    return [(p["name"], p["samples"], p["crops"]) for p in people]


# -- enroll


def test_a_person_from_photos(capsys):
    save(Path("a.png"), person(1))
    save(Path("b.png"), person(1, variant=1))
    assert main(["enroll", "Anna Lind", "?.png"]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "enrolled: Anna Lind, 2 of 2 photos",
        "file:     people.db (people: 1, samples: 2)",
    ]
    assert listed(capsys) == [("Anna Lind", 2, 0)]


def test_refused_photos_are_named_with_their_reasons(capsys):
    save(Path("good.png"), person(1))
    save(Path("two.png"), person(1), person(2))
    save(Path("small.png"), person(1, side=30))
    assert main(["enroll", "Anna", "good.png", "two.png", "small.png"]) == 1
    output = capsys.readouterr()
    several = "2 faces were found, exactly one is needed (or the largest: `largest`)"
    assert f"faces: two.png: {several}" in output.err
    assert "faces: small.png: size: the face is 30 px, at least 40 are needed" in output.err
    assert "enrolled: Anna, 1 of 3 photos" in output.out
    assert "refused:  2 photos" in output.out


def test_nobody_is_enrolled_without_a_good_photo(capsys):
    save(Path("none.png"))
    assert main(["enroll", "Anna", "none.png"]) == 1
    assert "not enrolled, as no photo could be used: Anna" in capsys.readouterr().out
    assert listed(capsys) == []


def test_folders_of_people(capsys):
    for number in (1, 2):
        for i in range(3):
            save(Path("family") / f"P{number}" / f"{i}.png", person(number, variant=i))
    (Path("family") / "Empty").mkdir()
    assert main(["enroll", "--from-folders", "family", "--keep-crops"]) == 1
    output = capsys.readouterr().out
    assert "enrolled: 2 people, 6 of 6 photos" in output
    assert "no photo could be used: Empty" in output
    assert listed(capsys) == [("P1", 3, 3), ("P2", 3, 3)]
    # Once more, as after a run that was killed: what is there already is no failure.
    (Path("family") / "Empty").rmdir()
    assert main(["enroll", "--from-folders", "family"]) == 0
    assert "left out: 6 photos, nothing new" in capsys.readouterr().out
    assert listed(capsys) == [("P1", 3, 3), ("P2", 3, 3)]


def test_a_folder_that_cannot_be_read_is_named(capsys, close_folder):
    save(Path("family/P1/0.png"), person(1))
    save(Path("family/P1/old/1.png"), person(1, variant=1))
    close_folder(Path("family/P1/old"))
    assert main(["enroll", "--from-folders", "family"]) == 1
    output = capsys.readouterr()
    assert "old: the folder cannot be read: Permission denied" in output.err
    assert "enrolled: P1, 1 of 1 photo" in output.out
    assert main(["enroll", "P1", "family/P1"]) == 1


def test_somebody_under_another_name_is_pointed_out(capsys):
    enroll(1)
    save(Path("again.png"), person(1, variant=7))
    assert main(["enroll", "Annie", "again.png"]) == 0
    error = capsys.readouterr().err
    assert "again.png: warning: looks like 'P1', who is enrolled already" in error
    assert "faces people merge" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a NAME and photos"),
        (["Anna"], "give photos of 'Anna'"),
        (["Anna", "a.png", "--from-folders", "."], "not both"),
        (["Anna", "missing.png"], "missing.png"),
        (["un\x07known", "a.png"], r"U\+0007"),
        (["Anna", "film.mp4"], "is a video"),
        (["--from-folders", "."], "no folders with photos"),
        (["Anna", "a.png", "--embedder-weights", "w.pt"], "w.pt is damaged"),
        (["Anna", "a.png", "--gallery", "a.png"], "not a file of people"),
    ],
)
def test_mistakes_are_one_line_and_make_no_file(arguments, message, capsys):
    save(Path("a.png"), person(1))
    Path("film.mp4").write_bytes(b"x")
    assert main(["enroll", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert not Path("people.db").exists()


def test_another_embedder_is_refused_with_advice(capsys):
    enroll(1)
    assert main(["enroll", "Bob", "p1-0.png", "--embedder", "inception"]) == 2
    assert "faces people reembed" in capsys.readouterr().err


def test_a_face_that_is_not_somebody_and_undo(capsys):
    photo = save(Path("a.png"), person(1))
    assert main(["enroll", "Anna", str(photo), "--gallery", "people.db"]) == 0
    deny = ["people", "deny", "Anna", str(photo)]
    assert main([*deny, "missing.png", "--gallery", "people.db"]) == 1
    said = capsys.readouterr()
    assert f"{photo}: not Anna" in said.out
    assert "missing.png" in said.err
    assert main(["enroll", "Anna", str(photo), "--gallery", "people.db"]) == 1
    assert "somebody has said of this face that it is not Anna" in capsys.readouterr().err
    assert main(["people", "undo", "--list"]) == 0
    assert "this is not Anna" in capsys.readouterr().out
    assert main(["people", "undo"]) == 0
    assert capsys.readouterr().out == "undone: this is not Anna\n"
    assert main(["people", "undo", "--clear"]) == 0
    assert main(["people", "undo"]) == 2
    assert "nothing to undo" in capsys.readouterr().err
    assert main(deny) == 0
    assert main(["people", "export", "all.zip"]) == 0
    assert "with 1 face that somebody has said" in capsys.readouterr().out
    for wrong in (["Ana", str(photo)], ["Anna"]):
        assert main(["people", "deny", *wrong]) == 2


# -- people


def test_the_table(capsys):
    enroll(1, 2, keep=True)
    capsys.readouterr()
    for arguments in (["people"], ["people", "list"], ["people", "--gallery", "people.db"]):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["name", "samples", "pictures", "since", "head"]
        assert lines[1].split()[:3] == ["P1", "2", "2"]
        assert lines[-1] == "people.db: 2 people, 4 samples"


def test_rename_and_merge(capsys):
    enroll(1, 2, 3)
    assert main(["people", "rename", "P1", " Anna "]) == 0
    assert "'P1' is now called 'Anna'" in capsys.readouterr().out
    assert main(["people", "merge", "P2", "Anna"]) == 0
    assert listed(capsys) == [("Anna", 4, 0), ("P3", 2, 0)]
    assert main(["people", "rename", "Ana", "X"]) == 2
    assert "did you mean 'Anna'?" in capsys.readouterr().err
    assert main(["people", "rename", "P3", "Anna"]) == 2
    assert "faces people merge" in capsys.readouterr().err


def test_remove(capsys):
    enroll(1, 2, 3)
    assert main(["people", "remove", "P1", "P33"]) == 2, "all or none"
    assert len(listed(capsys)) == 3
    assert main(["people", "remove", "P1", "P3"]) == 0
    assert listed(capsys) == [("P2", 2, 0)]
    assert all(b"P1" not in path.read_bytes() for path in Path.cwd().glob("people.db*"))
    assert main(["people", "remove"]) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("\n", 1), ("no\n", 1), ("", 1)])
def test_on_a_terminal_removing_is_asked_for(answer, left, capsys, monkeypatch):
    enroll(1)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert main(["people", "remove", "P1"]) == (2 if left else 0)
    assert "Forget 'P1' (2 samples) for good?" in capsys.readouterr().err
    assert len(listed(capsys)) == left
    if left:
        assert main(["people", "remove", "P1", "--yes"]) == 0
        assert listed(capsys) == []


def test_export_and_import(capsys):
    enroll(1, 2, keep=True)
    assert main(["people", "export", "all.zip"]) == 0
    assert "all.zip: 2 people, 4 samples, 4 pictures" in capsys.readouterr().out
    assert main(["people", "export", "all.zip"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["people", "export", "all.zip", "P2", "--overwrite"]) == 0
    for count in ("2 samples of 1 person added", "0 samples of 0 people added; 2 were there"):
        assert main(["people", "import", "all.zip", "--gallery", "new.db"]) == 0
        assert count in capsys.readouterr().out
    assert listed(capsys, "--gallery", "new.db") == [("P2", 2, 2)]
    assert main(["people", "import", "all.zip", "-g", "x.db", "--embedder", "inception"]) == 2
    assert "another embedder" in capsys.readouterr().err


def test_reembed(capsys):
    enroll(1, keep=True)
    enroll(2)
    assert main(["people", "reembed", "--embedder", "inception"]) == 2
    assert "--drop-missing" in capsys.readouterr().err
    assert main(["people", "reembed", "--embedder", "inception", "--drop-missing"]) == 0
    output = capsys.readouterr().out
    assert f"2 samples of {NEW.fingerprint} now" in output
    assert "forgotten: P2" in output
    with Store.open(Path("people.db"), NEW.fingerprint, NEW.dimension) as store:
        assert store.snapshot().gallery.people == ("P1",)


@pytest.mark.parametrize("command", ["list", "rename A B", "merge A B", "remove A", "export x.zip"])
def test_a_missing_file_is_not_made(command, capsys):
    assert main(["people", *command.split()]) == 2
    assert "there is no file of people people.db: enroll somebody" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []


def test_the_database_of_another_program_is_refused(capsys):
    with sqlite3.connect("people.db") as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    assert main(["people"]) == 2
    error = capsys.readouterr().err
    assert "another program" in error
    assert len(error.splitlines()) == 1


def test_somebody_else_under_a_known_name_needs_force(capsys):
    enroll(1, photos=3)
    save(Path("other.png"), person(2))
    capsys.readouterr()
    assert main(["enroll", "P1", "other.png", "--quiet"]) == 1
    error = capsys.readouterr().err
    assert "other.png: does not look like the other photos of P1 (" in error
    assert "--force takes it all the same" in error
    assert listed(capsys) == [("P1", 3, 0)]
    assert main(["enroll", "P1", "other.png", "--quiet", "--force"]) == 0
    assert listed(capsys) == [("P1", 4, 0)]


def test_three_of_somebody_else_do_not_outvote_the_one_photo_that_is_known(capsys):
    enroll(1, photos=1)
    wrong = [f"cleo{i}.png" for i in range(3)]
    for i, path in enumerate(wrong):
        save(Path(path), person(2, variant=i))
    capsys.readouterr()
    assert main(["enroll", "P1", *wrong, "--quiet"]) == 1
    assert capsys.readouterr().err.count("does not look like the other photos of P1 (") == 3
    assert listed(capsys) == [("P1", 1, 0)]
    assert main(["enroll", "P1", *wrong, "--quiet", "--force"]) == 0
    assert listed(capsys) == [("P1", 4, 0)]


def test_a_wrong_photo_in_somebodys_folder(capsys):
    for i in range(3):
        save(Path("family") / "Anna" / f"{i}.png", person(1, variant=i))
    save(Path("family") / "Anna" / "00.png", person(2))
    assert main(["enroll", "--from-folders", "family", "--quiet"]) == 1
    assert "00.png: does not look like the other photos of Anna" in capsys.readouterr().err
    assert listed(capsys) == [("Anna", 3, 0)]
