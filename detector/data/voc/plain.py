"""A well-formed annotation brought into VOC's own form, whatever made it.

Tags without namespace and in lower case, objects directly in ``<annotation>`` with one box each,
numbers with a point, flags 0 or 1.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lxml import etree

from faces.errors import UserError

CORNERS = ("xmin", "ymin", "xmax", "ymax")

KNOWN = {
    *("annotation", "annotations", "folder", "filename", "path", "source", "database", "size"),
    *("width", "height", "depth", "segmented", "object", "name", "pose", "truncated", "occluded"),
    *("difficult", "bndbox", "part", *CORNERS),
}
_COMMA = re.compile(r"[+-]?\d+,\d+")
_YES = frozenset({"true", "yes", "y", "t", "on"})
_NO = frozenset(
    {"", "false", "no", "n", "f", "off", "unspecified", "none", "null", "nan", "unknown"}
)


@dataclass(frozen=True)
class Flaw:
    """Something that is not as it should be in an annotation file."""

    kind: str  # a key of `detector.data.check.PROBLEMS`
    line: int  # counted from 1; 0 when it is about the whole file
    detail: str  # what is wrong, with the values
    # whether it makes the boxes doubtful, so that they must be repaired before training or
    # evaluation
    doubtful: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.detail}" if self.line else self.detail


def line_of(element: etree._Element) -> int:
    """The line where an element begins, counted from 1; 0 when it comes from no file."""
    return cast("int | None", element.sourceline) or 0


def plain_tags(root: etree._Element) -> list[Flaw]:
    """Take namespaces off, and write VOC's tags in lower case."""
    flaws: dict[str, Flaw] = {}
    for element in root.iter():
        tag = element.tag
        if not isinstance(tag, str):
            continue
        plain = tag.rpartition("}")[2]
        if plain != tag:
            detail = f"<{plain}> is in the namespace {tag[1:].partition('}')[0]!r}"
            flaws.setdefault("space", Flaw("not as VOC", line_of(element), detail))
        if plain.lower() != plain and plain.lower() in KNOWN:
            detail = f"the tag <{plain}> is written <{plain.lower()}>"
            flaws.setdefault("case", Flaw("not as VOC", line_of(element), detail))
            plain = plain.lower()
        if plain != tag:
            element.tag = plain
    if "space" in flaws:
        etree.cleanup_namespaces(root)
    return list(flaws.values())


def only_annotation(root: etree._Element, path: Path) -> tuple[etree._Element, list[Flaw]]:
    """The ``<annotation>`` itself where another element is around it or has its place."""
    if root.tag == "annotation":
        return root, []
    inner = root.findall("annotation")
    if len(inner) > 1:
        raise UserError(
            f"{path}, line {line_of(inner[1])}: holds several annotations; give each its own file"
        )
    flaw = Flaw("not as VOC", line_of(root), f"the root is <{root.tag}>, not <annotation>")
    if inner:
        inner[0].tail = None
        return inner[0], [flaw]
    if root.tag == "annotations" and any(root.find(x) is not None for x in ("object", "size")):
        root.tag = "annotation"
        return root, [flaw]
    raise UserError(
        f"{path}, line {line_of(root)}: not a PASCAL VOC annotation: its root is <{root.tag}>, not "
        "<annotation>"
    )


def plain_objects(root: etree._Element) -> list[Flaw]:
    """Objects directly in the annotation, each with one box, numbers with points, flags 0 or 1."""
    flaws: list[Flaw] = []
    for element in list(root.iter("object")):
        parent = element.getparent()
        if parent is None or parent is root:
            continue
        if any(outer.tag == "object" for outer in element.iterancestors()):
            continue  # what is inside an object is no face of its own
        flaws.append(Flaw("not as VOC", line_of(element), f"an <object> inside <{parent.tag}>"))
        root.append(element)
    for element in root.findall("object"):
        boxes = element.findall("bndbox")
        if not boxes:
            flaws += _boxed(element)
        if len(boxes) > 1:
            flaws.append(
                Flaw("not as VOC", line_of(boxes[1]), f"{len(boxes)} boxes in one <object>")
            )
        for extra in reversed(boxes[1:]):
            element.remove(extra)
            other = copy.deepcopy(element)
            for copied in other.findall("bndbox"):
                other.replace(copied, extra)
            element.addnext(other)
    for element in root.iter(*CORNERS, "width", "height"):
        text = (element.text or "").strip()
        # 1,024 may be a thousand or one point; that is for a person to say.
        if _COMMA.fullmatch(text) and len(text.partition(",")[2]) != 3:
            element.text = text.replace(",", ".")
            flaws.append(Flaw("not as VOC", line_of(element), f"{text} is written with a comma"))
    for element in root.iterfind("object/difficult"):
        flaws += _plain_flag(element)
    return flaws


def _boxed(element: etree._Element) -> list[Flaw]:
    """Give an object the box around its polygon or its turned box; [] where it has neither."""
    for tag in ("polygon", "robndbox"):
        shape = element.find(tag)
        if shape is None:
            continue
        try:
            xy = _corners_of(shape)
        except (KeyError, ValueError):
            continue
        if len(xy) < 2 or not all(math.isfinite(value) for point in xy for value in point):
            continue
        xs, ys = zip(*xy, strict=True)
        box = etree.SubElement(element, "bndbox")
        for corner, value in zip(CORNERS, (min(xs), min(ys), max(xs), max(ys)), strict=True):
            etree.SubElement(box, corner).text = repr(round(value, 6))
        return [Flaw("not as VOC", line_of(element), f"no <bndbox>: taken around its <{tag}>")]
    return []


def _corners_of(shape: etree._Element) -> list[tuple[float, float]]:
    """x y of the corners: ``<x1><y1><x2>...`` (Roboflow), ``<pt><x><y>`` (LabelMe's web tool) or
    ``<cx><cy><w><h><angle>`` (roLabelImg, clockwise in radians)."""
    if shape.tag == "polygon" and shape.find("pt") is not None:
        points = [(point.findtext("x"), point.findtext("y")) for point in shape.iterfind("pt")]
        return [(float(x or ""), float(y or "")) for x, y in points]
    values = {str(child.tag): float(child.text or "") for child in shape}
    if shape.tag == "polygon":
        count = sum(tag.startswith("x") for tag in values)
        return [(values[f"x{i}"], values[f"y{i}"]) for i in range(1, count + 1)]
    cx, cy, w, h, angle = (values[key] for key in ("cx", "cy", "w", "h", "angle"))
    cos, sin = math.cos(angle), math.sin(angle)
    sides = [(x * w / 2, y * h / 2) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return [(cx + x * cos - y * sin, cy + x * sin + y * cos) for x, y in sides]


def _plain_flag(element: etree._Element) -> list[Flaw]:
    text = (element.text or "").strip().lower()
    if text in ("0", "1"):
        return []
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    yes = number != 0
    if not math.isfinite(number):
        yes = text in _YES
        if not yes and text not in _NO:
            element.text = "0"
            detail = f"<difficult> is {text!r}, neither yes nor no; taken as no"
            return [Flaw("not as VOC", line_of(element), detail)]
    element.text = str(int(yes))
    return []
