"""The lines of YOLO's label files: boxes, polygons, turned boxes, boxes with points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import around, numbers
from detector.data.formats.source import Labels, Points, Source
from faces.errors import UserError
from faces.files import read_lines
from faces.images.read import image_info


def first_with_points(files: Iterable[Path | None]) -> str | None:
    """Where labels have five points behind each box, and no ``kpt_shape`` says so; else None.

    Seven corners of a polygon are 14 numbers as well. Yet the points of a face lie in its box, the
    mouth below the eyes, and those that are not known are -1.
    """
    sound = count = 0
    first = ""
    for path in files:
        for number, line in enumerate(read_lines(path) if path else (), start=1):
            if len(words := line.split()) != 15:
                continue
            _, *values = numbers(words, 15, f"{path}, line {number}", "a line")
            first = first or f"{path}, line {number}"
            count += 1
            sound += _is_face(values)
    return first if count and sound >= 0.9 * count else None


def _is_face(values: Sequence[float]) -> bool:
    x, y, width, height, *rest = values
    points = list(zip(rest[::2], rest[1::2], strict=True))
    if any(xy == (-1, -1) for xy in points):
        return True
    inside = all(abs(px - x) <= width and abs(py - y) <= height for px, py in points)
    eyes, mouth = points[:2], points[3:]
    return inside and max(e[1] for e in eyes) < min(m[1] for m in mouth) and (
        (eyes[1][0] - eyes[0][0]) * (mouth[1][0] - mouth[0][0]) > 0
    )  # fmt: skip


def read_labels(
    image: Path,
    path: Path | None,
    names: dict[int, str],
    dims: list[int] | None,
    source: Source,
) -> LabeledImage:
    """An image with the boxes of its label file.

    Args:
        path: the file of its labels; None: it shows nothing.
        names: the classes by number.
        dims: how many points each box has, and how many numbers each point; None: no points.
        source: where it is from, to be told what is left out.
    """
    labels = Labels(source, str(path))
    try:
        info = image_info(image)
    except UserError:  # `prepare check` names it; its boxes cannot be in pixels
        source.count("unreadable images, their boxes left out", image.name)
        return labels.image(image, (0, 0))
    if path is None:
        source.count("images without a label file, taken as showing no object", image.name)
        return labels.image(image, (info.width, info.height))
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            _add(line, f"{path}, line {number}", labels, names, dims, (info.width, info.height))
    return labels.image(image, (info.width, info.height))


def _add(
    line: str,
    where: str,
    labels: Labels,
    names: dict[int, str],
    dims: list[int] | None,
    size: tuple[int, int],
) -> None:
    values = numbers(line.split(), None, where, "a line")
    if values[0] not in names:
        raise UserError(f"{where}: there is no class {values[0]:g}; add it to the names")
    name, rest = names[int(values[0])], values[1:]
    width, height = size
    pose = dims is not None and len(rest) == 4 + dims[0] * dims[1]
    if not pose and len(rest) not in (4, 5) and (len(rest) < 6 or len(rest) % 2):
        raise UserError(
            f"{where}: has {len(values)} numbers; expected a class and 4 numbers of a box, the "
            "corners of a polygon, or (with kpt_shape in data.yaml) a box and its keypoints"
        )
    if any(not -1 <= x <= 2 for x in (rest[:4] if pose or len(rest) < 6 else rest)):
        raise UserError(
            f"{where}: the numbers must be fractions of the image, between 0 and 1; divide them by "
            "its width and height"
        )
    if not pose and len(rest) >= 6:
        if len(rest) == 14:
            what = (
                "lines of 14 numbers, read as polygons (where they are a box and its five points, "
                "write `kpt_shape: [5, 2]` into data.yaml)"
            )
            labels.source.count(what, where)
        xy = zip(rest[::2], rest[1::2], strict=True)
        labels.add(around([(x * width, y * height) for x, y in xy]), name)
        return
    x, y, w, h = rest[:4]
    box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    extra = {"score": rest[4]} if len(rest) == 5 else None
    labels.add(box, name, landmarks=_points(rest, dims, labels, where, size), attributes=extra)


def _points(
    rest: list[float], dims: list[int] | None, labels: Labels, where: str, size: tuple[int, int]
) -> Points:
    if dims is None or len(rest) <= 5:
        return ()
    if dims[0] != 5 or dims[1] not in (2, 3):
        labels.source.count("objects whose keypoints are not the five of a face, boxes kept", where)
        return ()
    points: list[tuple[float, float] | None] = []
    for k in range(4, len(rest), dims[1]):
        x, y = rest[k : k + 2]
        known = rest[k + 2] > 0 if dims[1] == 3 else (x, y) != (0, 0) and min(x, y) >= 0
        points.append((x * size[0], y * size[1]) if known else None)
    return points
