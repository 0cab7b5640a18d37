"""COCO, LabelMe and Label Studio, in the shape of what the tools export."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.data.formats import parse
from faces.errors import UserError
from tests.detector.data.formats.exports import (
    SIZE,
    arrays,
    coco,
    load,
    only,
    picture,
    text,
    write_json,
)

FACE = [10.25, 20.5, 40.375, 60.5]


def test_roboflow_coco_has_a_file_in_each_split(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        name = f"{split}_jpg.rf.0123abcd.jpg"
        picture(tmp_path / f"in/{split}" / name)
        write_json(tmp_path / f"in/{split}/_annotations.coco.json", coco(name))
    text(tmp_path / "in/README.roboflow.txt", "faces > 2024-01-01\n")
    dataset = load(tmp_path / "in")
    assert dataset.format == "coco"
    assert list(dataset.splits) == ["train", "val", "test"]
    image = only(dataset, "val")
    assert image.name == "valid_jpg.rf.0123abcd.jpg"
    assert image.xyxy.tolist() == [FACE]
    assert image.names == ("face",)
    assert (image.width, image.height) == SIZE


def test_plain_coco_has_images_in_folders_of_their_own(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        picture(tmp_path / f"in/{split}/1.jpg")
        picture(tmp_path / f"in/{split}/2.jpg")
        write_json(tmp_path / f"in/annotations/instances_{split}.json", coco("1.jpg", "2.jpg"))
    dataset = load(tmp_path / "in")
    assert {split: len(images) for split, images in dataset.splits.items()} == {
        "train": 2,
        "val": 2,
    }
    assert {image.path.parent.name for image in dataset.splits["val"]} == {"val2017"}
    assert len(dataset.splits["train"][1].objects) == 0  # listed without a face: a negative
    single = load(tmp_path / "in/annotations/instances_val2017.json")
    assert list(single.splits) == ["val"]


@pytest.mark.parametrize(
    "flag", [{"iscrowd": 1}, {"ignore": 1}, {"attributes": {"difficult": True}}]
)
def test_crowds_and_ignored_objects_are_difficult(tmp_path: Path, flag: dict[str, Any]) -> None:
    picture(tmp_path / "in/a.jpg")
    write_json(tmp_path / "in/a.json", coco("a.jpg", **flag))
    assert only(load(tmp_path / "in")).difficult.tolist() == [True]


def test_coco_polygons_without_a_box_and_attributes(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    data = coco("a.jpg", bbox=[], segmentation=[[1, 2, 9.5, 3, 4, 8]], attributes={"blur": 2})
    write_json(tmp_path / "in/a.json", data)
    image = only(load(tmp_path / "in"))
    assert image.xyxy.tolist() == [[1, 2, 9.5, 8]]
    assert image.attributes[0]["blur"] == "2"


CROWD = np.zeros((SIZE[1], SIZE[0]), bool)  # rows 20 to 60 of columns 10 to 40
CROWD[20:60, 10:40] = True


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths column by column, beginning with those of 0."""
    flat = mask.T.ravel()
    ends = [*(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    counts = np.diff([0, *ends]).tolist()
    return [0, *counts] if flat[0] else counts


@pytest.mark.parametrize("box", [None, [10, 20, 30, 40]])
def test_coco_crowds_as_masks_are_ignored_regions(tmp_path: Path, box: Any) -> None:
    """A mask of run lengths, as numbers and as the text that pycocotools makes of them."""
    picture(tmp_path / "in/a.jpg")
    counts = runs(CROWD)
    packed = "lo0X1l1" + "0" * 57 + "\\c?"  # as pycocotools 2.0 encodes this mask
    for given in (counts, packed):
        mask = {"size": [SIZE[1], SIZE[0]], "counts": given}
        data = coco("a.jpg", iscrowd=1, bbox=box, segmentation=mask)
        write_json(tmp_path / "in/a.json", data)
        image = only(load(tmp_path / "in"))
        assert image.xyxy.tolist() == [[10, 20, 40, 60]]
        assert image.difficult.tolist() == [True]


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [100, 200], "counts": [1, 2, 3]},
        {"size": [100, 200], "counts": "\x00"},
        {"size": [100, 200], "counts": "PPP"},
        {"size": [100, 200], "counts": [20000]},
        {"size": [0, 0], "counts": []},
        {"size": [100, 200], "counts": None},
        {"size": "big", "counts": [20000]},
        {},
    ],
)
def test_a_mask_that_is_none_is_named(tmp_path: Path, mask: Any) -> None:
    picture(tmp_path / "in/a.jpg")
    data = coco("a.jpg", iscrowd=1, bbox=None, segmentation=mask)
    write_json(tmp_path / "in/a.json", data)
    with pytest.raises(UserError, match=r"a\.json, annotations\[0\]: .*; (correct|export) it"):
        load(tmp_path / "in")


