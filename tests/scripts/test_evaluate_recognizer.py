"""`faces evaluate-recognizer` from the flags to the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.types import Detections
from recognizer.rule import Thresholds
from recognizer.store.people import Store
from scripts.main import main
from tests.fake_embedder import FakeEmbedder

SIDE = 48


def evaluate(*arguments) -> int:
    return main(["evaluate-recognizer", *map(str, arguments)])


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def paint(path: Path, person: int, photo: int) -> None:
    """A picture that is the person's own pattern and some noise."""
    own = np.random.default_rng(person).integers(40, 215, (6, 6, 3))
    noise = np.random.default_rng([person, photo]).integers(-25, 26, (SIDE, SIDE, 3))
    pixels = own.repeat(SIDE // 6, axis=0).repeat(SIDE // 6, axis=1) + noise
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(autouse=True)
def embedder(monkeypatch) -> FakeEmbedder:
    fake = FakeEmbedder()
    monkeypatch.setattr(
        "recognizer.embedders.load.load_embedder", lambda name, weights, **more: fake
    )
    return fake


@pytest.fixture
def folders(tmp_path) -> Path:
    """Six people with five photos each, and six with one."""
    root = tmp_path / "people"
    for person in range(12):
        for photo in range(1, 6 if person < 6 else 2):
            paint(root / f"P{person:02d}" / f"P{person:02d}_{photo:04d}.png", person, photo)
    return root


@pytest.fixture
def lfw(folders) -> Path:
    """Three folds of two genuine and two impostor pairs."""
    lines = ["3\t2"]
    for fold in range(3):
        one, other, third = f"P{2 * fold:02d}", f"P{2 * fold + 1:02d}", f"P{6 + fold:02d}"
        lines += [f"{one}\t1\t2", f"{other}\t1\t2"]
        lines += [f"{one}\t1\t{third}\t1", f"{other}\t3\t{third}\t1"]
    (folders / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folders


@pytest.fixture
def whole_picture(monkeypatch) -> None:
    """A detector that finds the whole picture, and nothing in a black one."""

    class Finder:
        def detect(self, image):
            size = image.shape[:2]
            if not image.any():
                return Detections.empty(size)
            return Detections.from_raw([[0, 0, size[1], size[0]]], [0.9], size)

    monkeypatch.setattr("detector.inference.load.load_detector", lambda path, threads: Finder())


@pytest.fixture
def no_pictures(monkeypatch) -> None:
    """Drawing takes most of the time."""
    monkeypatch.setattr("recognizer.evaluation.evaluate.draw", lambda *arguments: [])


@pytest.mark.slow
def test_the_layout_of_lfw(lfw, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate("--lfw", lfw, "--out", out, "--baseline", "--enroll", 1) == 0
    found = report(out)
    assert "known place in the center" in found["boxes"]
    (ours, pixels) = found["listed_pairs"]["results"]
    assert (ours["name"], pixels["name"]) == ("fake", "pixels")
    assert ours["accuracy"] == 1
    assert [fold["fold"] for fold in ours["folds"]] == [1, 2, 3]
    assert found["listed_pairs"]["pairs"] == 12
    printed = capsys.readouterr()
    assert "1.0000 +- 0.0000" in printed.out
    assert "0.01 needs 1,000" in printed.out
    assert str(out) not in printed.out.split("\n", 1)[1]  # results only; files go to stderr
    for name in ("roc.png", "roc-pairs.png", "cosines.png", "identification.png", "confusion.png"):
        assert (out / name).is_file()


def test_a_tested_fold_and_json(lfw, no_pictures, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate("--lfw", lfw, "--out", out, "--test-folds", 3, "--json", "--quiet") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == report(out)
    (result,) = found["listed_pairs"]["results"]
    assert [fold["fold"] for fold in result["folds"]] == [3]
    assert found["people"] == 3
    assert (
        "fold 3, with the threshold that is best on folds 1, 2"
        in (found["listed_pairs"]["protocol"])
    )


@pytest.mark.slow
def test_a_folder_for_each_person_with_a_detector(folders, whole_picture, tmp_path, capsys):
    out = tmp_path / "out"
    Image.new("RGB", (SIDE, SIDE)).save(folders / "P00" / "black.png")
    labels = tmp_path / "labels.csv"
    rows = "\n".join(f"P{i:02d},{'even' if i % 2 == 0 else 'odd'}" for i in range(12))
    labels.write_text(f"person,parity\n{rows}\n", encoding="utf-8")
    flags = ["--enroll", 3, "--by", labels, "--threshold", 0.5, "--out", out]
    assert evaluate("--folders", folders, *flags) == 1  # an image failed
    found = report(out)
    assert (found["failed"], found["failed_photos"]) == (1, ["P00/black.png"])
    assert "fpn.onnx" in found["boxes"]
    section = found["identification"]
    assert (section["enrolled"], section["nonmated"]) == (6, 6)
    assert section["results"][0]["rule"]["thresholds"]["gallery"] == 0.5
    (kind,) = found["groups"]["kinds"]
    assert [group["group"] for group in kind["groups"]] == ["even", "odd"]
    assert kind["groups"][0]["fnmr"] > 0 == kind["groups"][1]["fnmr"]  # the black one
    printed = capsys.readouterr()
    assert "1 photo without a face" in printed.out
    assert "no face was found in 1 photos" in printed.err


def test_photos_of_strangers_for_the_rates_of_groups(
    tmp_path, whole_picture, no_pictures, monkeypatch, capsys
):
    """As FairFace has them: one photo of everybody, labels by file, faces that fill the photo."""
    val, out = tmp_path / "val", tmp_path / "out"
    for person in range(40):
        paint(val / f"{person}.png", person // 2, 0)  # everybody has a double
    Image.new("RGB", (SIDE, SIDE)).save(val / "black.png")
    rows = "".join(f"val/{i}.png,{'odd' if i % 2 else 'even'},x\n" for i in range(40))
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,parity,all\n{rows}val/black.png,odd,x\n", encoding="utf-8")
    sides = []
    monkeypatch.setattr(
        "recognizer.landmarks.LandmarkNet.__call__",
        lambda self, image, xyxy: (
            sides.append(image.shape[0]),
            (np.float32([[[20, 20], [40, 20], [40, 30], [25, 40], [35, 40]]]), np.array([True])),
        )[1],
    )
    flags = ["--photos", val, "--border", 0.125, "--by", labels, "--by-columns", "parity", "all",
             "--threshold", 0.9, "--fmr", 0.05, "--yaw", "--out", out]  # fmt: skip
    assert evaluate(*flags) == 1  # a photo without a face
    found = report(out)
    assert found["people"] == 41
    assert "border 0.125" in found["boxes"]
    parity, everybody = found["groups"]["kinds"]
    assert [group["failed"] for group in parity["groups"]] == [0, 1]
    [all_of_them] = everybody["groups"]
    assert all_of_them["fmr"] == pytest.approx(20 / (41 * 40 / 2))  # the doubles
    assert all_of_them["threshold"] is not None
    assert [group["fmr"] for group in parity["groups"]] == [0, 0]
    table = capsys.readouterr().out
    assert "threshold @0.05" in table
    assert "keeps every group that has one at a false match rate of 0.05" in table
    assert "Turned faces" in table
    turned = found["yaw"]["turned"]
    assert [row["impostor"] for row in turned] == [0, 0, 40 * 39 / 2, 0]

    # At the very edge of their photo: enrolling refuses them all.
    assert evaluate(*flags[:-1], tmp_path / "strict", "--gates") == 2
    assert "no face was found in any photo" in capsys.readouterr().err


def test_vectors_are_kept_unless_told_otherwise(
    folders, no_pictures, tmp_path, embedder, monkeypatch
):
    calls = []
    real = embedder.embed
    monkeypatch.setattr(embedder, "embed", lambda faces: calls.append(len(faces)) or real(faces))
    flags = ["--folders", folders, "--boxes", "center", "--out", tmp_path / "out"]
    assert evaluate(*flags, "--no-keep-vectors") == 0
    assert not (tmp_path / "out" / "embeddings").exists()
    assert evaluate(*flags) == 0
    first = report(tmp_path / "out")
    assert sum(calls) == 2 * 36
    assert evaluate(*flags) == 0
    assert sum(calls) == 2 * 36
    assert report(tmp_path / "out") == first
    assert evaluate(*flags, "--cache", tmp_path / "elsewhere") == 0
    assert list((tmp_path / "elsewhere").glob("*.npz"))


def test_a_gallery_file(folders, no_pictures, tmp_path, embedder, capsys):
    from recognizer.data.photos import center_box

    path = tmp_path / "people.db"
    with Store.open(path, embedder.fingerprint, embedder.dimension) as store:
        for person in ("P00", "P01"):
            image = np.asarray(Image.open(folders / person / f"{person}_0001.png"))
            store.add(person, embedder.embed(embedder.crop(image, center_box(image))))
        store.save_thresholds(Thresholds(0.9, 0.6))
    flags = ["--probes", folders, "--boxes", "centre", "--out", tmp_path / "out"]
    assert evaluate("--gallery", path, *flags) == 0
    section = report(tmp_path / "out")["identification"]
    assert (section["enrolled"], section["mated"], section["nonmated"]) == (2, 10, 26)
    rule = section["results"][0]["rule"]
    assert rule["thresholds"] == {"head": 0.9, "gallery": 0.6}
    assert rule["origin"] == "the gallery's own"
    assert rule["fnir"] == 0

    spaced = tmp_path / "spaced" / "P00 "  # a name that enrolling tidies up
    shutil.copytree(folders / "P00", spaced)
    assert evaluate("--gallery", path, "--probes", spaced.parent, *flags[2:]) == 0
    assert report(tmp_path / "out")["identification"]["nonmated"] == 0

    Store.open(tmp_path / "empty.db", embedder.fingerprint, embedder.dimension).close()
    assert evaluate("--gallery", tmp_path / "empty.db", *flags) == 2
    assert "nobody is enrolled" in capsys.readouterr().err
    with Store.open(tmp_path / "other.db", "another", 64) as store:
        store.add("P00", np.eye(1, 64, dtype=np.float32))
    assert evaluate("--gallery", tmp_path / "other.db", *flags) == 2
    assert "another embedder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give one of --lfw DIR, --folders DIR"),
        (["--lfw", "x", "--folders", "y"], "give one of --lfw DIR"),
        (["--gallery", "x"], "--gallery FILE and --probes DIR go together"),
        (["--folders", "x", "--probes", "y"], "go together"),
        (["--lfw", "x", "--pairs", "y"], "--pairs needs --folders"),
        (["--folders", "x", "--test-folds", "1"], "--test-folds needs listed pairs"),
        (["--gallery", "x", "--probes", "y", "--baseline"], "leave out --baseline"),
        (["--folders", "x", "--threshold", "2"], "--threshold is from -1 to 1"),
        (["--folders", "x", "--fmr", "0"], "--fmr must be between"),
        (["--folders", "x", "--enroll", "0"], "--enroll must be"),
        (["--folders", "x", "--strangers", "1.5"], "--strangers must be"),
        (["--folders", "x", "--by-columns", "skin"], "need --by FILE"),
        (["--photos", "x", "--border", "2"], "--border is a part"),
        (["--photos", "x", "--folders", "y"], "give one of --lfw DIR"),
        (["--folders", "x", "--resamples", "9"], "--resamples must be"),
        (["--folders", "x", "--max-photos", "1"], "--max-photos must be"),
        (["--folders", "x", "--no-keep-vectors", "--cache", "y"], "not both"),
        (["--folders", "nowhere"], "nowhere is not a folder"),
        (["--lfw", "nowhere"], "pairs.txt: cannot be read"),
    ],
)
def test_what_cannot_work_is_refused(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert evaluate(*flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_one_fold_and_a_missing_gallery_are_refused(lfw, folders, tmp_path, capsys):
    pairs = tmp_path / "one.txt"
    pairs.write_text("1\nP00 1 2\nP00 1 P01 1\n", encoding="utf-8")
    flags = ["--boxes", "centre", "--out", tmp_path / "out"]
    assert evaluate("--folders", folders, "--pairs", pairs, *flags) == 2
    assert "have 1 fold, the protocol needs two" in capsys.readouterr().err
    assert evaluate("--gallery", tmp_path / "no.db", "--probes", folders, *flags) == 2
    assert "there is no such file; make it with `faces enroll`" in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.data
@pytest.mark.slow
def test_a_peer_on_a_fold_of_lfw(shared_data, tmp_path, monkeypatch):
    """The whole way on real faces, with a network whose figure is known."""
    from recognizer.crop import CropRecipe
    from recognizer.evaluation.contestants import OnnxPeer
    from recognizer.landmarks import LandmarkNet

    peer = OnnxPeer(shared_data / "weights" / "peers" / "mobilefacenet.onnx", threads=1)

    class Peer:
        fingerprint, size, dimension = peer.fingerprint, 112, 128
        recipe, landmarks = CropRecipe(112, 0.1, "aligned"), LandmarkNet(threads=1)

        def crop(self, image, xyxy, landmarks=None):
            return self.recipe(image, xyxy, self.landmarks)

        def embed(self, faces):
            return peer.embed(faces)

    monkeypatch.setattr("recognizer.embedders.load.load_embedder", lambda *a, **k: Peer())
    lines = (shared_data / "lfw" / "pairs.txt").read_text(encoding="utf-8").splitlines()
    pairs = tmp_path / "pairs.txt"  # of folds 5 and 6 the first 100 pairs of each kind
    some = [line for i in (4, 5) for kind in (0, 300) for line in lines[1 + 600 * i + kind :][:100]]
    pairs.write_text("\n".join(["2\t100", *some]) + "\n", encoding="utf-8")
    folders = shared_data / "lfw" / "images"
    flags = ["--pairs", pairs, "--test-folds", 2, "--boxes", "centre", "--baseline"]
    assert evaluate("--folders", folders, *flags, "--out", tmp_path / "out") == 0
    found = report(tmp_path / "out")
    ours, pixels = found["listed_pairs"]["results"]
    assert ours["accuracy"] > 0.98 > 0.7 > pixels["accuracy"] > 0.5
    assert found["every_pair"]["results"][0]["tar"][1]["tar"] > 0.95
    assert found["identification"]["results"][0]["rank1"] > 0.95
