"""PASCAL VOC annotations: one XML file per image.

Coordinates are pixels of the upright image, counted from 0 with exclusive ends: ``xmin = x1``,
``ymin = y1``, ``xmax = x2``, ``ymax = y2``, so that ``x2 - x1`` is the width. The common
WIDER-to-VOC conversions do the same; the original VOC 2007 files count from 1 with inclusive ends,
a difference of one pixel that is not marked in the file, so it is not corrected for.

`detector.data.voc.xml` makes a clean tree of the bytes; here it becomes boxes. There is one reader
for checking, training and evaluating, so that all three see the same: what is certain is read, with
a `Flaw` that says what was wrong; what makes boxes doubtful is refused by `read_voc`, and mended by
`faces prepare check --fix` as far as it can be read. A file has at most `MAX_BYTES`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from detector.data.voc.plain import CORNERS, Flaw, line_of
from detector.data.voc.xml import ILLEGAL, read_tree
from faces.errors import UserError
from faces.filenames import last_part
from faces.files import atomic_write, read_limited

MAX_BYTES = 10_000_000  # a file with 1,968 faces (the most in WIDER FACE) has 0.8 MB

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""The children of ``<landmarks>``, each with ``<x>`` and ``<y>``; left as seen in the image."""

_FIRST = ("pose", "truncated")  # where the original files have them: before the others


@dataclass(frozen=True)
class VocObject:
    """One box."""

    name: str  # the class; empty when the file gives none
    # x1 y1 x2 y2 in pixels, as written in the file: it may be empty, inverted or outside the image
    xyxy: tuple[float, float, float, float]
    difficult: bool = False  # the VOC flag; for WIDER FACE it says that the face is marked invalid
    # every other simple child element and its text without surrounding blanks, such as pose,
    # truncated, blur or occlusion
    attributes: Mapping[str, str] = field(default_factory=dict)
    # where the object begins in its file, counted from 1; 0 when it comes from no file
    line: int = field(default=0, compare=False)
    # the points `LANDMARKS`, x y in pixels, None for each that is not known; empty when none is
    landmarks: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True)
class VocAnnotation:
    """The boxes of one image."""

    filename: str  # the image's name as written, without its folder; empty when the file has none
    # width, height: the image's size in pixels as written; 0 when the file has none
    width: int
    height: int
    objects: tuple[VocObject, ...] = ()  # the boxes in the order of the file
    # what is not as it should be in the file
    flaws: tuple[Flaw, ...] = field(default=(), compare=False)

    def boxes(self) -> NDArray[np.float32]:
        """The objects' boxes as float32 (N, 4), x1 y1 x2 y2."""
        return np.array([item.xyxy for item in self.objects], np.float32).reshape(-1, 4)


def read_voc(path: Path) -> VocAnnotation:
    """Read one annotation file to train or evaluate on. Boxes are as written, inverted too.

    Raises UserError, naming the file and line, when it is missing, too large, no VOC annotation or
    has a document type, and for every flaw that makes its boxes doubtful: XML that is cut off, an
    object whose box cannot be read, coordinates between 0 and 1.
    """
    annotation = load_voc(path)[1]
    for flaw in annotation.flaws:
        if flaw.doubtful:
            where = f"{path}, line {flaw.line}" if flaw.line else path
            raise UserError(
                f"{where}: {flaw.detail}; correct it, or let `faces prepare check --fix` keep what "
                "can be read"
            )
    return annotation


def load_voc(path: Path) -> tuple[etree._Element, VocAnnotation]:
    """The tree and the annotation of a file, whatever is wrong with it (see its ``flaws``).

    Raises UserError when nothing can be read, see `read_tree`.
    """
    root, flaws = read_tree(read_limited(path, MAX_BYTES), path)
    return root, parse_voc(root, path, flaws)


def write_voc(path: Path, annotation: VocAnnotation) -> None:
    """Write one annotation file, whole or not at all. What `read_voc` reads is equal to it, but for
    a file name that is not `holdable`.

    Raises ValueError for a coordinate that is not finite or other text that XML cannot hold.
    """
    with atomic_write(path) as file:
        file.write(format_voc(annotation))