def test_coco_keypoints_become_landmarks_as_seen(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    # The person's own left eye is on the right of the image.
    points = [30, 30, 2, 20, 30, 2, 25, 40, 1, 30, 50, 2, 0, 0, 0]
    data = coco("a.jpg", keypoints=points, num_keypoints=4)
    data["annotations"].append({**data["annotations"][0], "id": 2, "keypoints": None})
    full = [30, 30, 2, 20, 30, 2, 25, 40, 2, 30, 50, 2, 20, 50, 2]
    data["annotations"].append({**data["annotations"][0], "id": 3, "keypoints": full})
    names = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    data["categories"][1]["keypoints"] = names
    write_json(tmp_path / "in/a.json", data)
    dataset = load(tmp_path / "in")
    image = only(dataset)
    expected = [[20, 30], [30, 30], [25, 40], [20, 50], [30, 50]]
    assert image.landmarks[2].tolist() == expected
    assert np.isnan(image.landmarks[1]).all()
    assert np.isnan(image.landmarks[0][3]).all()
    assert image.landmarks[0][4].tolist() == [30, 50]
    assert any("the person's own" in note for note in dataset.notes)


def test_listed_images_never_leave_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "secret.jpg")
    picture(tmp_path / "in/a.jpg")
    picture(tmp_path / "in/b.jpg")
    data = coco("a.jpg", "../secret.jpg", str(tmp_path / "secret.jpg"), "../../etc/passwd")
    write_json(tmp_path / "in/a.json", data)
    dataset = load(tmp_path / "in")
    assert only(dataset).path.name == "a.jpg"
    notes = "\n".join(dataset.notes)
    assert "listed images that are not there, left out: 3 (../secret.jpg" in notes
    assert "a.json, images[1])" in notes
    assert "images without labels, left out: 1 (b.jpg)" in notes


def change(data: dict[str, Any], place: str, key: str, value: Any) -> dict[str, Any]:
    data[place][-1][key] = value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            change(coco("a.jpg"), "annotations", "bbox", [1, 2, 3]),
            r"annotations\[0\]: bbox must be 4",
        ),
        (change(coco("a.jpg"), "annotations", "bbox", [1, 2, "x", 3]), r"annotations\[0\]: bbox"),
        (change(coco("a.jpg"), "annotations", "bbox", [1, 2, 1e308, 3]), r"annotations\[0\]: bbox"),
        (coco("a.jpg") | {"categories": [None]}, r"categories\[0\]: has no id"),
        (coco("a.jpg") | {"images": [[]]}, r"images\[0\]: has no id"),
        (change(coco("a.jpg"), "annotations", "bbox", None), r"annotations\[0\]: has neither"),
        (change(coco("a.jpg"), "annotations", "image_id", 7), r"annotations\[0\]: image_id 7 is"),
        (
            change(coco("a.jpg"), "annotations", "category_id", 7),
            r"annotations\[0\]: category_id 7",
        ),
        (change(coco("a.jpg"), "images", "file_name", ""), r"images\[0\]: has no file_name"),
        (change(coco("a.jpg", "b.jpg"), "images", "id", 0), r"images\[1\]: the id 0 occurs twice"),
        (change(coco("a.jpg"), "categories", "id", None), r"categories\[1\]: has no id"),
    ],
)
def test_what_is_wrong_in_coco_is_named(tmp_path: Path, data: Any, message: str) -> None:
    picture(tmp_path / "in/a.jpg")
    write_json(tmp_path / "in/a.json", data)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "in")


def test_a_size_that_is_none_is_read_from_the_image(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    write_json(tmp_path / "in/a.json", change(coco("a.jpg"), "images", "width", 10**400))
    assert only(load(tmp_path / "in")).width == 0


def test_broken_json_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = text(tmp_path / "in/a.json", '{"images": [\n}')
    with pytest.raises(UserError, match=r"a\.json, line 2: not valid JSON"):
        load(path)
    text(path, '{"images": NaN}')
    with pytest.raises(UserError, match="NaN is no number"):
        load(path)
    text(path, "[" * 200_000)
    with pytest.raises(UserError, match="not valid JSON"):
        load(path)
    monkeypatch.setattr(parse, "MAX_JSON_BYTES", 10)
    with pytest.raises(UserError, match="larger than 10 bytes"):
        load(path)


def test_an_image_in_two_files_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    for name in ("instances", "person_keypoints"):
        write_json(tmp_path / f"in/{name}.json", coco("a.jpg"))
    with pytest.raises(UserError, match=r"a\.jpg is also in .*instances\.json; remove one"):
        load(tmp_path / "in")


# -- LabelMe


def labelme(image: str, *shapes: dict[str, Any], data: str | None = None) -> dict[str, Any]:
    width, height = SIZE
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": image,
        "imageData": data,
        "imageHeight": height,
        "imageWidth": width,
    }


