"""RetinaFace's ``label.txt``: ``# image``, then a face a line; github.com/deepinsight/insightface.

A line has x, y, width and height in pixels, then (in its training part) x, y and a flag for each of
the five points, -1 for those that are not known, and a last number, the blur.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import numbers
from detector.data.formats.source import Labels, Source
from faces.errors import UserError
from faces.files import read_lines
from faces.images.find import IMAGE_SUFFIXES


def is_retinaface(lines: list[str]) -> bool:
    """Whether a text file begins as RetinaFace's do."""
    first = next((line for line in lines if line.strip()), "")
    return first.startswith("#") and Path(first[1:].strip()).suffix.lower() in IMAGE_SUFFIXES


def read_retinaface(source: Source) -> dict[str, list[LabeledImage]]:
    """The images of all files by split: the folder or the name of the text file."""
    splits: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for path in source.files(".txt"):
        lines = read_lines(path)
        if not is_retinaface(lines):
            source.count("text files that are not RetinaFace's, passed over", path.name)
            continue
        name, where, labels = "", "", Labels(source, str(path))
        for number, line in enumerate([*lines, "#"], start=1):
            here = f"{path}, line {number}"
            if line.startswith("#"):
                split = source.split_of(path)
                named = source.named_split(path)
                image = source.find(name, path.parent, where, named) if name else None
                if image is not None:
                    source.refuse_twice(image, where)
                    splits[split].append(labels.image(image, (0, 0)))
                name, where, labels = line[1:].strip(), here, Labels(source, here)
            elif line.strip():
                _add(line, here, labels)
    return splits


def _add(line: str, where: str, labels: Labels) -> None:
    values = numbers(line.split(), None, where, "a line")
    if len(values) not in (4, 5, 19, 20):
        raise UserError(
            f"{where}: has {len(values)} numbers; expected x y width height, and for the points "
            "five times x y flag, and the blur"
        )
    x, y, width, height = values[:4]
    points = []
    for k in range(4, 19 if len(values) >= 19 else 4, 3):
        px, py, flag = values[k : k + 3]
        points.append(None if flag < 0 or px < 0 or py < 0 else (px, py))
    extra = {"blur": f"{values[-1]:g}"} if len(values) in (5, 20) else None
    labels.add((x, y, x + width, y + height), "face", landmarks=points, attributes=extra)
