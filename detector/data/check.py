"""What is wrong with a VOC folder: every annotation and every image is read."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from detector.data.voc import VocAnnotation, parse_voc, read_bytes, read_tree, to_utf8
from detector.data.voc_folder import Pairing, VocFolder, pair
from faces.errors import UserError
from faces.folders import in_threads
from faces.images import ImageInfo, image_info, upright_boxes

# Every kind of problem, in the order of the table, and what a repair does about it.
PROBLEMS = {
    "unreadable annotation": "left out",
    "unreadable image": "left out",
    "cut short": "written whole",
    "missing image": "annotation left out",
    "missing annotation": "image left out",
    "duplicate name": "renamed, or left out where it is unclear which is meant",
    "not UTF-8": "re-encoded",
    "no size": "filled in",
    "wrong size": "corrected",
    "EXIF rotation": "pixels and boxes turned upright",
    "inverted box": "corners swapped",
    "degenerate box": "dropped",
    "box outside": "dropped",
    "box over the edge": "clipped",
}

BOX_PROBLEMS = frozenset({"inverted box", "degenerate box", "box outside", "box over the edge"})

BoxFrame = Literal["auto", "upright", "stored"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Finding:
    """One problem.

    Args:
        kind: a key of `PROBLEMS`.
        file: the annotation or image it is in.
        line: in the annotation, counted from 1; 0 when it is about the whole file.
        detail: what is wrong, with the values.
    """

    kind: str
    file: Path
    line: int
    detail: str

    def __str__(self) -> str:
        return f"{self.file}{f', line {self.line}' if self.line else ''}: {self.detail}"


@dataclass(frozen=True)
class SetReport:
    """What `check_set` found in one set.

    Args:
        folder: the set.
        pairs: the images and annotations that belong together, and those that stand alone.
        classes: how often each object name occurs.
        difficult: objects with the flag.
        without_object: annotations without any object.
        findings: all problems, in the order of `PROBLEMS`, then of the files.
    """

    folder: VocFolder
    pairs: Pairing
    classes: dict[str, int]
    difficult: int
    without_object: int
    findings: tuple[Finding, ...] = field(default=())

    def counts(self) -> dict[str, int]:
        """How many problems there are of each kind, 0 for none."""
        counter = Counter(finding.kind for finding in self.findings)
        return {kind: counter[kind] for kind in PROBLEMS}

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON can hold it; files as paths with forward slashes."""
        return {
            "set": self.folder.name,
            "images": self.folder.images.as_posix(),
            "annotations": self.folder.annotations.as_posix(),
            "pairs": len(self.pairs.pairs),
            "classes": self.classes,
            "difficult": self.difficult,
            "without_object": self.without_object,
            "counts": self.counts(),
            "problems": [
                {**dataclasses.asdict(finding), "file": finding.file.as_posix()}
                for finding in self.findings
            ],
        }


def check_set(folder: VocFolder, *, decode: bool = True, boxes: BoxFrame = "auto") -> SetReport:
    """Read one set and find everything that is wrong with it.

    Args:
        folder: from `voc_folder.find_sets`.
        decode: read all of every image, which finds the broken ones; otherwise only the headers.
        boxes: what the boxes of an image with EXIF rotation refer to, see `boxes_as_stored`.

    Raises UserError when a folder of the set is missing.
    """
    pairing = pair(folder, _image_name)
    findings = list(_lonely(pairing)) + list(_duplicates(folder, pairing))
    classes: Counter[str] = Counter()
    difficult = without_object = 0
    work = partial(_check_pair, decode=decode, frame=boxes)
    name = folder.name or folder.annotations.name
    for found, annotation in in_threads(work, pairing.pairs, description=f"checking {name}"):
        findings += found
        if annotation is not None:
            classes.update(item.name for item in annotation.objects)
            difficult += sum(item.difficult for item in annotation.objects)
            without_object += not annotation.objects
    order = {kind: i for i, kind in enumerate(PROBLEMS)}
    findings.sort(key=lambda finding: order[finding.kind])  # stable: files stay in their order
    return SetReport(
        folder, pairing, dict(classes.most_common()), difficult, without_object, tuple(findings)
    )


def mend_box(box: Box, width: int, height: int) -> tuple[Box | None, list[str]]:
    """A box brought into an image of ``width`` x ``height`` pixels, and what was wrong with it.

    Inverted corners are swapped, then what lies over the edge is cut off. None when nothing with an
    area is left.
    """
    x1, y1, x2, y2 = box
    kinds = []
    if x2 < x1 or y2 < y1:
        kinds.append("inverted box")
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    if x1 == x2 or y1 == y2:
        return None, [*kinds, "degenerate box"]
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return None, [*kinds, "box outside"]
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        kinds.append("box over the edge")
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
    return (x1, y1, x2, y2), kinds


