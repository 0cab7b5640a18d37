"""`faces fit` that trains the network: a new embedder, and everybody in it."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import save_checkpoint
from recognizer.embedders.load import load_embedder
from recognizer.embedders.mini import MiniConfig, MiniResNet
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.training.fit import Stopped
from recognizer.training.fit_network import new_network
from scripts.main import main
from tests.pipeline.people_photos import PatchDetector, person, save

SHORT = ["--epochs", "1", "--batch-size", "16", "--quiet", "--copies", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    """Small networks that cut without landmarks, and a folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "detector.inference.load.load_detector", lambda path, **options: PatchDetector()
    )
    config = MiniConfig(32, (4, 6, 8, 8), (1, 1, 1, 1), 8)
    monkeypatch.setattr(
        "recognizer.training.fit_network.new_network", lambda seed=0: MiniResNet(config)
    )
    save_checkpoint(
        Path("old.pt"), config, CropRecipe(32, 0.1, "square"), MiniResNet(config).state_dict()
    )


def people(name: str, photos: int = 5) -> str:
    for number in (1, 2):
        for variant in range(photos):
            save(Path(name, f"P{number}", f"{variant}.png"), person(number, variant=variant))
    return name


def enroll(keep: bool) -> None:
    """By an untrained network all are alike, which `faces enroll` would refuse."""
    embedder = load_embedder("old.pt")
    box = np.array([20, 20, 100, 100], np.float32)
    with Store.open(Path("people.db"), embedder.fingerprint, embedder.dimension) as store:
        for number in (1, 2):
            images = [
                np.pad(person(number, variant=i), ((20, 20), (20, 20), (0, 0))) for i in range(5)
            ]
            crops = np.concatenate([embedder.crop(image, box[None]) for image in images])
            pictures = [FacePicture.of(image, box) for image in images] if keep else None
            store.add(f"P{number}", embedder.embed(crops), pictures)


@pytest.mark.slow
def test_from_scratch_makes_an_embedder_and_a_file_of_people(capsys):
    scratch = ["--network", "mini", "--from-scratch", "--from-folders", people("photos")]
    flags = [*scratch, "--gallery", "new.db", "--run", "run", *SHORT]
    assert main(["fit", *flags]) == 0
    output = capsys.readouterr().out
    assert "Use it from now on: --embedder run/embedder.pt" in output.replace("\\", "/")
    embedder = load_embedder("run/embedder.pt")
    with Store.open(Path("new.db"), embedder.fingerprint, embedder.dimension) as store:
        snapshot = store.snapshot()
    assert snapshot.gallery.people == ("P1", "P2")
    assert snapshot.head is not None
    assert {"history.jsonl", "loss.png", "last.pt", "head"} <= {
        p.name for p in Path("run").iterdir()
    }
    assert main(["fit", *flags]) == 2  # both the file and the run are there
    assert "give another --gallery" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [["--network", "mini", "--from-scratch"],
     ["--depth", "full", "--embedder", "old.pt", "--held-out", "0"]],
)  # fmt: skip
def test_a_run_that_was_stopped_before_its_head_goes_on(way, monkeypatch):
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    flags = [*way, "--from-folders", people("photos"), "--gallery", "new.db", *SHORT]
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.teaching.fit.teach_head", killed)
        assert main(["fit", *flags, "--run", "run"]) == 130
    assert Path("new.db").exists()
    assert main(["fit", *flags, "--resume", "run"]) == 0
    with Store.open_existing(Path("new.db")) as store:
        snapshot = store.snapshot()
    assert snapshot.gallery.people == ("P1", "P2")
    assert snapshot.fingerprint == load_embedder("run/embedder.pt").fingerprint


@pytest.mark.slow
def test_a_fine_tuned_network_takes_everybody_along(capsys):
    enroll(keep=True)
    with Store.open_existing(Path("people.db")) as store:
        before = store.snapshot()
    # held-out photos could say that one epoch made nothing better; here it shall be taken
    flags = ["--depth", "last-block", "--embedder", "old.pt", "--held-out", "0", *SHORT]
    assert main(["fit", *flags]) == 0
    with Store.open_existing(Path("people.db")) as store:
        after = store.snapshot()
    assert after.fingerprint == load_embedder("runs/last-block/embedder.pt").fingerprint
    assert after.fingerprint != before.fingerprint
    assert after.gallery.people == before.gallery.people
    assert after.head is not None
    assert not np.allclose(after.gallery.embeddings, before.gallery.embeddings)
    assert main(["fit", *flags]) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stop_after_everybody_was_embedded_anew_says_so(monkeypatch, capsys):
    """The gallery belongs to the new embedder by then, and its old head is gone."""

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    enroll(keep=True)
    flags = ["--depth", "last-block", "--embedder", "old.pt", "--held-out", "0", *SHORT]
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.teaching.fit.teach_head", killed)
        assert main(["fit", *flags, "--run", "run"]) == 130
    errors = capsys.readouterr().err.replace("\\", "/")
    assert "as before" not in errors
    assert "the people now belong to --embedder run/embedder.pt and have no head" in errors
    advice = errors.rpartition("faces fit ")[2].split()
    assert advice == ["--embedder", "run/embedder.pt", "--gallery", "people.db"]
    with Store.open_existing(Path("people.db")) as store:
        assert store.snapshot().head is None
    assert main(["fit", *advice, "--quiet", "--copies", "1"]) == 0
    with Store.open_existing(Path("people.db")) as store:
        assert store.snapshot().head is not None


def test_without_pictures_nothing_is_trained(capsys):
    enroll(keep=False)
    assert main(["fit", "--depth", "full", "--embedder", "old.pt", *SHORT]) == 2
    errors = capsys.readouterr().err
    assert "have no stored picture" in errors
    assert "--keep-crops" in errors
    assert not Path("runs/full").exists()


def test_the_exit_code_tells_the_signal(monkeypatch):
    def stopped(*arguments, stop, **more):
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        raise Stopped

    monkeypatch.setattr("recognizer.training.fit_network.fit_network", stopped)
    enroll(keep=True)
    assert main(["fit", "--depth", "full", "--embedder", "old.pt", *SHORT]) == 143


def test_what_is_resumed_must_be_there(capsys):
    enroll(keep=True)
    flags = ["--depth", "full", "--embedder", "old.pt", "--resume", "runs/full", *SHORT]
    assert main(["fit", *flags]) == 2
    assert "nothing to go on with" in capsys.readouterr().err


def test_a_new_network_has_the_size_of_the_shipped_one():
    assert new_network().config.size == 112
