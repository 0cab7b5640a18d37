"""COCO JSON: ``images``, ``annotations``, ``categories``; https://cocodataset.org/#format-data."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import Box, around, numbers, read_json, rotated, whole, yes
from detector.data.formats.points import place_of
from detector.data.formats.source import Labels, Points, Source
from faces.errors import UserError


def is_coco(data: Any) -> bool:
    """Whether a JSON file is one of COCO's with boxes (others have captions)."""
    return isinstance(data, dict) and all(isinstance(data.get(k), list) for k in _KEYS)


_KEYS = ("images", "annotations", "categories")


def read_coco(source: Source) -> dict[str, list[LabeledImage]]:
    """The images of all COCO files by split; a split is named by the file or its folder."""
    splits: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    listed: dict[Path, Path] = {}
    empty: list[tuple[Path, Any]] = []
    for path in source.files(".json"):
        data = read_json(path)
        if not is_coco(data):
            source.count("JSON files that are no COCO with boxes, passed over", path.name)
            continue
        if not data["annotations"]:
            empty.append((path, data))
            continue
        for image in _read(path, data, source):
            source.refuse_twice(image.path, str(path))
            listed[image.path] = path
            splits[source.split_of(path)].append(image)
    for path, data in empty:  # COCO's and Datumaro's image_info_test.json lists images once more
        for image in _read(path, data, source):
            if listed.setdefault(image.path, path) == path:
                splits[source.split_of(path)].append(image)
    return splits


def _read(path: Path, data: dict[str, Any], source: Source) -> list[LabeledImage]:
    names: dict[str, str] = {}
    five: dict[str, list[int] | None] = {}
    for i, item in enumerate(data["categories"]):
        number = _id(item, "id", f"{path}, categories[{i}]")
        names[number] = str(item.get("name", ""))
        five[number] = _five(item.get("keypoints"))
    boxes: dict[str, Labels] = {}
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
        difficult = any(yes(flags.get(key)) for key in ("iscrowd", "ignore", "difficult"))
        attributes = {k: v for k, v in flags.items() if k not in _OWN_KEYS}
        box, turned = _box(item, where), attributes.get("rotation")
        is_angle = isinstance(turned, int | float) and not isinstance(turned, bool)
        if is_angle and turned and not item.get("segmentation"):
            # CVAT's boxes are those before they were turned about their centers.
            [degrees] = numbers([attributes.pop("rotation")], 1, where, "rotation")
            box = rotated(box, degrees, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        points = _landmarks(item, five[category], where, source)
        boxes[image].add(box, names[category], difficult, points, attributes)
    found = []
    for i, item in enumerate(data["images"]):
        where = f"{path}, images[{i}]"
        listed = item.get("file_name")
        if not isinstance(listed, str) or not listed.strip():
            raise UserError(f"{where}: has no file_name; export it again")
        image_path = source.find(listed, path.parent, where, source.named_split(path))
        if image_path is not None:
            size = whole(item.get("width")), whole(item.get("height"))
            found.append(boxes[_id(item, "id", where)].image(image_path, size))
    return found


_OWN_KEYS = {
    *("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore", "segmentation"),
    *("keypoints", "num_keypoints", "attributes", "difficult"),
}


def _id(item: Any, key: str, where: str) -> str:
    """A number, whether it is written as 1, 1.0 or "1"."""
    value = item.get(key) if isinstance(item, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | str):
        raise UserError(f"{where}: has no {key}; export it again")
    return str(value)


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
    if isinstance(polygons, dict):
        return _around_mask(polygons, where)
    raise UserError(f"{where}: has neither a bbox nor polygons; export it with boxes")


def _around_mask(mask: dict[str, Any], where: str) -> Box:
    """The box around a mask in run lengths, column by column: numbers, or COCO's text for them."""
    height, width = (whole(x) for x in numbers(mask.get("size"), 2, where, "size of the mask"))
    runs = mask.get("counts")
    counts = (
        _unpacked(runs)
        if isinstance(runs, str)
        else [whole(x) for x in numbers(runs, None, where, "counts of the mask")]
    )
    ends = np.cumsum(np.array(counts, np.float64))
    starts, ends = ends[:-1:2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if min(counts, default=-1) < 0 or sum(counts) != width * height or not len(ends):
        raise UserError(
            f"{where}: the run lengths of its mask are not those of something in {width}x{height} "
            "pixels; export it with boxes"
        )
    left, right = starts // height, (ends - 1) // height
    turns = bool((left != right).any())  # a run goes on at the top of the next column
    top = 0.0 if turns else float((starts % height).min())
    bottom = float(height) if turns else float(((ends - 1) % height).max() + 1)
    return float(left.min()), top, float(right.max() + 1), bottom


def _unpacked(text: str) -> list[int]:
    """COCO's text for run lengths: 5 bits a character, from the third on the change of every other.

    Written as maskApi.c of https://github.com/cocodataset/cocoapi has it. [-1] for other text.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 50:
            return [-1]
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return [-1] if shift else counts


_NUMBERED = re.compile(r"(new[ _-]?|key)?(point|kpt?|landmark)?[ _-]?\d+", re.IGNORECASE)


def _five(listed: object) -> list[int] | None:
    """Where the five points are among a category's keypoints; None when they are not all there."""
    if not isinstance(listed, list):
        return None
    if len(listed) == 5 and all(_NUMBERED.fullmatch(str(name).strip()) for name in listed):
        return list(range(5))  # as in the formats that have no names for them
    found = {place_of(str(name)): i for i, name in reversed(list(enumerate(listed)))}
    return [found[k] for k in range(5)] if all(k in found for k in range(5)) else None


def _landmarks(item: dict[str, Any], five: list[int] | None, where: str, source: Source) -> Points:
    if not item.get("keypoints"):
        return ()
    values = numbers(item["keypoints"], None, where, "keypoints")
    if five is None or len(values) < 3 * (max(five) + 1):
        source.count("objects whose keypoints are not the five of a face, boxes kept", where)
        return ()
    # Visibility 0 means "not labeled", with the place 0, 0.
    return [(values[3 * k], values[3 * k + 1]) if values[3 * k + 2] > 0 else None for k in five]
