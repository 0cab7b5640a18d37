"""The annotated faces of a PASCAL VOC folder, and images found by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from detector.data.submission import image_name
from detector.data.voc.annotation import VocObject
from detector.data.voc.truth import LabelFile, VocFaces, annotated, check_truth, read_faces
from detector.evaluation.matching import ImageFaces
from detector.evaluation.wider import LABELS
from faces.errors import UserError
from faces.filenames import folded, nfc
from faces.images.find import find_files
from faces.images.read import image_size


class Names:
    """Finds images by what people write: name or stem, with or without a suffix.

    Names are compared in one Unicode form, and without letter case where that leaves one.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._tables: list[tuple[Callable[[str], str], dict[str, list[str]]]] = []
        ordered = sorted(set(names))
        for part in (str, _stem):
            for form in (nfc, folded):
                table: dict[str, list[str]] = defaultdict(list)
                for name in ordered:
                    table[form(part(name))].append(name)
                self._tables.append((form, table))

    def find(self, text: str) -> str | None:
        """The one name that ``text`` means, None if there is none.

        Raises UserError when it could be several images.
        """
        text = text.strip().replace("\\", "/")
        # A name may itself hold points, so the suffix is taken off only as a second try.
        spellings = (text, text.rpartition(".")[0])
        for form, table in self._tables:
            for spelling in spellings:
                found = table.get(form(spelling), []) if spelling else []
                if len(found) > 1:
                    raise UserError(
                        f"{text!r} could be {found[0]!r} or {found[1]!r}: write it with its folder"
                    )
                if found:
                    return found[0]
        return None


def read_voc_truth(
    annotation_dir: Path | LabelFile,
    image_dir: Path | None = None,
    classes: tuple[str, ...] = (),
) -> tuple[list[ImageFaces], dict[str, Path]]:
    """The faces of every annotated image, and the images' files by name.

    Args:
        annotation_dir: VOC files, in the same sub-folders as the images or all in one folder; or
            what a file of another tool holds.
        image_dir: searched recursively for images; without it every annotation is taken, named
            after its own file, and the second result is empty.
        classes: object names that are faces; empty: all.

    Faces marked ``difficult`` and those without area (counted in the log) are ignored: neither
    found nor missed. Boxes are clipped to the image. An image without an annotation is left out
    with a warning, as in training; one whose annotation has no object stays: its false positives
    count. Labels are the objects' attributes and their class, ``class``; WIDER FACE's numbers are
    written as words.

    Raises UserError when a folder is missing or empty, a file cannot be read, an image does not
    have the size that its annotation says (its boxes would be of another scale), or no face counts.
    """
    images: dict[str, Path] = {}
    if image_dir is not None:
        pairs = annotated(image_dir, annotation_dir)
        images = {image_name(image, image_dir): image for image, *_ in pairs}
        faces = [
            read_faces(path, image_size(image), classes, image, voc) for image, path, voc in pairs
        ]
        names = list(images)
    else:
        assert isinstance(annotation_dir, Path)
        files = find_files(annotation_dir, frozenset({".xml"}))
        if not files:
            raise UserError(f"{annotation_dir}: there are no annotations (.xml)")
        faces = [read_faces(path, None, classes) for path in files]
        names = [image_name(path, annotation_dir) for path in files]
    check_truth(faces, str(annotation_dir), classes)
    return [_faces(name, item) for name, item in zip(names, faces, strict=True)], images


def _faces(name: str, faces: VocFaces) -> ImageFaces:
    objects = faces.objects
    attributes = sorted({key for item in objects for key in item.attributes})
    labels = {key: [_label(item, key) for item in objects] for key in attributes}
    labels["class"] = [item.name for item in objects]
    ignored = faces.difficult | ~faces.sound
    return ImageFaces(name, faces.xyxy, ignored, labels, points=faces.points)


def _label(item: VocObject, key: str) -> str:
    value = item.attributes.get(key, "")
    words: Mapping[int, str] = dict(enumerate(LABELS.get(key, ())))
    return words.get(int(value), value) if value.isdecimal() else value


def _stem(name: str) -> str:
    return name.rpartition("/")[2]
