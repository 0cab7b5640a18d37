"""The layouts of VOC data on disk, and which annotation belongs to which image.

A set of images and annotations lies in two folders (``images`` and ``annotations``, or
``JPEGImages`` and ``Annotations``), with the same sub-folders in both or the annotations all in one
place, or both lie mixed in one folder. Some folders hold several such sets (train and val).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from detector.data.voc import read_voc
from faces.errors import UserError
from faces.images import find_files, find_images

log = logging.getLogger(__name__)

K = TypeVar("K")

_IMAGE_FOLDERS = ("images", "jpegimages", "image", "imgs")
_ANNOTATION_FOLDERS = ("annotations", "annotation", "xml", "xmls")
_XML = frozenset({".xml"})


@dataclass(frozen=True)
class VocFolder:
    """One set.

    Args:
        name: its folder below the one that was searched, such as "train"; "" for that one itself.
        images, annotations: the folders; the same where both lie mixed.
    """

    name: str
    images: Path
    annotations: Path


@dataclass(frozen=True)
class Pairing:
    """What belongs together.

    Args:
        pairs: (image, annotation).
        images: those without an annotation.
        annotations: those without an image.
        ambiguous: annotations that several images could belong to, with these images.
    """

    pairs: tuple[tuple[Path, Path], ...]
    images: tuple[Path, ...]
    annotations: tuple[Path, ...]
    ambiguous: tuple[tuple[Path, tuple[Path, ...]], ...]


def find_sets(folder: Path) -> list[VocFolder]:
    """The sets in ``folder``, at most two levels down; UserError when there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    levels = [[folder], _subfolders(folder)]
    levels.append([inner for outer in levels[1] for inner in _subfolders(outer)])
    for level in levels:
        sets = [found for candidate in level if (found := _set_in(candidate, folder)) is not None]
        if sets:
            return sets
    if find_files(folder, _XML):
        return [VocFolder("", folder, folder)]
    raise UserError(
        f"{folder} holds no annotations: expected images/ and annotations/ (or JPEGImages/ and "
        "Annotations/) in it, or .xml files beside the images; name other folders with "
        "--image-dir and --annotation-dir"
    )


def pair(folder: VocFolder, image_name: Callable[[Path], str]) -> Pairing:
    """Match images and annotations: by sub-folder and stem, then by stem where it is unique.

    Args:
        folder: the set.
        image_name: the image's name that an annotation gives ("" for unknown); asked only where
            several images share a stem.

    Raises UserError when a folder is missing.
    """
    images = find_images(folder.images)
    annotations = find_files(folder.annotations, _XML)
    mirrored = _group(images, lambda path: path.relative_to(folder.images).with_suffix(""))
    by_stem = _group(images, lambda path: path.stem)
    stems = _group(annotations, lambda path: path.stem)
    pairs: list[tuple[Path, Path]] = []
    alone: list[Path] = []
    ambiguous: list[tuple[Path, tuple[Path, ...]]] = []
    for annotation in annotations:
        candidates = mirrored[annotation.relative_to(folder.annotations).with_suffix("")]
        if not candidates and len(stems[annotation.stem]) == 1:
            candidates = by_stem[annotation.stem]
        if len(candidates) > 1:
            name = image_name(annotation)
            named = [path for path in candidates if path.name == name]
            if len(named) != 1:
                ambiguous.append((annotation, tuple(candidates)))
                continue
            candidates = named
        if candidates:
            pairs.append((candidates[0], annotation))
        else:
            alone.append(annotation)
    used = {image for image, _ in pairs} | {image for _, several in ambiguous for image in several}
    rest = tuple(image for image in images if image not in used)
    return Pairing(tuple(pairs), rest, tuple(alone), tuple(ambiguous))


def usable_pairs(images: Path, annotations: Path) -> list[tuple[Path, Path]]:
    """(image, annotation) of every image that can be trained or judged on, sorted by image.

    Images without an annotation, and annotations without an image, are left out with a warning.
    Raises UserError when a folder is missing, there is no pair at all, or it cannot be told which
    annotation belongs to which image.
    """
    for folder, what in ((images, "images"), (annotations, "annotations")):
        if not folder.is_dir():
            raise UserError(f"the folder of {what} {folder} does not exist")
    if not find_files(annotations, _XML):
        raise UserError(f"there are no annotations (.xml) in {annotations}")
    found = pair(VocFolder("", images, annotations), lambda path: read_voc(path).filename)
    if found.ambiguous:
        annotation, several = found.ambiguous[0]
        raise UserError(
            f"{annotation} could belong to {several[0]} or {several[1]}: give the annotations the "
            "same sub-folders as the images"
        )
    total = len(found.pairs) + len(found.images)
    if total == 0:
        raise UserError(f"there are no images in {images}")
    if not found.pairs:
        raise UserError(f"no image in {images} has an annotation of the same name in {annotations}")
    if found.images:
        log.warning(
            "%d of %d images have no annotation and are left out, the first is %s (an image "
            "without faces needs an annotation without objects)",
            len(found.images),
            total,
            found.images[0],
        )
    if found.annotations:
        log.warning(
            "%d of %d annotations have no image, the first is %s",
            len(found.annotations),
            len(found.annotations) + len(found.pairs),
            found.annotations[0],
        )
    return sorted(found.pairs, key=lambda both: both[0].parts)


def _group(paths: Iterable[Path], key: Callable[[Path], K]) -> defaultdict[K, list[Path]]:
    groups: defaultdict[K, list[Path]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return groups


def _set_in(folder: Path, top: Path) -> VocFolder | None:
    inside = {path.name.lower(): path for path in _subfolders(folder)}
    images = next((inside[name] for name in _IMAGE_FOLDERS if name in inside), None)
    annotations = next((inside[name] for name in _ANNOTATION_FOLDERS if name in inside), None)
    if images is None or annotations is None:
        return None
    name = folder.relative_to(top).as_posix()
    return VocFolder("" if name == "." else name, images, annotations)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(x for x in folder.iterdir() if x.is_dir() and not x.name.startswith("."))
