"""The sets of a folder of VOC annotations as a `Dataset`, as `faces train` would see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from detector.data.formats.dataset import Dataset, LabeledImage
from detector.data.formats.readers.voc import image_sets
from detector.data.voc.boxes import mend_box
from detector.data.voc.folder import VocFolder, usable_pairs
from detector.data.voc.truth import VocFaces, check_truth, read_faces
from faces.folders import in_threads
from faces.images.read import image_size
from faces.text import counted


def read_sets(sets: Sequence[VocFolder], classes: Sequence[str] = ()) -> Dataset:
    """All pictures with an annotation, by the name of their set, or of ImageSets/Main's lists.

    Args:
        classes: object names to take; empty: all.

    One rule with training and evaluation: corners are sorted, boxes cut off at the edges, those
    without area left out (the notes say how many); an object without a name is a face. Raises
    UserError, naming the file, as `usable_pairs`, `read_voc` and `check_truth` do.
    """
    splits: dict[str, tuple[LabeledImage, ...]] = {}
    notes: Counter[str] = Counter()
    told: list[str] = []
    for folder in sets:
        pairs = usable_pairs(folder.images, folder.annotations)
        work = partial(_read, classes=tuple(classes))
        read = list(in_threads(work, pairs, description=f"reading {folder.name}".strip()))
        check_truth([item for item, _ in read], str(folder.annotations), classes)
        for item, (height, width) in read:
            for found in item.objects:
                notes.update(_TOLD[kind] for kind in mend_box(found.xyxy, width, height)[1])
        labeled = tuple(
            _labeled(image, folder, item, size)
            for (image, _), (item, size) in zip(pairs, read, strict=True)
        )
        lists, twice = image_sets(folder, [image for image, _ in pairs])
        if folder.name or "train" not in lists.values():
            splits[folder.name] = labeled
            continue
        for split in dict.fromkeys(lists.values()):
            splits[split] = tuple(item for item in labeled if lists.get(item.path) == split)
        if unlisted := len(labeled) - len(lists):
            told.append(f"{counted(unlisted, 'image')} left out, which no list of ImageSets names")
        if twice:
            told.append(f"{counted(len(twice), 'image')} in two splits, kept in the first")
    told += [f"{counted(number, 'box')} {what}" for what, number in notes.items()]
    return Dataset("voc", splits, tuple(told))


def _read(both: tuple[Path, Path], classes: tuple[str, ...]) -> tuple[VocFaces, tuple[int, int]]:
    image, annotation = both
    size = image_size(image)
    return read_faces(annotation, size, classes, image), size


def _labeled(
    image: Path, folder: VocFolder, faces: VocFaces, size: tuple[int, int]
) -> LabeledImage:
    height, width = size
    objects = tuple(
        replace(item, name=item.name or "face", xyxy=(x1, y1, x2, y2), difficult=bool(difficult))
        for item, (x1, y1, x2, y2), difficult, sound in zip(
            faces.objects, faces.xyxy.tolist(), faces.difficult, faces.sound, strict=True
        )
        if sound
    )
    return LabeledImage(image, image.relative_to(folder.images).as_posix(), width, height, objects)


_TOLD = {
    "inverted box": "with swapped corners put right",
    "box over the edge": "cut off at the picture's edge",
    "degenerate box": "without area left out",
    "box outside": "outside the picture left out",
}
