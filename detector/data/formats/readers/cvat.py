"""CVAT for images 1.1; https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from lxml import etree

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import (
    Box,
    around,
    around_ellipse,
    numbers,
    read_xml,
    rotated,
    whole,
    yes,
)
from detector.data.formats.source import Labels, Source
from detector.data.voc.plain import line_of
from faces.errors import UserError

_CORNERS = ("xtl", "ytl", "xbr", "ybr")


def is_cvat(root: etree._Element) -> bool:
    """Whether an XML file is one of CVAT's."""
    return root.tag == "annotations" and any(
        root.find(tag) is not None for tag in ("image", "track", "meta", "version")
    )


def read_cvat(source: Source) -> dict[str, list[LabeledImage]]:
    """The images of all CVAT files by split: an image's ``subset``, or its folder."""
    splits: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for path in source.files(".xml"):
        root, flaws = read_xml(path)
        for flaw in flaws:
            source.count(f"files with the flaw '{flaw.kind}', read all the same", f"{path} {flaw}")
        if not is_cvat(root):
            source.count("XML files that are not CVAT's, passed over", path.name)
            continue
        images, tracks = root.findall("image"), root.findall("track")
        for track in tracks:
            where = f"{path.name}, line {line_of(track)}"
            source.count("tracks of a film, passed over", where)
        if tracks and not images:
            raise UserError(
                f"{path}, line {line_of(tracks[0])}: holds tracks of a film and no images; export "
                "it from CVAT as `CVAT for images 1.1`"
            )
        for element in images:
            image = _read(path, element, source)
            if image is None:
                continue
            source.refuse_twice(image.path, f"{path}, line {line_of(element)}")
            place = image.path if path.parent == source.root else path
            subset = element.get("subset", "")
            splits[source.split_of(place, subset)].append(image)
    return splits


def _read(path: Path, element: etree._Element, source: Source) -> LabeledImage | None:
    where = f"{path}, line {line_of(element)}"
    name = element.get("name", "")
    if not name.strip():
        raise UserError(f"{where}: the <image> has no name; export it again")
    labels = Labels(source, where)
    for shape in element:
        _add(shape, path, labels)
    split = source.named_split(path, element.get("subset", ""))
    found = source.find(name, path.parent, where, split)
    if found is None:
        return None
    return labels.image(found, (whole(element.get("width")), whole(element.get("height"))))


def _add(shape: etree._Element, path: Path, labels: Labels) -> None:
    where = f"{path}, line {line_of(shape)}"
    if shape.get("outside") == "1":
        labels.source.count("shapes that have left the image, passed over", where)
        return
    group = shape.get("group_id") if shape.get("group_id", "0") != "0" else None
    if shape.tag == "points":
        labels.add_points(shape.get("label", ""), _points(shape, where), where, group)
        return
    if shape.tag == "skeleton":
        for point in shape.iterfind("points"):
            here = f"{path}, line {line_of(point)}"
            if point.get("outside") != "1":
                name = point.get("label", "")
                labels.add_points(name, _points(point, here), here, group or ("skeleton", where))
        return
    box = _box(shape, where)
    if box is None:
        labels.source.count(f"<{shape.tag}> elements, passed over", where)
        return
    attributes: dict[str, str] = {}
    for item in shape.iterfind("attribute"):
        attributes[item.get("name", "").strip().replace(" ", "_")] = item.text or ""
    if shape.get("occluded") is not None:
        attributes["occluded"] = shape.get("occluded", "")
    flags = [attributes.pop(key, "") for key in ("difficult", "ignore", "iscrowd")]
    difficult = any(map(yes, flags))
    labels.add(box, shape.get("label", ""), difficult, attributes=attributes, group=group)


def _points(shape: etree._Element, where: str) -> list[list[float]]:
    pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
    return [numbers(pair, 2, where, "each of the points") for pair in pairs]


def _box(shape: etree._Element, where: str) -> Box | None:
    if shape.tag == "box":
        x1, y1, x2, y2 = numbers([shape.get(x) for x in _CORNERS], 4, where, " ".join(_CORNERS))
        [degrees] = numbers([shape.get("rotation", "0")], 1, where, "rotation")
        return rotated((x1, y1, x2, y2), degrees, ((x1 + x2) / 2, (y1 + y2) / 2))
    if shape.tag == "mask":
        keys = ("left", "top", "width", "height")
        x, y, width, height = numbers([shape.get(key) for key in keys], 4, where, " ".join(keys))
        return x, y, x + width, y + height
    if shape.tag == "polygon":
        return around(_points(shape, where))
    if shape.tag == "ellipse":
        keys = ("cx", "cy", "rx", "ry")
        cx, cy, rx, ry = numbers([shape.get(key) for key in keys], 4, where, " ".join(keys))
        [degrees] = numbers([shape.get("rotation", "0")], 1, where, "rotation")
        return around_ellipse((cx, cy), (rx, ry), degrees)
    return None
