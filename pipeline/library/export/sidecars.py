"""XMP sidecars with names and places of faces, as photo managers read and write them.

Regions follow the Metadata Working Group ("Guidelines for Handling Image Metadata", 2.0, 2010,
section 5.9), as digiKam, Lightroom, Immich and others have them: center and size as parts of the
picture *as stored*, before its EXIF orientation (section 5.4). Names are also in IPTC's
PersonInImage. What else a sidecar holds stays, and so do the regions of other programs and people:
ours are known by a mark, and a face that somebody else has marked already is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from faces.boxes import iou
from faces.errors import UserError
from faces.files import atomic_write
from faces.images.read import upright_boxes

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
X = "adobe:ns:meta/"
MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIM = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OURS = "urn:faces:1.0/"
_SPACES = {
    "mwg-rs": MWG, "stArea": AREA, "stDim": DIM, "Iptc4xmpExt": IPTC, "faces": OURS,
}  # fmt: skip

SAME_FACE = 0.4
"""Overlap (IoU) from which on two regions mark one face: people draw generous ones."""

_LARGEST = 16 << 20  # bytes of a sidecar; develop settings with masks are a few megabytes


@dataclass(frozen=True)
class Region:
    """A face with a name."""

    name: str  # whose it is
    box: tuple[float, float, float, float]  # x1, y1, x2, y2 as parts of the picture as stored, 0..1
    face: str  # its name in the library


def stored_boxes(
    xyxy: NDArray[np.float32], orientation: int, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Boxes (N, 4) in pixels of a picture as shown -> parts of it as stored, 0..1.

    Args:
        orientation: EXIF, 1..8.
        size: (height, width) as shown.
    """
    # What turned it is undone: a quarter turn by the opposite one, all others by themselves.
    boxes = upright_boxes(xyxy, {6: 8, 8: 6}.get(orientation, orientation), size)
    height, width = size[::-1] if orientation >= 5 else size
    return np.clip(boxes / [width, height, width, height], 0, 1)


def write_sidecar(path: Path, regions: Sequence[Region], size: tuple[int, int]) -> str:
    """Make a sidecar, or bring the one that is there up to date.

    Args:
        path: of the sidecar.
        regions: every face of the photo with a name; none takes ours away.
        size: (height, width) of the picture as stored, in pixels.

    Returns:
        ``"written"``, ``"updated"`` or ``"unchanged"``.

    Raises UserError for a sidecar that cannot be understood, which stays as it is, and OSError as
    ``open`` does.
    """
    old = path.read_bytes() if path.exists() else None
    if old is None and not regions:
        return "unchanged"
    root = (
        _parse(old, path) if old is not None else etree.Element(f"{{{X}}}xmpmeta", nsmap={"x": X})
    )
    rdf = root if root.tag == _rdf("RDF") else root.find(_rdf("RDF"))
    if rdf is None:
        rdf = etree.SubElement(root, _rdf("RDF"), nsmap={"rdf": RDF})
    before = etree.tostring(root, method="c14n")
    added, gone = _set_regions(rdf, regions, size)
    _set_people(rdf, added, gone)
    if old is not None and etree.tostring(root, method="c14n") == before:
        return "unchanged"
    etree.indent(root, " ")
    text = etree.tostring(root.getroottree(), encoding="utf-8")
    if old is None:
        text = (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
            + text + b'\n<?xpacket end="w"?>\n'
        )  # fmt: skip
    with atomic_write(path) as file:
        file.write(text)
    return "written" if old is None else "updated"


def _parse(data: bytes, path: Path) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_blank_text=True,
    )  # fmt: skip
    try:
        if len(data) > _LARGEST:
            raise ValueError(f"more than {_LARGEST >> 20} MB")
        root = etree.fromstring(data, parser)
        if root.getroottree().docinfo.internalDTD is not None:
            raise ValueError("a DTD, which no sidecar has")
        if root.tag not in (f"{{{X}}}xmpmeta", f"{{{X}}}xapmeta", _rdf("RDF")):
            raise ValueError(f"<{root.tag}> where XMP begins with <x:xmpmeta>")
        return root
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UserError(
            f"{path} is there and is no XMP that can be read ({error}): it stays as it is; mend "
            "it or move it away"
        ) from error