def parse_voc(root: etree._Element, path: Path, flaws: Sequence[Flaw] = ()) -> VocAnnotation:
    """The annotation in a tree from `read_tree`, with ``flaws`` and those that are found here.

    An object whose box cannot be read is a flaw, and not among the objects.
    """
    found = list(flaws)
    size = _size(root)
    if not all(size):
        element = root.find("size")
        line = 0 if element is None else line_of(element)
        texts = [(root.findtext(f"size/{side}") or "").strip() for side in ("width", "height")]
        detail = "it does not give the image's size"
        if any(texts):
            detail += f" ({texts[0]!r} x {texts[1]!r})"
        found.append(Flaw("no size", line, detail))
    objects = []
    for element in root.iterfind("object"):
        try:
            item = _object(element, path)
        except UserError as error:
            detail = re.sub(r"^line \d+: ", "", str(error).removeprefix(f"{path}, "))
            found.append(Flaw("unreadable object", _line_in(error, element), detail, doubtful=True))
            continue
        if not item.name:
            found.append(Flaw("not as VOC", item.line, "the object has no <name>"))
        objects.append(item)
    fractions = [objects[i] for i in np.flatnonzero(are_fractions(objects))]
    if fractions:
        numbers = " ".join(f"{value:g}" for value in fractions[0].xyxy)
        found.append(
            Flaw(
                "fractions",
                fractions[0].line,
                f"{len(fractions)} of {len(objects)} boxes lie between 0 and 1, the first is "
                f"{numbers}: they are fractions of the image, and pixels are wanted",
                doubtful=True,
            )
        )
    filename = last_part(root.findtext("filename") or "")
    return VocAnnotation(filename, *size, tuple(objects), tuple(found))


def points_of(objects: Iterable[VocObject]) -> NDArray[np.float64]:
    """The five points of each, float64 (N, 5, 2), x y in pixels, NaN where it is not known."""
    missing = (np.nan, np.nan)
    rows = [[point or missing for point in item.landmarks or (None,) * 5] for item in objects]
    return np.array(rows, np.float64).reshape(-1, 5, 2)


def are_fractions(objects: Sequence[VocObject]) -> NDArray[np.bool_]:
    """Which boxes are given as fractions of the image instead of in pixels: bool (N,).

    Those between 0 and 1 (give or take rounding) that are no whole numbers; whole ones too where
    all boxes lie there and one is a fraction, as 0 0 1 1 may be a pixel or all of the image.
    """
    boxes = np.array([item.xyxy for item in objects], np.float64).reshape(-1, 4)
    low = np.all((boxes >= -0.05) & (boxes <= 1.05), axis=1)
    broken = low & np.any(boxes != np.round(boxes), axis=1)
    return np.asarray(low if low.all() and broken.any() else broken, bool)


def format_voc(annotation: VocAnnotation) -> bytes:
    """The annotation as XML in UTF-8; the same bytes for equal annotations. See `write_voc`."""
    root = etree.Element("annotation")
    _add(root, "filename", holdable(annotation.filename))
    size = etree.SubElement(root, "size")
    _add(size, "width", str(annotation.width))
    _add(size, "height", str(annotation.height))
    _add(size, "depth", "3")
    _add(root, "segmented", "0")
    for item in annotation.objects:
        element = etree.SubElement(root, "object")
        _add(element, "name", item.name)
        for key in (*_FIRST, *sorted(item.attributes.keys() - _FIRST)):
            if key in item.attributes:
                _add(element, key, item.attributes[key])
        _add(element, "difficult", str(int(item.difficult)))
        box = etree.SubElement(element, "bndbox")
        for corner, value in zip(CORNERS, item.xyxy, strict=True):
            _add(box, corner, format_number(value))
        if any(point is not None for point in item.landmarks):
            points = etree.SubElement(element, "landmarks")
            for tag, point in zip(LANDMARKS, item.landmarks, strict=True):
                if point is not None:
                    place = etree.SubElement(points, tag)
                    _add(place, "x", format_number(point[0]))
                    _add(place, "y", format_number(point[1]))
    return etree.tostring(root, encoding="utf-8", pretty_print=True)


def holdable(name: str) -> str:
    """A file's name as XML can hold it: "?" for control characters and bytes that are no UTF-8."""
    return ILLEGAL.sub("?", name)


def box_of(owner: etree._Element, path: Path) -> tuple[float, float, float, float]:
    """x1 y1 x2 y2 of the ``<bndbox>`` in an object (or a part of one); UserError as `read_voc`."""
    box = owner.find("bndbox")
    if box is None:
        raise UserError(f"{_where(owner, path)}: the <{owner.tag}> has no <bndbox>")
    values = []
    for corner in CORNERS:
        element = box.find(corner)
        if element is None:
            raise UserError(f"{_where(box, path)}: the <bndbox> has no <{corner}>")
        values.append(_number(element, path))
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2


