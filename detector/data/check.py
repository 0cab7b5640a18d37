"""What is wrong with a VOC folder, every annotation and every image of which is read; and a picture
of what it holds, for the eye to check."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.voc.annotation import VocAnnotation, load_voc
from detector.data.voc.boxes import (
    BoxFrame,
    boxes_as_stored,
    boxes_in_pixels,
    mend_box,
    upright_annotation_boxes,
)
from detector.data.voc.folder import Pairing, VocFolder, pair
from detector.data.voc.truth import faces_of, why_no_face
from detector.draw import MISSED, TRUTH, contact_sheet, draw_boxes, evenly
from faces.errors import UserError
from faces.filenames import folded
from faces.folders import in_threads
from faces.images.read import ImageInfo, image_info, read_image

# Every kind of problem, in the order of the table, and what a repair does about it.
PROBLEMS = {
    "no face": "left to you",
    "unreadable annotation": "left out",
    "unreadable image": "left out",
    "cut short": "written whole",
    "missing image": "annotation left out",
    "missing annotation": "image left out",
    "duplicate name": "renamed, or left out where it is unclear which is meant",
    "several annotations": "joined",
    "damaged": "whole objects kept",
    "not well-formed": "mended",
    "not UTF-8": "re-encoded",
    "not as VOC": "rewritten",
    "unreadable object": "dropped",
    "fractions": "multiplied by the image's size",
    "no size": "filled in",
    "wrong size": "corrected, boxes scaled with it; left out where they cannot fit",
    "EXIF rotation": "pixels and boxes turned upright",
    "inverted box": "corners swapped",
    "degenerate box": "dropped",
    "box outside": "dropped",
    "box over the edge": "clipped",
}

BOX_PROBLEMS = frozenset({"inverted box", "degenerate box", "box outside", "box over the edge"})


@dataclass(frozen=True)
class Finding:
    """One problem."""

    kind: str  # a key of `PROBLEMS`
    file: Path  # the annotation or image it is in
    line: int  # in the annotation, counted from 1; 0 when it is about the whole file
    detail: str  # what is wrong, with the values

    def __str__(self) -> str:
        return f"{self.file}{f', line {self.line}' if self.line else ''}: {self.detail}"


@dataclass(frozen=True)
class SetReport:
    """What `check_set` found in one set."""

    folder: VocFolder  # the set
    pairs: Pairing  # the images and annotations that belong together, and those that stand alone
    classes: dict[str, int]  # how often each object name occurs
    difficult: int  # objects with the flag
    without_object: int  # annotations without any object
    # all problems, in the order of `PROBLEMS`, then of the files
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


def check_set(
    folder: VocFolder,
    *,
    decode: bool = True,
    boxes: BoxFrame = "auto",
    classes: tuple[str, ...] = (),
) -> SetReport:
    """Read one set and find everything that is wrong with it.

    Args:
        folder: from `voc_folder.find_sets`.
        decode: read all of every image, which finds the broken ones; otherwise only the headers.
        boxes: what the boxes of an image with EXIF rotation refer to, see `boxes_as_stored`.
        classes: object names that are faces; empty: all.

    Raises UserError when a folder of the set is missing.
    """
    pairing = pair(folder)
    findings = list(_unpaired(pairing)) + list(_duplicates(folder, pairing))
    counts: Counter[str] = Counter()
    difficult = without_object = 0
    faces = []
    work = partial(_check_pair, decode=decode, frame=boxes)
    name = folder.name or folder.annotations.name
    further = [(image, path) for image, several in pairing.doubles for path in several]
    every = [*pairing.pairs, *further]
    checked = in_threads(work, every, description=f"checking {name}")
    for (_, path), (found, annotation, size) in zip(every, checked, strict=True):
        findings += found
        if annotation is not None:
            faces.append(faces_of(annotation, path, size, classes))
            counts.update(item.name for item in annotation.objects)
            difficult += sum(item.difficult for item in annotation.objects)
            without_object += not annotation.objects
    why = why_no_face(faces, classes) if faces else None
    if why is not None:
        findings.append(Finding("no face", folder.annotations, 0, why))
    order = {kind: i for i, kind in enumerate(PROBLEMS)}
    findings.sort(key=lambda finding: order[finding.kind])  # stable: files stay in their order
    return SetReport(
        folder, pairing, dict(counts.most_common()), difficult, without_object, tuple(findings)
    )


def _check_pair(
    item: tuple[Path, Path], decode: bool, frame: BoxFrame
) -> tuple[list[Finding], VocAnnotation | None, tuple[int, int] | None]:
    image, path = item
    findings: list[Finding] = []
    annotation: VocAnnotation | None = None
    info: ImageInfo | None = None
    try:
        annotation = load_voc(path)[1]
        findings += [Finding(flaw.kind, path, flaw.line, flaw.detail) for flaw in annotation.flaws]
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
        detail = f"orientation {info.orientation}; boxes are taken to refer to {meant}"
        findings.append(Finding("EXIF rotation", image, 0, detail))
    return findings, annotation, None if info is None else (info.height, info.width)


def _check_boxes(
    annotation: VocAnnotation, path: Path, info: ImageInfo | None, frame: BoxFrame
) -> Iterator[Finding]:
    if annotation.width and annotation.height and info is not None:
        right = (info.height, info.width)
        if boxes_as_stored(annotation, info, frame):
            right = info.stored
        if (annotation.height, annotation.width) != right:
            said = f"it says {annotation.width}x{annotation.height}"
            detail = f"{said}, the image has {right[1]}x{right[0]} pixels"
            yield Finding("wrong size", path, 0, detail)
    if info is None:  # without the image, its size is the best there is
        info = ImageInfo(annotation.height, annotation.width)
        if not (annotation.width and annotation.height):
            return
    if any(flaw.kind == "fractions" for flaw in annotation.flaws):
        return  # told once for all; in pixels they would all be wrong
    boxes = upright_annotation_boxes(annotation, info, frame)
    if not boxes_as_stored(annotation, info, frame):
        try:
            boxes = boxes_in_pixels(annotation, boxes, (info.height, info.width))[0]
        except ValueError:
            return  # the size is told, and that is what is wrong with them
    for i, (item, box) in enumerate(zip(annotation.objects, boxes, strict=True), start=1):
        for kind in mend_box(box, info.width, info.height)[1]:
            numbers = " ".join(f"{value:g}" for value in item.xyxy)
            detail = f"{item.name} {i} of {len(boxes)}: {numbers} in {info.width}x{info.height}"
            yield Finding(kind, path, item.line, detail)


def _unpaired(pairing: Pairing) -> Iterator[Finding]:
    for path in pairing.annotations:
        yield Finding("missing image", path, 0, "there is no image of that name")
    for path in pairing.images:
        yield Finding("missing annotation", path, 0, "there is no annotation of that name")
    for path, images in pairing.ambiguous:
        names = " or ".join(image.name for image in images)
        yield Finding("duplicate name", path, 0, f"it could belong to {names}")
    for image, paths in pairing.doubles:
        for path in paths:
            detail = f"{image.name} has another annotation already"
            yield Finding("several annotations", path, 0, detail)


def _duplicates(folder: VocFolder, pairing: Pairing) -> Iterator[Finding]:
    """Files whose names differ only in suffix or letter case, so that they share an annotation."""
    images = [*(image for image, _ in pairing.pairs), *pairing.images]
    annotations = [*(path for _, path in pairing.pairs), *pairing.annotations]
    for paths, top in ((images, folder.images), (annotations, folder.annotations)):
        groups: defaultdict[str, list[Path]] = defaultdict(list)
        for path in sorted(paths):
            groups[folded(path.relative_to(top).with_suffix("").as_posix())].append(path)
        for first, *others in groups.values():
            for path in others:
                yield Finding("duplicate name", path, 0, f"the same as {first.name}")


def _without_name(error: UserError, path: Path) -> str:
    return str(error).removeprefix(str(path)).lstrip(":, ")


def draw_check(
    reports: Sequence[SetReport], count: int = 12, boxes: BoxFrame = "auto"
) -> NDArray[np.uint8] | None:
    """A sheet of up to ``count`` images with their boxes: sound ones green, the others red.

    Half of them have problems with their boxes where there are that many. RGB (H, W, 3), or None
    when no image can be shown.
    """
    findings = [finding for report in reports for finding in report.findings]
    troubled = {finding.file for finding in findings if finding.kind in BOX_PROBLEMS}
    every = [item for report in reports for item in report.pairs.pairs]
    bad = evenly([item for item in every if item[1] in troubled], count // 2)
    good = evenly([item for item in every if item[1] not in troubled], count - len(bad))
    pictures, titles = [], []
    for image, annotation in [*bad, *good]:
        try:
            voc = load_voc(annotation)[1]
            info = image_info(image)
            picture = read_image(image)
        except UserError:
            continue  # it is among the findings
        placed = upright_annotation_boxes(voc, info, boxes)
        wrong = [bool(mend_box(box, info.width, info.height)[1]) for box in placed]
        ends = np.array(placed, np.float32).reshape(-1, 2, 2)
        corners = np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1)
        bad_ones = np.array(wrong, bool)
        thickness = max(2, round(max(picture.shape[:2]) / 200))  # still seen when it is shrunk
        picture = draw_boxes(picture, corners[~bad_ones], TRUTH, width=thickness)
        picture = draw_boxes(picture, corners[bad_ones], MISSED, width=thickness)
        pictures.append(picture)
        titles.append(f"{image.name[-40:]}  {len(placed)} boxes, {sum(wrong)} wrong")
    return contact_sheet(pictures, 3, 420, titles) if pictures else None
