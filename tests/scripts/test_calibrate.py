"""`faces calibrate`: thresholds from folders and lists of pairs, stored or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.rule import Thresholds
from recognizer.store.people import Store
from recognizer.training.background import read_spreads
from recognizer.types import unit
from scripts.main import main
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.people_photos import PatchDetector, person, save

EMBEDDER = FakeEmbedder()


@pytest.fixture(autouse=True)
def _networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("recognizer.embedders.load.load_embedder", lambda *args, **more: EMBEDDER)
    monkeypatch.setattr(
        "detector.inference.load.load_detector", lambda path, **options: PatchDetector()
    )


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Path:
    """Forty people with three photos each."""
    root = tmp_path_factory.mktemp("crowd")
    for number in range(40):
        name = f"p{number:02d}"
        for variant in range(3):
            save(root / name / f"{name}_{variant + 1:04d}.png", person(number, variant=variant))
    return root


@pytest.mark.slow
def test_a_folder_per_person(crowd, capsys):
    store = Store.open(Path("people.db"), EMBEDDER.fingerprint, EMBEDDER.dimension)
    store.add("Ada", np.eye(1, EMBEDDER.dimension, dtype=np.float32))
    store.close()
    assert main(["calibrate", "--folders", str(crowd), "--fmr", "0.01", "--quiet"]) == 0
    output = capsys.readouterr().out
    assert "120 pairs of one person, 7,020 of two of 40 people" in output
    assert "wanted at most 0.01" in output
    assert "stored in:    people.db (1 person)" in output
    assert "by heads of 20 people" in output
    with Store.open_existing(Path("people.db")) as store:
        thresholds = store.snapshot().thresholds
    assert thresholds != Thresholds()
    assert f"cosine > {thresholds.gallery:.4f}" in output
    assert thresholds.head >= 0.7


@pytest.mark.slow
def test_a_list_of_pairs(crowd, capsys):
    lines = ["1\t110"]
    lines += [f"p{i % 40:02d}\t1\t{2 + i // 60}" for i in range(110)]
    lines += [f"p{i % 40:02d}\t1\tp{(i + 1 + i // 40) % 40:02d}\t2" for i in range(110)]
    Path("pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = ["calibrate", "--folders", str(crowd), "--pairs", "pairs.txt", "--quiet"]
    assert main([*flags, "--fmr", "0.1"]) == 0
    output = capsys.readouterr().out
    assert "110 pairs of one person, 110 of two\n" in output
    assert "nowhere: there is no people.db yet" in output
    assert main([*flags, "--fmr", "0.001"]) == 2
    errors = capsys.readouterr().err
    assert "10,000 pairs of two people" in errors
    assert "there are 110" in errors


@pytest.mark.slow
def test_defaults_for_an_embedder(crowd, capsys):
    flags = ["--fmr", "0.01", "--defaults", "weights", "--quiet"]
    assert main(["calibrate", "--folders", str(crowd), *flags]) == 0
    content = json.loads(Path("weights/thresholds.json").read_text(encoding="utf-8"))
    entry = content["embedders"][EMBEDDER.fingerprint]
    assert entry["measured"]["people"] == 40
    assert entry["measured"]["wanted"] == 0.01
    spreads = read_spreads(EMBEDDER.fingerprint, Path("weights/strangers.npz"))
    assert set(spreads) == {"plain", "masked", "blank"}
    assert spreads["plain"].mean.shape == (EMBEDDER.dimension,)
    assert not np.allclose(spreads["plain"].mean, spreads["masked"].mean)


@pytest.mark.slow
def test_a_photo_without_a_face_is_left_out_and_said(crowd, capsys, tmp_path):
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(crowd, mine)
    save(mine / "p00" / "empty.png")
    (mine / "p01" / "broken.jpg").write_bytes(b"no image")
    assert main(["calibrate", "--folders", str(mine), "--fmr", "0.01"]) == 1
    errors = capsys.readouterr().err
    assert "broken.jpg" in errors
    assert "2 photos were left out" in errors


def test_people_of_another_embedder_are_refused_before_the_work(tmp_path, capsys, monkeypatch):
    save(tmp_path / "mine" / "Ann" / "a.png", person(1))
    with Store.open(Path("people.db"), "another", EMBEDDER.dimension) as store:
        store.add("Ann", np.eye(1, EMBEDDER.dimension, dtype=np.float32))
    monkeypatch.setattr("recognizer.evaluation.embedding.embed_photos", None)
    assert main(["calibrate", "--folders", "mine"]) == 2
    assert "people.db holds vectors of another embedder" in capsys.readouterr().err


def test_what_was_measured_is_said_although_it_cannot_be_stored(tmp_path, capsys, monkeypatch):
    def busy(store, thresholds):
        raise UserError("busy")

    for name in "ab":
        for i in range(40):
            save(tmp_path / "mine" / name / f"{i}.png")
    vectors = unit(np.random.default_rng(0).normal(size=(80, EMBEDDER.dimension)))
    monkeypatch.setattr(
        "recognizer.evaluation.embedding.embed_photos",
        lambda *_: ({"embedder": vectors}, np.zeros(80, bool)),
    )
    monkeypatch.setattr(Store, "save_thresholds", busy)
    Store.open(Path("people.db"), EMBEDDER.fingerprint, EMBEDDER.dimension).close()
    assert main(["calibrate", "--folders", "mine", "--fmr", "0.01"]) == 2
    said = capsys.readouterr()
    assert "gallery:      cosine >" in said.out
    assert "busy" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --folders DIR or --lfw DIR"),
        (["--folders", "a", "--lfw", "b"], "give --folders DIR or --lfw DIR"),
        (["--folders", "a", "--fmr", "0"], "--fmr must be between 0 and 1"),
        (["--folders", "a", "--folds", "6"], "--folds needs"),
        (["--folders", "nowhere"], "nowhere"),
        (["--lfw", "nowhere"], "pairs.txt"),
        (["--folders", "a", "--threads", "0"], "--threads"),
    ],
)
def test_refusals(arguments, message, capsys):
    assert main(["calibrate", *arguments]) == 2
    assert message in capsys.readouterr().err
