"""The annotated faces of a PASCAL VOC folder, and images found by name."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from detector.data.submission import image_name
from detector.data.voc import VocAnnotation, VocObject, read_voc
from detector.data.voc_folder import usable_pairs
from detector.evaluation.matching import ImageFaces
from detector.evaluation.wider import LABELS
from faces.errors import UserError
from faces.images import find_files, image_size
from faces.words import counted

logger = logging.getLogger(__name__)


class Names:
    """Finds images by what people write: name or stem, with or without a suffix."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._names):
            self._by_stem[_stem(name)].append(name)

    def find(self, text: str) -> str | None:
        """The one name that ``text`` means, None if there is none.

        Raises UserError when it is the stem of several images.
        """
        text = text.strip().replace("\\", "/")
        # A name may itself hold points, so the suffix is taken off only as a second try.
        spellings = (text, text.rpartition(".")[0])
        for name in spellings:
            if name in self._names:
                return name
        for stem in spellings:
            found = self._by_stem.get(stem, [])
            if len(found) > 1:
                raise UserError(
                    f"{text!r} could be {found[0]!r} or {found[1]!r}: write it with its folder"
                )
            if found:
                return found[0]
        return None


def read_voc_truth(
    annotation_dir: Path, image_dir: Path | None = None, classes: tuple[str, ...] = ()
) -> tuple[list[ImageFaces], dict[str, Path]]:
    """The faces of every annotated image, and the images' files by name.

    Args:
        annotation_dir: VOC files, in the same sub-folders as the images or all in one folder.
        image_dir: searched recursively for images; without it every annotation is taken, named
            after its own file, and the second result is empty.
        classes: object names that are faces; empty: all.

    Faces marked ``difficult`` and those without area (counted in the log) are ignored: neither
    found nor missed. Boxes are clipped to the image. An image without an annotation is left out
    with a warning, as in training; one whose annotation has no object stays, for its false alarms.
    Labels are the objects' attributes and their class, ``class``; WIDER FACE's numbers are written
    as words.

    Raises UserError when a folder is missing or empty, a file cannot be read, or an image does not
    have the size that its annotation says (its boxes would be of another scale).
    """
    annotations = find_files(annotation_dir, frozenset({".xml"}))
    if not annotations:
        raise UserError(f"{annotation_dir}: there are no annotations (.xml)")
    if image_dir is None:
        files = {image_name(path, annotation_dir): path for path in annotations}
        images: dict[str, Path] = {}
    else:
        files, images = _pair(image_dir, annotation_dir)
    truth = []
    for name, path in files.items():
        voc = read_voc(path)
        if name in images:
            _check_size(voc, path, images[name])
        truth.append(_faces(name, voc, classes))
    empty = sum(int((image.xyxy[:, 2:] <= image.xyxy[:, :2]).any(1).sum()) for image in truth)
    if empty:
        logger.warning(
            "%s: ignored %s without area (`faces prepare check` names them)",
            annotation_dir,
            counted(empty, "box"),
        )
    return truth, images


def _pair(image_dir: Path, annotation_dir: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Annotation and image files by image name."""
    pairs = usable_pairs(image_dir, annotation_dir)
    names = [image_name(image, image_dir) for image, _ in pairs]
    images = dict(zip(names, (image for image, _ in pairs), strict=True))
    return dict(zip(names, (annotation for _, annotation in pairs), strict=True)), images


def _check_size(voc: VocAnnotation, path: Path, image: Path) -> None:
    height, width = image_size(image)
    if (voc.width, voc.height) not in ((0, 0), (width, height)):
        raise UserError(
            f"{path} is for an image of {voc.width}x{voc.height} pixels, but {image} has "
            f"{width}x{height}: use the images that were annotated, or repair the folder with "
            "`faces prepare check --fix`"
        )


def _faces(name: str, voc: VocAnnotation, classes: tuple[str, ...]) -> ImageFaces:
    objects = [item for item in voc.objects if not classes or item.name in classes]
    boxes = np.array([item.xyxy for item in objects], np.float64).reshape(-1, 4)
    if voc.width and voc.height:
        boxes = boxes.clip(0, [voc.width, voc.height] * 2)
    ignored = np.array([item.difficult for item in objects], bool)
    ignored |= (boxes[:, 2:] <= boxes[:, :2]).any(1)
    attributes = sorted({key for item in objects for key in item.attributes})
    labels = {key: [_label(item, key) for item in objects] for key in attributes}
    labels["class"] = [item.name for item in objects]
    return ImageFaces(name, boxes, ignored, labels)


def _label(item: VocObject, key: str) -> str:
    value = item.attributes.get(key, "")
    words: Mapping[int, str] = dict(enumerate(LABELS.get(key, ())))
    return words.get(int(value), value) if value.isdecimal() else value


def _stem(name: str) -> str:
    return name.rpartition("/")[2]
