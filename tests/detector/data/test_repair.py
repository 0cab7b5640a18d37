"""What `faces prepare check --fix` writes: whole, and beside what it reads."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.check import check_set, draw_check
from detector.data.repair import REPORT_NAME, repair
from detector.data.voc.annotation import VocAnnotation, VocObject, read_voc, write_voc
from detector.data.voc.boxes import BoxFrame
from detector.data.voc.folder import find_sets
from faces.errors import UserError
from faces.images.read import image_info, read_image
from tests.detector.data.checking import (
    GOOD,
    HEIGHT,
    WIDTH,
    add,
    check,
    problems,
    repaired,
    snapshot,
)


@pytest.mark.parametrize("orientation", [3, 6, 7, 8])
@pytest.mark.parametrize("meant", ["stored", "upright"])
def test_rotated_images_are_turned_with_their_boxes(
    tmp_path: Path, orientation: int, meant: BoxFrame
) -> None:
    root = tmp_path / "a"
    path = add(root, "a.jpg", GOOD, orientation=orientation)
    image = read_image(root / "images/a.jpg")
    height, width = image.shape[:2]
    ys, xs = np.nonzero(image[..., 0] > 128)
    upright = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)  # where the white box is seen
    if meant == "upright":
        box = VocObject("face", tuple(map(float, upright)))  # type: ignore[arg-type]
        write_voc(path, VocAnnotation("a.jpg", width, height, (box,)))
    given: BoxFrame = "auto" if orientation >= 5 else meant  # the size tells, where it changes
    report = check(root, boxes=given)
    assert problems(report) == {"EXIF rotation": 1}
    said = {"stored": "the stored pixels", "upright": "the upright image"}[meant]
    assert said in report.findings[0].detail

    repaired(root, tmp_path / "b", boxes=given)
    assert image_info(tmp_path / "b/images/a.jpg").orientation == 1
    assert np.abs(read_image(tmp_path / "b/images/a.jpg").astype(int) - image).max() < 40
    voc = read_voc(tmp_path / "b/annotations/a.xml")
    assert voc.objects[0].xyxy == upright
    assert (voc.width, voc.height) == (width, height)


@pytest.mark.parametrize("orientation", [1, 2, 6, 7])
def test_landmarks_go_with_their_box(tmp_path: Path, orientation: int) -> None:
    root = tmp_path / "a"
    path = add(root, "a.jpg", orientation=orientation)
    points = ((10.0, 12.0), (20.0, 12.0), None, (11.0, 24.0), (19.0, 25.0))
    face = VocObject("face", (25.0, 6.0, 5.0, 30.0), landmarks=points)  # inverted
    write_voc(path, VocAnnotation("a.jpg", WIDTH, HEIGHT, (face,)))
    repaired(root, tmp_path / "b", boxes="stored")
    [mended] = read_voc(tmp_path / "b/annotations/a.xml").objects
    assert (
        mended.landmarks
        == {
            1: points,
            # A mirrored face has its left eye where the right one was.
            2: ((40.0, 12.0), (50.0, 12.0), None, (41.0, 25.0), (49.0, 24.0)),
            6: ((28.0, 10.0), (28.0, 20.0), None, (16.0, 11.0), (15.0, 19.0)),
            7: ((28.0, 40.0), (28.0, 50.0), None, (15.0, 41.0), (16.0, 49.0)),
        }[orientation]
    )


@pytest.mark.parametrize("which", ["a.xml", "a.jpg.xml"])
def test_of_two_annotations_of_an_image_the_points_are_kept(tmp_path: Path, which: str) -> None:
    root = tmp_path / "a"
    path = add(root, "a.jpg", GOOD)
    points = ((10.0, 12.0), (20.0, 12.0), (15.0, 18.0), (11.0, 24.0), (19.0, 25.0))
    face = VocObject("face", (5.0, 6.0, 25.0, 30.0))
    for name in ("a.xml", "a.jpg.xml"):
        own = replace(face, landmarks=points if name == which else ())
        write_voc(path.with_name(name), VocAnnotation("a.jpg", WIDTH, HEIGHT, (own,)))
    repaired(root, tmp_path / "b")
    [joined] = read_voc(tmp_path / "b/annotations/a.xml").objects
    assert joined.landmarks == points


def test_what_a_repair_does_not_understand_survives(tmp_path: Path) -> None:
    root = tmp_path / "a"
    path = add(root, "a.jpg", GOOD)
    path.write_text(
        """<annotation verified="yes">
  <folder>VOC2012</folder><filename>a.jpg</filename>
  <source><database>The VOC2008 Database</database></source>
  <size><width>60</width><height>40</height><depth>3</depth></size>
  <object><name>person</name><bndbox><xmax>25</xmax><xmin>-5</xmin>
    <ymax>30</ymax><ymin>6</ymin></bndbox><occluded>1</occluded>
    <part><name>head</name><bndbox><xmin>-4</xmin><ymin>7</ymin><xmax>9</xmax><ymax>9</ymax>
    </bndbox></part>
    <part><name>hand</name><bndbox><xmin>-4</xmin><ymin>7</ymin><xmax>-1</xmax><ymax>9</ymax>
    </bndbox></part>
    <part><name>foot</name></part></object>
  <object><name>gone</name><bndbox><xmin>70</xmin><ymin>7</ymin><xmax>71</xmax><ymax>9</ymax>
    </bndbox></object>