def shape(kind: str, *points: list[float], label: str = "face", **more: Any) -> dict[str, Any]:
    return {
        "label": label,
        "points": list(points),
        "group_id": None,
        "shape_type": kind,
        "flags": {},
        **more,
    }


def test_labelme_shapes(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.jpg")
    shapes = (
        shape("rectangle", [40.5, 60], [10, 20.25]),  # drawn from below
        shape("polygon", [1, 2], [9, 3], [4, 8.5]),
        shape("circle", [50, 50], [53, 54], flags={"difficult": True}),
        shape("point", [5, 5]),
        shape("rectangle", [0, 0], [9, 9], label="ignore"),
    )
    write_json(tmp_path / "in/labels/a.json", labelme("..\\images\\a.jpg", *shapes))
    dataset = load(tmp_path / "in")
    assert dataset.format == "labelme"
    image = only(dataset)
    assert image.xyxy.tolist() == [
        [10, 20.25, 40.5, 60],
        [1, 2, 9, 8.5],
        [45, 45, 55, 55],
        [0, 0, 9, 9],
    ]
    assert image.difficult.tolist() == [False, False, True, True]
    assert any("not the five of a face, passed over: 1 (" in note for note in dataset.notes)


def test_labelme_points_go_to_the_box_of_their_group_or_the_one_around_them(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    shapes = (
        shape("rectangle", [0, 0], [50, 50], group_id=1),
        shape("rectangle", [0, 0], [90, 90], group_id=2),
        shape("point", [10, 20], label="left_eye", group_id=2),
        shape("point", [30, 20], label="right_eye", group_id=2),
        shape("point", [11, 21], label="Left Eye"),
        shape("point", [95, 95], label="nose"),
    )
    write_json(tmp_path / "in/a.json", labelme("a.jpg", *shapes))
    dataset = load(tmp_path / "in")
    small, large = only(dataset).landmarks
    assert small[0].tolist() == [11, 21]
    assert np.isnan(small[1:]).all()
    assert large[:2].tolist() == [[10, 20], [30, 20]]
    assert any("belong to no box, left out: 1 (" in note for note in dataset.notes)


def test_labelme_with_the_image_inside(tmp_path: Path) -> None:
    content = picture(tmp_path / "elsewhere/a.png").read_bytes()
    for split in ("train", "val"):
        data = labelme(
            "/home/me/a.jpg",
            shape("rectangle", [1, 2], [3, 4]),
            data=base64.b64encode(content).decode(),
        )
        write_json(tmp_path / f"in/{split}/a.json", data)
    dataset = load(tmp_path / "in")
    assert only(dataset, "val").path.read_bytes() == content
    assert only(dataset, "val").name == "a.png"
    assert only(dataset, "train").xyxy.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (labelme("a.jpg", shape("rectangle")), r"shapes\[0\]: has no points"),
        (labelme("a.jpg", shape("rectangle", [1, 2], [3])), r"shapes\[0\]: each of the points"),
        (labelme("b.jpg", data="%%%"), "imageData is no base64"),
    ],
)
def test_what_is_wrong_in_labelme_is_named(tmp_path: Path, data: Any, message: str) -> None:
    picture(tmp_path / "in/a.jpg")
    write_json(tmp_path / "in/a.json", data)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "in")


# -- Label Studio


def rectangle(x: float, y: float, w: float, h: float, **more: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "width": w, "height": h, "rotation": 0, **more}


def result(value: dict[str, Any], kind: str = "rectanglelabels") -> dict[str, Any]:
    return {
        "original_width": SIZE[0],
        "original_height": SIZE[1],
        "value": {**value, kind: ["face"]},
        "id": str(value),
        "from_name": "label",
        "to_name": "image",
        "type": kind,
    }


