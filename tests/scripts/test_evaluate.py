"""`faces evaluate` from the flags to the files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.submission import write_submission
from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
from detector.inference.detect import FaceDetector
from detector.inference.resize import Resize
from detector.types import Detections
from scripts.main import run_command
from tests.detector.evaluation.cases import faces, write_ground_truth, zip_lists

SIZE = (1024, 128)
BOXES = {
    "0--A/one": [[10, 10, 50, 50], [200, 20, 260, 90]],
    "0--A/two": [[500, 30, 560, 100]],
    "1--B/three": [[900, 5, 1000, 120]],
}
ELSEWHERE = "2--C/four"  # in the official lists, not on the disk
LISTED = {"easy": [0], "medium": [0, 1], "hard": [0, 1]}


def white_boxes(batch):
    """A network that sees white rectangles: (uint8 images) -> boxes and scores, left to right."""
    results = []
    for image in batch:
        columns = np.flatnonzero((image > 250).all(2).any(0))
        boxes = []
        for part in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
            if len(part):
                rows = np.flatnonzero((image[:, part] > 250).all(2).any(1))
                boxes.append([part[0], rows[0], part[-1] + 1, rows[-1] + 1])
        scores = np.linspace(0.9, 0.6, len(boxes), dtype=np.float32)
        results.append((np.array(boxes, np.float32).reshape(-1, 4), scores))
    return results


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    """A file that `load_detector` opens as `white_boxes`."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")

    def load_detector(path, *, max_side, score_threshold, device, threads, speed):
        assert score_threshold == 0.005  # AP needs the low scores as well
        assert speed == ("fast" if "fast" in path.name else "normal")
        resize = Resize("fit", 640 if max_side is None else max_side)
        return FaceDetector(
            white_boxes,
            resize,
            arithmetic="int8" if speed == "fast" and "no-gain" not in path.name else "float32",
        )

    monkeypatch.setattr("detector.inference.load.load_detector", load_detector)
    return path


@pytest.fixture
def fast_model(model) -> Path:
    """The same, to be opened with speed "fast"."""
    return model.rename(model.with_name("fast.onnx"))