def boxes_as_stored(annotation: VocAnnotation, info: ImageInfo, frame: BoxFrame) -> bool:
    """Whether boxes refer to the pixels as stored rather than to the upright image.

    With "auto", the size in the annotation tells where the rotation exchanges height and width and
    the size is one of the two. Otherwise the boxes are taken to refer to the upright image, which
    is what viewers and most annotation tools show.
    """
    if info.orientation == 1:
        return False
    if frame != "auto":
        return frame == "stored"
    upright = (info.height, info.width)
    return info.stored != upright and info.stored == (annotation.height, annotation.width)


def upright_annotation_boxes(
    annotation: VocAnnotation, info: ImageInfo, frame: BoxFrame
) -> list[Box]:
    """The boxes of an annotation, in pixels of the upright image."""
    boxes: list[Box] = [item.xyxy for item in annotation.objects]
    if boxes_as_stored(annotation, info, frame):
        turned = upright_boxes(boxes, info.orientation, info.stored).tolist()
        boxes = [(x1, y1, x2, y2) for x1, y1, x2, y2 in turned]
    return boxes


def _check_pair(
    item: tuple[Path, Path], decode: bool, frame: BoxFrame
) -> tuple[list[Finding], VocAnnotation | None]:
    image, path = item
    findings: list[Finding] = []
    annotation: VocAnnotation | None = None
    info: ImageInfo | None = None
    try:
        data, encoding = to_utf8(read_bytes(path))
        annotation = parse_voc(read_tree(data, path), path)
        if encoding != "utf-8":
            findings.append(Finding("not UTF-8", path, 0, f"it is encoded as {encoding}"))
    except UserError as error:
        findings.append(Finding("unreadable annotation", path, 0, _without_name(error, path)))
    try:
        info = image_info(image, decode=decode)
    except UserError as error:
        findings.append(Finding("unreadable image", image, 0, _without_name(error, image)))
    if annotation is not None:
        findings += _check_boxes(annotation, path, info, frame)
    if info is not None and info.damage:
        findings.append(Finding("cut short", image, 0, info.damage))
    if info is not None and info.orientation != 1:
        stored = annotation is not None and boxes_as_stored(annotation, info, frame)
        meant = "the stored pixels" if stored else "the upright image"
        findings.append(
            Finding(
                "EXIF rotation",
                image,
                0,
                f"orientation {info.orientation}; boxes are taken to refer to {meant}",
            )
        )
    return findings, annotation


def _check_boxes(
    annotation: VocAnnotation, path: Path, info: ImageInfo | None, frame: BoxFrame
) -> Iterator[Finding]:
    if not (annotation.width and annotation.height):
        yield Finding("no size", path, 0, "it does not give the image's size")
    elif info is not None:
        right = (info.height, info.width)
        if boxes_as_stored(annotation, info, frame):
            right = info.stored
        if (annotation.height, annotation.width) != right:
            yield Finding(
                "wrong size",
                path,
                0,
                f"it says {annotation.width}x{annotation.height}, the image has "
                f"{right[1]}x{right[0]} pixels",
            )
    if info is None:  # without the image, its size is the best there is
        info = ImageInfo(annotation.height, annotation.width)
        if not (annotation.width and annotation.height):
            return
    boxes = upright_annotation_boxes(annotation, info, frame)
    for i, (item, box) in enumerate(zip(annotation.objects, boxes, strict=True), start=1):
        for kind in mend_box(box, info.width, info.height)[1]:
            numbers = " ".join(f"{value:g}" for value in item.xyxy)
            yield Finding(
                kind,
                path,
                item.line,
                f"{item.name} {i} of {len(boxes)}: {numbers} in {info.width}x{info.height}",
            )


def _lonely(pairing: Pairing) -> Iterator[Finding]:
    for path in pairing.annotations:
        yield Finding("missing image", path, 0, "there is no image of that name")
    for path in pairing.images:
        yield Finding("missing annotation", path, 0, "there is no annotation of that name")
    for path, images in pairing.ambiguous:
        names = " or ".join(image.name for image in images)
        yield Finding("duplicate name", path, 0, f"it could belong to {names}")


def _duplicates(folder: VocFolder, pairing: Pairing) -> Iterator[Finding]:
    """Files whose names differ only in suffix or letter case, so that they share an annotation."""
    images = [*(image for image, _ in pairing.pairs), *pairing.images]
    annotations = [*(path for _, path in pairing.pairs), *pairing.annotations]
    for paths, top in ((images, folder.images), (annotations, folder.annotations)):
        groups: defaultdict[str, list[Path]] = defaultdict(list)
        for path in sorted(paths):
            groups[path.relative_to(top).with_suffix("").as_posix().casefold()].append(path)
        for first, *others in groups.values():
            for path in others:
                yield Finding("duplicate name", path, 0, f"the same as {first.name}")


def _image_name(annotation: Path) -> str:
    try:
        root = read_tree(to_utf8(read_bytes(annotation))[0], annotation)
    except UserError:
        return ""
    return (root.findtext("filename") or "").strip()


def _without_name(error: UserError, path: Path) -> str:
    return str(error).removeprefix(str(path)).lstrip(":, ")
