"""COCO's JSON for object detection, as its site defines it (https://cocodataset.org/#format-data).

``bbox`` is x y width height in pixels, floats as they are: x + width is the other edge, to the last
digit that a rounded sum can have. A difficult face has ``iscrowd`` 1, which COCO's own tools ignore
in the same way. What else is known of a box goes into ``attributes``, where CVAT and Datumaro have
it; landmarks into ``keypoints``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detector.data.formats.dataset import LabeledImage
from detector.data.voc.annotation import VocObject

KEYPOINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""The five points in the order of `LabeledImage`, as seen in the image."""


def write_coco(
    out: Path, splits: Mapping[str, Sequence[LabeledImage]], told: Counter[str]
) -> dict[str, int]:
    """Write ``annotations/instances_SPLIT.json`` for each split; the number of boxes in each.

    ``file_name`` is the picture's name below ``images/SPLIT``. Classes have the same ids in all
    files, counted from 1 in the order of their names. What changes is counted in ``told``.
    """
    every = [box for items in splits.values() for item in items for box in item.objects]
    names = sorted({box.name for box in every})
    ids = {name: number for number, name in enumerate(names, 1)}
    points = any(box.landmarks for box in every)
    written = {}
    for split, items in splits.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, item in enumerate(items, 1):
            images.append(
                {"id": number, "file_name": item.name, "width": item.width, "height": item.height}
            )
            for box in item.objects:
                about = {"id": len(annotations) + 1, "image_id": number}
                annotations.append(about | {"category_id": ids[box.name]} | _box(box, points))
                told["difficult faces written as iscrowd 1"] += box.difficult
        content = {
            "info": {"description": "written by faces", "version": "1.0"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [_category(name, number, points) for name, number in ids.items()],
        }
        path = out / "annotations" / f"instances_{(split or 'default').replace('/', '-')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        # In ASCII: a name on the disk that is no UTF-8 reads back as the same.
        path.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="ascii")
        written[split] = len(annotations)
    return written


def _category(name: str, number: int, points: bool) -> dict[str, Any]:
    category: dict[str, Any] = {"id": number, "name": name, "supercategory": ""}
    return category | ({"keypoints": list(KEYPOINTS), "skeleton": []} if points else {})


def _box(box: VocObject, keypoints: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = box.xyxy
    width, height = _extent(x1, x2), _extent(y1, y2)
    found: dict[str, Any] = {
        "bbox": [_plain(value) for value in (x1, y1, width, height)],
        "area": _plain(width * height),
        "iscrowd": int(box.difficult),
        "segmentation": [],
    }
    if keypoints:  # where a class has them every object must, for pycocotools and datumaro
        five = box.landmarks or (None,) * 5
        found["keypoints"] = [
            value
            for point in five
            for value in ((_plain(point[0]), _plain(point[1]), 2) if point else (0, 0, 0))
        ]
        found["num_keypoints"] = sum(point is not None for point in five)
    if box.attributes:
        found["attributes"] = dict(box.attributes)
    return found


def _extent(low: float, high: float) -> float:
    """What added to ``low`` gives ``high`` to the last digit, and is short where that can be."""
    size = high - low
    for candidate in (
        round(size, 6),
        size,
        math.nextafter(size, math.inf),
        math.nextafter(size, 0),
    ):
        if low + candidate == high:
            return candidate
    return size


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value
