"""Folders of images and annotations with faults, checked and repaired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from detector.data.check import SetReport, check_set
from detector.data.repair import repair
from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
from detector.data.voc.boxes import BoxFrame
from detector.data.voc.folder import find_sets

WIDTH, HEIGHT = 60, 40
GOOD = (5.0, 6.0, 25.0, 30.0)


def add(
    root: Path,
    name: str,
    *boxes: tuple[float, float, float, float],
    size: tuple[int, int] = (WIDTH, HEIGHT),
    orientation: int = 1,
) -> Path:
    """An image, white inside the boxes, and its annotation; the annotation's path."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[int(max(y1, 0)) : int(max(y2, 0)), int(max(x1, 0)) : int(max(x2, 0))] = 255
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    target = root / "annotations" / Path(name).with_suffix(".xml")
    objects = tuple(VocObject("face", box) for box in boxes)
    write_voc(target, VocAnnotation(path.name, *size, objects))
    return target


def check(root: Path, *, decode: bool = True, boxes: BoxFrame = "auto") -> SetReport:
    (folder,) = find_sets(root)
    return check_set(folder, decode=decode, boxes=boxes)


def problems(report: SetReport) -> dict[str, int]:
    return {kind: count for kind, count in report.counts().items() if count}


def snapshot(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def repaired(root: Path, out: Path, boxes: BoxFrame = "auto") -> SetReport:
    """Repair ``root`` and check that it is untouched and that its copy is clean."""
    before = snapshot(root)
    repair([check(root, boxes=boxes)], out, boxes=boxes)
    assert snapshot(root) == before
    report = check(out)
    assert problems(report) == {}
    return report
