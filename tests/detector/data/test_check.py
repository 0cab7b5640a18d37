"""Every kind of problem is found, named and repaired, and nothing else is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.data.check import PROBLEMS, check_set, draw_check
from detector.data.repair import REPORT_NAME, repair
from detector.data.voc.annotation import read_voc
from detector.data.voc.boxes import mend_box
from detector.data.voc.folder import VocFolder, find_sets, pair
from detector.draw import MISSED, TRUTH
from faces.errors import UserError
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


def test_a_sound_folder_is_clean_and_counted(tmp_path: Path) -> None:
    add(tmp_path, "a.jpg", GOOD, (0, 0, WIDTH, HEIGHT))
    add(tmp_path, "sub/b.png")
    report = check(tmp_path)
    assert report.findings == ()
    assert set(report.counts()) == set(PROBLEMS)
    assert report.classes == {"face": 2}
    assert report.without_object == 1
    assert len(report.pairs.pairs) == 2


@pytest.mark.parametrize(
    ("box", "kinds", "mended"),
    [
        (GOOD, [], GOOD),
        ((0, 0, WIDTH, HEIGHT), [], (0, 0, WIDTH, HEIGHT)),
        ((5, 6, 5, 30), ["degenerate box"], None),
        ((5, 6, 25, 6), ["degenerate box"], None),
        ((0, 0, 0, 0), ["degenerate box"], None),
        ((25, 6, 5, 30), ["inverted box"], GOOD),
        ((25, 30, 5, 6), ["inverted box"], GOOD),
        ((25, 6, 5, 6), ["inverted box", "degenerate box"], None),
        ((-3, 6, 25, 30), ["box over the edge"], (0, 6, 25, 30)),
        ((5, 6, 25, 41), ["box over the edge"], (5, 6, 25, 40)),
        ((61, 30, -5, 6), ["inverted box", "box over the edge"], (0, 6, 60, 30)),
        ((-9, 6, 0, 30), ["box outside"], None),
        ((60, 6, 70, 30), ["box outside"], None),
        ((5, 50, 25, 60), ["box outside"], None),
    ],
)
def test_boxes_are_judged_and_mended(
    tmp_path: Path,
    box: tuple[float, float, float, float],
    kinds: list[str],
    mended: tuple[float, float, float, float] | None,
) -> None:
    path = add(tmp_path / "a", "a.jpg", GOOD, box)
    report = check(tmp_path / "a")
    assert [finding.kind for finding in report.findings] == kinds
    for finding in report.findings:
        assert finding.file == path
        assert finding.line == read_voc(path).objects[1].line
        assert "face 2 of 2" in finding.detail
    repaired(tmp_path / "a", tmp_path / "b")
    boxes = [item.xyxy for item in read_voc(tmp_path / "b/annotations/a.xml").objects]
    assert boxes == [GOOD, *([mended] if mended else [])]


@settings(deadline=None)
@given(st.tuples(*[st.floats(-100, 200) for _ in range(4)]))
def test_a_mended_box_needs_no_mending(box: tuple[float, float, float, float]) -> None:
    mended, kinds = mend_box(box, WIDTH, HEIGHT)
    assert (mended == box) == (not kinds)
    if mended is not None:
        assert mend_box(mended, WIDTH, HEIGHT) == (mended, [])
        x1, y1, x2, y2 = mended
        assert 0 <= x1 < x2 <= WIDTH
        assert 0 <= y1 < y2 <= HEIGHT


def test_files_without_a_partner_are_found(tmp_path: Path) -> None:
    add(tmp_path / "a", "a.jpg", GOOD)
    add(tmp_path / "a", "b.jpg", GOOD).unlink()
    add(tmp_path / "a", "c.jpg", GOOD)
    (tmp_path / "a/images/c.jpg").unlink()
    report = check(tmp_path / "a")
    assert problems(report) == {"missing image": 1, "missing annotation": 1}
    assert {x.file.name for x in report.findings} == {"b.jpg", "c.xml"}
    repaired(tmp_path / "a", tmp_path / "b")
    assert set(snapshot(tmp_path / "b")) == {"images/a.jpg", "annotations/a.xml", REPORT_NAME}
    left = json.loads((tmp_path / "b" / REPORT_NAME).read_text(encoding="utf-8"))["left_out"]
    assert {Path(path).name: why for path, why in left.items()} == {
        "b.jpg": "it has no annotation",
        "c.xml": "it has no image",
    }


def test_unreadable_files_are_found_and_left_out(tmp_path: Path) -> None:
    root = tmp_path / "a"
    add(root, "ok.jpg", GOOD)
    add(root, "cut.jpg", GOOD)
    cut = root / "images/cut.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    add(root, "fake.jpg", GOOD)
    (root / "images/fake.jpg").write_text("no image")
    add(root, "bad.jpg", GOOD).write_text("<annotation><object></annotation>")
    add(root, "bomb.jpg", GOOD).write_text("<!DOCTYPE a><annotation/>")

    report = check(root)
    assert problems(report) == {"unreadable annotation": 2, "unreadable image": 2}
    details = {finding.file.name: finding.detail for finding in report.findings}
    assert details["bad.xml"].startswith("line 1: not valid XML")
    assert "document type" in details["bomb.xml"]
    assert "of the picture is missing" in details["cut.jpg"]
    assert problems(check(root, decode=False))["unreadable image"] == 1  # the header of one is fine

    repaired(root, tmp_path / "b")
    assert set(snapshot(tmp_path / "b")) == {"images/ok.jpg", "annotations/ok.xml", REPORT_NAME}
    left = json.loads((tmp_path / "b" / REPORT_NAME).read_text(encoding="utf-8"))["left_out"]
    assert len(left) == 8


def test_sizes_are_compared_and_corrected(tmp_path: Path) -> None:
    add(tmp_path / "a", "a.jpg", GOOD, size=(HEIGHT, WIDTH))
    add(tmp_path / "a", "b.jpg", GOOD, size=(0, 0))
    report = check(tmp_path / "a")
    assert problems(report) == {"no size": 1, "wrong size": 1}
    assert "it says 40x60, the image has 60x40" in str(report.findings[1])
    repaired(tmp_path / "a", tmp_path / "b")
    for name in ("a", "b"):
        voc = read_voc(tmp_path / "b" / "annotations" / f"{name}.xml")
        assert (voc.width, voc.height) == (WIDTH, HEIGHT)


def test_other_encodings_are_found_and_repaired(tmp_path: Path) -> None:
    path = add(tmp_path / "a", "a.jpg", GOOD)
    text = path.read_text(encoding="utf-8").replace("<name>face", "<name>visagé")
    path.write_bytes(text.encode("latin-1"))
    declared = add(tmp_path / "a", "b.jpg", GOOD)
    declared.write_bytes(b"<?xml version='1.0' encoding='latin-1'?>" + text.encode("latin-1"))
    report = check(tmp_path / "a")
    assert problems(report) == {"not UTF-8": 2}
    assert report.classes == {"visagé": 2}
    assert repaired(tmp_path / "a", tmp_path / "b").classes == {"visagé": 2}


def test_names_that_share_an_annotation_are_found(tmp_path: Path) -> None:
    root = tmp_path / "a"
    add(root, "a.jpg", GOOD)
    shutil.copy(root / "images/a.jpg", root / "images/a.jpeg")  # a.xml says a.jpg
    add(root, "b.jpg", GOOD)
    (root / "images/b.jpg").rename(root / "images/b.bmp")
    shutil.copy(root / "images/b.bmp", root / "images/b.png")  # b.xml says b.jpg
    report = check(root)
    assert problems(report) == {"missing annotation": 1, "duplicate name": 2}
    assert {finding.file.name for finding in report.findings} == {"a.jpeg", "a.jpg", "b.xml"}
    repaired(root, tmp_path / "b")
    assert set(snapshot(tmp_path / "b")) == {"images/a.jpg", "annotations/a.xml", REPORT_NAME}


def test_names_that_differ_in_letter_case_only_are_kept_apart(tmp_path: Path) -> None:
    root = tmp_path / "a"
    add(root, "a.jpg", GOOD)
    add(root, "A.jpg", GOOD, GOOD)
    if len(list((root / "images").iterdir())) == 1:
        pytest.skip("this file system knows one letter case")
    assert problems(check(root)) == {"duplicate name": 2}  # the images and the annotations
    report = repaired(root, tmp_path / "b")
    assert report.classes == {"face": 3}
    names = {"images/A.jpg", "annotations/A.xml", "images/a-2.jpg", "annotations/a-2.xml"}
    assert set(snapshot(tmp_path / "b")) == {*names, REPORT_NAME}
    assert read_voc(tmp_path / "b/annotations/a-2.xml").filename == "a-2.jpg"


def test_one_folder_of_annotations_must_have_unique_names(tmp_path: Path) -> None:
    for sub in ("x", "y"):
        add(tmp_path, f"{sub}/a.jpg", GOOD)
    shutil.move(tmp_path / "annotations/x/a.xml", tmp_path / "annotations/a.xml")
    shutil.rmtree(tmp_path / "annotations/x")
    shutil.rmtree(tmp_path / "annotations/y")
    assert problems(check(tmp_path)) == {"duplicate name": 1}


@pytest.mark.parametrize(
    ("images", "annotations", "names"),
    [
        ("images", "annotations", [""]),
        ("JPEGImages", "Annotations", [""]),
        ("VOC2007/JPEGImages", "VOC2007/Annotations", ["VOC2007"]),
        ("VOCdevkit/VOC2007/JPEGImages", "VOCdevkit/VOC2007/Annotations", ["VOCdevkit/VOC2007"]),
        (".", ".", [""]),
        ("photos", "photos", [""]),
    ],
)
def test_layouts_are_recognized(
    tmp_path: Path, images: str, annotations: str, names: list[str]
) -> None:
    add(tmp_path / "made", "a.jpg", GOOD)
    root = tmp_path / "root"
    for source, target in (("images/a.jpg", images), ("annotations/a.xml", annotations)):
        (root / target).mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "made" / source, root / target)
    sets = find_sets(root)
    assert [folder.name for folder in sets] == names
    assert problems(check(root)) == {}
    assert len(check(root).pairs.pairs) == 1


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no annotations"):
        find_sets(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        find_sets(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not a folder"):
        check_set(VocFolder("", tmp_path, tmp_path / "nowhere"))


def test_annotations_in_one_folder_match_by_stem(tmp_path: Path) -> None:
    add(tmp_path, "deep/down/a.jpg", GOOD)
    shutil.move(tmp_path / "annotations/deep/down/a.xml", tmp_path / "annotations/a.xml")
    (folder,) = find_sets(tmp_path)
    pairing = pair(folder)
    assert [(x.name, y.name) for x, y in pairing.pairs] == [("a.jpg", "a.xml")]


def test_the_report_is_json(tmp_path: Path) -> None:
    path = add(tmp_path, "a.jpg", GOOD, (9, 9, 9, 9))
    report = json.loads(json.dumps(check(tmp_path).to_json()))
    assert report["counts"]["degenerate box"] == 1
    (problem,) = report["problems"]
    assert problem["file"] == path.as_posix()
    assert problem["kind"] == "degenerate box"
    assert problem["line"] == read_voc(path).objects[1].line
    assert (report["pairs"], report["classes"]) == (1, {"face": 2})


def test_the_picture_shows_sound_and_wrong_boxes(tmp_path: Path) -> None:
    add(tmp_path / "a", "a.jpg", (10, 10, 30, 30))
    sheet = draw_check([check(tmp_path / "a")])
    assert sheet is not None
    assert has(sheet, TRUTH)
    assert not has(sheet, MISSED)

    add(tmp_path / "a", "b.jpg", (10, 10, 80, 30))
    (tmp_path / "a" / "images" / "a.jpg").write_bytes(b"broken")
    sheet = draw_check([check(tmp_path / "a")])
    assert sheet is not None
    assert has(sheet, MISSED)
    assert not has(sheet, TRUTH)

    (tmp_path / "a" / "images" / "b.jpg").unlink()
    assert draw_check([check(tmp_path / "a")]) is None


def has(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - color).max(axis=2) < 30).any())


def test_the_picture_has_troubled_images_and_others(tmp_path: Path) -> None:
    for i in range(30):
        add(tmp_path, f"{i:02}.jpg", GOOD, *([(9, 9, 9, 9)] if i % 2 else []))
    sheet = draw_check([check(tmp_path)], count=6)
    assert sheet is not None
    assert sheet.shape[1] // sheet.shape[0] == 1  # two rows of three


@pytest.mark.data
def test_a_real_folder_that_is_not_ours(shared_data: Path, tmp_path: Path) -> None:
    report = check(shared_data / "facemask")
    assert len(report.pairs.pairs) == 300
    assert sum(report.classes.values()) == 1582
    assert problems(report) == {"box over the edge": 2}  # x2 is 401 in images 400 wide
    repairs = repair([report], tmp_path / "fixed")
    assert repairs.done == {"boxes clipped": 2}
    assert check(tmp_path / "fixed").findings == ()
    changed = [
        path.name
        for path in (shared_data / "facemask" / "annotations").iterdir()
        if path.read_bytes() != (tmp_path / "fixed/annotations" / path.name).read_bytes()
    ]
    assert sorted(changed) == ["maksssksksss110.xml", "maksssksksss787.xml"]


def test_an_image_that_lacks_too_much_is_unreadable(tmp_path: Path) -> None:
    add(tmp_path, "a.png", GOOD)
    path = tmp_path / "images" / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert problems(check(tmp_path)) == {"unreadable image": 1}