def paint(path: Path, boxes, size=SIZE) -> None:
    pixels = np.full((size[1], size[0], 3), 60, np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def wider(tmp_path) -> Path:
    """WIDER FACE in its official layout: four images in the lists, three of them there."""
    root = tmp_path / "wider"
    for name, boxes in BOXES.items():
        paint(root / "WIDER_val" / "images" / f"{name}.png", boxes)
    everything = {**BOXES, ELSEWHERE: [[1, 1, 9, 9]]}
    truth = [faces(name, boxes, listed=LISTED) for name, boxes in everything.items()]
    write_ground_truth(root / "eval_ground_truth", truth)
    return root


@pytest.fixture
def voc(tmp_path) -> Path:
    root = tmp_path / "voc"
    for name, boxes in BOXES.items():
        paint(root / "images" / f"{name}.png", boxes)
        path = root / "xml" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        objects = [VocObject("face", tuple(box), False, {"blur": "0"}) for box in boxes]
        write_voc(path, VocAnnotation(f"{path.stem}.png", *SIZE, tuple(objects)))
    return root


def detections(folder: Path, names=tuple(BOXES)) -> Path:
    for name in names:
        rows = Detections.from_raw(BOXES[name], np.linspace(0.9, 0.6, len(BOXES[name])), SIZE[::-1])
        write_submission(folder, name, rows)
    return folder


def evaluate(*arguments) -> int:
    return run_command("scripts.evaluate", [str(argument) for argument in arguments])


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_model_on_wider_face(model, wider, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate(model, "--wider", wider, "--out", out) == 0
    found = report(out)
    assert (found["images"], found["of_images"]) == (3, 4)
    assert found["wider_face"]["hard"] == {"ap": pytest.approx(1.0), "faces": 4}
    assert found["voc"]["ap50"] == pytest.approx(1.0)
    assert (found["scale"], found["max_side"]) == ("longest side 640 px", 640)
    printed = capsys.readouterr()
    assert "hard     1.0000" in printed.out
    assert str(out / "report.json") not in printed.out  # results only; the rest is on stderr
    # A perfect detector has no errors to show.
    assert {path.name for path in out.iterdir()} == {"report.json", "curves.png"}


def test_wider_face_as_downloaded_and_prepared(model, wider, tmp_path, capsys):
    """The lists are still in their zip file; the images are where `prepare wider` put them."""
    archive = zip_lists(wider / "eval_ground_truth", wider / "eval_tools.zip")
    images, out = tmp_path / "prepared" / "images", tmp_path / "out"
    images.parent.mkdir()
    assert evaluate(model, "--wider", wider, "--image-path", images, "--out", out) == 2
    assert "there is no such folder" in capsys.readouterr().err
    (wider / "WIDER_val" / "images").rename(images)
    assert evaluate(model, "--wider", wider, "--out", out) == 2
    assert "`faces prepare wider` made will do" in capsys.readouterr().err
    assert evaluate(model, "--wider", wider, "--image-path", images, "--out", out) == 0
    assert report(out)["wider_face"]["hard"] == {"ap": pytest.approx(1.0), "faces": 4}
    archive.write_bytes(archive.read_bytes()[:200])
    assert evaluate(model, "--wider", wider, "--image-path", images, "--out", out) == 2
    assert "not a readable zip file" in capsys.readouterr().err


def test_the_sheet_of_errors_and_the_printed_json(model, wider, tmp_path, capsys):
    image = wider / "WIDER_val" / "images" / "0--A" / "two.png"
    paint(image, [[100, 30, 160, 100]])  # beside the face
    out = tmp_path / "out"
    assert evaluate(model, "--wider", wider, "--out", out, "--json", "--max-side", 0) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == report(out)
    assert printed["scale"] == "original size"
    kinds = [error["kind"] for error in printed["worst_errors"]["errors"]]
    assert kinds == ["missed", "false alarm"]
    assert Image.open(out / "errors.png").width > 400


def test_a_model_on_a_voc_folder_with_groups(model, voc, tmp_path, capsys):
    by = tmp_path / "by.csv"
    by.write_text(
        "image,face,light\n0--A/one.png,0,day\n0--A/one.png,1,night\n1--B/three.png,0,day\n",
        encoding="utf-8",
    )
    out = tmp_path / "out"
    arguments = ["--image-path", voc / "images", "--annotation-dir", voc / "xml"]
    assert evaluate(model, *arguments, "--by", by, "--out", out) == 0
    found = report(out)
    assert "wider_face" not in found
    assert found["of_images"] is None
    day, night = found["recall_by_file"]["groups"]["light"]
    assert (day["group"], day["faces"], day["recall"]) == ("day", 2, 1.0)
    assert night["group"] == "night"
    assert "light" in capsys.readouterr().out


def test_saved_detections_are_judged_the_same(model, wider, tmp_path):
    saved, one, two = (tmp_path / name for name in ("saved", "one", "two"))
    assert evaluate(model, "--wider", wider, "--out", one, "--save-detections", saved) == 0
    assert sorted(p.relative_to(saved).as_posix() for p in saved.rglob("*.txt")) == [
        "0--A/one.txt",
        "0--A/two.txt",
        "1--B/three.txt",
    ]
    flags = ["--detections", saved, "--wider", wider, "--max-side", 640, "--out", two]
    assert evaluate(*flags) == 0
    first, second = report(one), report(two)
    assert first.pop("source") == str(model)
    assert second.pop("source") == str(saved)
    assert second == first


def test_the_report_says_what_ran_fast(fast_model, voc, tmp_path):
    arguments = ["--image-path", voc / "images", "--annotation-dir", voc / "xml"]
    assert evaluate(fast_model, *arguments, "--speed", "fast", "--out", tmp_path / "out") == 0
    assert report(tmp_path / "out")["source"] == f"{fast_model}, speed fast (int8)"
    no_gain = fast_model.rename(fast_model.with_name("fast-no-gain.onnx"))
    assert evaluate(no_gain, *arguments, "--speed", "fast", "--out", tmp_path / "out") == 0
    assert report(tmp_path / "out")["source"] == str(no_gain)


def test_detections_need_no_images(voc, tmp_path, capsys):
    out = tmp_path / "out"
    folder = detections(tmp_path / "found")
    assert evaluate("--detections", folder, "--annotation-dir", voc / "xml", "--out", out) == 0
    assert report(out)["scale"] == "scale not stated"
    assert report(out)["max_side"] is None
    assert report(out)["voc"]["ap50"] == pytest.approx(1.0)


def test_flat_files_are_found_by_their_stem(wider, tmp_path):
    folder = detections(tmp_path / "found")
    for path in list(folder.rglob("*.txt")):
        path.rename(folder / path.name)
    assert evaluate("--detections", folder, "--wider", wider, "--out", tmp_path / "out") == 0
    assert report(tmp_path / "out")["wider_face"]["hard"]["ap"] == pytest.approx(1.0)


@pytest.mark.slow
def test_missing_detections_are_never_passed_over_in_silence(wider, tmp_path, capsys):
    folder = detections(tmp_path / "found", ["0--A/one", "1--B/three"])
    flags = ["--detections", folder, "--wider", wider, "--out", tmp_path / "out"]
    assert evaluate(*flags) == 2
    error = capsys.readouterr().err
    assert "1 of 3 images have no file, first 0--A/two.txt" in error
    assert "missing=empty" in error
    assert not (tmp_path / "out").exists()

    assert evaluate(*flags, "--missing", "empty") == 0
    found = report(tmp_path / "out")
    assert found["images"] == 3
    assert found["wider_face"]["easy"]["ap"] == pytest.approx(2 / 3)
    assert evaluate(*flags, "--missing", "skip") == 0
    found = report(tmp_path / "out")
    assert (found["images"], found["of_images"]) == (2, 4)
    assert found["wider_face"]["easy"]["ap"] == pytest.approx(1.0)


def test_only_the_lists_make_the_whole_set_the_one_to_judge(wider, tmp_path, capsys):
    folder = detections(tmp_path / "found")
    lists = wider / "eval_ground_truth"
    assert evaluate("--detections", folder, "--wider", lists, "--out", tmp_path / "out") == 2
    assert "1 of 4 images have no file, first 2--C/four.txt" in capsys.readouterr().err
    flags = ["--missing", "skip", "--out", tmp_path / "out"]
    assert evaluate("--detections", folder, "--wider", lists, *flags) == 0
    assert "cannot check" in capsys.readouterr().err
    assert report(tmp_path / "out")["images"] == 3


def test_rescaled_images_are_refused(model, wider, tmp_path, capsys):
    for path in (wider / "WIDER_val" / "images").rglob("*.png"):
        Image.open(path).resize((832, 104)).save(path)
    assert evaluate(model, "--wider", wider, "--out", tmp_path / "out") == 2
    assert "do not have the published size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_that_the_lists_do_not_know_are_refused(model, wider, tmp_path, capsys):
    paint(wider / "WIDER_val" / "images" / "mine.png", [])
    assert evaluate(model, "--wider", wider, "--out", tmp_path / "out") == 2
    assert "'mine'" in capsys.readouterr().err


def test_detections_under_other_names_are_refused_rather_than_zero(wider, tmp_path, capsys):
    folder = tmp_path / "found"
    write_submission(folder, "img_0001", Detections.empty(SIZE[::-1]))
    assert evaluate("--detections", folder, "--wider", wider, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "expected 0--A/one.txt, found img_0001.txt" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["MODEL", "--detections", "x", "--wider", "x"], "not both"),
        (["MODEL"], "either --wider DIR, the folder of WIDER FACE, or --annotation-dir"),
        (["MODEL", "--wider", "x", "--annotation-dir", "x"], "either --wider DIR"),
        (["MODEL", "--annotation-dir", "x"], "a model needs --image-path"),
        (["MODEL", "--wider", "x", "--classes", "face"], "classes needs --annotation-dir"),
        (["MODEL", "--wider", "x", "--missing", "skip"], "missing: for"),
        (["--detections", "x", "--wider", "x", "--save-detections", "y"], "--save-detections"),
        (["MODEL", "--wider", "x", "--max-side", "-1"], "--max-side"),
        (["MODEL", "--wider", "x", "--min-score", "2"], "--min-score"),
        (["MODEL", "--wider", "x", "--resamples", "3"], "resamples"),
        (["MODEL", "--wider", "nowhere"], "the official ground truth is missing"),
        (["--detections", "nowhere", "--annotation-dir", "nowhere"], "not a folder"),
    ],
)
def test_flags_that_do_not_fit_together(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    assert evaluate(*flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_says_which_images_the_model_was_trained_on(tmp_path, wider, voc, capsys):
    from detector.checkpoint import save_checkpoint
    from detector.training_pictures import TrainingPictures
    from tests.small_export import CONFIG, talkative_model, to_dict

    files = sorted((wider / "WIDER_val" / "images").rglob("*.png"))
    payload = {"config": to_dict(CONFIG), "weights": talkative_model().state_dict()}
    model = tmp_path / "best.pt"
    flags = ["--wider", wider, "--device", "cpu", "--out", tmp_path / "out", "--resamples", 100]
    for pictures, said, found in (
        (TrainingPictures.of(files[:2]).to_text(), "2 of these 3 images were trained on", 2),
        (TrainingPictures().to_text(), "", 0),
        ("", "not known which images it was trained on", None),
    ):
        save_checkpoint(model, {**payload, "pictures": pictures})
        assert evaluate(model, *flags) == 0
        assert said in capsys.readouterr().out
        section = report(tmp_path / "out")["trained_on"]
        assert (section["seen"], section["images"]) == (found, 3)
        assert section["known"] == bool(pictures)


@pytest.mark.parametrize("class_", ["face", "Fac"])
def test_a_class_that_is_not_there_is_refused(class_, model, voc, tmp_path, capsys):
    flags = ["--image-path", voc / "images", "--annotation-dir", voc / "xml"]
    for path in (voc / "xml").rglob("*.xml"):
        path.write_text(path.read_text().replace("<name>face", "<name>Face"))
    assert evaluate(model, *flags, "--classes", class_, "--out", tmp_path / "out") == 2
    assert "did you mean 'Face'?" in capsys.readouterr().err


def test_images_without_a_face_that_counts_are_refused(model, wider, tmp_path, capsys):
    for path in (wider / "WIDER_val" / "images").rglob("*.png"):
        path.unlink()
    everything = {**BOXES, ELSEWHERE: np.zeros((0, 4))}
    truth = [faces(name, boxes, listed=LISTED) for name, boxes in everything.items()]
    write_ground_truth(wider / "eval_ground_truth", truth)
    paint(wider / "WIDER_val" / "images" / f"{ELSEWHERE}.png", [])
    assert evaluate(model, "--wider", wider, "--out", tmp_path / "out") == 2
    assert "none of the 1 images to evaluate has a face" in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_is_judged(tmp_path):
    from detector.checkpoint import save_checkpoint
    from detector.config import to_dict
    from detector.model import build_model
    from tests.tiny import TINY_MODEL, make_voc, tiny_config

    data = make_voc(tmp_path / "data", 3)
    config = to_dict(tiny_config(tmp_path, tmp_path / "run"))
    weights = build_model(TINY_MODEL, pretrained=False).state_dict()
    save_checkpoint(tmp_path / "best.pt", {"config": config, "weights": weights})
    flags = ["--image-path", data / "images", "--annotation-dir", data / "annotations"]
    flags += ["--device", "cpu", "--out", tmp_path / "out"]
    assert evaluate(tmp_path / "best.pt", *flags) == 0
    found = report(tmp_path / "out")
    assert found["max_side"] == 96  # what it was validated with
    assert found["images"] == 3


@pytest.mark.slow
def test_the_images_to_look_at_first(model, voc, tmp_path, capsys):
    """One label too many, one that lacks, one that lies beside its face: each a row, once."""
    missing, extra = voc / "xml/1--B/three.xml", voc / "xml/0--A/one.xml"
    write_voc(missing, VocAnnotation("three.png", *SIZE, ()))
    boxes = [*BOXES["0--A/one"][:1], [225, 20, 285, 90], [600, 10, 680, 90], [700, 9, 708, 13]]
    objects = [VocObject("face", tuple(box)) for box in boxes]
    objects.append(VocObject("face", (800, 10, 900, 90), difficult=True))
    write_voc(extra, VocAnnotation("one.png", *SIZE, tuple(objects)))
    flags = ["--image-path", voc / "images", "--annotation-dir", voc / "xml"]
    out = tmp_path / "out"
    assert evaluate(model, *flags, "--out", out, "--hardest", 9, "--max-side", 0) == 0
    rows = list(csv.DictReader((out / "hardest.csv").open(encoding="utf-8")))
    seen = [(row["rank"], Path(row["image"]).stem, row["why"]) for row in rows]
    assert seen == [
        ("1", "one", "labeled, not found"),
        ("1", "one", "boxes differ"),
        ("1", "one", "labeled, not found"),
        ("2", "three", "found, not labeled"),
    ]
    assert [row["weight"] for row in rows] == ["1.000", f"{1 - 35 / 85:.3f}", "0.250", "0.900"]
    assert Path(rows[0]["image"]).is_file()
    assert [rows[0][name] for name in ("score", "iou", "x1", "y2")] == ["", "", "600", "90"]
    assert [rows[1][name] for name in ("score", "iou", "x1")] == ["0.600", "0.412", "200"]
    with Image.open(out / "hardest.png") as sheet:
        assert sheet.width > sheet.height > 300  # two cells side by side

    assert evaluate(model, *flags, "--out", out, "--hardest", 1, "--max-side", 0) == 0
    assert (out / "hardest.csv").read_text().count("one.png") == 3
    assert "three" not in (out / "hardest.csv").read_text()


def test_no_disagreement_is_said(model, voc, tmp_path, capsys):
    flags = ["--image-path", voc / "images", "--annotation-dir", voc / "xml", "--max-side", 0]
    out = tmp_path / "out"
    out.mkdir()
    (out / "hardest.png").write_bytes(b"of another run")
    assert evaluate(model, *flags, "--out", out, "--hardest", 5) == 0
    assert len((out / "hardest.csv").read_text().splitlines()) == 1
    assert not (out / "hardest.png").exists()
    assert "agree on all images" in capsys.readouterr().err


def test_hardest_without_images_is_the_list_alone(voc, tmp_path, capsys):
    found = detections(tmp_path / "found", list(BOXES)[:2])
    flags = ["--detections", found, "--annotation-dir", voc / "xml", "--missing", "empty"]
    assert evaluate(*flags, "--out", tmp_path / "out", "--hardest", 5) == 0
    rows = list(csv.DictReader((tmp_path / "out/hardest.csv").open(encoding="utf-8")))
    assert [(row["image"], row["why"]) for row in rows] == [("1--B/three", "labeled, not found")]
    assert not (tmp_path / "out/hardest.png").exists()
    assert "give --image-path" in capsys.readouterr().err


def test_hardest_must_be_a_number_of_images(model, voc, capsys):
    flags = ["--image-path", voc / "images", "--annotation-dir", voc / "xml"]
    assert evaluate(model, *flags, "--hardest", -1) == 2
    assert "--hardest must not be negative, got -1" in capsys.readouterr().err
