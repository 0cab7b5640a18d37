"""Which format a folder is in, and reading it, whichever it is."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

from detector.data.formats.dataset import Dataset, LabeledImage
from detector.data.formats.parse import read_json, read_xml
from detector.data.formats.readers.coco import is_coco, read_coco
from detector.data.formats.readers.cvat import is_cvat, read_cvat
from detector.data.formats.readers.labelme import is_labelme, read_labelme
from detector.data.formats.readers.labelstudio import is_label_studio, read_label_studio
from detector.data.formats.readers.retinaface import is_retinaface, read_retinaface
from detector.data.formats.readers.voc import read_voc_sets
from detector.data.formats.readers.yolo import (
    NAMES,
    has_labels,
    is_yolo_yaml,
    read_yaml,
    read_yolo,
)
from detector.data.formats.source import LABEL_SUFFIXES, Source
from detector.data.voc.annotation import VocObject, points_of
from detector.data.voc.truth import is_ignored
from faces.errors import UserError
from faces.files import read_lines

Format = Literal["coco", "yolo", "cvat", "labelme", "label-studio", "voc", "retinaface"]
FORMATS: tuple[Format, ...] = get_args(Format)

_LOOKED_INTO = 5  # files of one kind in one folder, until one is recognized


def load_dataset(
    path: Path, scratch: Path | None, format: Format | None = None, out: Path | None = None
) -> Dataset:
    """Read a data set in the format of another tool.

    Args:
        path: its folder, or the label file (COCO JSON, data.yaml, ...) that shall be read.
        scratch: an empty folder for images that are embedded in label files; it has to stay until
            the result is no longer needed. None: such images are refused.
        format: insist on one; by default the contents of the files tell.
        out: where it will be written, see `detector.data.formats.source.Source`.

    Raises UserError, naming file and line or index, when it is in none of the formats or in
    several, for what cannot be read, and when not one of the listed images is there.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        raise UserError(f"{path} is an archive: unpack it and give the folder")
    source = Source(path, out=out)
    chosen = format or _recognize(source)
    splits: Mapping[str, Sequence[LabeledImage]]
    if chosen == "yolo":
        source, splits = read_yolo(source)
    elif chosen == "labelme":
        splits = read_labelme(source, scratch)
    else:
        splits = _READERS[chosen](source)
    turned = _as_seen({split: images for split, images in splits.items() if images}, source)
    if not turned:
        told = "".join(f"\n  {note}" for note in source.told())
        raise UserError(
            f"{path}: read as {chosen}, not one labeled image is there; put the images into the "
            f"folder, or insist on another format with `faces prepare import --format`{told}"
        )
    order = [split for split in ("train", "val", "test") if split in turned]
    return Dataset(chosen, {split: turned[split] for split in order}, source.told())


_READERS: dict[Format, Callable[[Source], dict[str, list[LabeledImage]]]] = {
    "coco": read_coco,
    "cvat": read_cvat,
    "label-studio": read_label_studio,
    "retinaface": read_retinaface,
    "voc": read_voc_sets,
}


