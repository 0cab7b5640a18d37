"""`faces fit`: what it learns, stores and refuses, with fakes in place of the networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pipeline.teaching.fit
from faces.history import read_history
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store
from recognizer.training.fit import Stopped
from scripts.main import main
from tests.fake_embedder import FakeEmbedder
from tests.figures import empty_figures
from tests.pipeline.people_photos import PatchDetector, person, save

pytestmark = pytest.mark.slow  # a head is trained in nearly every test

EMBEDDER = FakeEmbedder()


@pytest.fixture
def draws():
    """A test that names it has its figure drawn for real."""


@pytest.fixture(autouse=True)
def _networks(request, tmp_path, monkeypatch):
    """Fakes in place of the networks, empty figures, and a folder of its own to work in."""
    if "draws" not in request.fixturenames:
        empty_figures(monkeypatch.setattr, pipeline.teaching.fit)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("recognizer.embedders.load.load_embedder", lambda *args, **more: EMBEDDER)
    monkeypatch.setattr(
        "detector.inference.load.load_detector", lambda path, **options: PatchDetector()
    )


def folder(name: str, *numbers: int, photos: int = 6) -> Path:
    for number in numbers:
        for variant in range(photos):
            save(Path(name, f"P{number}", f"{variant}.png"), person(number, variant=variant))
    return Path(name)


def enroll(*numbers: int, keep: bool = True, photos: int = 6) -> None:
    people = folder("enrolled", *numbers, photos=photos)
    flags = ["--keep-crops"] if keep else []
    gates = ["--min-size", "10", "--quiet"]
    assert main(["enroll", "--from-folders", str(people), *gates, *flags]) in (0, 1)


def snapshot(path: str = "people.db") -> Snapshot:
    with Store.open(Path(path), EMBEDDER.fingerprint, EMBEDDER.dimension) as store:
        return store.snapshot()


def face(number: int, variant: int) -> np.ndarray:
    image = person(number, variant=variant)
    return EMBEDDER.embed(EMBEDDER.crop(image, np.array([[0, 0, 80, 80]], np.float32)))


def test_enrolled_people_are_taught(capsys, draws):
    enroll(1, 2, 3)
    capsys.readouterr()
    assert main(["fit", "--quiet"]) == 0
    output = capsys.readouterr().out
    assert "taught:    3 people" in output
    assert "file:      people.db" in output
    taught = snapshot()
    assert taught.head is not None
    assert set(taught.head.names) == {"P1", "P2", "P3", None}
    known = [i for i, name in enumerate(taught.head.names) if name is not None]
    for number in (1, 2, 3):  # of a photo that it has never seen
        best = taught.head.probabilities(face(number, 50))[0, known].argmax()
        assert taught.head.names[known[int(best)]] == f"P{number}"
    history = read_history(Path("runs/head"))
    assert Path("runs/head/loss.png").read_bytes().startswith(b"\x89PNG")
    assert history[-1]["epoch"] == len(history)
    with Store.open_existing(Path("people.db")) as store:
        provenance = store.head_provenance()
    assert provenance is not None
    assert provenance["people"] == 3
    assert "P1" not in json.dumps(provenance)  # it outlives the people


def test_two_phases_halve_the_learning_rate():
    enroll(1, 2)
    assert main(["fit", "--quiet", "--phases", "2", "--copies", "2", "--epochs", "4"]) == 0
    history = read_history(Path("runs/head"))
    assert {line["phase"] for line in history} == {1, 2}
    assert history[0]["lr"] == 2 * history[-1]["lr"] == 1e-3


def test_people_without_pictures_are_taught_from_their_vectors(capsys):
    enroll(1, 2, keep=False)
    assert main(["fit"]) == 0
    assert "no pictures were kept" in capsys.readouterr().err
    assert snapshot().head is not None


def test_a_folder_enrols_whom_it_brings(capsys):
    enroll(1)
    assert main(["fit", "--from-folders", str(folder("more", 1, 2, 3))]) == 0
    output = capsys.readouterr()
    assert "enrolled from more: P2, P3" in output.err
    taught = snapshot()
    assert taught.gallery.people == ("P1", "P2", "P3")
    assert taught.head is not None
    assert set(taught.head.names) == {"P1", "P2", "P3", None}
    assert "does not know" not in output.err
    assert main(["fit", "--from-folders", str(folder("few", 1))]) == 0
    assert "the new head does not know P2, P3, who are enrolled" in capsys.readouterr().err


def test_crops_of_a_folder_are_read_once(monkeypatch):
    people = folder("more", 1, 2)
    assert main(["fit", "--quiet", "--from-folders", str(people)]) == 0
    first = snapshot().head

    def fail(path):
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr("pipeline.enroll.photo_faces.read_image", fail)
    assert main(["fit", "--quiet", "--from-folders", str(people)]) == 0
    second = snapshot().head
    assert first is not None
    assert second is not None
    assert np.allclose(first.weight, second.weight)


def mixed(name: str) -> Path:
    """P1 and P2, three good photos each, and P1 with one for each way of being refused."""
    people = folder(name, 1, 2, photos=3)
    save(people / "P1" / "empty.png")
    save(people / "P1" / "two.png", person(1, variant=10), person(5))
    save(people / "P1" / "small.png", person(1, side=30, variant=11))
    save(people / "P1" / "edge.png", person(1, variant=12), at=[(0, 40)])
    save(people / "P1" / "dark.png", (person(1, variant=13) * 0.05).astype(np.uint8))
    save(people / "P1" / "same.png", person(1, variant=0))
    return people


def sentences(errors: str) -> set[tuple[str, str]]:
    """(photo, why it was refused) of what a command said."""
    found = set()
    for line in errors.splitlines():
        name, colon, sentence = line.partition(".png: ")
        if colon:
            found.add((name.replace("\\", "/").rpartition("/")[2], sentence))
    return found


@pytest.mark.parametrize("flags", [[], ["--largest"], ["--min-size", "25", "--min-edge", "0"]])
def test_a_folder_passes_the_gates_of_enrolling(flags, capsys):
    """The same photos, refused with the same words, as by `faces enroll`."""
    people = str(mixed("people"))
    assert main(["enroll", "--from-folders", people, "--gallery", "a.db", *flags]) == 1
    enrolled = sentences(capsys.readouterr().err)
    assert main(["fit", "--from-folders", people, "--gallery", "b.db", *flags]) == 1
    taught = capsys.readouterr().err
    assert sentences(taught) == enrolled
    assert {"empty", "dark", "same"} <= {name for name, _ in enrolled}
    assert ("two" in {name for name, _ in enrolled}) == ("--largest" not in flags)
    assert ("small" in {name for name, _ in enrolled}) == ("--min-size" not in flags)
    assert snapshot("a.db").gallery.names == snapshot("b.db").gallery.names
    # Once more, from what is kept: the reasons are, too.
    assert main(["fit", "--from-folders", people, "--gallery", "b.db", *flags]) == 1
    assert sentences(capsys.readouterr().err) == enrolled


def test_other_limits_judge_the_photos_anew():
    people = str(mixed("people"))
    assert main(["fit", "--quiet", "--from-folders", people, "--gallery", "a.db"]) == 1
    assert main(["fit", "--quiet", "--from-folders", people, "--gallery", "b.db", "--largest"]) == 1
    assert len(snapshot("b.db").gallery) == len(snapshot("a.db").gallery) + 1


def test_somebody_under_another_name_is_pointed_out(capsys):
    enroll(1)
    again = Path("more/Annie/0.png")
    save(again, person(1, variant=9))
    folder("more", 2)
    capsys.readouterr()
    assert main(["fit", "--from-folders", "more"]) == 0
    errors = capsys.readouterr().err
    assert "'Annie' looks like 'P1', who is enrolled already" in errors
    assert "'P2' looks like" not in errors


def test_a_near_duplicate_is_no_failure(capsys):
    people = folder("more", 1, 2, photos=3)
    save(people / "P1" / "same.png", person(1, variant=0))
    assert main(["fit", "--from-folders", str(people)]) == 0
    assert "same.png: near-duplicate" in capsys.readouterr().err
    assert len(snapshot().gallery) == 6


def test_somebody_elses_photo_in_a_folder_is_left_out(capsys):
    people = folder("more", 1, 2, photos=3)
    save(people / "P1" / "wrong.png", person(2, variant=9))
    assert main(["fit", "--from-folders", str(people)]) == 1
    assert "wrong.png: does not look like the other photos of P1" in capsys.readouterr().err
    assert snapshot().gallery.names.count("P1") == 3
    # What is enrolled already is no duplicate of itself: it is learned from again.
    assert main(["fit", "--from-folders", str(people)]) == 1
    assert "near-duplicate" not in capsys.readouterr().err


def test_photos_that_cannot_be_used_are_named_and_the_rest_is_taught(capsys):
    people = folder("more", 1, 2)
    (people / "P1" / "broken.png").write_bytes(b"no picture")
    save(people / "P2" / "empty.png")
    assert main(["fit", "--from-folders", str(people)]) == 1
    errors = capsys.readouterr().err
    assert "broken.png" in errors
    assert "empty.png: no face was found" in errors
    assert snapshot().head is not None


def test_strangers_of_a_folder_stay_unknown():
    enroll(1, 2)
    for number in range(20, 45):
        save(Path("crowd", f"{number}.png"), person(number))
    assert main(["fit", "--quiet", "--strangers", "crowd"]) == 0
    head = snapshot().head
    assert head is not None
    probabilities = np.concatenate([head.probabilities(face(n, 3)) for n in range(60, 80)])
    named = (probabilities.argmax(axis=1) != head.names.index(None)) & (
        probabilities.max(axis=1) > 0.7
    )
    assert named.mean() < 0.2


def test_the_old_head_stays_when_it_is_stopped(monkeypatch, capsys):
    enroll(1, 2)
    assert main(["fit", "--quiet"]) == 0
    before = snapshot()

    def stopped(*args, **more):
        raise KeyboardInterrupt

    for raised in (KeyboardInterrupt, Stopped):
        monkeypatch.setattr("pipeline.teaching.fit.fit_head", _raising(raised))
        assert main(["fit", "--quiet", "--seed", "4"]) == 130
        assert "the old head are as before" in capsys.readouterr().err
    after = snapshot()
    assert after.version == before.version
    assert before.head is not None
    assert after.head is not None
    assert np.array_equal(after.head.weight, before.head.weight)


def test_who_is_forgotten_or_renamed_meanwhile_does_not_come_back(monkeypatch, capsys):
    from pipeline.teaching.fit import teach_head

    enroll(1, 2, 3)

    def meanwhile(*args):
        head = teach_head(*args)
        with Store.open_existing(Path("people.db")) as other:
            other.remove("P2")
            other.rename("P3", "Karl")
        return head

    monkeypatch.setattr("pipeline.teaching.fit.teach_head", meanwhile)
    assert main(["fit", "--quiet"]) == 0
    taught = snapshot()
    assert set(taught.gallery.people) == {"P1", "Karl"}
    assert taught.head is not None
    assert set(taught.head.names) == {"P1", None}
    assert "the head's classes of them are left out: ['P2', 'P3']" in capsys.readouterr().err


def _raising(error: type[BaseException]):
    def fail(*args, **more):
        raise error

    return fail


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no file of people people.db"),
        (["--from-scratch"], "--from-scratch needs --from-folders"),
        (["--from-scratch", "--from-folders", "x", "--depth", "full"], "leave out --depth"),
        (["--resume", "runs/x"], "--resume goes on with a network"),
        (["--depth", "full", "--resume", "a", "--run", "b"], "leave out --run"),
        (["--copies", "-1"], "--copies"),
        (["--threads", "0"], "--threads"),
        (["--learning-rate", "0"], "--learning-rate"),
        (["--held-out", "1"], "--held-out"),
        (["--from-folders", "nowhere"], "nowhere"),
        (["--largest"], "are for those of --from-folders"),
        (["--min-size", "30"], "`faces enroll` has them"),
        (["--depth", "full", "--batch-size", "1"], "--batch-size must"),
        (["--depth", "full", "--patience", "0"], "--epochs and --patience must"),
        (["--depth", "full", "--embedder", "inception"], "only MiniResNet can learn more"),
        (["--depth", "full", "--embedder", "x.onnx"], "an ONNX file cannot learn"),
        (["--depth", "full", "--embedder", "x.pt"], "there is no embedder x.pt"),
    ],
)
def test_refusals(arguments, message, capsys):
    assert main(["fit", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("people.db").exists() or not snapshot().head


def test_an_empty_file_of_people_is_said(capsys):
    Store.open(Path("people.db"), EMBEDDER.fingerprint, EMBEDDER.dimension).close()
    assert main(["fit"]) == 2
    assert "nobody is enrolled in people.db" in capsys.readouterr().err
