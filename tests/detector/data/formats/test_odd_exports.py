"""Exports as people have them: other machines' paths, odd names, lists, encodings, shapes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.data.voc.annotation import read_voc
from faces.errors import UserError
from faces.filenames import readings
from tests.detector.data.formats.exports import coco, load, only, picture, text, write_json

YOLO = "0 0.5 0.5 0.5 0.5\n"
VOC = (
    "<annotation><filename>{}</filename><size><width>200</width><height>100</height></size>"
    "<object><name>face</name>{}</object></annotation>"
)
BOX = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>"


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("images/my%20photo.jpg", "images/my photo.jpg"),
        ("C:\\Users\\me\\my photo.jpg", "my photo.jpg"),
        ("https://example.org/a/b.jpg?w=3&to=/c.jpg", "b.jpg"),
        ("file:///home/me/a%20b.jpg", "x/a b.jpg"),
        ("s3://bucket/faces/a.jpg", "a.jpg"),
        ("/data/local-files/?d=faces%5Csub%5Ca.jpg", "sub/a.jpg"),
        ("/data/upload/3/0a1b2c3d-my%20photo.jpg", "my photo.jpg"),
        ("images\\0a1b2c3d-my photo.jpg", "my photo.jpg"),
        ("50% off #1.jpg", "50% off #1.jpg"),
        ("a%20b.jpg", "a%20b.jpg"),
        ("a.png", "a.jpg"),
    ],
)
def test_an_image_is_found_by_what_a_tool_calls_it(tmp_path: Path, listed: str, there: str) -> None:
    picture(tmp_path / "in" / there)
    write_json(tmp_path / "in/labels.json", coco(listed))
    dataset = load(tmp_path / "in")
    assert only(dataset).path == tmp_path / "in" / there
    assert any("another suffix" in note for note in dataset.notes) == (listed == "a.png")


def test_the_name_as_written_comes_first(tmp_path: Path) -> None:
    for name in ("0a1b2c3d-a b.jpg", "a b.jpg", "0a1b2c3d-a%20b.jpg"):
        picture(tmp_path / "in" / name)
    write_json(tmp_path / "in/labels.json", coco("0a1b2c3d-a%20b.jpg"))
    assert only(load(tmp_path / "in")).name == "0a1b2c3d-a%20b.jpg"
    assert readings("0a1b2c3d-a%20b.jpg")[:2] == ["0a1b2c3d-a%20b.jpg", "0a1b2c3d-a b.jpg"]


@pytest.mark.parametrize("given", ["in", "in/set", "in/set/annotations/all.json"])
def test_cameras_give_the_same_names_in_every_folder(tmp_path: Path, given: str) -> None:
    """As `faces detect --annotate coco` and `faces prepare export` leave such a folder."""
    names = ("IMG_1.jpg", "day2/IMG_1.jpg", "day2/more/IMG_1.jpg")
    for name in names:
        picture(tmp_path / "in/set/images" / name)
    write_json(tmp_path / "in/set/annotations/all.json", coco(*names))
    images = load(tmp_path / given).splits["train"]
    folder = tmp_path / "in/set/images"
    assert [x.path.relative_to(folder).as_posix() for x in images] == list(names)
    assert [len(x.objects) for x in images] == [1, 0, 0]


def test_one_of_several_of_a_name_is_not_guessed(tmp_path: Path) -> None:
    for name in ("a.jpg", "b/a.jpg"):
        picture(tmp_path / "in" / name)
    for listed in ("elsewhere/a.jpg", "C:\\me\\a.jpg", "elsewhere/a"):
        write_json(tmp_path / "in/labels/all.json", coco(listed))
        with pytest.raises(UserError, match="give the images different names"):
            load(tmp_path / "in")


@pytest.mark.parametrize("frame", ["frame_000000", "film.0001", "day 2/frame_000000"])
def test_cvat_lists_the_frames_of_a_film_without_suffix(tmp_path: Path, frame: str) -> None:
    picture(tmp_path / f"in/images/{frame}.PNG")
    picture(tmp_path / f"in/images/other/{frame}.PNG")
    image = f'<image id="0" name="{frame}" width="200" height="100">{CVAT_BOX}</image>'
    text(tmp_path / "in/annotations.xml", f"<annotations><meta/>{image}</annotations>")
    dataset = load(tmp_path / "in")
    assert only(dataset).path == tmp_path / f"in/images/{frame}.PNG"
    assert not any("another suffix" in note for note in dataset.notes)


def test_a_mask_of_the_same_name_in_another_folder_is_not_the_image(tmp_path: Path) -> None:
    picture(tmp_path / "in/masks/a.png")
    write_json(tmp_path / "in/labels.json", coco("images/a.jpg"))
    with pytest.raises(UserError, match="listed images that are not there"):
        load(tmp_path / "in")


@pytest.mark.parametrize("write", [float, str])
def test_coco_ids_are_numbers_however_they_are_written(tmp_path: Path, write: Any) -> None:
    picture(tmp_path / "in/a.jpg")
    ids = {"image_id": write(0), "category_id": write(1)}
    write_json(tmp_path / "in/labels.json", coco("a.jpg", **ids))
    assert only(load(tmp_path / "in")).names == ("face",)


def test_an_id_that_is_no_number_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    content = json.dumps(coco("a.jpg", image_id=7)).replace('"image_id": 7', '"image_id": 1e999')
    text(tmp_path / "in/labels.json", content)
    with pytest.raises(UserError, match=r"annotations\[0\]: has no image_id"):
        load(tmp_path / "in")


def test_five_keypoints_with_numbers_for_names_are_in_order(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    data = coco("a.jpg", keypoints=[12, 22, 2, 30, 22, 2, 20, 30, 2, 14, 50, 2, 28, 50, 0])
    data["categories"][1]["keypoints"] = [f"new-point-{i}" for i in range(5)]
    points = only(load(write_json(tmp_path / "in/labels.json", data))).landmarks[0]
    np.testing.assert_array_equal(points[:4], [[12, 22], [30, 22], [20, 30], [14, 50]])
    assert np.isnan(points[4]).all()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_and_text_in_the_encodings_that_windows_writes(tmp_path: Path, encoding: str) -> None:
    picture(tmp_path / "c/a.jpg")
    (tmp_path / "c/labels.json").write_bytes(json.dumps(coco("a.jpg")).encode(encoding))
    assert len(only(load(tmp_path / "c"))) == 1
    picture(tmp_path / "y/images/a.jpg")
    (tmp_path / "y/data.yaml").write_bytes("train: images\r\nnames: [é]\r\n".encode(encoding))
    (tmp_path / "y/images/a.txt").write_bytes(YOLO.replace("\n", "\r\n").encode(encoding))
    assert only(load(tmp_path / "y")).names == ("é",)


@pytest.mark.parametrize("key", ["val", "valid", "validation", "dev"])
def test_a_part_to_validate_on_has_many_names(tmp_path: Path, key: str) -> None:
    for part in ("train", key):
        picture(tmp_path / f"y/{part}/images/{part}.jpg")
        text(tmp_path / f"y/{part}/labels/{part}.txt", YOLO)
        picture(tmp_path / f"v/JPEGImages/{part}.jpg")
        text(tmp_path / f"v/Annotations/{part}.xml", VOC.format(f"{part}.jpg", BOX))
        text(tmp_path / f"v/ImageSets/Main/{part}.txt", f"{part}.jpg\r\n")
    yaml = f"train: train/images\n{key}: {key}/images\nnames: [face]\n"
    text(tmp_path / "y/data.yaml", yaml)
    for folder in ("y", "v"):
        dataset = load(tmp_path / folder)
        assert only(dataset, "train").path.stem == "train"
        assert only(dataset, "val").path.stem == key
        assert not dataset.notes


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("Images/a.jpg", "Labels/a.txt"),
        ("images/cafe\u0301.jpg", "labels/caf\u00e9.txt"),
        ("images/IMG_1.JPG", "labels/img_1.txt"),
        ("images/sub/images/a.jpg", "labels/sub/images/a.txt"),
        ("images/sub/images/a.jpg", "images/sub/labels/a.txt"),
    ],
)
def test_yolo_labels_are_found_whatever_their_form(tmp_path: Path, image: str, label: str) -> None:
    picture(tmp_path / "in" / image)
    text(tmp_path / "in" / label, YOLO)
    text(tmp_path / "in/data.yaml", f"train: {image.split('/')[0]}\nnames: [face]\n")
    assert len(only(load(tmp_path / "in"))) == 1
    # Given the folder of images alone, the labels lie beside it.
    text(tmp_path / "in" / image.split("/")[0] / "classes.txt", "face\n")
    assert len(only(load(tmp_path / "in" / image.split("/")[0]))) == 1


@pytest.mark.parametrize("folder", ["obj_valid_data", "obj_train_data"])
def test_darknets_lists_are_the_parts(tmp_path: Path, folder: str) -> None:
    for name, where in (("a", "obj_train_data"), ("b", folder), ("c", folder)):
        picture(tmp_path / f"in/{where}/{name}.jpg")
        text(tmp_path / f"in/{where}/{name}.txt", YOLO)
    text(tmp_path / "in/obj.names", "face\n")
    text(tmp_path / "in/obj.data", "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\n")
    text(tmp_path / "in/train.txt", "data/obj_train_data/a.jpg\n")
    text(tmp_path / "in/valid.txt", f"data/{folder}/b.jpg\n")
    dataset = load(tmp_path / "in")
    assert only(dataset, "train").path.stem == "a"
    assert only(dataset, "val").path.stem == "b"
    assert any("images without labels, left out: 1" in note for note in dataset.notes)


@pytest.mark.parametrize("lists", ["ImageSets/Main", "ImageSets", "."])
def test_voc_lists_lie_in_several_places_in_several_forms(tmp_path: Path, lists: str) -> None:
    for name in ("a", "b b", "c"):
        picture(tmp_path / f"in/JPEGImages/{name}.jpg")
        text(tmp_path / f"in/Annotations/{name}.xml", VOC.format(f"{name}.jpg", BOX))
    text(tmp_path / "in" / lists / "train.txt", "./JPEGImages/a.jpg ./Annotations/a.xml\nc 1\n")
    text(tmp_path / "in" / lists / "validation.txt", "b b\n")
    text(tmp_path / "in" / lists / "README.txt", "a list of lists\n")
    dataset = load(tmp_path / "in")
    assert [x.path.stem for x in dataset.splits["train"]] == ["a", "c"]
    assert only(dataset, "val").path.stem == "b b"


def test_a_text_that_lists_other_things_is_no_list(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.jpg")
    text(tmp_path / "in/annotations/a.xml", VOC.format("a.jpg", BOX))
    text(tmp_path / "in/test.txt", "accuracy on the test part: 0.9\n")
    assert only(load(tmp_path / "in")).path.stem == "a"


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ("<polygon><x1>10</x1><y1>20</y1><x2>40</x2><y2>25</y2><x3>30</x3><y3>50</y3></polygon>",
         [10, 20, 40, 50]),
        ("<polygon><pt><x>10</x><y>20</y></pt><pt><x>40.5</x><y>60</y></pt></polygon>",
         [10, 20, 40.5, 60]),
        ("<robndbox><cx>100</cx><cy>50</cy><w>40</w><h>20</h>"
         f"<angle>{math.pi / 2}</angle></robndbox>", [90, 30, 110, 70]),
    ],
)  # fmt: skip
def test_voc_shapes_without_a_box_get_the_box_around_them(
    tmp_path: Path, shape: str, box: list[float]
) -> None:
    path = text(tmp_path / "a.xml", VOC.format("a.jpg", shape))
    annotation = read_voc(path)
    np.testing.assert_allclose(annotation.objects[0].xyxy, box)
    assert "taken around its" in annotation.flaws[0].detail


@pytest.mark.parametrize("shape", ["", "<polygon/>", "<robndbox><cx>1</cx></robndbox>"])
def test_an_object_without_any_shape_is_named(tmp_path: Path, shape: str) -> None:
    with pytest.raises(UserError, match="has no <bndbox>"):
        read_voc(text(tmp_path / "a.xml", VOC.format("a.jpg", shape)))


def test_voc_names_with_an_addresss_escapes_find_their_images(tmp_path: Path) -> None:
    for image, xml in (("a b", "a%20b"), ("c%20d", "c d")):
        picture(tmp_path / f"in/images/{image}.jpg")
        text(tmp_path / f"in/annotations/{xml}.xml", VOC.format(f"{xml}.jpg", BOX))
    assert len(load(tmp_path / "in").splits["train"]) == 2


CVAT = (
    '<annotations><version>1.1</version><image id="0" name="visag\u00e9.jpg" width="200" '
    'height="100">{}</image></annotations>'
)
CVAT_BOX = '<box label="face" xtl="10.5" ytl="20" xbr="40" ybr="60" occluded="0"/>'


@pytest.mark.parametrize(
    "data",
    [
        CVAT.format(CVAT_BOX).encode("latin-1"),
        b"\n<?xml version='1.0' encoding='utf-8'?>" + CVAT.format(CVAT_BOX).encode(),
        CVAT.format(CVAT_BOX).encode() + b"\0\0",
        CVAT.format(CVAT_BOX.replace('label="face"', 'label="R&D"')).encode(),
    ],
)
def test_cvat_xml_that_somebody_edited_is_read_as_voc_is(tmp_path: Path, data: bytes) -> None:
    picture(tmp_path / "in/visag\u00e9.jpg")
    (tmp_path / "in/annotations.xml").write_bytes(data)
    dataset = load(tmp_path / "in")
    np.testing.assert_array_equal(only(dataset).xyxy, [[10.5, 20, 40, 60]])
    assert any("read all the same" in note for note in dataset.notes)


def test_masks_turned_shapes_and_ellipses_have_boxes(tmp_path: Path) -> None:
    mask = '<mask label="face" rle="1, 2" left="5" top="6" width="7" height="8" occluded="0"/>'
    picture(tmp_path / "c/visag\u00e9.jpg")
    text(tmp_path / "c/annotations.xml", CVAT.format(mask))
    np.testing.assert_array_equal(only(load(tmp_path / "c")).xyxy, [[5, 6, 12, 14]])
    picture(tmp_path / "l/a.jpg")
    corners = [[10, 20], [40, 20], [40, 60], [10, 60]]
    shape = {"label": "face", "points": corners, "shape_type": "rotation", "difficult": True}
    write_json(tmp_path / "l/a.json", {"shapes": [shape], "imagePath": "a.jpg", "imageData": None})
    assert only(load(tmp_path / "l")).difficult.tolist() == [True]
    np.testing.assert_array_equal(only(load(tmp_path / "l")).xyxy, [[10, 20, 40, 60]])
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 30, "rotation": 90}
    picture(tmp_path / "s/a.jpg")
    write_json(tmp_path / "s/a.json", [label_studio({**value, "ellipselabels": ["face"]})])
    np.testing.assert_allclose(only(load(tmp_path / "s")).xyxy, [[70, 30, 130, 70]])


def test_a_turned_ellipse_is_not_its_turned_rectangle(tmp_path: Path) -> None:
    ellipses = "".join(
        f'<ellipse label="face" cx="50" cy="50" rx="20" ry="{ry}" rotation="{turned}"/>'
        for ry, turned in ((20, 45), (28, 30))
    )
    picture(tmp_path / "visag\u00e9.jpg")
    text(tmp_path / "annotations.xml", CVAT.format(ellipses))
    expected = [[30, 30, 70, 70], [27.7289, 23.7702, 72.2711, 76.2298]]
    np.testing.assert_allclose(only(load(tmp_path)).xyxy, expected, atol=1e-3)


def test_turned_boxes_that_cvat_wrote_as_coco(tmp_path: Path) -> None:
    """They are the boxes before they were turned about their centers."""
    picture(tmp_path / "in/a.jpg")
    turned = coco("a.jpg", bbox=[10, 40, 40, 20], attributes={"rotation": 90.0, "blur": 1})
    write_json(tmp_path / "in/a.json", turned)
    image = only(load(tmp_path / "in"))
    np.testing.assert_allclose(image.xyxy, [[20, 30, 40, 70]])
    assert image.attributes == ({"blur": "1"},)


@pytest.mark.parametrize("flag", [1, 1.0, True, "1", "1.0", "True"])
def test_flags_of_coco_in_any_form(tmp_path: Path, flag: object) -> None:
    """pandas writes 1 as 1.0."""
    picture(tmp_path / "in/a.jpg")
    write_json(tmp_path / "in/a.json", coco("a.jpg", iscrowd=flag))
    assert only(load(tmp_path / "in")).difficult.tolist() == [True]
    write_json(tmp_path / "in/a.json", coco("a.jpg", iscrowd=0.0, ignore="0"))
    assert only(load(tmp_path / "in")).difficult.tolist() == [False]


def label_studio(value: dict[str, Any], turned: int = 0) -> dict[str, Any]:
    size = {"original_width": 200, "original_height": 100, "image_rotation": turned}
    result = {"id": "r", "type": "x", "value": value, **size}
    return {
        "id": 1,
        "data": {"image": "/data/upload/1/a.jpg"},
        "annotations": [{"result": [result]}],
    }


def test_an_image_that_was_turned_in_label_studio_is_left_out_and_told(tmp_path: Path) -> None:
    value = {"x": 5, "y": 20, "width": 15, "height": 40, "rectanglelabels": ["face"]}
    picture(tmp_path / "in/a.jpg")
    write_json(tmp_path / "in/export.json", [label_studio(value, turned=90)])
    with pytest.raises(UserError, match="turned in Label Studio"):
        load(tmp_path / "in")
    write_json(tmp_path / "in/export.json", [label_studio(value, turned=360)])
    assert len(only(load(tmp_path / "in"))) == 1


def test_labels_of_label_studio_find_the_photos_before_they_were_uploaded(tmp_path: Path) -> None:
    for name in ("a b", "c"):
        picture(tmp_path / f"y/images/{name}.jpg")
        picture(tmp_path / f"v/images/{name}.jpg")
    for name in ("0a1b2c3d-a%20b", "0a1b2c3e-c"):
        text(tmp_path / f"y/labels/{name}.txt", YOLO)
        text(tmp_path / f"v/Annotations/{name}.xml", VOC.format(f"{name}.jpg", BOX))
    text(tmp_path / "y/classes.txt", "face\n")
    for folder in ("y", "v"):
        assert [len(x.objects) for x in load(tmp_path / folder).splits["train"]] == [1, 1]
    # Two of one name: whose labels these are cannot be told.
    text(tmp_path / "y/labels/9a1b2c3e-c.txt", YOLO)
    assert only(load(tmp_path / "y")).path.stem == "a b"


def test_a_data_yaml_with_nothing_but_names(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        picture(tmp_path / f"in/{split}/images/{split}.jpg")
        text(tmp_path / f"in/{split}/labels/{split}.txt", YOLO)
    text(tmp_path / "in/data.yaml", "nc: 1\nnames: [face]\n")  # as Supervision writes it
    dataset = load(tmp_path / "in")
    assert only(dataset, "train").names == only(dataset, "val").names == ("face",)


def test_a_coco_file_that_lists_images_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"in/{name}.jpg")
    write_json(tmp_path / "in/annotations/instances_train.json", coco("a.jpg"))
    info = coco("a.jpg", "b.jpg") | {"annotations": [], "categories": []}
    write_json(tmp_path / "in/annotations/image_info_train.json", info)
    assert [len(x.objects) for x in load(tmp_path / "in").splits["train"]] == [1, 0]