def choose_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Only the boxes of these classes; images without one stay.

    Regions to be ignored stay too, as difficult objects of the first class.

    Raises UserError for a class that the data set does not have.
    """
    if not classes:
        return dataset
    counts = class_counts(dataset)
    for name in classes:
        if name not in counts:
            raise UserError(
                f"--classes: there is no class {name!r}; the data set has {', '.join(counts)}"
            )
    splits = {
        split: tuple(_only(image, classes) for image in images)
        for split, images in dataset.splits.items()
    }
    left = {
        name: count
        for name, count in counts.items()
        if name not in classes and not is_ignored(name)
    }
    note = "boxes of other classes, left out: " + ", ".join(f"{n} ({c:,})" for n, c in left.items())
    return Dataset(dataset.format, splits, (*dataset.notes, *([note] if left else [])))


def class_counts(dataset: Dataset) -> dict[str, int]:
    """How many boxes each class has, the most frequent first."""
    images = [image for several in dataset.splits.values() for image in several]
    return dict(Counter(box.name for image in images for box in image.objects).most_common())


def _only(image: LabeledImage, classes: Sequence[str]) -> LabeledImage:
    kept = [box for box in image.objects if box.name in classes or is_ignored(box.name)]
    named = (box if box.name in classes else replace(box, name=classes[0]) for box in kept)
    return replace(image, objects=tuple(named))


def _recognize(source: Source) -> Format:
    """The format by the contents of the label files; UserError when that does not tell."""
    found: dict[Format, Path] = {}
    paths = source.files(*LABEL_SUFFIXES)
    for _, group in groupby(sorted(paths, key=_kind), key=_kind):
        for path in list(group)[:_LOOKED_INTO]:
            kind = format_of(path)
            if kind is not None:
                found.setdefault(kind, path)
    if set(found) == {"voc", "yolo"} and found["yolo"].suffix == ".txt":
        del found["yolo"]  # labelImg leaves its classes.txt beside VOC files too
    if len(found) > 1:
        listed = " and ".join(f"{kind} ({path})" for kind, path in found.items())
        raise UserError(
            f"{source.path} holds several formats: {listed}; give the file or the "
            "folder of one, or choose with `faces prepare import --format`"
        )
    if found:
        return next(iter(found))
    if source.path.is_dir() and has_labels(source):
        return "yolo"
    raise UserError(
        f"{source.path}: in none of the known formats ({', '.join(FORMATS)}), judging by the "
        f"{len(paths):,} .json, .xml, .yaml and .txt files in it; give the folder with the labels, "
        "or insist with `faces prepare import --format`"
    )


def _kind(path: Path) -> tuple[str, str]:
    return path.parent.as_posix(), path.suffix.lower()


def format_of(path: Path) -> Format | None:
    """What the contents of a label file say; None when they do not."""
    suffix = path.suffix.lower()
    if path.name.lower() in NAMES:
        return "yolo"
    if suffix == ".json":
        data = read_json(path)
        if is_coco(data):
            return "coco"
        return "labelme" if is_labelme(data) else "label-studio" if is_label_studio(data) else None
    if suffix == ".xml":
        try:
            root, _ = read_xml(path)
        except UserError:
            # The reader of either names what is wrong; VOC's mends what can be.
            with contextlib.suppress(OSError), path.open("rb") as file:
                if b"<annotations" in file.read(1000):
                    return "cvat"
            return "voc"
        return "cvat" if is_cvat(root) else "voc" if root.tag != "annotations" else None
    if suffix in (".yaml", ".yml"):
        return "yolo" if is_yolo_yaml(read_yaml(path)) else None
    try:
        return "retinaface" if is_retinaface(read_lines(path)) else None
    except UserError:
        return None


def _as_seen(
    splits: Mapping[str, Sequence[LabeledImage]], source: Source
) -> dict[str, tuple[LabeledImage, ...]]:
    """Landmarks with left and right as seen in the image.

    Some tools mean the person's own left eye. Going from the first eye to the second, the mouth of
    a face lies to the right hand, however it is turned, if they are named as they are seen; what
    holds for most of the faces is taken for all.
    """
    points = points_of(box for images in splits.values() for i in images for box in i.objects)
    eyes, mouth = points[:, 1] - points[:, 0], points[:, 3:].mean(axis=1) - points[:, 0]
    side = eyes[:, 0] * mouth[:, 1] - eyes[:, 1] * mouth[:, 0]
    if (side < 0).sum() <= (side > 0).sum():
        return {split: tuple(images) for split, images in splits.items()}
    source.notes.append(
        "left and right of the landmarks are the person's own: exchanged, as seen in the image"
    )
    return {
        split: tuple(
            replace(image, objects=tuple(map(_exchanged, image.objects))) for image in images
        )
        for split, images in splits.items()
    }


def _exchanged(box: VocObject) -> VocObject:
    """With left and right points in each other's place."""
    return replace(box, landmarks=tuple(box.landmarks[k] for k in (1, 0, 2, 4, 3) if box.landmarks))