def _set_regions(
    rdf: etree._Element, regions: Sequence[Region], size: tuple[int, int]
) -> tuple[list[str], list[str]]:
    """Replace our regions; the names that are there now, and those that ours had before."""
    holder = rdf.find(f".//{{{MWG}}}Regions")
    if holder is None and not regions:
        return [], []
    listed: etree._Element | None = None
    foreign, gone = [], []
    if holder is not None:
        listed = holder.find(f".//{{{MWG}}}RegionList/{_rdf('Bag')}")
        for item in list(listed) if listed is not None else []:
            if item.find(f".//{{{OURS}}}face") is not None:
                gone.append(_value(item, MWG, "Name") or "")
                _remove(item)
            elif (box := _box(item)) is not None:
                foreign.append(box)
    theirs = np.array(foreign, np.float64).reshape(-1, 4)
    ours = [r for r in regions if not len(theirs) or iou([r.box], theirs).max() < SAME_FACE]
    if ours and listed is None:
        if holder is None:
            holder = etree.SubElement(_description(rdf), f"{{{MWG}}}Regions")
            holder.set(_rdf("parseType"), "Resource")
        else:  # a list was there in a form that nobody writes; a second one would be wrong
            for child in holder.findall(f"{{{MWG}}}RegionList"):
                holder.remove(child)
        inner = holder.find(_rdf("Description"))
        inside = holder if inner is None else inner
        if inside.find(f"{{{MWG}}}AppliedToDimensions") is None:
            applied = etree.SubElement(inside, f"{{{MWG}}}AppliedToDimensions")
            applied.set(_rdf("parseType"), "Resource")
            for key, value in (("w", size[1]), ("h", size[0]), ("unit", "pixel")):
                etree.SubElement(applied, f"{{{DIM}}}{key}").text = str(value)
        regions_list = etree.SubElement(inside, f"{{{MWG}}}RegionList")
        listed = etree.SubElement(regions_list, _rdf("Bag"))
    for region in ours:
        assert listed is not None
        _add(listed, region)
    if holder is not None and listed is not None and not len(listed):
        _remove(holder)
    return [region.name for region in ours], gone


def _add(listed: etree._Element, region: Region) -> None:
    item = etree.SubElement(listed, _rdf("li"))
    item.set(_rdf("parseType"), "Resource")
    etree.SubElement(item, f"{{{MWG}}}Name").text = region.name
    etree.SubElement(item, f"{{{MWG}}}Type").text = "Face"
    area = etree.SubElement(item, f"{{{MWG}}}Area")
    area.set(_rdf("parseType"), "Resource")
    x1, y1, x2, y2 = region.box
    for key, value in (("x", (x1 + x2) / 2), ("y", (y1 + y2) / 2), ("w", x2 - x1), ("h", y2 - y1)):
        etree.SubElement(area, f"{{{AREA}}}{key}").text = f"{value:.6f}"
    etree.SubElement(area, f"{{{AREA}}}unit").text = "normalized"
    extensions = etree.SubElement(item, f"{{{MWG}}}Extensions")
    extensions.set(_rdf("parseType"), "Resource")
    etree.SubElement(extensions, f"{{{OURS}}}face").text = region.face


def _set_people(rdf: etree._Element, names: Sequence[str], gone: Sequence[str]) -> None:
    """PersonInImage with these names, without those that only our old regions had."""
    bag = rdf.find(f".//{{{IPTC}}}PersonInImage/{_rdf('Bag')}")
    there = [] if bag is None else [item.text or "" for item in bag]
    kept = {_value(item, MWG, "Name") for item in rdf.iterfind(f".//{{{MWG}}}RegionList//*")}
    for item in list(bag) if bag is not None else []:
        if item.text in gone and item.text not in kept:
            _remove(item)
    for name in dict.fromkeys(names):
        if name in there:
            continue
        if bag is None:
            holder = etree.SubElement(_description(rdf), f"{{{IPTC}}}PersonInImage")
            bag = etree.SubElement(holder, _rdf("Bag"))
        etree.SubElement(bag, _rdf("li")).text = name
    if bag is not None and not len(bag):
        found = bag.getparent()
        assert found is not None
        _remove(found)


def _description(rdf: etree._Element) -> etree._Element:
    """One for what we add, which declares the names that we use."""
    for one in rdf.findall(_rdf("Description")):
        if one.nsmap.get("faces") == OURS:
            return one
    one = etree.SubElement(rdf, _rdf("Description"), nsmap=_SPACES)
    one.set(
        _rdf("about"),
        next((o.get(_rdf("about")) or "" for o in rdf.findall(_rdf("Description"))), ""),
    )
    return one


def _box(item: etree._Element) -> tuple[float, float, float, float] | None:
    """The area of a region, written as elements or as attributes; None for what has none."""
    area = item.find(f".//{{{MWG}}}Area")
    if area is None:
        return None
    try:
        x, y, w, h = (float(_value(area, AREA, key) or "nan") for key in "xywh")
    except ValueError:
        return None
    return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def _value(element: etree._Element, space: str, key: str) -> str | None:
    """A property of a structure: an element in it, or an attribute of it or of its Description."""
    name = f"{{{space}}}{key}"
    for one in (element, *element.findall(_rdf("Description"))):
        if one.get(name) is not None:
            return str(one.get(name))
        child = one.find(name)
        if child is not None:
            return child.text or ""
    return None


def _remove(element: etree._Element) -> None:
    parent = element.getparent()
    assert parent is not None
    parent.remove(element)


def _rdf(name: str) -> str:
    return f"{{{RDF}}}{name}"
