"""YOLO, CVAT, RetinaFace and VOC, in the shape of what the tools export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
from faces.errors import UserError
from tests.detector.data.formats.exports import arrays, load, only, picture, text

# -- YOLO


def test_roboflow_yolo_names_folders_above_it_that_are_beside_it(tmp_path: Path) -> None:
    text(
        tmp_path / "in/data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\n"
        "names: ['face', 'head']\n\nroboflow:\n  workspace: me\n  version: 3\n",
    )
    for split in ("train", "valid"):
        picture(tmp_path / f"in/{split}/images/{split}_jpg.rf.01.jpg")
        text(tmp_path / f"in/{split}/labels/{split}_jpg.rf.01.txt", "1 0.5 0.5 0.25 0.125\n")
    dataset = load(tmp_path / "in")
    assert dataset.format == "yolo"
    assert list(dataset.splits) == ["train", "val"]
    image = only(dataset, "val")
    assert image.name == "valid_jpg.rf.01.jpg"
    assert image.names == ("head",)
    assert image.xyxy.tolist() == [[75, 43.75, 125, 56.25]]
    assert any("test: ../test/images" in note for note in dataset.notes)


def test_ultralytics_yolo_with_lists_polygons_and_images_without_a_file(tmp_path: Path) -> None:
    root = tmp_path / "datasets/faces"
    yaml = text(
        tmp_path / "datasets/conf/data.yaml",
        "path: ../faces  # beside this folder\ntrain: train.txt\nval: [images/val]\nnames:\n"
        "  0: face\n",
    )
    for name in ("train/a", "train/b", "val/c", "unused"):
        picture(root / f"images/{name}.jpg")
    text(root / "train.txt", "./images/train/a.jpg\nimages/train/b.jpg\nimages/train/gone.jpg\n")
    text(root / "labels/train/a.txt", "0 0.1 0.1 0.2 0.1 0.15 0.3\n\n0 0.5 0.5 0.1 0.1 0.9\n")
    text(root / "labels/val/c.txt", "")
    dataset = load(yaml)
    a, b = map(arrays, dataset.splits["train"])
    np.testing.assert_allclose(a.xyxy, [[20, 10, 40, 30], [90, 45, 110, 55]])
    assert a.attributes[1] == {"score": "0.9"}
    assert len(b) == len(only(dataset, "val")) == 0
    notes = "\n".join(dataset.notes)
    assert "images without a label file, taken as showing no object: 1 (b.jpg)" in notes
    assert "gone.jpg" in notes
    assert "train.txt, line 3" in notes


@pytest.mark.parametrize("dims", [2, 3])
def test_yolo_poses_of_five_points_are_landmarks(tmp_path: Path, dims: int) -> None:
    names = f"train: images\nkpt_shape: [5, {dims}]\nnames: {{0: face}}\n"
    text(tmp_path / "in/data.yaml", names)
    picture(tmp_path / "in/images/a.jpg")
    places = [(0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.4, 0.6), (0, 0)]
    flags = [2, 2, 2, 1, 0]
    numbers = [[x, y, flag][:dims] for (x, y), flag in zip(places, flags, strict=True)]
    values = " ".join(str(x) for point in numbers for x in point)
    text(tmp_path / "in/labels/a.txt", f"0 0.5 0.5 0.4 0.4 {values}\n")
    [points] = only(load(tmp_path / "in")).landmarks
    np.testing.assert_allclose(points[:4], [[80, 40], [120, 40], [100, 50], [80, 60]])
    assert np.isnan(points[4]).all()


def test_a_box_with_five_points_and_no_kpt_shape_is_seen_by_its_numbers(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.jpg")
    text(tmp_path / "in/data.yaml", "train: images\nnames: [face]\n")
    numbers = "0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.4 0.5 0.5 -1 -1 0.6 0.6\n"  # as YOLOv5-face has it
    text(tmp_path / "in/labels/a.txt", numbers)
    text(tmp_path / "in/labels/none.txt", "0 0.5 0.5 0.4 0.4" + 10 * " -1.0" + "\n")
    picture(tmp_path / "in/images/none.jpg")
    dataset = load(tmp_path / "in")
    assert any("five points, by their numbers" in note for note in dataset.notes)
    image, none = map(arrays, dataset.splits["train"])
    np.testing.assert_allclose(image.xyxy, [[60, 30, 140, 70]])
    np.testing.assert_allclose(none.xyxy, image.xyxy)
    np.testing.assert_allclose(image.landmarks[0][:3], [[80, 40], [120, 40], [100, 50]])
    assert np.isnan(image.landmarks[0][3]).all()
    assert np.isnan(none.landmarks).all()


def test_seven_corners_are_a_polygon_and_told(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.jpg")
    text(tmp_path / "in/data.yaml", "train: images\nnames: [face]\n")
    # Around a box in the middle: as a box and points, all points would lie in the box.
    corners = "0 0.5 0.5 0.55 0.45 0.6 0.5 0.6 0.6 0.55 0.65 0.5 0.6 0.45 0.55\n"
    text(tmp_path / "in/labels/a.txt", corners)
    dataset = load(tmp_path / "in")
    assert any("write `kpt_shape: [5, 2]`" in note for note in dataset.notes)
    np.testing.assert_allclose(only(dataset).xyxy, [[90, 45, 120, 65]])


def test_yolo_without_a_yaml_has_classes_txt(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    picture(tmp_path / "in/b.jpg")
    text(tmp_path / "in/a.txt", "1 0.5 0.5 0.5 0.5\n")
    text(tmp_path / "in/classes.txt", "head\nface\n")
    dataset = load(tmp_path / "in")
    assert dataset.format == "yolo"
    assert only(dataset).names == ("face",)
    assert any("images without labels, left out: 1 (b.jpg)" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", r"a\.txt, line 2: has 4 numbers"),
        ("0 0.5 0.5 0.5 x", r"a\.txt, line 2: a line must be numbers"),
        ("0 0.5 0.5 nan 1", r"a\.txt, line 2: a line must be numbers"),
        ("3 0.5 0.5 0.5 0.5", r"a\.txt, line 2: there is no class 3"),
        ("0 50 50 20 20", r"a\.txt, line 2: the numbers must be fractions"),
    ],
)
def test_what_is_wrong_in_yolo_is_named(tmp_path: Path, line: str, message: str) -> None:
    text(tmp_path / "in/data.yaml", "train: images\nnames: [face]\n")
    picture(tmp_path / "in/images/a.jpg")
    text(tmp_path / "in/labels/a.txt", f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "in")


def test_yaml_is_data_and_stays_in_its_place(tmp_path: Path) -> None:
    picture(tmp_path / "far/images/a.jpg")
    picture(tmp_path / "up/in/b.jpg")
    path = text(tmp_path / "up/in/data.yaml", "train: ../../far/images\nnames: [face]\n")
    with pytest.raises(UserError, match=r"outside of .*move data.yaml to the images"):
        load(path)
    text(path, f"train: !!python/object/apply:os.mkdir ['{tmp_path}/made']\nnames: [face]\n")
    with pytest.raises(UserError, match=r"data\.yaml, line 1: not valid YAML"):
        load(path)
    assert not (tmp_path / "made").exists()
    text(path, "a: &a [1, 1]\nb: [*a, *a]\nnames: [face]\n")
    with pytest.raises(UserError, match="has YAML aliases"):
        load(path)
    text(path, f"train: {'x' * 5000}\nnames: [face]\n")
    with pytest.raises(UserError, match="none of train, val and test is there"):
        load(path)
    text(path, "train: nowhere\nnames: [face]\n")
    with pytest.raises(UserError, match="none of train, val and test is there"):
        load(path)


# -- CVAT

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>faces</name></task></meta>
  <image id="0" name="a.jpg" subset="Train" width="200" height="100">
    <box label="face" occluded="1" xtl="10.50" ytl="20.00" xbr="40.25" ybr="60.00">
      <attribute name="blur">2</attribute>
      <attribute name="difficult">true</attribute>
    </box>
    <box label="face" occluded="0" xtl="90" ytl="40" xbr="110" ybr="50" rotation="90.00"/>
    <polygon label="face" occluded="0" points="1.00,2.00;9.50,3.00;4.00,8.00"/>
    <box label="face" outside="1" xtl="1" ytl="1" xbr="2" ybr="2"/>
    <points label="eyes" points="1.0,2.0;3.0,4.0"/>
  </image>
  <image id="1" name="sub/b.jpg" subset="Validation" width="200" height="100"/>
  <track id="0" label="face"><box frame="0" outside="0" xtl="1" ytl="1" xbr="2" ybr="2"/></track>
</annotations>
"""


