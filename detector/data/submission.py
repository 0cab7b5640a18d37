"""The official WIDER FACE submission format: a text file for each image, in event folders.

``EVENT/IMAGE.txt`` holds the image's name, the number of detections, and a line
``x y width height score`` for each. The official reader (``read_pred.m`` of the evaluation tools
at http://shuoyang1213.me/WIDERFACE/) takes the numbers as floating point, whole or not, rounds
nothing, separates them at spaces or commas, goes by the file's own name rather than by its first
line, and sorts by score; ours does the same.

A *name* is an image's path below its folder without the suffix and with forward slashes, such as
``0--Parade/0_Parade_marchingband_1_465``. Flat folders work too: then it is just the stem.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections
from faces.errors import UserError
from faces.filenames import nfc
from faces.files import atomic_write_text, read_lines

MAX_BYTES = 20_000_000  # 750 detections take 40 kB; a damaged or foreign file is refused early


def image_name(path: Path, folder: Path) -> str:
    """The name of the image ``path`` below ``folder``: relative, no suffix, slashes, in NFC."""
    return nfc(path.relative_to(folder).with_suffix("").as_posix())


def image_names(paths: Sequence[Path], folder: Path) -> list[str]:
    """The name of each, with its suffix where two differ in nothing else."""
    names = [image_name(path, folder) for path in paths]
    several = {name for name, count in Counter(names).items() if count > 1}
    return [
        name + path.suffix if name in several else name
        for name, path in zip(names, paths, strict=True)
    ]


def scored_boxes(detections: Detections) -> NDArray[np.float64]:
    """float64 (N, 5): x1 y1 x2 y2 in pixels and the score, the form that evaluation works on."""
    return np.column_stack([detections.xyxy, detections.score]).astype(np.float64)


def write_submission(folder: Path, name: str, detections: Detections) -> Path:
    """Write one image's detections under ``folder``; returns the file.

    Boxes are written to 1/10,000 pixel and scores exactly, because a set is cut where scores are
    equal. Raises UserError for a name that would leave the folder.
    """
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts or "\\" in name or "\n" in name:
        raise UserError(
            f"{name!r} cannot be written as an image's name: rename the image, without backslashes "
            "and line breaks"
        )
    lines = [name, str(len(detections))]
    for x1, y1, x2, y2, score in scored_boxes(detections):
        lines.append(f"{x1:.4f} {y1:.4f} {x2 - x1:.4f} {y2 - y1:.4f} {float(score)!r}")
    # Not with_suffix, which would cut a name like photo.v2 at its own point.
    path = folder / f"{name}.txt"
    atomic_write_text(path, "\n".join(lines) + "\n")
    return path


def find_submissions(folder: Path) -> dict[str, Path]:
    """The files of a submission folder by image name, in order of name.

    Raises UserError when there is no such folder or it holds no text file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of detections")
    # Hidden files are left out: macOS puts ._image.txt files that are no text into archives.
    paths = [path for path in folder.rglob("*.txt") if not path.name.startswith(".")]
    if not paths:
        raise UserError(
            f"{folder}: no detections found; expected files such as 0--Parade/IMAGE.txt with the "
            "image's name, the number of faces, and a line 'x y width height score' for each"
        )
    return {image_name(path, folder): path for path in sorted(paths)}


def read_submission(path: Path) -> NDArray[np.float64]:
    """Read one file as float64 (N, 5): x1 y1 x2 y2 score, highest score first.

    ``x2 = x + width``; nothing is clipped or rounded. Raises UserError, naming file and line, when
    the count and the lines disagree, or a line does not hold five finite numbers.
    """
    lines = read_lines(path, MAX_BYTES)
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) < 2:
        raise UserError(f"{path}: expected the image's name, the number of faces, and their lines")
    try:
        count = int(lines[1])
    except ValueError:
        raise UserError(
            f"{path}, line 2: expected the number of faces, got {lines[1]!r}; "
            "the first line must be the image's name"
        ) from None
    rows = lines[2:]
    if count != len(rows):
        raise UserError(f"{path}, line 2: says {count} faces, but {len(rows)} lines follow")
    boxes = np.array([_row(row, path, i + 3) for i, row in enumerate(rows)], np.float64)
    boxes = boxes.reshape(-1, 5)
    boxes[:, 2:4] += boxes[:, 0:2]
    return boxes[np.argsort(-boxes[:, 4], kind="stable")]


def _row(text: str, path: Path, line: int) -> list[float]:
    try:
        values = [float(value) for value in text.replace(",", " ").split()]
    except ValueError:
        values = []
    if len(values) != 5 or not all(map(math.isfinite, values)):
        raise UserError(f"{path}, line {line}: expected 'x y width height score', got {text!r}")
    return values