def task(image: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    done = [{"id": 1, "was_cancelled": False, "result": list(results), **more}]
    return {"id": 1, "annotations": done, "data": {"image": image}, "predictions": []}


def test_label_studio_json(tmp_path: Path) -> None:
    for name in ("photo.jpg", "my photo.jpg", "c.jpg", "d.jpg", "e.jpg"):
        picture(tmp_path / "in/images" / name)
    turned = rectangle(50, 20, 10, 40) | {"rotation": 90}
    polygon = {"points": [[10, 10], [20, 10], [15, 30.5]], "closed": True}
    brush = result({"format": "rle", "rle": [1]}, "brushlabels")
    tasks = [
        task(
            "/data/upload/3/0a1b2c3d-photo.jpg",
            result(rectangle(10, 20, 12.5, 40)),
            result(turned),
            result(polygon, "polygonlabels"),
            brush,
        ),
        task("/data/local-files/?d=images/my%20photo.jpg", result(rectangle(0, 0, 100, 100))),
        task("https://example.org/x/c.jpg?token=1"),
        {"id": 4, "annotations": [], "data": {"image": "s3://bucket/d.jpg"}},
        task("/data/upload/3/e.jpg", result(rectangle(0, 0, 1, 1)), was_cancelled=True),
    ]
    write_json(tmp_path / "in/project-1-at-2024-01-01.json", tasks)
    dataset = load(tmp_path / "in")
    assert dataset.format == "label-studio"
    first, second, third = map(arrays, dataset.splits["train"])
    assert first.path.name == "photo.jpg"
    np.testing.assert_allclose(
        first.xyxy, [[20, 20, 45, 60], [60, 20, 100, 40], [20, 10, 40, 30.5]]
    )
    assert first.names == ("face", "face", "face")
    assert second.xyxy.tolist() == [[0, 0, 200, 100]]
    assert len(third.names) == 0
    notes = "\n".join(dataset.notes)
    assert "tasks without an annotation, left out: 2 (d.jpg" in notes
    assert "results that are no boxes, passed over: 1 (" in notes
    assert "images without labels, left out: 2 (images/d.jpg, images/e.jpg)" in notes


def test_label_studio_points_go_to_their_rectangle(tmp_path: Path) -> None:
    """By a relation, as its children, and where they lie, as JSON-MIN has them."""
    picture(tmp_path / "in/a.jpg")
    picture(tmp_path / "in/b.jpg")

    def point(x: float, y: float, name: str, **more: Any) -> dict[str, Any]:
        made = result({"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}, "keypointlabels")
        made["value"]["keypointlabels"] = [name]
        return {**made, "id": f"{name} {x}", **more}

    boxes = [{**result(rectangle(10, 10, w, 80)), "id": f"box {w}"} for w in (30, 60)]
    relation = {"type": "relation", "from_id": "nose 20", "to_id": "box 60", "direction": "right"}
    points = (
        point(20, 40, "nose"),
        relation,
        point(15, 30, "Left eye", parentID="box 30"),
        point(50, 30, "Right eye"),
    )
    full = task("a.jpg", *boxes, *points)
    width, height = SIZE
    mini = {"id": 2, "annotation_id": 1, "image": "b.jpg"}
    both = {"original_width": width, "original_height": height}
    mini["label"] = [rectangle(10, 10, 30, 80, rectanglelabels=["face"], **both)]
    mini["kp"] = [{"x": 20, "y": 40, "width": 0.5, "keypointlabels": ["nose"], **both}]
    write_json(tmp_path / "in/full/a.json", [full])
    write_json(tmp_path / "in/mini/b.json", [mini])
    by_name = {image.path.name: arrays(image) for image in load(tmp_path / "in").splits["train"]}
    small, large = by_name["a.jpg"].landmarks
    assert small[0].tolist() == [30, 30]
    assert np.isnan(small[1:]).all()
    assert large[1:3].tolist() == [[100, 30], [40, 40]]
    assert by_name["b.jpg"].landmarks[0][2].tolist() == [40, 40]


def test_label_studio_json_min(tmp_path: Path) -> None:
    picture(tmp_path / "in/0a1b2c3d-photo.jpg")
    picture(tmp_path / "in/b.jpg")
    sizes = {"original_width": SIZE[0], "original_height": SIZE[1]}
    boxes = [rectangle(10, 20, 12.5, 40, rectanglelabels=["face"], **sizes)]
    tasks = [
        {"image": "/data/upload/1/0a1b2c3d-photo.jpg", "id": 1, "label": boxes, "annotator": 1},
        {"image": "/data/upload/1/b.jpg", "id": 2, "annotator": 1, "annotation_id": 9},
    ]
    write_json(tmp_path / "in/export.json", tasks)
    labeled, empty = map(arrays, load(tmp_path / "in").splits["train"])
    assert labeled.xyxy.tolist() == [[20, 20, 45, 60]]
    assert labeled.names == ("face",)
    assert len(empty.names) == 0


def test_what_is_wrong_in_label_studio_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    bad = [task("a.jpg", result(rectangle(1, 2, 3, 4) | {"x": "left"}))]
    write_json(tmp_path / "in/a.json", bad)
    with pytest.raises(UserError, match=r"a\.json, \[0\], result 1: x y width height must be"):
        load(tmp_path / "in")
    text(tmp_path / "in/a.json", json.dumps([*bad, 5]).replace('"left"', "1"))
    with pytest.raises(UserError, match=r"a\.json, \[1\]: is no task"):
        load(tmp_path / "in")
