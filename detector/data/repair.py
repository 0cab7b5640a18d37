"""A repaired copy of a VOC folder. The folder itself is only read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from lxml import etree

from detector.data.check import SetReport
from detector.data.formats.export import require_free
from detector.data.formats.write import apart
from detector.data.voc.annotation import (
    VocAnnotation,
    are_fractions,
    box_of,
    holdable,
    landmarks_of,
    load_voc,
    set_box,
    set_filename,
    set_landmarks,
    set_name,
    set_size,
)
from detector.data.voc.boxes import Box, BoxFrame, boxes_as_stored, boxes_in_pixels, mend_box
from faces.boxes import iou
from faces.errors import UserError
from faces.files import atomic_write_text
from faces.folders import atomic_folder, in_threads, place_file
from faces.images.read import ImageInfo, image_info, upright_boxes, write_upright

REPORT_NAME = "repairs.json"

SAME_BOX = 0.5
"""Overlap (IoU) from which on boxes of two annotations of an image are taken for one."""


@dataclass(frozen=True)
class Repairs:
    """What was done."""

    pairs: int  # images with annotations in the copy
    done: dict[str, int]  # how often each repair was made; the keys are sentences for a table
    # files that are not in the copy, and why
    left_out: dict[str, str] = field(default_factory=dict)


def repair(
    reports: Sequence[SetReport],
    out: Path,
    *,
    boxes: BoxFrame = "auto",
    images: Literal["copy", "link"] = "copy",
) -> Repairs:
    """Write a repaired copy of checked sets to ``out``, which appears when it is complete.

    Args:
        out: a folder that does not exist yet or is empty, outside the checked ones. It gets
            ``images`` and ``annotations`` with the same sub-folders in both (for each set in a
            folder of its own where there are several), and ``repairs.json``.
        boxes: what boxes refer to in images with EXIF rotation, see `check.boxes_as_stored`.
        images: copy them, or link those that need no change.

    Boxes are turned upright, multiplied where they are fractions, scaled where the image was
    resized, swapped, clipped, or dropped where nothing of them lies in the image; sizes filled in;
    texts re-encoded as UTF-8 and brought into VOC's form; of damaged files all whole objects kept;
    several annotations of an image joined; pixels turned as EXIF says; files that are cut short
    made whole, gray where the picture is missing. Such JPEG files are encoded again, at quality 95,
    without their EXIF data; what is neither JPEG, PNG, WebP, BMP nor TIFF becomes PNG. Everything
    else in an annotation stays. Pairs with a file of which nothing can be read or whose boxes
    cannot fit, and files without a partner, are left out. Raises UserError when ``out`` is in use
    or inside a checked folder.
    """
    for report in reports:
        require_free(out, (report.folder.images, report.folder.annotations))
    done: Counter[str] = Counter()
    left_out: dict[str, str] = {}
    pairs = 0
    with atomic_folder(out) as new:
        for report in reports:
            unusable = _unusable(report)
            left_out.update(unusable)
            jobs = _jobs(report, set(unusable), new / report.folder.name)
            cut = frozenset(found.file for found in report.findings if found.kind == "cut short")
            work = partial(_repair_pair, frame=boxes, link=images == "link", cut=cut)
            name = report.folder.name or report.folder.annotations.name
            repaired = in_threads(work, jobs, description=f"repairing {name}")
            for job, repairs in zip(jobs, repaired, strict=True):
                if isinstance(repairs, str):
                    left_out |= dict.fromkeys(map(str, (job.image, *job.annotations)), repairs)
                    continue
                done.update(repairs)
                pairs += 1
        result = Repairs(pairs, dict(done.most_common()), left_out)
        text = json.dumps({"done": result.done, "left_out": left_out}, indent=1, ensure_ascii=False)
        atomic_write_text(new / REPORT_NAME, text + "\n")
    return result


@dataclass(frozen=True)
class _Job:
    image: Path
    annotations: tuple[Path, ...]
    new_image: Path
    new_annotation: Path


def _unusable(report: SetReport) -> dict[str, str]:
    """Files that cannot be in the copy, by name, and why."""
    broken = {f.file: f.detail for f in report.findings if f.kind in _BROKEN}
    files: dict[Path, str] = dict(broken)
    for image, paths in _together(report):
        if image in broken:
            why = f"its image {image.name} is unreadable"
            files |= dict.fromkeys(paths, why)
        elif all(path in broken for path in paths):
            files[image] = f"its annotation {paths[0].name} is unreadable"
    files |= dict.fromkeys(report.pairs.images, "it has no annotation")
    files |= dict.fromkeys(report.pairs.annotations, "it has no image")
    for annotation, images in report.pairs.ambiguous:
        files |= dict.fromkeys((annotation, *images), "several images share its name")
    return {str(path): why for path, why in files.items()}


def _together(report: SetReport) -> list[tuple[Path, tuple[Path, ...]]]:
    """Every image with all its annotations."""
    further = dict(report.pairs.doubles)
    return [(image, (path, *further.get(image, ()))) for image, path in report.pairs.pairs]


def _jobs(report: SetReport, unusable: set[str], new: Path) -> list[_Job]:
    """Where everything goes: mirrored folders, no two names that differ in letter case only."""
    taken: set[str] = set()
    jobs = []
    for image, paths in _together(report):
        readable = tuple(path for path in paths if str(path) not in unusable)
        if str(image) in unusable or not readable:
            continue
        place = apart(PurePosixPath(image.relative_to(report.folder.images).as_posix()), taken)
        target = new / "annotations" / place.with_suffix(".xml")
        jobs.append(_Job(image, readable, new / "images" / place, target))
    return jobs


def _repair_pair(
    job: _Job, frame: BoxFrame, link: bool, cut: frozenset[Path]
) -> Counter[str] | str:
    """Write one image and its annotation; the repairs that were made, or why it is left out."""
    info = image_info(job.image)
    root, done, why = _repair_tree(job.annotations[0], info, frame)
    for path in job.annotations[1:]:
        if why is None:
            other, more, why = _repair_tree(path, info, frame)
            done += more
            done["annotations joined"] += 1
            done["boxes that two annotations have"] += _join(root, other, job)
    if why is not None:
        return why
    if info.orientation != 1 or job.image in cut:
        job.new_image.parent.mkdir(parents=True, exist_ok=True)
        job = replace(job, new_image=write_upright(job.image, job.new_image))
        if info.orientation != 1:
            done["images turned upright"] += 1
        if job.image in cut:
            done["images cut short written whole"] += 1
    else:
        place_file(job.image, job.new_image, link=link)
    # After the image, whose suffix may have changed.
    name = holdable(job.new_image.name)
    if root.findtext("filename") != name:
        set_filename(root, name)
    job.new_annotation.parent.mkdir(parents=True, exist_ok=True)
    job.new_annotation.write_bytes(etree.tostring(root, encoding="utf-8"))
    return +done  # what was never done is not told


def _repair_tree(
    path: Path, info: ImageInfo, frame: BoxFrame
) -> tuple[etree._Element, Counter[str], str | None]:
    """Change what is wrong in an annotation, and nothing else; why it cannot be, if it cannot."""
    done: Counter[str] = Counter()
    root, annotation = load_voc(path)
    for kind in {flaw.kind for flaw in annotation.flaws}:
        if kind in _MENDED:
            done[_MENDED[kind]] += 1
    bad = sum(flaw.kind == "unreadable object" for flaw in annotation.flaws)
    if bad and not annotation.objects:
        return root, done, "none of its objects can be read"
    stored = boxes_as_stored(annotation, info, frame)
    try:
        boxes = _in_pixels(annotation, info, stored, done)
    except ValueError as error:
        return root, done, str(error)
    if (annotation.width, annotation.height) != (info.width, info.height):
        set_size(root, info.width, info.height)
        done["sizes corrected"] += not stored
    for element in root.findall("object"):
        try:
            own = box_of(element, path)
        except UserError:
            root.remove(element)
            continue
        if not (element.findtext("name") or "").strip():
            set_name(element, "face")  # what a box without a name is taken for
        # An object of VOC 2012 can have parts with boxes of their own.
        change = _same_change(own, boxes.pop(0))
        for owner in [*element.findall("part"), element]:
            try:
                box = box_of(owner, path)
            except UserError:  # a part without a box; the object's own box has been read before
                continue
            moved = change(box)
            turned = _turn(moved, info) if stored else moved
            mended, kinds = mend_box(turned, info.width, info.height)
            done.update(_REPAIRS[kind] for kind in kinds)
            if mended is None:
                parent = root if owner is element else element
                parent.remove(owner)
            elif mended != box:
                set_box(owner, mended)
        if stored or change(own) != own:
            _move_landmarks(element, change, info if stored else None)
    done["objects dropped, whose box cannot be read"] += bad
    return root, done, None


def _move_landmarks(
    element: etree._Element, change: Callable[[Box], Box], turn: ImageInfo | None
) -> None:
    """Take the points of a face along with its box; in a mirror left and right change places."""
    points: list[tuple[float, float] | None] = []
    for point in landmarks_of(element):
        moved = None if point is None else change((*point, *point))
        points.append(None if moved is None else (_turn(moved, turn) if turn else moved)[:2])
    set_landmarks(element, points)
    if points and turn is not None and turn.orientation in (2, 4, 5, 7):
        for child in element.iterfind("landmarks/*"):
            child.tag = _MIRRORED.get(str(child.tag), child.tag)


_MIRRORED = {
    "left_eye": "right_eye",
    "right_eye": "left_eye",
    "mouth_left": "mouth_right",
    "mouth_right": "mouth_left",
}


def _in_pixels(
    annotation: VocAnnotation, info: ImageInfo, stored: bool, done: Counter[str]
) -> list[Box]:
    """The boxes in pixels of the image (as it is stored, if they are meant so).

    Raises ValueError where they cannot be brought there.
    """
    height, width = info.stored if stored else (info.height, info.width)
    fraction = are_fractions(annotation.objects).tolist()
    boxes: list[Box] = []
    for item, is_fraction in zip(annotation.objects, fraction, strict=True):
        x1, y1, x2, y2 = item.xyxy
        boxes.append(
            (x1 * width, y1 * height, x2 * width, y2 * height) if is_fraction else item.xyxy
        )
    done["boxes multiplied by the image's size"] += sum(fraction)
    if stored or any(fraction):
        return boxes
    boxes, how = boxes_in_pixels(annotation, boxes, (height, width))
    done["boxes scaled with their image"] += len(boxes) if how else 0
    return boxes


def _same_change(before: Box, after: Box) -> Callable[[Box], Box]:
    """The scaling that made ``after`` of ``before``, for the parts of an object."""
    if before == after:
        return lambda box: box
    factors = [new / old if old else 1.0 for old, new in zip(before, after, strict=True)]
    horizontal = factors[2] if before[2] else factors[0]
    vertical = factors[3] if before[3] else factors[1]
    return lambda box: (
        box[0] * horizontal, box[1] * vertical, box[2] * horizontal, box[3] * vertical,
    )  # fmt: skip


def _join(root: etree._Element, other: etree._Element, job: _Job) -> int:
    """Add the objects of another annotation of the image; how many were there already."""
    there = [
        (element.findtext("name"), box_of(element, job.annotations[0]), element)
        for element in root.findall("object")
    ]
    again = 0
    for element in other.findall("object"):
        box = box_of(element, job.annotations[0])
        same = [one for one in there if one[0] == element.findtext("name")]
        overlap = iou([box], [one[1] for one in same])[0] if same else np.zeros(1)
        if overlap.max() < SAME_BOX:
            root.append(element)
            continue
        again += 1
        twin, points = same[int(overlap.argmax())][2], element.find("landmarks")
        if points is not None and twin.find("landmarks") is None:
            twin.append(points)
    return again


_BROKEN = ("unreadable annotation", "unreadable image")

_MENDED = {
    "damaged": "damaged annotations, whole objects kept",
    "not well-formed": "annotations made well-formed",
    "not UTF-8": "annotations re-encoded as UTF-8",
    "not as VOC": "annotations brought into VOC's form",
}

_REPAIRS = {
    "inverted box": "boxes with corners swapped",
    "degenerate box": "boxes without area dropped",
    "box outside": "boxes outside the image dropped",
    "box over the edge": "boxes clipped",
}


def _turn(box: Box, info: ImageInfo) -> Box:
    x1, y1, x2, y2 = upright_boxes([box], info.orientation, info.stored)[0].tolist()
    return x1, y1, x2, y2
