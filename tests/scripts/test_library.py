"""`faces library`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recognizer.rule import Thresholds
from recognizer.store.people import Store
from scripts.main import main
from scripts.options.recognizer import EmbedderOptions
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.library.made import (
    EMBEDDER,
    D,
    face_row,
    make_library,
    two_people,
    vectors,
)


@pytest.fixture(autouse=True)
def calibrated(monkeypatch):
    monkeypatch.setattr(
        "pipeline.library.people.default_thresholds", lambda _: Thresholds(gallery=0.45)
    )


@pytest.fixture
def lib(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = two_people(str(photos))
    for path in {str(row["path"]) for row in rows}:
        Image.fromarray(np.full((300, 400, 3), 90, np.uint8)).save(path)
    return str(make_library(tmp_path / "lib", rows))


@pytest.fixture
def gallery(tmp_path):
    path = tmp_path / "people.db"
    with Store.open(path, EMBEDDER, D, Thresholds()) as store:
        store.save_thresholds(Thresholds(gallery=0.45))
        store.add("Ann", vectors(1, 2, seed=5))
    return str(path)


def run(capsys, *arguments: str, code: int = 0) -> str:
    assert main(["library", *arguments]) == code
    return capsys.readouterr().out


def people(capsys, *arguments: str) -> list[tuple[str | None, int]]:
    found = json.loads(run(capsys, "people", *arguments, "--json", "--all"))["people"]
    return [(one["name"], one["moments"]) for one in found]


def test_the_people_of_a_library_with_and_without_a_gallery(lib, gallery, capsys):
    assert people(capsys, lib) == [(None, 6), (None, 5)]
    assert people(capsys, lib, "--gallery", gallery) == [("Ann", 6), (None, 5)]
    assert people(capsys, lib) == [("Ann", 6), (None, 5)]  # it is remembered
    assert "gallery" in run(capsys, "people", lib)
    assert people(capsys, lib, "--gallery", "none") == [(None, 6), (None, 5)]
    assert people(capsys, lib) == [(None, 6), (None, 5)]


def test_an_empty_library_says_so_and_what_to_do(tmp_path, capsys):
    lib = make_library(tmp_path / "lib", [])
    for arguments in (["people"], ["people", "--all"], ["search", "--from", "2020-01-01"]):
        assert main(["library", *arguments[:1], str(lib), *arguments[1:]]) == 0
        shown = capsys.readouterr()
        assert f"{lib} is empty" in shown.err
        assert f"`faces index PHOTOS --library {lib}`" in shown.err
        assert "twice" not in shown.out


def test_people_who_were_met_once_and_a_library_whose_faces_are_all_left_out(tmp_path, capsys):
    lib = str(make_library(tmp_path / "lib", [face_row("a.png", 0, vectors(1, 1)[0])]))
    assert "nobody was met twice" in run(capsys, "people", lib)
    run(capsys, "not-a-face", lib, "1")
    assert "no face is left" in run(capsys, "people", lib, "--all")


def test_a_gallery_that_is_gone_is_said(lib, gallery, capsys):
    people(capsys, lib, "-g", gallery)
    Path(gallery).rename(gallery + ".moved")
    assert main(["library", "people", lib]) == 0
    assert "not there any more" in capsys.readouterr().err
    run(capsys, "people", lib, "-g", gallery, code=2)


def test_deciding_and_undoing(lib, capsys):
    run(capsys, "people", lib)
    assert "6 faces are Ann now (decision 1" in run(capsys, "name", lib, "1", "Ann")
    run(capsys, "name", lib, "2", "Bob")
    assert people(capsys, lib) == [("Ann", 6), ("Bob", 5)]
    found = json.loads(run(capsys, "search", lib, "--name", "Ann", "--json"))
    face = found["photos"][0]["face"]
    assert "1 face is not Ann" in run(capsys, "not", lib, face, "Ann")
    assert sorted(n for _, n in people(capsys, lib)) == [1, 5, 5]
    assert "taken back: 3" in run(capsys, "undo", lib)
    run(capsys, "not-a-face", lib, face)
    assert dict(people(capsys, lib)) == {"Ann": 5, "Bob": 5}
    run(capsys, "undo", lib, "--number", "2")
    left = people(capsys, lib)
    assert dict(left) == {"Ann": 5, None: 5}
    run(capsys, "ignore", lib, str(left.index((None, 5)) + 1))
    assert "Ann" in (table := run(capsys, "people", lib))
    assert "1 more" in table
    assert len(run(capsys, "decisions", lib).splitlines()) == 3
    run(capsys, "same", lib, "Ann", "1")
    run(capsys, "same", lib, "Ann", "2")


@pytest.mark.parametrize(
    "arguments",
    [
        ("name", "1"), ("name",), ("same", "99"), ("not", "1", "77"), ("undo",),
        ("search",), ("search", "--from", "March"), ("search", "--name", "Nobody"),
        ("export",), ("forget",), ("forget", "Nobody"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(lib, capsys, arguments):
    run(capsys, "people", lib)
    command, *rest = arguments
    run(capsys, command, lib, *rest, code=2)
    assert not Path(lib, "decisions.db").read_bytes().count(b"Nobody")


def test_no_library_and_no_list_yet(lib, tmp_path, capsys):
    assert main(["library", "people", str(tmp_path)]) == 2
    assert "faces index" in capsys.readouterr().err
    assert main(["library", "name", lib, "1", "Ann"]) == 2
    assert "faces library people" in capsys.readouterr().err


def test_searching_by_name_company_and_date(lib, capsys):
    run(capsys, "people", lib)
    run(capsys, "name", lib, "1", "Ann")
    run(capsys, "name", lib, "2", "Bob")
    lines = run(capsys, "search", lib, "--name", "Ann", "--with", "Bob", "--from", "2024-05")
    assert [Path(line.split()[0]).name for line in lines.splitlines()] == ["e.jpg", "f.jpg"]


def test_searching_by_a_photo(tmp_path, capsys, monkeypatch):
    """The vector of the photo's largest face is looked for, made by the library's embedder."""
    from detector.types import Detections
    from tests.pipeline.library.made import face_row

    embedder = FakeEmbedder(dimension=D)
    images = np.random.default_rng(0).integers(0, 255, (3, 300, 400, 3), np.uint8)
    box = np.array([[10, 20, 90, 120]], np.float32)
    rows = []
    for i, image in enumerate(images):
        path = tmp_path / f"{i}.png"
        Image.fromarray(image).save(path)
        rows.append(face_row(str(path), 0, embedder.embed(embedder.crop(image, box))[0]))
    lib = str(make_library(tmp_path / "lib", rows, embedder.fingerprint))

    class Detector:
        def detect(self, image: np.ndarray) -> Detections:
            return Detections.from_raw([[200, 0, 240, 50], *box.tolist()], [0.9, 0.8], (300, 400))

    monkeypatch.setattr("pipeline.analyzer.open_detector", lambda *_, **__: Detector())
    monkeypatch.setattr(
        "scripts.options.recognizer.EmbedderOptions.open_embedder", lambda _: embedder
    )
    sheet = tmp_path / "found.png"
    lines = run(
        capsys,
        "search",
        lib,
        str(tmp_path / "1.png"),
        "--similarity",
        "0.99",
        "--sheet",
        str(sheet),
    )
    assert lines.split()[:2] == ["1.00", str(tmp_path / "1.png")]
    assert len(lines.splitlines()) == 1
    assert Image.open(sheet).size[0] >= 168
    other = FakeEmbedder(dimension=D, seed=1)
    monkeypatch.setattr(EmbedderOptions, "open_embedder", lambda _: other)
    run(capsys, "search", lib, str(tmp_path / "1.png"), code=2)


def test_exporting(lib, tmp_path, capsys):
    run(capsys, "people", lib)
    run(capsys, "name", lib, "1", "Ann")
    table, out = tmp_path / "people.csv", tmp_path / "out"
    text = run(
        capsys, "export", lib, "--csv", str(table), "--folders", str(out), "--xmp", "photo.xmp"
    )
    assert "6 faces of 1 person" in text
    assert "sidecars: 6 written" in text
    assert (out / "Ann" / "a.jpg").exists()
    run(capsys, "export", lib, "--csv", str(table), code=2)  # it is there already
    (tmp_path / "photos" / "a.xmp").write_text("mine")
    run(capsys, "export", lib, "--xmp", "photo.xmp", code=1)
    assert (tmp_path / "photos" / "a.xmp").read_text() == "mine"


def test_a_name_or_number_that_is_given_twice_counts_once(lib, tmp_path, capsys):
    run(capsys, "people", lib)
    assert run(capsys, "name", lib, "1", "1", "Ann").startswith("6 faces are Ann now")
    out = tmp_path / "out"
    text = run(capsys, "export", lib, "--folders", str(out), "--name", "Ann", " Ann")
    assert "1 person" in text
    assert not (out / "Ann-2").exists()


def test_nobody_else_is_forgotten_where_a_number_is_somebodys_name(lib, capsys):
    run(capsys, "people", lib)
    run(capsys, "name", lib, "2", "1")
    run(capsys, "forget", lib, "1", "--yes", code=2)
    assert people(capsys, lib) == [(None, 6), ("1", 5)]
    run(capsys, "forget", lib, "2", "--yes")
    assert people(capsys, lib) == [(None, 6)]


def test_numbers_stay_those_of_the_last_list_whatever_is_asked(lib, capsys):
    """So that nobody else is forgotten, or gets a name."""
    shown = json.loads(run(capsys, "people", lib, "--json", "--all"))["people"]
    second = {face["face"] for face in shown[1]["faces"]}
    for face in [face["face"] for face in shown[0]["faces"]][:4]:
        run(capsys, "not-a-face", lib, face)  # whoever was first is met less often now
    run(capsys, "search", lib, "--from", "2024")
    run(capsys, "export", lib, "--csv", f"{lib}.csv", "--all")
    found = json.loads(run(capsys, "search", lib, "--name", "2", "--json"))["photos"]
    assert {row["face"] for row in found} == second
    run(capsys, "forget", lib, "2", "--yes")
    left = json.loads(run(capsys, "people", lib, "--json", "--all"))["people"]
    assert not second & {face["face"] for one in left for face in one["faces"]}
    assert left


def test_a_number_means_its_name_only_as_long_as_that_is_theirs(lib, capsys):
    run(capsys, "people", lib)
    run(capsys, "name", lib, "1", "Ann")
    run(capsys, "people", lib)
    run(capsys, "name", lib, "1", "Carl")
    run(capsys, "name", lib, "2", "Ann")  # somebody else
    assert run(capsys, "forget", lib, "1", "--yes").startswith("6 faces forgotten (1, in ")
    assert people(capsys, lib) == [("Ann", 5)]


def test_it_is_said_who_will_be_forgotten(lib, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr("scripts.library.confirm", lambda question, *_: asked.append(question))
    run(capsys, "people", lib)
    run(capsys, "name", lib, "1", "Ann")
    run(capsys, "forget", lib, "Ann", "2")
    assert asked[0].startswith("Forget 11 faces for good (Ann, in ")
    assert "a.jpg; 2, in " in asked[0]


def test_a_gallery_that_is_made_anew_gives_its_own_names(lib, gallery, capsys):
    assert people(capsys, lib, "--gallery", gallery) == [("Ann", 6), (None, 5)]
    Path(gallery).unlink()
    with Store.open(Path(gallery), EMBEDDER, D, Thresholds()) as store:
        store.save_thresholds(Thresholds(gallery=0.45))
        store.add("Bob", vectors(2, 2, seed=5))  # the same version as before
    assert people(capsys, lib) == [(None, 6), ("Bob", 5)]


def test_forgetting_reaches_the_gallery(lib, gallery, capsys):
    run(capsys, "people", lib, "--gallery", gallery)
    text = run(capsys, "forget", lib, "Ann", "--yes")
    assert "6 faces forgotten (Ann, in " in text
    assert people(capsys, lib) == [(None, 5)]
    with Store.open_existing(Path(gallery)) as store:
        assert not store.people()
