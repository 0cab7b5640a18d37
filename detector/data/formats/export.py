"""Write a data set in the layout of a format, with its pictures, for other tools.

| format | layout |
|---|---|
| voc | ``SPLIT/images/NAME`` and ``SPLIT/annotations/NAME.xml`` |
| coco | ``images/SPLIT/NAME`` and ``annotations/instances_SPLIT.json`` |
| yolo, yolo-pose | ``images/SPLIT/NAME``, ``labels/SPLIT/NAME.txt`` and ``data.yaml`` |

Beside it a card, ``README.md``, with the head that data hubs read. Without splits (the only one is
called "") that folder is left out, and COCO's is "default".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from detector.data.formats.coco_write import write_coco
from detector.data.formats.dataset import Dataset, LabeledImage
from detector.data.formats.write import Placement, distinct, to_voc
from detector.data.formats.yolo_write import write_yolo
from detector.data.voc.annotation import format_voc
from faces.errors import UserError
from faces.folders import atomic_folder, in_threads, place_file
from faces.images.read import image_info, write_upright
from faces.images.write import SAVED_AS

Format = Literal["voc", "coco", "yolo", "yolo-pose"]


@dataclass(frozen=True)
class Written:
    """What was written.

    Args:
        images, boxes: how many, by split.
        told: what is other than it was, in words, and how often.
    """

    images: dict[str, int]
    boxes: dict[str, int]
    told: dict[str, int]


def export_dataset(
    dataset: Dataset, out: Path, format: Format, placement: Placement = "copy"
) -> Written:
    """Write pictures and labels to ``out``, which appears when it is complete.

    Args:
        dataset: boxes must have an area and lie in their pictures, which ``width`` and ``height``
            give upright; `from_voc.read_sets` makes them so.
        out: a folder that does not exist yet or is empty.
        placement: copy the pictures, or link them. Those that EXIF turns and those of a kind that
            few tools read (HEIC, AVIF, GIF) are written again, upright.

    Two pictures whose names differ only in their suffix or in letter case get different names.
    Raises UserError when ``out`` is in use, and as reading a picture does.
    """
    require_free(out)
    told: Counter[str] = Counter()
    images: dict[str, int] = {}
    boxes: dict[str, int] = {}
    with atomic_folder(out) as new:
        placed: dict[str, list[LabeledImage]] = {}
        for split, items in dataset.splits.items():
            folder = new / split / "images" if format == "voc" else new / "images" / split
            named = distinct(items)
            told["pictures renamed, as another has the same name but for suffix or case"] += sum(
                PurePosixPath(a.name) != PurePosixPath(b.name)
                for a, b in zip(items, named, strict=True)
            )
            work = partial(_place, folder=folder, placement=placement)
            results = in_threads(work, named, description=f"pictures {split}".strip())
            placed[split] = []
            for item, (name, how) in zip(named, results, strict=True):
                placed[split].append(replace(item, name=name))
                told.update(how)
            images[split] = len(items)
        if format == "coco":
            kept = write_coco(new, placed, told)
        elif format in ("yolo", "yolo-pose"):
            kept = write_yolo(new, placed, told, pose=format == "yolo-pose")
        else:
            kept = _write_voc(new, placed, told)
        boxes.update(kept)
        text = card(out.absolute().name, format, images, boxes, told)
        (new / "README.md").write_text(text, encoding="utf-8", errors="replace")
    return Written(images, boxes, dict(told))


def require_free(out: Path, sources: Sequence[Path] = ()) -> None:
    """Raise UserError where a new data set would be put upon something, or into ``sources``."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty, and nothing is overwritten: name a new folder")
    target = out.resolve()
    for source in map(Path.resolve, sources):
        if target == source or source in target.parents:
            raise UserError(f"{out} lies in {source}, which is only read; choose another folder")


def _place(item: LabeledImage, folder: Path, placement: Placement) -> tuple[str, list[str]]:
    """Put one picture below ``folder``; its name there and what was done to it."""
    target = folder / item.name
    target.parent.mkdir(parents=True, exist_ok=True)
    info = image_info(item.path)
    turned = info.orientation != 1
    if turned or item.path.suffix.lower() not in SAVED_AS:
        written = write_upright(item.path, target)
        name = PurePosixPath(item.name).with_name(written.name).as_posix()
        if turned:
            return name, ["pictures turned upright, as EXIF says, and encoded again"]
        return name, ["pictures of a kind that few tools read encoded again"]
    place_file(item.path, target, link=placement == "link")
    return item.name, []


def _write_voc(
    out: Path, splits: dict[str, list[LabeledImage]], told: Counter[str]
) -> dict[str, int]:
    boxes = {}
    for split, items in splits.items():
        for item in items:
            name = PurePosixPath(item.name).name
            target = out / split / "annotations" / PurePosixPath(item.name).with_suffix(".xml")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(format_voc(to_voc(item, name)))
        boxes[split] = sum(len(item.objects) for item in items)
    return boxes


def told_lines(told: dict[str, int]) -> list[str]:
    """What is other than it was, a line each; nothing that never happened."""
    return [f"{what}: {number:,}" for what, number in told.items() if number]


_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


def card(
    name: str,
    format: str,
    images: Mapping[str, int],
    boxes: Mapping[str, int],
    told: Mapping[str, int],
) -> str:
    """The text of a card (https://huggingface.co/docs/hub/datasets-cards).

    Args:
        format: as `faces prepare export --format` calls it.
        images, boxes: how many, by split.
        told: what is other than it was, in words, and how often.

    Where the pictures are from and what may be done with them only their owner knows: the license
    is "unknown", and the text says what to fill in.
    """
    total = sum(images.values())
    size = next((text for limit, text in _SIZES if total < limit), "1M<n<10M")
    rows = [f"| {split or 'all'} | {images[split]:,} | {boxes[split]:,} |" for split in images]
    changed = [f"- {what}: {count:,}" for what, count in told.items() if count]
    lines = [
        "---",
        f"pretty_name: {json.dumps(name, ensure_ascii=False)}",
        "license: unknown",
        "task_categories: [object-detection]",
        f"size_categories: [{json.dumps(size)}]",
        f"tags: [face-detection, {format}]",
        "---",
        "",
        f"# {name}",
        "",
        f"Pictures with boxes around faces, in the format `{format}`, written by Faces.",
        "",
        "| part | pictures | boxes |",
        "|---|---|---|",
        *rows,
        "",
        *(["Other than in the original:", "", *changed, ""] if changed else []),
        "To be filled in by whoever publishes it: where the pictures are from, whether the people",
        "in them agreed, and the license.",
    ]
    return "\n".join(lines) + "\n"