def landmarks_of(element: etree._Element) -> tuple[tuple[float, float] | None, ...]:
    """The points of an object as `VocObject` has them; what is no pair of numbers is not known."""
    points: list[tuple[float, float] | None] = []
    for tag in LANDMARKS:
        texts = [(element.findtext(f"landmarks/{tag}/{axis}") or "").strip() for axis in "xy"]
        known = all(_NUMBER.fullmatch(text) and math.isfinite(float(text)) for text in texts)
        points.append((float(texts[0]), float(texts[1])) if known else None)
    return tuple(points) if any(point is not None for point in points) else ()


def set_landmarks(element: etree._Element, landmarks: Sequence[tuple[float, float] | None]) -> None:
    """Change the coordinates that `landmarks_of` reads, and nothing else."""
    for tag, point in zip(LANDMARKS, landmarks, strict=False):
        if point is not None:
            for axis, value in zip("xy", point, strict=True):
                _set_text(element, f"landmarks/{tag}/{axis}", format_number(value))


def set_box(owner: etree._Element, xyxy: tuple[float, float, float, float]) -> None:
    """Change the coordinates that `box_of` reads, and nothing else."""
    for corner, value in zip(CORNERS, xyxy, strict=True):
        _set_text(owner, f"bndbox/{corner}", format_number(value))


def set_size(root: etree._Element, width: int, height: int) -> None:
    """Change the image's size in an annotation's tree; elements that lack are added."""
    size = root.find("size")
    if size is None:
        size = etree.Element("size")
        first = root.find("object")
        root.insert(len(root) if first is None else root.index(first), size)
    for side, value in (("width", width), ("height", height)):
        if size.find(side) is None:
            etree.SubElement(size, side)
        _set_text(size, side, str(value))


def set_filename(root: etree._Element, name: str) -> None:
    """Change the image's name in an annotation's tree."""
    if root.find("filename") is None:
        root.insert(0, etree.Element("filename"))
    _set_text(root, "filename", name)


def set_name(element: etree._Element, name: str) -> None:
    """Change the class of an object in an annotation's tree."""
    if element.find("name") is None:
        element.insert(0, etree.Element("name"))
    _set_text(element, "name", name)


def _set_text(root: etree._Element, path: str, text: str) -> None:
    element = root.find(path)
    assert element is not None
    element.text = text


def format_number(value: float) -> str:
    """The shortest text that reads back as the same number; whole numbers without a point."""
    if not math.isfinite(value):
        raise ValueError(f"a coordinate must be finite, got {value}")
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _add(parent: etree._Element, tag: str, text: str) -> None:
    etree.SubElement(parent, tag).text = text


def _size(root: etree._Element) -> tuple[int, int]:
    """Width and height, 0 where they are missing or no whole number of pixels."""
    sides = []
    for side in ("width", "height"):
        text = (root.findtext(f"size/{side}") or "").strip()
        value = float(text) if _NUMBER.fullmatch(text) else 0.0
        sides.append(int(value) if 0 < value < 1e9 and value == int(value) else 0)
    return sides[0], sides[1]


def _object(element: etree._Element, path: Path) -> VocObject:
    name = ""
    difficult = False
    attributes: dict[str, str] = {}
    for child in element:
        tag = str(child.tag)
        text = (child.text or "").strip()
        if tag == "bndbox" or len(child):
            continue  # the box comes below; parts, actions and polygons are other tasks' truth
        if tag == "name":
            name = text
        elif tag == "difficult":
            difficult = text == "1"  # `read_tree` has written it so
        else:
            attributes[tag] = text
    box, landmarks = box_of(element, path), landmarks_of(element)
    return VocObject(name, box, difficult, attributes, line_of(element), landmarks)


def _number(element: etree._Element, path: Path) -> float:
    text = (element.text or "").strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise UserError(f"{_where(element, path)}: <{element.tag}> must be a number, got {text!r}")
    return value


def _where(element: etree._Element, path: Path) -> str:
    return f"{path}, line {line_of(element)}"


def _line_in(error: UserError, element: etree._Element) -> int:
    found = re.search(r", line (\d+): ", str(error))
    return line_of(element) if found is None else int(found[1])
