"""`faces people`: what must not be lost. The rest is in test_enroll.py."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("keep", [False, True])
def test_a_denied_face_keeps_its_picture_where_it_is_asked_for(keep):
    enroll(1)
    photo = save(Path("other.png"), person(2))
    flags = ["--keep-crops"] if keep else []
    assert main(["people", "deny", "P1", str(photo), *flags]) == 0
    with Store.open_existing(Path("people.db")) as store:
        [face] = store.samples("P1", denied=True)
    assert (face.picture is not None) == keep
