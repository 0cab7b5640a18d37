"""WIDER FACE into images and PASCAL VOC annotations, without losing anything."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from detector.data.voc.annotation import VocAnnotation, VocObject, format_voc
from detector.data.wider.lists import LABELS, WiderImage, parse_file_list, parse_mat, parse_text
from detector.data.wider.source import (
    ImageStore,
    Placement,
    Split,
    TruthFormat,
    bytes_to_write,
    find_root,
    open_images,
    read_truth,
)
from faces.errors import UserError
from faces.files import atomic_write_text
from faces.folders import atomic_folder, in_threads
from faces.images.read import ImageInfo, image_info, upright_boxes

log = logging.getLogger(__name__)

_RECORD = ".wider.json"  # in the folder of annotations: what they were made from
_FORMAT = 1  # to be raised when the same source gives other annotations


@dataclass(frozen=True)
class SplitSummary:
    """What the conversion of one split found."""

    split: str  # train, val or test
    # how many were converted; `faces`, `invalid`, `degenerate`, `without_face` and `turned` count
    # only in these
    images: int = 0
    faces: int = 0  # all boxes
    invalid: int = 0  # those that WIDER marks so; they are ``difficult`` in the annotations
    # those without area; they are kept, ``faces prepare check --fix`` drops them
    degenerate: int = 0
    without_face: int = 0  # images without a box
    turned: int = 0  # images that their EXIF data turns; their boxes were turned with them
    missing: tuple[str, ...] = ()  # names of images that are listed but not there
    unreadable: tuple[str, ...] = ()  # names of images whose header cannot be read
    # images by how they came: linked, hard linked, copied, extracted, already there, left in place
    placed: dict[str, int] = field(default_factory=dict)
    kept: bool = False  # the annotations were there already, made from the same files


def convert(
    source: Path,
    out: Path,
    split: Split,
    *,
    truth: TruthFormat = "auto",
    placement: Placement = "link",
    overwrite: bool = False,
) -> SplitSummary:
    """Write ``out/split/images`` and ``out/split/annotations`` for one split of WIDER FACE.

    Args:
        source: the folder that holds ``wider_face_split`` and ``WIDER_{split}``, as folders or as
            the official zip files, or torchvision's root with a folder ``widerface`` in it.
        split: "test" has no published truth; only its images are placed.
        truth: take the text file or the MATLAB file; auto: the text file where there is one.
        placement: "link" makes symbolic links, hard links where those are not allowed (Windows),
            and copies where neither works; "reference" leaves the images where they are and writes
            annotations alone. Images in a zip file are always extracted.
        overwrite: replace annotations and images that were made from something else.

    The annotations appear all at once when they are complete. A second run keeps the images that
    are there, and the annotations too when they were made from the same truth and images.

    Raises UserError when the source lacks a part, a file is malformed, none of the listed images is
    there, the disk is too small, or other annotations or images are in the way.
    """
    root = find_root(source)
    data, where = read_truth(root, split, truth)
    listed = _parse(data, where, split)
    images, annotations = out / split / "images", out / split / "annotations"
    with open_images(root, split, placement, overwrite) as store:
        present = [image for image in listed if image.name in store.sizes]
        missing = tuple(image.name for image in listed if image.name not in store.sizes)
        if not present:
            raise UserError(
                f"none of the {len(listed)} images listed in {where} is there; expected them as "
                f"{root / f'WIDER_{split}' / 'images' / listed[0].name if listed else root}"
            )
        digest = _digest(data, {image.name: store.sizes[image.name] for image in present})
        old = None if overwrite else _summary_of(annotations, digest)
        _require_space(bytes_to_write(store, (image.name for image in present), images), out)
        if split == "test" or old is not None:
            names = [x.name for x in present if old is None or x.name not in old.unreadable]
            how = in_threads(partial(_place, store, images), names, description=f"{split} images")
            summary = old or SplitSummary(split, images=len(names), missing=missing)
            return dataclasses.replace(summary, placed=dict(Counter(how)), kept=old is not None)
        with atomic_folder(annotations) as folder:
            work = partial(_annotate, store, images, folder)
            rows = list(in_threads(work, present, description=split))
            summary = _summarize(split, rows, missing)
            record = {"digest": digest, "summary": dataclasses.asdict(summary)}
            atomic_write_text(folder / _RECORD, json.dumps(record, indent=1) + "\n")
    return summary


def to_voc(image: WiderImage, info: ImageInfo) -> VocAnnotation:
    """One image's truth as an annotation: the class "face", every label an attribute.

    WIDER's boxes are taken to mean the pixels as stored, since its authors' tools (MATLAB's
    ``imread``) know no EXIF orientation; where an image has one, the boxes are turned with it.
    """
    xyxy = image.xyxy()
    if info.orientation != 1:
        xyxy = upright_boxes(xyxy, info.orientation, info.stored)
    objects = []
    for box, labels in zip(xyxy.tolist(), image.labels.tolist(), strict=True):
        attributes = dict(zip(LABELS, map(str, labels), strict=True))
        invalid = attributes["invalid"] == "1"
        # WIDER does not say which faces are cut off; other readers of VOC want the element.
        objects.append(VocObject("face", tuple(box), invalid, {**attributes, "truncated": "0"}))
    return VocAnnotation(image.name.rpartition("/")[2], info.width, info.height, tuple(objects))


@dataclass(frozen=True)
class _Row:
    image: WiderImage
    how: str
    readable: bool = True
    turned: bool = False


def _annotate(store: ImageStore, images: Path, annotations: Path, image: WiderImage) -> _Row:
    """Place one image and write its annotation."""
    path, how = store.place(image.name, images / image.name)
    try:
        info = image_info(path)
    except UserError as error:
        log.warning("%s; left out", error)
        if how != "left in place":
            path.unlink(missing_ok=True)
        return _Row(image, how, readable=False)
    target = annotations / Path(image.name).with_suffix(".xml")
    target.parent.mkdir(exist_ok=True, parents=True)
    target.write_bytes(format_voc(to_voc(image, info)))
    return _Row(image, how, turned=info.orientation != 1)


def _place(store: ImageStore, images: Path, name: str) -> str:
    return store.place(name, images / name)[1]


def _parse(data: bytes, where: str, split: Split) -> list[WiderImage]:
    if split == "test":
        nothing = np.zeros((0, 4)), np.zeros((0, len(LABELS)), np.int64)
        return [WiderImage(name, *nothing) for name in parse_file_list(data, where)]
    parse: Callable[[bytes, str], list[WiderImage]]
    parse = parse_mat if where.endswith(".mat") else parse_text
    return parse(data, where)


def _summarize(split: str, rows: Sequence[_Row], missing: tuple[str, ...]) -> SplitSummary:
    good = [row for row in rows if row.readable]
    faces = [row.image for row in good]
    return SplitSummary(
        split=split,
        images=len(good),
        faces=sum(map(len, faces)),
        invalid=sum(int(image.invalid().sum()) for image in faces),
        degenerate=sum(int((image.xywh[:, 2:] <= 0).any(axis=1).sum()) for image in faces),
        without_face=sum(not len(image) for image in faces),
        turned=sum(row.turned for row in good),
        missing=missing,
        unreadable=tuple(row.image.name for row in rows if not row.readable),
        placed=dict(Counter(row.how for row in good)),
    )


def _digest(truth: bytes, sizes: dict[str, int]) -> str:
    """Of everything that the annotations depend on (an image stands for itself by its size)."""
    digest = hashlib.sha256(truth)
    digest.update(json.dumps([_FORMAT, sorted(sizes.items())]).encode())
    return digest.hexdigest()


def _summary_of(annotations: Path, digest: str) -> SplitSummary | None:
    """The summary of annotations that are there, None when there are none.

    Raises UserError when they come from something else: they may be somebody's own work.
    """
    if not annotations.exists():
        return None
    try:
        record: dict[str, Any] = json.loads((annotations / _RECORD).read_text(encoding="utf-8"))
        if record["digest"] == digest:
            summary = SplitSummary(**record["summary"])
            return dataclasses.replace(
                summary, missing=tuple(summary.missing), unreadable=tuple(summary.unreadable)
            )
        reason = "were made from other truth or other images"
    except (OSError, ValueError, KeyError, TypeError):
        reason = "were not made by `faces prepare wider`"
    raise UserError(
        f"{annotations} holds annotations that {reason}; choose another folder; "
        "overwrite=True replaces them"
    )


def _require_space(needed: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"the images need {needed / 1e9:.1f} GB in {out}, but only {free / 1e9:.1f} GB are free"
        )
