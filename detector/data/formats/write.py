"""A data set into the folders that `faces train` reads: images and VOC annotations by split."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from detector.data.formats.dataset import Dataset, LabeledImage
from detector.data.voc.annotation import VocAnnotation, format_voc
from faces.errors import UserError
from faces.filenames import folded
from faces.folders import atomic_folder, in_threads, place_file
from faces.images.read import image_info

Placement = Literal["link", "copy"]

SPLITS = ("train", "val", "test")
PARTS = ("images", "annotations")
"""The folders of a split."""


def check_out(source: Path, out: Path, *, overwrite: bool = False) -> None:
    """UserError when the source is missing, ``out`` overlaps a folder that is read as a whole, or
    holds a data set and may not be replaced.

    A label file may lie beside ``out``; `write_dataset` refuses to replace what is read.
    """
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder")
    inside, target = source.resolve(), out.resolve()
    if source.is_dir() and (
        target == inside or target in inside.parents or inside in target.parents
    ):
        raise UserError(
            f"--out {out} and {source} lie in one another; choose a folder outside of it"
        )
    for split in SPLITS:
        there = [out / split / name for name in PARTS]
        _keep([source], there)
        taken = next((path for path in there if path.exists()), None)
        if taken is not None and not overwrite:
            raise UserError(
                f"{taken} is there already; choose another --out, or replace the data set in it "
                "with --overwrite"
            )


def write_dataset(
    dataset: Dataset, out: Path, *, placement: Placement = "link", scratch: Path | None = None
) -> dict[str, int]:
    """Write ``out/SPLIT/images`` and ``out/SPLIT/annotations``; how many images came in which way.

    Args:
        dataset: what to write. Coordinates stay as they are, decimals too.
        placement: "link" makes symbolic links, hard links or copies, see `faces.folders.link_file`.
        scratch: images below this folder are copied whatever ``placement`` says.

    What is in the folders of the splits is replaced, each at once when it is complete; those of
    splits that the data set has not are removed at the end. Raises UserError, before anything is
    written, where that would be the images themselves.
    """
    others = [split for split in SPLITS if split not in dataset.splits]
    places = [out / split / name for split in [*dataset.splits, *others] for name in PARTS]
    _keep([image.path for images in dataset.splits.values() for image in images], places)
    ways: Counter[str] = Counter()
    for split, images in dataset.splits.items():
        named = distinct(images)
        with (
            atomic_folder(out / split / PARTS[0]) as pictures,
            atomic_folder(out / split / PARTS[1]) as annotations,
        ):
            work = partial(_write, pictures, annotations, placement, scratch)
            ways.update(in_threads(work, named, description=split))
    for split in others:  # of the data set that was here before
        for name in PARTS:
            place = out / split / name
            if place.is_symlink():
                place.unlink()
            elif place.is_dir():
                shutil.rmtree(place)
    return dict(ways)


def _keep(files: Sequence[Path], folders: Sequence[Path]) -> None:
    """Raise UserError where one of the files lies in a folder that is to be replaced."""
    replaced = {folder.resolve(): folder for folder in folders if folder.exists()}
    for file in files if replaced else ():
        for parent in file.resolve().parents:
            if parent in replaced:
                raise UserError(
                    f"{file} is read, and {replaced[parent]} would be replaced; choose another "
                    "--out"
                )


def to_voc(image: LabeledImage, filename: str) -> VocAnnotation:
    """An image's boxes as an annotation; its size is read where the labels do not give it."""
    width, height = image.width, image.height
    if not (width and height):
        try:
            info = image_info(image.path)
            width, height = info.width, info.height
        except UserError:
            pass  # `prepare check` names the image
    return VocAnnotation(filename, width, height, image.objects)


def distinct(images: Sequence[LabeledImage]) -> list[LabeledImage]:
    """With names of which no two are equal without suffix and letter case."""
    taken: set[str] = set()
    named = []
    for image in images:
        place = apart(PurePosixPath(image.name), taken)
        named.append(replace(image, name=place.as_posix()))
    return named


def apart(place: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """``place``, with a number where one of ``taken`` differs in suffix and letter case only."""
    stem, number = place.stem, 1
    while (key := folded(place.with_suffix("").as_posix())) in taken:
        number += 1
        place = place.with_name(f"{stem}-{number}{place.suffix}")
    taken.add(key)
    return place


def _write(
    pictures: Path,
    annotations: Path,
    placement: Placement,
    scratch: Path | None,
    image: LabeledImage,
) -> str:
    target = pictures / image.name
    source = image.path.resolve()
    embedded = scratch is not None and source.is_relative_to(scratch.resolve())
    how = place_file(source, target, link=placement == "link" and not embedded)
    path = (annotations / image.name).with_suffix(".xml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(format_voc(to_voc(image, target.name)))
    return how
