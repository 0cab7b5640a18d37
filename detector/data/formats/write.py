"""A data set into the folders that `faces train` reads: images and VOC annotations by split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from detector.data.formats.dataset import Dataset, LabeledImage
from detector.data.voc.annotation import VocAnnotation, VocObject, format_voc
from faces.errors import UserError
from faces.filenames import folded
from faces.folders import atomic_folder, copy_file, in_threads, link_file
from faces.images.read import image_info

Placement = Literal["link", "copy"]


def check_out(source: Path, out: Path, *, overwrite: bool = False) -> None:
    """UserError when the source is missing, ``out`` overlaps it, or holds a data set and may not be
    replaced."""
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder")
    inside, target = (source if source.is_dir() else source.parent).resolve(), out.resolve()
    if target == inside or target in inside.parents or inside in target.parents:
        raise UserError(
            f"--out {out} and {source} lie in one another; choose a folder outside of it"
        )
    for split in ("train", "val", "test"):
        there = [out / split / name for name in ("images", "annotations")]
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

    What is in the folders of its splits is replaced, each at once when it is complete.
    """
    ways: Counter[str] = Counter()
    for split, images in dataset.splits.items():
        named = distinct(images)
        with (
            atomic_folder(out / split / "images") as pictures,
            atomic_folder(out / split / "annotations") as annotations,
        ):
            work = partial(_write, pictures, annotations, placement, scratch)
            ways.update(in_threads(work, named, description=split))
    return dict(ways)


def to_voc(image: LabeledImage, filename: str) -> VocAnnotation:
    """An image's boxes as an annotation; its size is read where the labels do not give it."""
    width, height = image.width, image.height
    if not (width and height):
        try:
            info = image_info(image.path)
            width, height = info.width, info.height
        except UserError:
            pass  # `prepare check` names the image
    objects = []
    for i, (box, name) in enumerate(zip(image.xyxy.tolist(), image.names, strict=True)):
        points = [
            (x, y) if math.isfinite(x) and math.isfinite(y) else None
            for x, y in image.landmarks[i].tolist()
        ]
        attributes: Mapping[str, str] = image.attributes[i] if image.attributes else {}
        landmarks = tuple(points) if any(point is not None for point in points) else ()
        hard = bool(image.difficult[i])
        objects.append(VocObject(name, tuple(box), hard, attributes, landmarks=landmarks))
    return VocAnnotation(filename, width, height, tuple(objects))


def distinct(images: Sequence[LabeledImage]) -> list[LabeledImage]:
    """With names of which no two are equal without suffix and letter case."""
    taken: set[str] = set()
    named = []
    for image in images:
        place = PurePosixPath(image.name)
        stem, number = place.stem, 1
        while (key := folded(place.with_suffix("").as_posix())) in taken:
            number += 1
            place = place.with_name(f"{stem}-{number}{place.suffix}")
        taken.add(key)
        named.append(replace(image, name=place.as_posix()))
    return named


def _write(
    pictures: Path,
    annotations: Path,
    placement: Placement,
    scratch: Path | None,
    image: LabeledImage,
) -> str:
    target = pictures / image.name
    source = image.path.resolve()
    if placement == "link" and not (scratch and source.is_relative_to(scratch.resolve())):
        how = link_file(source, target)
    else:
        copy_file(source, target)
        how = "copied"
    path = (annotations / image.name).with_suffix(".xml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(format_voc(to_voc(image, target.name)))
    return how
