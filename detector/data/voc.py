"""PASCAL VOC annotations: one XML file per image.

Coordinates are pixels of the upright image, counted from 0 with exclusive ends: ``xmin = x1``,
``ymin = y1``, ``xmax = x2``, ``ymax = y2``, so that ``x2 - x1`` is the width. The common
WIDER-to-VOC conversions do the same; the original VOC 2007 files count from 1 with inclusive ends,
a difference of one pixel that nobody marks in the file, so it is not corrected for.

The files are untrusted: document types and entities are refused, nothing is fetched, and a file
has at most `MAX_BYTES`.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import atomic_write

MAX_BYTES = 10_000_000  # a file with 1,968 faces (the most in WIDER FACE) has 0.8 MB

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DOCTYPE = re.compile(rb"<!\s*(doctype|entity)", re.IGNORECASE)
_FIRST = ("pose", "truncated")  # where the original files have them: before the others


@dataclass(frozen=True)
class VocObject:
    """One box.

    Args:
        name: the class.
        xyxy: x1 y1 x2 y2 in pixels, as written in the file: it may be empty, inverted or outside
            the image.
        difficult: the VOC flag; for WIDER FACE it says that the face is marked invalid.
        attributes: every other simple child element and its text without surrounding blanks, such
            as pose, truncated, blur or occlusion.
        line: where the object begins in its file, counted from 1; 0 when it comes from no file.
    """

    name: str
    xyxy: tuple[float, float, float, float]
    difficult: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class VocAnnotation:
    """The boxes of one image.

    Args:
        filename: the image's name as written, without its folder; empty when the file has none.
        width, height: the image's size in pixels as written; 0 when the file has none.
        objects: the boxes in the order of the file.
    """

    filename: str
    width: int
    height: int
    objects: tuple[VocObject, ...] = ()

    def boxes(self) -> NDArray[np.float32]:
        """The objects' boxes as float32 (N, 4), x1 y1 x2 y2."""
        return np.array([item.xyxy for item in self.objects], np.float32).reshape(-1, 4)


def read_voc(path: Path) -> VocAnnotation:
    """Read one annotation file. Boxes are given as they are, degenerate ones too.

    Raises UserError, naming the file and line, when it is missing, too large, not well-formed, in
    the wrong encoding, has a document type, is no VOC annotation, or has an object without a box,
    a name or numbers.
    """
    return parse_voc(read_tree(read_bytes(path), path), path)


def write_voc(path: Path, annotation: VocAnnotation) -> None:
    """Write one annotation file, whole or not at all. What `read_voc` reads is equal to it.

    Raises ValueError for a coordinate that is not finite or text that XML cannot hold.
    """
    with atomic_write(path) as file:
        file.write(format_voc(annotation))


