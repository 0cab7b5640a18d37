"""The annotated faces to evaluate on, of a PASCAL VOC folder or of a part of a data set's folder,
and images found by name."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from detector.data.division import Division, picture_name, read_division
from detector.data.parts import find_parts
from detector.data.submission import image_name, image_names
from detector.data.voc.annotation import VocObject
from detector.data.voc.truth import LabelFile, VocFaces, annotated, check_truth, read_faces
from detector.evaluation.matching import ImageFaces
from detector.evaluation.wider import LABELS
from faces.errors import UserError
from faces.filenames import folded, last_part, nfc
from faces.images.find import find_files
from faces.images.read import image_size

if TYPE_CHECKING:
    from detector.evaluation.matching import ImageFaces

log = logging.getLogger(__name__)

PartName = Literal["val", "test"]


class Names:
    """Finds images by what people write: name or stem, with or without a suffix.

    Names are compared in one Unicode form, and without letter case where that leaves one.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._tables: list[tuple[Callable[[str], str], dict[str, list[str]]]] = []
        ordered = sorted(set(names))
        for part in (str, last_part):
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
        files = [image for image, *_ in pairs]
        images = dict(zip(image_names(files, image_dir), files, strict=True))
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


def read_part(
    data: Path,
    classes: tuple[str, ...],
    model: Path | None,
    split: Path | None,
    part: PartName = "val",
) -> tuple[list[ImageFaces], dict[str, Path]]:
    """The faces and files of the pictures to evaluate on, as `read_voc_truth` gives them.

    Args:
        data: as `faces train --data` takes it. Its validation part is taken; where it has
            none, the pictures that ``split`` or ``model`` say, and otherwise all, with a warning.
            Or its part to test.
        classes: object names that are faces; empty: all.
        model: a detector's file; a checkpoint knows how its run divided one set.
        split: split.json of a run, or its folder.
        part: "test" for the part to test.

    Raises UserError for data that cannot be used, and a ``split`` that is about other pictures.
    """
    parts = find_parts(data, tested=part == "test")
    if part == "test":
        if parts.test is None:
            raise UserError(f"data={data} has no part to test")
        return read_voc_truth(parts.test.annotations, parts.test.images, classes)
    if parts.valid is not None:
        if split is not None:
            log.warning("%s has a part to validate on, so %s is not needed", data, split)
        return read_voc_truth(parts.valid.annotations, parts.valid.images, classes)
    assert parts.train is not None
    folder = parts.train.images
    truth, images = read_voc_truth(parts.train.annotations, folder, classes)
    files = {picture_name(path, folder): path for path in images.values()}
    division = read_division(split) if split is not None else _of_model(model)
    if division is None or (split is None and not division.is_of(files)):
        log.warning(
            "%s has no part to validate on, and %s does not know one: all %d pictures are taken. "
            "If it was trained on some of them, give the folder of its run as split (--split RUN), "
            "so that only those are taken which it has not seen",
            data, model or "the detector", len(files),
        )  # fmt: skip
        return truth, images
    names = list(files)
    _, kept = division.rows(names, folder)
    wanted = {names[i] for i in kept}
    log.info("%d of %d pictures of %s were kept to validate on", len(kept), len(files), data)
    chosen = [item for item in truth if picture_name(images[item.name], folder) in wanted]
    return chosen, {item.name: images[item.name] for item in chosen}


def _of_model(model: Path | None) -> Division | None:
    from detector.inference.load import file_kind

    if model is None or not model.is_file() or file_kind(model) != "checkpoint":
        return None
    from detector.checkpoint import load_checkpoint

    payload = load_checkpoint(model)
    return Division.from_dict(payload["split"], str(model)) if "split" in payload else None
