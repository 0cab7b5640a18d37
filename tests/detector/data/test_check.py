"""Every kind of problem is found, named and repaired, and nothing else is touched."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.data.check import PROBLEMS, SetReport, check_set
from detector.data.check_picture import draw_check
from detector.data.repair import REPORT_NAME, repair
from detector.data.voc.annotation import VocAnnotation, VocObject, read_voc, write_voc
from detector.data.voc.boxes import BoxFrame, mend_box
from detector.data.voc.folder import VocFolder, find_sets, pair
from detector.draw import MISSED, TRUTH
from faces.errors import UserError
from faces.images.read import image_info, read_image

WIDTH, HEIGHT = 60, 40
GOOD = (5.0, 6.0, 25.0, 30.0)


def add(
    root: Path,
    name: str,
    *boxes: tuple[float, float, float, float],
    size: tuple[int, int] = (WIDTH, HEIGHT),
    orientation: int = 1,
) -> Path:
    """An image, white inside the boxes, and its annotation; the annotation's path."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[int(max(y1, 0)) : int(max(y2, 0)), int(max(x1, 0)) : int(max(x2, 0))] = 255
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    target = root / "annotations" / Path(name).with_suffix(".xml")
    objects = tuple(VocObject("face", box) for box in boxes)
    write_voc(target, VocAnnotation(path.name, *size, objects))
    return target


def check(root: Path, *, decode: bool = True, boxes: BoxFrame = "auto") -> SetReport:
    (folder,) = find_sets(root)
    return check_set(folder, decode=decode, boxes=boxes)


def problems(report: SetReport) -> dict[str, int]:
    return {kind: count for kind, count in report.counts().items() if count}


def snapshot(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def repaired(root: Path, out: Path, boxes: BoxFrame = "auto") -> SetReport:
    """Repair ``root`` and check that it is untouched and that its copy is clean."""
    before = snapshot(root)
    repair([check(root, boxes=boxes)], out, boxes=boxes)
    assert snapshot(root) == before
    report = check(out)
    assert problems(report) == {}
    return report


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


def test_several_sets_are_checked_and_repaired_apart(tmp_path: Path) -> None:
    for split in ("train", "val"):
        add(tmp_path / "a" / split, "a.jpg", GOOD, (1, 1, 1, 1))
    reports = [check_set(folder) for folder in find_sets(tmp_path / "a")]
    assert [report.folder.name for report in reports] == ["train", "val"]
    repair(reports, tmp_path / "b")
    assert [folder.name for folder in find_sets(tmp_path / "b")] == ["train", "val"]
    assert all(not check_set(folder).findings for folder in find_sets(tmp_path / "b"))


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
    pairing = pair(folder, lambda _: "")
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


def test_an_image_that_lacks_too_much_is_unreadable(tmp_path: Path) -> None:
    add(tmp_path, "a.png", GOOD)
    path = tmp_path / "images" / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert problems(check(tmp_path)) == {"unreadable image": 1}