def test_cvat_for_images(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.jpg")
    picture(tmp_path / "in/images/sub/b.jpg")
    text(tmp_path / "in/annotations.xml", CVAT)
    dataset = load(tmp_path / "in")
    assert dataset.format == "cvat"
    image = only(dataset)
    np.testing.assert_allclose(
        image.xyxy, [[10.5, 20, 40.25, 60], [95, 35, 105, 55], [1, 2, 9.5, 8]]
    )
    assert image.difficult.tolist() == [True, False, False]
    assert image.attributes[0] == {"blur": "2", "occluded": "1"}
    assert len(only(dataset, "val")) == 0
    assert only(dataset, "val").name == "sub/b.jpg"
    notes = "\n".join(dataset.notes)
    for told in (
        "tracks of a film, passed over: 1 (",
        "left the image, passed over: 1 (",
        "points that are not the five of a face, passed over: 1 (",
    ):
        assert told in notes


def test_cvat_points_go_to_their_boxes(tmp_path: Path) -> None:
    """By group, all five at once, a skeleton, and single ones in the smallest box around them."""
    picture(tmp_path / "in/a.jpg")
    box = '<box label="face" xtl="{}" ytl="10" xbr="{}" ybr="90" group_id="{}"/>'
    point = '<points label="{}" points="{},{}"{}></points>'
    five = "62,30;78,30;70,40;64,60;76,60"
    skeleton = "".join(
        point.format(name, x, y, ' outside="0" occluded="0"')
        for name, x, y in (("Left eye", 110, 30), ("right-eye", 130, 30), ("nose", 120, 40))
    ) + point.format("mouth_left", 1, 1, ' outside="1"')
    shapes = (
        box.format(0, 50, 7), box.format(60, 80, 0), box.format(100, 140, 0), box.format(5, 195, 8),
        point.format("nose", 55, 40, ' group_id="7"'),  # outside of its own box
        f'<points label="landmarks" points="{five}"/>',
        f'<skeleton label="face">{skeleton}</skeleton>',
        point.format("nose", 120, 41, ""),  # the skeleton's box has its nose: in the next one
        point.format("nose", 199, 99, ""), point.format("ear", 120, 41, ""),
    )  # fmt: skip
    image = f'<image id="0" name="a.jpg" width="200" height="100">{"".join(shapes)}</image>'
    text(tmp_path / "in/annotations.xml", f"<annotations><meta/>{image}</annotations>")
    dataset = load(tmp_path / "in")
    first, second, third, fourth = only(dataset).landmarks
    assert first[2].tolist() == [55, 40]
    assert second.tolist() == [[62, 30], [78, 30], [70, 40], [64, 60], [76, 60]]
    assert third[:3].tolist() == [[110, 30], [130, 30], [120, 40]]
    assert np.isnan(third[3:]).all()
    assert fourth[2].tolist() == [120, 41]
    notes = "\n".join(dataset.notes)
    assert "points of a face that belong to no box, left out: 1 (" in notes
    assert "points that are not the five of a face, passed over: 1 (" in notes


def test_cvat_of_a_project_with_a_folder_for_each_subset(tmp_path: Path) -> None:
    """As CVAT writes them with images: images/SUBSET/NAME, and no attribute for the default."""
    picture(tmp_path / "in/images/train/a.jpg")
    picture(tmp_path / "in/images/val/a.jpg")
    image = '<image id="{}" name="a.jpg" subset="{}" width="200" height="100"></image>'
    images = image.format(0, "train") + image.format(1, "val")
    text(tmp_path / "in/annotations.xml", f"<annotations><meta/>{images}</annotations>")
    dataset = load(tmp_path / "in")
    assert only(dataset, "train").path.parent.name == "train"
    assert only(dataset, "val").path.parent.name == "val"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('xtl="10.50"', 'xtl="ten"'), "annotations.xml, line 6: xtl ytl xbr ybr must be 4"),
        (('points="1.00,2.00;', 'points="1.00;'), "annotations.xml, line 11: each of the points"),
        (('name="a.jpg" ', ""), "annotations.xml, line 5: the <image> has no name"),
        (("</annotations>", ""), "not valid XML"),
        (("<annotations>", "<!DOCTYPE a [<!ENTITY x 'y'>]><annotations>"), "document type"),
    ],
)
def test_what_is_wrong_in_cvat_is_named(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    picture(tmp_path / "in/images/a.jpg")
    text(tmp_path / "in/annotations.xml", CVAT.replace(*change))
    for format in ("cvat", None):  # told, or known by what is left of it
        with pytest.raises(UserError, match=message):
            load(tmp_path / "in", format)


def test_a_film_of_cvat_is_refused_with_the_way_to_export_it(tmp_path: Path) -> None:
    text(tmp_path / "in/annotations.xml", "<annotations><track/></annotations>")
    with pytest.raises(UserError, match="export it from CVAT as `CVAT for images"):
        load(tmp_path / "in")


# -- RetinaFace

FIVE = "20 30 0.0 30 30 0.0 25 40 0.0 20 50 1.0 30 50 0.0"


def test_retinaface_labels(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / f"in/{split}/images/0--Parade/a.jpg")
    unknown = " ".join(["-1.0 -1.0 -1.0"] * 5)
    rows = f"# 0--Parade/a.jpg\n10 20 30 40 {FIVE} 0.82\n1 2 3 4 {unknown} 0.5\n"
    text(tmp_path / "in/train/label.txt", rows)
    text(tmp_path / "in/val/label.txt", "# 0--Parade/a.jpg\n10 20 30 40\n")
    dataset = load(tmp_path / "in")
    assert dataset.format == "retinaface"
    image = only(dataset)
    assert image.name == "0--Parade/a.jpg"
    assert image.xyxy.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert image.landmarks[0].tolist() == [[20, 30], [30, 30], [25, 40], [20, 50], [30, 50]]
    assert np.isnan(image.landmarks[1]).all()
    assert image.attributes[0] == {"blur": "0.82"}
    assert only(dataset, "val").path.parts[-4] == "val"
    text(tmp_path / "in/val/label.txt", "# 0--Parade/a.jpg\n10 20 30\n")
    with pytest.raises(UserError, match=r"label\.txt, line 2: has 3 numbers"):
        load(tmp_path / "in")


# -- VOC

VOC_FACE = VocObject(
    "face",
    (1.5, 2, 30, 40),
    True,
    {"pose": "Left"},
    landmarks=((20.0, 30.0), (30.0, 30.5), None, (20.0, 50.0), (30.0, 50.0)),
)


def test_voc_with_lists_of_its_parts(tmp_path: Path) -> None:
    root = tmp_path / "in/VOCdevkit/VOC2012"
    for name in ("a", "b", "c"):
        picture(root / f"JPEGImages/{name}.jpg")
        annotation = VocAnnotation(f"{name}.jpg", 200, 100, (VOC_FACE,))
        write_voc(root / f"Annotations/{name}.xml", annotation)
    text(root / "ImageSets/Main/train.txt", "a\n")
    text(root / "ImageSets/Main/val.txt", "b  1\n")
    dataset = load(tmp_path / "in")
    assert dataset.format == "voc"
    image = only(dataset)
    assert image.xyxy.tolist() == [[1.5, 2, 30, 40]]
    assert image.difficult.tolist() == [True]
    assert image.attributes == ({"pose": "Left"},)
    assert image.landmarks[0][1].tolist() == [30, 30.5]
    assert np.isnan(image.landmarks[0][2]).all()
    assert only(dataset, "val").path.name == "b.jpg"
    assert any("no list of ImageSets/Main names, left out: 1 (c.jpg)" in x for x in dataset.notes)


def test_voc_of_roboflow_has_all_of_a_split_in_one_folder(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        picture(tmp_path / f"in/{split}/a_jpg.rf.{split}.jpg")
        annotation = VocAnnotation(f"a_jpg.rf.{split}.jpg", 200, 100, (VOC_FACE,))
        write_voc(tmp_path / f"in/{split}/a_jpg.rf.{split}.xml", annotation)
    text(tmp_path / "in/train/classes.txt", "face\n")  # labelImg leaves it there
    dataset = load(tmp_path / "in")
    assert dataset.format == "voc"
    assert [image.name for image in dataset.splits["val"]] == ["a_jpg.rf.valid.jpg"]


# -- which it is


@pytest.mark.parametrize("kind", ["voc", "cvat", "yolo"])
def test_paths_may_lead_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder = tmp_path / "in/valid"
    picture(folder / "a.jpg")
    if kind == "voc":
        write_voc(folder / "a.xml", VocAnnotation("a.jpg", 200, 100, (VOC_FACE,)))
    elif kind == "cvat":
        image = '<image id="0" name="a.jpg" width="200" height="100"/>'
        text(folder / "annotations.xml", f"<annotations><meta/>{image}</annotations>")
    else:
        text(folder / "a.txt", "0 0.5 0.5 0.1 0.1\n")
        text(folder / "classes.txt", "face\n")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert only(load(Path("../in")), "val").name == "a.jpg"


def test_several_formats_want_a_choice(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.jpg")
    text(tmp_path / "in/annotations.xml", CVAT)
    text(tmp_path / "in/data.yaml", "train: images\nnames: [face]\n")
    with pytest.raises(UserError, match=r"several formats: .*--format"):
        load(tmp_path / "in")
    assert load(tmp_path / "in", "cvat").format == "cvat"
    assert load(tmp_path / "in/annotations.xml").format == "cvat"


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    text(tmp_path / "in/notes.txt", "# to do\n")
    with pytest.raises(UserError, match="in none of the known formats"):
        load(tmp_path / "in")
    with pytest.raises(UserError, match="not one labeled image is there"):
        load(tmp_path / "in", "coco")
    with pytest.raises(UserError, match="unpack it"):
        load(text(tmp_path / "in.zip", ""))
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "nowhere")