def read_bytes(path: Path) -> bytes:
    """The bytes of an annotation file; UserError when it is missing or larger than MAX_BYTES."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot read the annotation: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES:,} bytes, which no annotation needs")
    return data


def to_utf8(data: bytes) -> tuple[bytes, str]:
    """An annotation's bytes in UTF-8, and the encoding they came in ("utf-8" for unchanged).

    Tried in turn: UTF-8, UTF-16 with a byte order mark, the encoding that the XML declares, and
    Windows-1252 or, for the few bytes that it does not define, Latin-1.
    """
    try:
        data.decode("utf-8")
        return data, "utf-8"
    except UnicodeDecodeError:
        pass
    declared = re.match(rb"""<\?xml[^>]*?encoding=["']([A-Za-z0-9._-]+)["']""", data)
    encodings = [declared[1].decode("ascii")] if declared else []
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings.insert(0, "utf-16")
    for encoding in [*encodings, "windows-1252", "latin-1"]:
        try:
            text = re.sub(r"^<\?xml[^>]*\?>", "", data.decode(encoding))
            return text.encode("utf-8"), encoding
        except (LookupError, UnicodeError):  # there is no such encoding, or it is not in it
            continue
    raise AssertionError("latin-1 decodes any bytes")


def read_tree(data: bytes, path: Path) -> etree._Element:
    """The root element of an annotation's XML; UserError, naming ``path`` and line, as read_voc."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # Brought to UTF-8 first, so that nothing hides from the search for a document type.
        try:
            text = re.sub(r"^<\?xml[^>]*\?>", "", data.decode("utf-16"))
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not valid UTF-16: {error.reason}") from error
        data = text.encode("utf-8")
    # Refused before the parser sees it: libxml2 expands entities inside attributes whatever its
    # options say, and no annotation needs them.
    if _DOCTYPE.search(data):
        raise UserError(
            f"{path}: has a document type or entities, which annotations must not have; remove them"
        )
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        message = re.sub(r", line \d+, column \d+$", "", error.msg or "")
        raise UserError(f"{path}, line {error.lineno or 1}: not valid XML: {message}") from error
    if root.getroottree().docinfo.internalDTD is not None:  # hidden by an exotic encoding
        raise UserError(f"{path}: has a document type, which annotations must not have; remove it")
    if root.tag != "annotation":
        raise UserError(
            f"{path}: not a PASCAL VOC annotation: its root is <{root.tag}>, not <annotation>"
        )
    return root


def parse_voc(root: etree._Element, path: Path) -> VocAnnotation:
    """The annotation in a tree from `read_tree`; UserError, naming ``path`` and line."""
    return VocAnnotation(
        filename=(root.findtext("filename") or "").strip(),
        width=_size(root, "width", path),
        height=_size(root, "height", path),
        objects=tuple(_object(element, path) for element in root.iterfind("object")),
    )


def format_voc(annotation: VocAnnotation) -> bytes:
    """The annotation as XML in UTF-8; the same bytes for equal annotations. See `write_voc`."""
    root = etree.Element("annotation")
    _add(root, "filename", annotation.filename)
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
        for corner, value in zip(_CORNERS, item.xyxy, strict=True):
            _add(box, corner, format_number(value))
    return etree.tostring(root, encoding="utf-8", pretty_print=True)


def box_of(owner: etree._Element, path: Path) -> tuple[float, float, float, float]:
    """x1 y1 x2 y2 of the ``<bndbox>`` in an object (or a part of one); UserError as `read_voc`."""
    box = owner.find("bndbox")
    if box is None:
        raise UserError(f"{_where(owner, path)}: the <{owner.tag}> has no <bndbox>")
    values = []
    for corner in _CORNERS:
        element = box.find(corner)
        if element is None:
            raise UserError(f"{_where(box, path)}: the <bndbox> has no <{corner}>")
        values.append(_number(element, path))
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2


def set_box(owner: etree._Element, xyxy: tuple[float, float, float, float]) -> None:
    """Change the coordinates that `box_of` reads, and nothing else."""
    for corner, value in zip(_CORNERS, xyxy, strict=True):
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


def _size(root: etree._Element, side: str, path: Path) -> int:
    element = root.find(f"size/{side}")
    if element is None or not (element.text or "").strip():
        return 0
    value = _number(element, path)
    if value != int(value) or value < 0:
        raise UserError(f"{_where(element, path)}: <{side}> must be a whole number of pixels")
    return int(value)


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
            difficult = text.lower() in ("1", "true")
        else:
            attributes[tag] = text
    if not name:
        raise UserError(f"{_where(element, path)}: the object has no <name>")
    return VocObject(name, box_of(element, path), difficult, attributes, _line(element))


def _number(element: etree._Element, path: Path) -> float:
    text = (element.text or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{_where(element, path)}: <{element.tag}> must be a number, got {text!r}")
    return value


def _where(element: etree._Element, path: Path) -> str:
    return f"{path}, line {_line(element)}"


def _line(element: etree._Element) -> int:
    return cast("int | None", element.sourceline) or 0
