"""COCO JSON: ``images``, ``annotations``, ``categories``; https://cocodataset.org/#format-data."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import Box, around, numbers, read_json, whole
from detector.data.formats.source import Labels, Points, Source
from faces.errors import UserError
from faces.filenames import folded

_FIVE = (
    ("left_eye", "lefteye", "eye_left", "l_eye"),
    ("right_eye", "righteye", "eye_right", "r_eye"),
    ("nose", "nose_tip", "nosetip"),
    ("mouth_left", "left_mouth", "left_mouth_corner", "mouth_left_corner", "leftmouth"),
    ("mouth_right", "right_mouth", "right_mouth_corner", "mouth_right_corner", "rightmouth"),
)


def is_coco(data: Any) -> bool:
    """Whether a JSON file is one of COCO's with boxes (others have captions)."""
    return isinstance(data, dict) and all(isinstance(data.get(k), list) for k in _KEYS)


_KEYS = ("images", "annotations", "categories")


def read_coco(source: Source) -> dict[str, list[LabeledImage]]:
    """The images of all COCO files by split; a split is named by the file or its folder."""
    splits: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    listed: dict[Path, Path] = {}
    for path in source.files(".json"):
        data = read_json(path)
        if not is_coco(data):
            source.count("JSON files that are no COCO with boxes, passed over", path.name)
            continue
        for image in _read(path, data, source):
            if image.path in listed:
                raise UserError(
                    f"{path}: lists {image.path.name}, as {listed[image.path]} does; give the one "
                    "file that shall be read in place of the folder"
                )
            listed[image.path] = path
            splits[source.split_of(path)].append(image)
    return splits


def _read(path: Path, data: dict[str, Any], source: Source) -> list[LabeledImage]:
    names: dict[Any, str] = {}
    five: dict[Any, list[int] | None] = {}
    for i, item in enumerate(data["categories"]):
        number = _id(item, "id", f"{path}, categories[{i}]")
        names[number] = str(item.get("name", ""))
        five[number] = _five(item.get("keypoints"))
    boxes: dict[Any, Labels] = {}
    for i, item in enumerate(data["images"]):
        number = _id(item, "id", f"{path}, images[{i}]")
        if number in boxes:
            raise UserError(f"{path}, images[{i}]: the id {number} occurs twice; export it again")
        boxes[number] = Labels(source, f"{path}, images[{i}]")
    for i, item in enumerate(data["annotations"]):
        where = f"{path}, annotations[{i}]"
        image, category = _id(item, "image_id", where), _id(item, "category_id", where)
        if image not in boxes or category not in names:
            key = "image_id" if image not in boxes else "category_id"
            raise UserError(f"{where}: {key} {item[key]} is not defined; export it again")
        extra = item.get("attributes")
        flags = {**(extra if isinstance(extra, dict) else {}), **item}
        difficult = any(_yes(flags.get(key)) for key in ("iscrowd", "ignore", "difficult"))
        attributes = {k: v for k, v in flags.items() if k not in _OWN_KEYS}
        points = _landmarks(item, five[category], where, source)
        boxes[image].add(_box(item, where), names[category], difficult, points, attributes)
    found = []
    for i, item in enumerate(data["images"]):
        where = f"{path}, images[{i}]"
        listed = item.get("file_name")
        if not isinstance(listed, str) or not listed.strip():
            raise UserError(f"{where}: has no file_name; export it again")
        image_path = source.find(listed, path.parent, where, source.split_of(path))
        if image_path is not None:
            size = whole(item.get("width")), whole(item.get("height"))
            found.append(boxes[item["id"]].image(image_path, size))
    return found


_OWN_KEYS = {
    *("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore", "segmentation"),
    *("keypoints", "num_keypoints", "attributes", "difficult"),
}


def _id(item: Any, key: str, where: str) -> Any:
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, int | str):
        raise UserError(f"{where}: has no {key}; export it again")
    return value


def _yes(value: object) -> bool:
    return folded(str(value)) in ("1", "true", "yes") if value is not None else False


def _box(item: dict[str, Any], where: str) -> Box:
    if item.get("bbox"):
        x, y, width, height = numbers(item["bbox"], 4, where, "bbox")
        return x, y, x + width, y + height
    polygons = item.get("segmentation")
    if isinstance(polygons, list) and polygons:
        flat: list[float] = []
        for polygon in polygons:
            flat += numbers(polygon, None, where, "segmentation")
        if len(flat) >= 4 and len(flat) % 2 == 0:
            return around(list(zip(flat[::2], flat[1::2], strict=True)))
    raise UserError(f"{where}: has neither a bbox nor polygons; export it with boxes")


def _five(listed: object) -> list[int] | None:
    """Where the five points are among a category's keypoints; None when they are not all there."""
    if not isinstance(listed, list):
        return None
    plain = [folded(str(name)).replace("-", "_").replace(" ", "_") for name in listed]
    places = [next((plain.index(x) for x in same if x in plain), -1) for same in _FIVE]
    return None if -1 in places else places


def _landmarks(item: dict[str, Any], five: list[int] | None, where: str, source: Source) -> Points:
    if not item.get("keypoints"):
        return ()
    values = numbers(item["keypoints"], None, where, "keypoints")
    if five is None or len(values) < 3 * (max(five) + 1):
        source.count("objects whose keypoints are not the five of a face, boxes kept", where)
        return ()
    # Visibility 0 means "not labeled", with the place 0, 0.
    return [(values[3 * k], values[3 * k + 1]) if values[3 * k + 2] > 0 else None for k in five]
