"""LabelMe: a JSON file for each image, which may hold the image itself; github.com/wkentaro."""

from __future__ import annotations

import base64
import binascii
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import Box, around, numbers, read_json, whole, yes
from detector.data.formats.source import Labels, Source
from faces.errors import UserError
from faces.filenames import last_part
from faces.images.file import image_kind

_SUFFIX = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "bmp": ".bmp", "gif": ".gif"}


def is_labelme(data: Any) -> bool:
    """Whether a JSON file is one of LabelMe's."""
    return isinstance(data, dict) and isinstance(data.get("shapes"), list)


def read_labelme(source: Source, scratch: Path | None) -> dict[str, list[LabeledImage]]:
    """The images by split: the folder of the JSON file. Embedded images go to ``scratch``."""
    splits: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for path in source.files(".json"):
        data = read_json(path)
        if not is_labelme(data):
            source.count("JSON files that are not LabelMe's, passed over", path.name)
            continue
        labels = Labels(source, str(path))
        for i, shape in enumerate(data["shapes"]):
            _add(shape, f"{path}, shapes[{i}]", labels)
        image, name = _image(path, data, source, scratch)
        if image is None:
            continue
        source.refuse_twice(image, str(path))
        size = whole(data.get("imageWidth")), whole(data.get("imageHeight"))
        splits[source.split_of(path.with_suffix(".lbl"))].append(labels.image(image, size, name))
    return splits


def _image(
    path: Path, data: dict[str, Any], source: Source, scratch: Path | None
) -> tuple[Path | None, str]:
    """The image's file, and its name if that is not its place."""
    listed = data.get("imagePath")
    listed = listed if isinstance(listed, str) and listed.strip() else path.name
    embedded = data.get("imageData")
    if not embedded or source.has(listed, path.parent):
        split = source.named_split(path.with_suffix(".lbl"))
        return source.find(listed, path.parent, str(path), split), ""
    if scratch is None:
        raise UserError(
            f"{path}: the image is inside of the file; take it out with `faces prepare import`"
        )
    try:
        content = base64.b64decode(str(embedded), validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise UserError(f"{path}: imageData is no base64 ({error}); save it again") from error
    kind = image_kind(content[:32])
    suffix = _SUFFIX.get(str(kind).lower(), Path(last_part(listed)).suffix or ".jpg")
    place = path.relative_to(source.root).with_suffix(suffix)
    target = scratch / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    source.count("images taken out of their JSON files", path.name)
    return target, source.name_of(source.root / place)


def _add(shape: Any, where: str, labels: Labels) -> None:
    if not isinstance(shape, dict):
        raise UserError(f"{where}: must be an object with label and points; correct it")
    kind = shape.get("shape_type") or "polygon"
    listed = shape.get("points")
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{where}: has no points; remove it or draw it again")
    points = [numbers(point, 2, where, "each of the points") for point in listed]
    if kind in ("point", "points"):
        group = _group(shape)
        labels.add_points(str(shape.get("label", "")), points, where, group)
        return
    box = _box(kind, points)
    if box is None:
        labels.source.count(f"shapes of the type {kind}, passed over", where)
        return
    flags = shape.get("flags") if isinstance(shape.get("flags"), dict) else {}
    assert isinstance(flags, dict)
    hard = ("difficult", "ignore", "iscrowd")
    difficult = yes(shape.get("difficult")) or any(yes(flags.get(key)) for key in hard)
    extra = {key: value for key, value in flags.items() if key not in hard}
    if shape.get("group_id") is not None:
        extra["group_id"] = shape["group_id"]
    if shape.get("description"):
        extra["description"] = shape["description"]
    name = str(shape.get("label", ""))
    labels.add(box, name, difficult, attributes=extra, group=_group(shape))


def _group(shape: dict[str, Any]) -> int | str | None:
    group = shape.get("group_id")
    return group if isinstance(group, int | str) else None


def _box(kind: str, points: list[list[float]]) -> Box | None:
    if kind == "circle" and len(points) == 2:  # the center and a point of the edge
        (x, y), edge = points
        radius = math.hypot(edge[0] - x, edge[1] - y)
        return x - radius, y - radius, x + radius, y + radius
    if (
        kind in ("rectangle", "polygon", "mask", "oriented_rectangle", "rotation")
        and len(points) >= 2
    ):
        return around(points)
    return None
