"""`faces webcam --library`: which library, and whose names."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.library.page.shelf import Shelf
from pipeline.library.people import Library
from recognizer.rule import Thresholds
from recognizer.store.people import Store
from scripts.main import main
from scripts.options.live import Networks
from scripts.options.webcam import Options
from scripts.options.webcam_page import WebOptions, open_shelf
from scripts.webcam import _shown_where
from tests.pipeline.library.made import EMBEDDER, D, make_library, two_people, vectors


@pytest.fixture(autouse=True)
def calibrated(monkeypatch):
    monkeypatch.setattr(
        "pipeline.library.people.default_thresholds", lambda _: Thresholds(gallery=0.45)
    )


@pytest.fixture
def lib(tmp_path) -> Path:
    return make_library(tmp_path / "lib", two_people())


def gallery(path: Path, name: str, embedder: str = EMBEDDER) -> Path:
    with Store.open(path, embedder, D, Thresholds()) as store:
        store.save_thresholds(Thresholds(gallery=0.45))
        store.add(name, vectors(1, 2, seed=5))
    return path


def names(shelf: Shelf) -> list[str | None]:
    assert shelf._lists.wait(300)
    return [row["name"] for row in shelf.people("named")["rows"]]  # type: ignore[index]


def test_names_are_those_of_faces_library_or_else_of_the_page(lib, tmp_path, caplog):
    own, other = gallery(tmp_path / "own.db", "Ann"), gallery(tmp_path / "other.db", "Bea")
    networks = replace(Networks(), gallery=own)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open_existing(own))
        assert names(open_shelf(lib, store, networks, stack)) == ["Ann"]
    with Library(lib) as library:
        library.decisions.remember("gallery", str(other))
    with ExitStack() as stack:
        store = stack.enter_context(Store.open_existing(own))
        assert names(open_shelf(lib, store, networks, stack)) == ["Bea"]
    assert caplog.text == ""


def test_people_of_another_embedder_have_no_names_there(lib, tmp_path, caplog):
    own = gallery(tmp_path / "own.db", "Ann", "another-64")
    with ExitStack() as stack:
        store = stack.enter_context(Store.open_existing(own))
        shelf = open_shelf(lib, store, replace(Networks(), gallery=own), stack)
        assert names(shelf) == []
        assert shelf.status()["error"] is None
    assert "another embedder" in caplog.text


def test_a_folder_that_is_no_library_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["webcam", "browser", "--library", "nothing", "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert "nothing is no library of faces" in error
    assert not list(tmp_path.iterdir()), "no people.db is made for nothing"
    assert "faces index" in error
    assert not Path("nothing").exists()


def test_a_library_is_on_a_page():
    options = Options(sources=("0",), page=WebOptions(library=Path("lib")))
    assert _shown_where(options) == (False, True)