</annotation>""",
        encoding="utf-8",
    )
    repaired(root, tmp_path / "b")
    text = (tmp_path / "b/annotations/a.xml").read_text(encoding="utf-8")
    for kept in ('verified="yes"', "VOC2012", "The VOC2008 Database", "head", "foot", "occluded"):
        assert kept in text
    for gone in ("hand", "gone", "-5", "-4"):
        assert gone not in text
    assert "<xmax>25</xmax><xmin>0</xmin>" in text


def test_counts_of_repairs_are_reported(tmp_path: Path) -> None:
    root = tmp_path / "a"
    add(root, "a.jpg", GOOD, (-1, 0, 5, 5), (9, 9, 9, 9), (8, 8, 2, 2))
    add(root, "b.jpg", size=(1, 1))
    repairs = repair([check(root)], tmp_path / "b")
    assert repairs.pairs == 2
    assert repairs.left_out == {}
    assert repairs.done == {
        "boxes clipped": 1,
        "boxes without area dropped": 1,
        "boxes with corners swapped": 1,
        "sizes corrected": 1,
    }


def test_a_repair_can_link_images(tmp_path: Path) -> None:
    add(tmp_path / "a", "a.jpg", GOOD)
    repair([check(tmp_path / "a")], tmp_path / "b", images="link")
    assert (tmp_path / "b/images/a.jpg").samefile(tmp_path / "a/images/a.jpg")


def test_names_that_are_no_utf_8_are_reported_and_repaired(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system allows no such name")
    root = tmp_path / "a"
    annotation = add(root, "a.jpg", GOOD)
    (root / "images" / "a.jpg").rename(root / "images" / name)
    annotation.rename(root / "annotations" / Path(name).with_suffix(".xml"))
    (root / "images" / f"lonely-{name}").write_bytes(b"no image")
    report = check(root)
    assert draw_check([report]) is not None
    repair([report], tmp_path / "b")
    (xml,) = (tmp_path / "b" / "annotations").iterdir()
    assert read_voc(xml).filename == "caf?.jpg"
    left_out = json.loads((tmp_path / "b" / REPORT_NAME).read_bytes())["left_out"]
    assert [Path(path).name for path in left_out] == [f"lonely-{name}"]
    assert check(tmp_path / "b").findings == ()


def test_a_repair_never_writes_into_what_it_reads(tmp_path: Path) -> None:
    add(tmp_path, "a.jpg", GOOD)
    report = check(tmp_path)
    before = snapshot(tmp_path)
    for out, message in (
        (tmp_path, "is not empty"),
        (tmp_path / "images", "is not empty"),
        (tmp_path / "images" / "new", "which is only read"),
        (tmp_path / "annotations" / "x" / "y", "which is only read"),
    ):
        with pytest.raises(UserError, match=message):
            repair([report], out)
    assert snapshot(tmp_path) == before


def test_an_interrupted_repair_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    add(tmp_path / "a", "a.jpg", GOOD)
    report = check(tmp_path / "a")
    monkeypatch.setattr("detector.data.repair.load_voc", interrupt)
    with pytest.raises(KeyboardInterrupt):
        repair([report], tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_several_sets_are_checked_and_repaired_apart(tmp_path: Path) -> None:
    for split in ("train", "val"):
        add(tmp_path / "a" / split, "a.jpg", GOOD, (1, 1, 1, 1))
    reports = [check_set(folder) for folder in find_sets(tmp_path / "a")]
    assert [report.folder.name for report in reports] == ["train", "val"]
    repair(reports, tmp_path / "b")
    assert [folder.name for folder in find_sets(tmp_path / "b")] == ["train", "val"]
    assert all(not check_set(folder).findings for folder in find_sets(tmp_path / "b"))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif"])
def test_images_cut_short_are_found_and_written_whole(tmp_path: Path, name: str) -> None:
    """Their boxes stay, and any program can read them."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    add(tmp_path / "set", name, GOOD)
    path = tmp_path / "set" / "images" / name
    file = io.BytesIO()
    Image.fromarray(noise).save(file, {".jpg": "JPEG"}.get(path.suffix, path.suffix[1:].upper()))
    path.write_bytes(file.getvalue()[: -2 if name == "a.jpg" else -120])

    report = check(tmp_path / "set")
    assert problems(report) == {"cut short": 1}
    assert "of the picture is missing" in report.findings[0].detail

    repaired(tmp_path / "set", tmp_path / "out")
    (new,) = (tmp_path / "out" / "images").iterdir()
    with Image.open(new) as image:
        image.load()
        assert image.size == (WIDTH, HEIGHT)
    (annotation,) = (tmp_path / "out" / "annotations").iterdir()
    voc = read_voc(annotation)
    assert voc.filename == new.name
    assert [item.xyxy for item in voc.objects] == [GOOD]


def test_a_name_that_xml_cannot_hold_ends_no_repair(tmp_path: Path) -> None:
    try:
        add(tmp_path / "a", "bell\x07.jpg", (25.0, 6.0, 5.0, 30.0))
    except OSError:
        pytest.skip("no such names here")
    repaired(tmp_path / "a", tmp_path / "b")
    assert read_voc(tmp_path / "b/annotations/bell\x07.xml").filename == "bell?.jpg"
