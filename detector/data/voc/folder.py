"""The layouts of VOC data on disk, and which annotation belongs to which image.

A set of images and annotations lies in two folders (``images`` and ``annotations``, or
``JPEGImages`` and ``Annotations``), with the same sub-folders in both or the annotations all in one
place, or both lie mixed in one folder. Some folders hold several such sets (train and val).

Names are compared as they are, then in one Unicode form, then without letter case, then as
they were before a tool changed them (`original`).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from detector.data.voc.annotation import load_voc
from faces.errors import UserError
from faces.filenames import folded, nfc, original
from faces.images.find import find_files, find_images

log = logging.getLogger(__name__)


_FORMS: tuple[Callable[[str], str], ...] = (str, nfc, folded, original)
_SAME_SUFFIX = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}

_IMAGE_FOLDERS = ("images", "jpegimages", "image", "imgs")
_ANNOTATION_FOLDERS = ("annotations", "annotation", "xml", "xmls")
_XML = frozenset({".xml"})


@dataclass(frozen=True)
class VocFolder:
    """One set."""

    name: str  # its folder below the one that was searched, such as "train"; "" for that one itself
    # images, annotations: the folders; the same where both lie mixed
    images: Path
    annotations: Path


@dataclass(frozen=True)
class Pairing:
    """What belongs together."""

    pairs: tuple[tuple[Path, Path], ...]  # (image, annotation)
    images: tuple[Path, ...]  # those without an annotation
    annotations: tuple[Path, ...]  # those without an image
    # annotations that several images could belong to, with these images
    ambiguous: tuple[tuple[Path, tuple[Path, ...]], ...]
    # images in ``pairs`` that have further annotations, with these
    doubles: tuple[tuple[Path, tuple[Path, ...]], ...] = ()


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
        "Annotations/) in it, or .xml files beside the images; name other folders "
        "(image_dir, annotation_dir)"
    )


def written_name(annotation: Path) -> str:
    """The image's name that an annotation gives; "" when it gives none or cannot be read."""
    try:
        return load_voc(annotation)[1].filename
    except UserError:
        return ""


def pair(folder: VocFolder) -> Pairing:
    """Match images and annotations.

    By sub-folder and stem, then by stem where it is unique, then by the name that the annotation
    gives, where that image has no annotation of its own. An annotation may also be called after the
    whole name of its image (``photo.jpg.xml``).

    Raises UserError when a folder is missing.
    """
    images = find_images(folder.images)
    annotations = find_files(folder.annotations, _XML)
    finder = _Finder(folder, images, annotations)
    claims: defaultdict[Path, list[Path]] = defaultdict(list)
    alone: list[Path] = []
    ambiguous: list[tuple[Path, tuple[Path, ...]]] = []
    for annotation in annotations:
        candidates = finder.by_own_name(annotation)
        if len(candidates) > 1:
            named = _named(candidates, written_name(annotation))
            if len(named) != 1:
                ambiguous.append((annotation, tuple(candidates)))
                continue
            candidates = named
        if candidates:
            claims[candidates[0]].append(annotation)
        else:
            alone.append(annotation)
    unsure = {image for _, several in ambiguous for image in several}
    free = [image for image in images if image not in claims and image not in unsure]
    if free and alone:
        names = _Finder(folder, free, alone)
        for annotation in list(alone):
            found = names.by_written_name(written_name(annotation))
            if len(found) == 1:
                claims[found[0]].append(annotation)
                alone.remove(annotation)
    rest = tuple(image for image in images if image not in claims and image not in unsure)
    pairs = {found[0]: image for image, found in claims.items()}
    return Pairing(
        tuple((pairs[annotation], annotation) for annotation in annotations if annotation in pairs),
        rest,
        tuple(alone),
        tuple(ambiguous),
        tuple((image, tuple(found[1:])) for image, found in claims.items() if len(found) > 1),
    )


class _Finder:
    """Images by the names that an annotation may have, in each form of names."""

    def __init__(self, folder: VocFolder, images: list[Path], annotations: list[Path]) -> None:
        self.folder = folder
        places = [image.relative_to(folder.images) for image in images]
        self.tables = [
            (
                form,
                _group(images, [form(place.as_posix()) for place in places]),
                _group(images, [form(_bare(place)) for place in places]),
                _group(images, [form(place.name) for place in places]),
                _group(images, [form(place.stem) for place in places]),
                _group(annotations, [form(path.stem) for path in annotations]),
            )
            for form in _FORMS
        ]

    def by_own_name(self, annotation: Path) -> list[Path]:
        place = _bare(annotation.relative_to(self.folder.annotations))
        for form, paths, bare, names, stems, ours in self.tables:
            found = bare.get(form(place)) or paths.get(form(place))
            if not found and len(ours[form(annotation.stem)]) == 1:
                found = stems.get(form(annotation.stem)) or names.get(form(annotation.stem))
            if found:
                return found
        return []

    def by_written_name(self, name: str) -> list[Path]:
        for form, _, _, names, stems, _ in self.tables:
            found = names.get(form(name)) or stems.get(form(Path(name).stem)) if name else None
            if found:
                return found
        return []


def _named(candidates: list[Path], name: str) -> list[Path]:
    """Those of several images that have the name which the annotation gives."""
    for form in (*_FORMS, _one_suffix):
        found = [path for path in candidates if form(path.name) == form(name)]
        if found:
            return found
    return []


def _one_suffix(name: str) -> str:
    stem, point, suffix = folded(name).rpartition(".")
    return stem + _SAME_SUFFIX.get(point + suffix, point + suffix)


def _bare(path: Path) -> str:
    return path.with_suffix("").as_posix()


def usable_pairs(images: Path, annotations: Path) -> list[tuple[Path, Path]]:
    """(image, annotation) of every image that can be trained or evaluated on, sorted by image.

    Images without an annotation, and annotations without an image, are left out with a warning.
    Raises UserError when a folder is missing, there is no pair at all, or it cannot be told which
    annotation belongs to which image.
    """
    for folder, what in ((images, "images"), (annotations, "annotations")):
        if not folder.is_dir():
            raise UserError(f"the folder of {what} {folder} does not exist")
    if not find_files(annotations, _XML):
        raise UserError(f"there are no annotations (.xml) in {annotations}")
    found = pair(VocFolder("", images, annotations))
    if found.ambiguous:
        annotation, several = found.ambiguous[0]
        raise UserError(
            f"{annotation} could belong to {several[0]} or {several[1]}: give the annotations the "
            "same sub-folders as the images"
        )
    if found.doubles:
        image, others = found.doubles[0]
        first = next(annotation for other, annotation in found.pairs if other == image)
        raise UserError(
            f"{image} has several annotations, {first} and {others[0]}: remove one, or let `faces "
            "prepare check --fix` join them"
        )
    total = len(found.pairs) + len(found.images)
    if total == 0:
        raise UserError(f"there are no images in {images}")
    if not found.pairs:
        raise UserError(
            f"no image in {images} has an annotation of the same name in {annotations}: give the "
            "annotations the names of their images"
        )
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


def _group(paths: Iterable[Path], keys: Iterable[str]) -> defaultdict[str, list[Path]]:
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for path, key in zip(paths, keys, strict=True):
        groups[key].append(path)
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
