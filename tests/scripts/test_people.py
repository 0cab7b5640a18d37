"""`faces people`: what must not be lost. The rest is in test_enroll.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recognizer.gallery import Head
from recognizer.store.people import Store
from scripts.main import main
from tests.pipeline.people_photos import person, save
from tests.scripts.test_enroll import enroll, networks  # noqa: F401 (a fixture)


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_an_export_replaces_no_gallery(flags, capsys):
    enroll(1)
    before = Path("people.db").read_bytes()
    assert main(["people", "export", "people.db", *flags]) == 2
    errors = capsys.readouterr().err
    assert "people.db is a gallery or another database: export to a new name" in errors
    assert "--overwrite" not in errors
    assert Path("people.db").read_bytes() == before


def test_two_spellings_are_one_person_to_remove(capsys):
    enroll(1, 2)
    assert main(["people", "remove", "P1", "P1 ", "--yes"]) == 0
    assert capsys.readouterr().out.count("is forgotten") == 1
    with Store.open_existing(Path("people.db")) as store:
        assert store.snapshot().gallery.people == ("P2",)


def test_an_import_that_cannot_be_leaves_no_gallery_and_the_right_embedder_can(capsys):
    enroll(1)
    assert main(["people", "export", "all.zip"]) == 0
    Path("no.zip").write_bytes(b"PK")
    new = ["-g", "new.db"]
    for file, flags, message in (
        ("missing.zip", [], "there is no file missing.zip"),
        ("no.zip", [], "no.zip is no file of `faces people export`"),
        ("all.zip", ["--embedder", "inception"], "choose that one with --embedder"),
    ):
        assert main(["people", "import", file, *new, *flags]) == 2
        assert message in capsys.readouterr().err
        assert not Path("new.db").exists()
    assert (
        main(["enroll", "Bob", str(save(Path("none.png"))), *new, "--embedder", "inception"]) == 1
    )
    assert main(["people", "import", "all.zip", *new]) == 0, "nobody is in it"
    assert main(["people", "list", *new]) == 0


def test_a_failed_enrollment_is_in_nobodys_way():
    nobody, somebody = str(save(Path("none.png"))), str(save(Path("bob.png"), person(1)))
    assert main(["enroll", "Bob", nobody, "--embedder", "inception"]) == 1
    assert main(["recognize", somebody]) == 2, "who only looks changes nothing"
    assert main(["enroll", "Bob", somebody]) == 0


def test_who_is_enrolled_after_the_head_is_said_to_be_unknown_to_it(capsys):
    enroll(1, 2)
    assert "head:" not in capsys.readouterr().out
    with Store.open_existing(Path("people.db")) as store:
        [one, two] = store.snapshot().gallery.prototypes
        head = Head(store.fingerprint, ("P1", None), np.stack([one, two]), np.zeros(2))
        store.save_head(head)
    enroll(3)
    line = "does not know P2, P3 yet: `faces fit` teaches it"
    assert f"head:     {line}" in capsys.readouterr().out.splitlines()
    assert main(["people", "export", "p3.zip", "P3"]) == 0
    assert main(["people", "import", "p3.zip"]) == 0
    assert f"the classifier head {line}" in capsys.readouterr().out


@pytest.mark.parametrize("keep", [False, True])
def test_a_denied_face_keeps_its_picture_where_it_is_asked_for(keep):
    enroll(1)
    photo = save(Path("other.png"), person(2))
    flags = ["--keep-crops"] if keep else []
    assert main(["people", "deny", "P1", str(photo), *flags]) == 0
    with Store.open_existing(Path("people.db")) as store:
        [face] = store.samples("P1", denied=True)
    assert (face.picture is not None) == keep
