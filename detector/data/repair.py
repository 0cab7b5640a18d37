"""A repaired copy of a VOC folder. The folder itself is only read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from lxml import etree

from detector.data.check import (
    Box,
    BoxFrame,
    SetReport,
    boxes_as_stored,
    mend_box,
)
from detector.data.voc import (
    box_of,
    parse_voc,
    read_bytes,
    read_tree,
    set_box,
    set_filename,
    set_size,
    to_utf8,
)
from faces.errors import UserError
from faces.files import atomic_write_text
from faces.folders import atomic_folder, copy_file, in_threads, link_file
from faces.images import ImageInfo, image_info, upright_boxes, write_upright

REPORT_NAME = "repairs.json"


@dataclass(frozen=True)
class Repairs:
    """What was done.

    Args:
        pairs: images with annotations in the copy.
        done: how often each repair was made; the keys are sentences for a table.
        left_out: files that are not in the copy, and why.
    """

    pairs: int
    done: dict[str, int]
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
        reports: from `check.check_set`.
        out: a folder that does not exist yet or is empty, outside the checked ones. It gets
            ``images`` and ``annotations`` with the same sub-folders in both (for each set in a
            folder of its own where there are several), and ``repairs.json``.
        boxes: what boxes refer to in images with EXIF rotation, see `check.boxes_as_stored`.
        images: copy them, or link those that need no change.

    Boxes are turned upright, swapped, clipped or dropped; sizes filled in; texts re-encoded as
    UTF-8; pixels turned as EXIF says; files that are cut short made whole, grey where the picture
    is missing. Such JPEG files are encoded again, at quality 95, without their EXIF data; what is
    neither JPEG, PNG, WebP, BMP nor TIFF becomes PNG. Everything else in an annotation stays. Pairs
    with a file that cannot be read, and files without a partner, are left out. Raises UserError
    when ``out`` is in use or inside a checked folder.
    """
    for report in reports:
        _require_free(out, report.folder.images, report.folder.annotations)
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
            for repairs in in_threads(work, jobs, description=f"repairing {name}"):
                done.update(repairs)
            pairs += len(jobs)
        result = Repairs(pairs, dict(done.most_common()), left_out)
        text = json.dumps({"done": result.done, "left_out": left_out}, indent=1, ensure_ascii=False)
        atomic_write_text(new / REPORT_NAME, text + "\n")
    return result


@dataclass(frozen=True)
class _Job:
    image: Path
    annotation: Path
    new_image: Path
    new_annotation: Path


def _require_free(out: Path, *sources: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; a repaired copy needs a new or empty folder")
    target = out.resolve()
    for source in sources:
        if target == source.resolve() or source.resolve() in target.parents:
            raise UserError(f"{out} lies in {source}, which is only read; choose another folder")


def _unusable(report: SetReport) -> dict[str, str]:
    """Files that cannot be in the copy, by name, and why."""
    broken = {f.file: f.detail for f in report.findings if f.kind.startswith("unreadable")}
    files: dict[Path, str] = dict(broken)
    for image, annotation in report.pairs.pairs:
        if image in broken:
            files[annotation] = f"its image {image.name} is unreadable"
        if annotation in broken:
            files[image] = f"its annotation {annotation.name} is unreadable"
    files |= dict.fromkeys(report.pairs.images, "it has no annotation")
    files |= dict.fromkeys(report.pairs.annotations, "it has no image")
    for annotation, images in report.pairs.ambiguous:
        files |= dict.fromkeys((annotation, *images), "several images share its name")
    return {str(path): why for path, why in files.items()}


def _jobs(report: SetReport, unusable: set[str], new: Path) -> list[_Job]:
    """Where everything goes: mirrored folders, no two names that differ in letter case only."""
    taken: set[str] = set()
    jobs = []
    for image, annotation in report.pairs.pairs:
        if str(image) in unusable or str(annotation) in unusable:
            continue
        place = image.relative_to(report.folder.images)
        stem, number = place.stem, 1
        while (key := place.with_suffix("").as_posix().casefold()) in taken:
            number += 1
            place = place.with_name(f"{stem}-{number}{place.suffix}")
        taken.add(key)
        target = new / "annotations" / place.with_suffix(".xml")
        jobs.append(_Job(image, annotation, new / "images" / place, target))
    return jobs


def _repair_pair(job: _Job, frame: BoxFrame, link: bool, cut: frozenset[Path]) -> Counter[str]:
    """Write one image and its annotation; the repairs that were made."""
    done: Counter[str] = Counter()
    info = image_info(job.image)
    if info.orientation != 1 or job.image in cut:
        job.new_image.parent.mkdir(parents=True, exist_ok=True)
        job = replace(job, new_image=write_upright(job.image, job.new_image))
        if info.orientation != 1:
            done["images turned upright"] += 1
        if job.image in cut:
            done["images cut short written whole"] += 1
    elif link:
        link_file(job.image.resolve(), job.new_image)
    else:
        copy_file(job.image, job.new_image)
    data, encoding = to_utf8(read_bytes(job.annotation))
    if encoding != "utf-8":
        done["annotations re-encoded as UTF-8"] += 1
    root = read_tree(data, job.annotation)
    done.update(_repair_tree(root, job, info, frame))
    job.new_annotation.parent.mkdir(parents=True, exist_ok=True)
    job.new_annotation.write_bytes(etree.tostring(root, encoding="utf-8"))
    return done


def _repair_tree(root: etree._Element, job: _Job, info: ImageInfo, frame: BoxFrame) -> Counter[str]:
    """Change what is wrong in an annotation, and nothing else."""
    done: Counter[str] = Counter()
    annotation = parse_voc(root, job.annotation)
    stored = boxes_as_stored(annotation, info, frame)
    if (annotation.width, annotation.height) != (info.width, info.height):
        set_size(root, info.width, info.height)
        done["sizes corrected"] += not stored
    # XML cannot hold a name that is no UTF-8.
    name = job.new_image.name.encode("utf-8", "backslashreplace").decode("utf-8")
    if annotation.filename != name:
        set_filename(root, name)
    for element in root.findall("object"):
        # An object of VOC 2012 can have parts with boxes of their own.
        for owner in [*element.findall("part"), element]:
            try:
                box = box_of(owner, job.annotation)
            except UserError:  # a part without a box; the object's own box has been read before
                continue
            turned = _turn(box, info) if stored else box
            mended, kinds = mend_box(turned, info.width, info.height)
            done.update(_REPAIRS[kind] for kind in kinds)
            if mended is None:
                parent = root if owner is element else element
                parent.remove(owner)
            elif mended != box:
                set_box(owner, mended)
    return done


_REPAIRS = {
    "inverted box": "boxes with corners swapped",
    "degenerate box": "boxes without area dropped",
    "box outside": "boxes outside the image dropped",
    "box over the edge": "boxes clipped",
}


def _turn(box: Box, info: ImageInfo) -> Box:
    x1, y1, x2, y2 = upright_boxes([box], info.orientation, info.stored)[0].tolist()
    return x1, y1, x2, y2
