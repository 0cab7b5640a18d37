"""`faces detect` makes first labels to correct and train on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.data.voc.annotation import read_voc
from tests.scripts.detecting import detect, files, make_video


def test_first_labels_are_a_folder_to_train_on(photos, capsys):
    """Copies of the pictures, and boxes as found, also for the one without a face."""
    before = {name: Path("photos", name).read_bytes() for name in files("photos")}
    detect("photos", "--annotate", "voc", "--out", "found")
    folder = Path("found/first-labels")
    assert files(folder) == [
        "README.md",
        *("annotations/a.xml", "annotations/b.xml", "annotations/trip/c.xml"),
        *("images/a.png", "images/b.png", "images/trip/c.jpg"),
    ]
    boxes = [
        [item.xyxy for item in read_voc(path).objects]
        for path in (folder / "annotations" / name for name in ("a.xml", "b.xml", "trip/c.xml"))
    ]
    assert boxes == [[(40, 50, 70, 90)], [], [(80, 50, 110, 90)]]
    assert {name: Path("photos", name).read_bytes() for name in files("photos")} == before
    assert f"labels:      {folder} (voc)" in capsys.readouterr().out
    assert files("found")[:3] == ["a.png", "b.png", "detections.jsonl"]  # marked as ever


def test_first_labels_in_the_formats_of_other_tools(photos):
    detect("photos", "--annotate", "coco", "--out", "coco")
    detect("photos", "--annotate", "yolo", "--out", "yolo")
    content = json.loads(Path("coco/first-labels/annotations/instances_default.json").read_text())
    names = [item["file_name"] for item in content["images"]]
    assert names == ["a.png", "b.png", "trip/c.jpg"]
    assert [item["bbox"] for item in content["annotations"]] == [[40, 50, 30, 40], [80, 50, 30, 40]]
    label = Path("yolo/first-labels/labels/a.txt").read_text()
    assert [float(x) for x in label.split()] == pytest.approx(
        [0, 55 / 160, 70 / 120, 30 / 160, 1 / 3]
    )
    assert Path("yolo/first-labels/labels/b.txt").read_text() == ""


def test_corrected_labels_are_never_overwritten(photos, capsys, opened):
    detect("photos", "--annotate", "voc", "--out", "found")
    label = Path("found/first-labels/annotations/a.xml")
    label.write_text(label.read_text().replace("40", "41"))
    kept, calls = label.read_bytes(), len(opened)
    detect("photos", "--annotate", "yolo", "--out", "found", code=2)
    assert "found/first-labels is not empty" in capsys.readouterr().err
    assert label.read_bytes() == kept
    assert len(opened) == calls  # before anything is detected


def test_first_labels_leave_out_what_cannot_be_read(photos):
    Path("photos/broken.jpg").write_bytes(b"nothing")
    make_video(Path("photos/film.mp4"))
    detect("photos", "--annotate", "voc", "--out", "found", code=1)
    assert len(list(Path("found/first-labels/images").rglob("*.*"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--json", "-"), "say where with --out"),
        (("--anonymize",), "leave out --anonymize"),
    ],
)
def test_first_labels_that_cannot_be(photos, capsys, arguments, message):
    detect("photos", "--annotate", "voc", *arguments, code=2)
    assert message in capsys.readouterr().err


def test_films_alone_get_no_labels(photos, capsys):
    make_video(Path("film.mp4"))
    detect("film.mp4", "--annotate", "voc", code=2)
    assert "film.mp4: --annotate labels pictures" in capsys.readouterr().err
