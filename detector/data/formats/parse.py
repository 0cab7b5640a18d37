"""JSON, XML, text and numbers of label files, which are untrusted, and boxes around shapes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree

from detector.data.voc.plain import Flaw
from detector.data.voc.xml import read_root
from faces.errors import UserError
from faces.filenames import folded
from faces.files import decoded, read_limited
from faces.text import counted

MAX_JSON_BYTES = 1_000_000_000  # COCO's instances_train2017.json has 448 MB
MAX_XML_BYTES = 500_000_000
_LARGEST = 1e9  # no coordinate; also keeps sums and products finite

Box = tuple[float, float, float, float]


def read_json(path: Path) -> Any:
    """What a JSON file holds; UserError when it is too large or no JSON."""
    data = read_limited(path, MAX_JSON_BYTES)
    try:
        return json.loads(decoded(data), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}); export it again"
        ) from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); export it again") from error


def read_xml(path: Path) -> tuple[etree._Element, list[Flaw]]:
    """The root of an XML file, without entities, document types or network, and what was wrong."""
    return read_root(read_limited(path, MAX_XML_BYTES), path)


def numbers(values: object, count: int | None, where: str, what: str) -> list[float]:
    """``values`` as numbers up to 1e9, ``count`` of them if given; else UserError."""
    items = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else []
    good = isinstance(values, Sequence) and not isinstance(values, str)
    found: list[float] = []
    for item in items:
        try:
            found.append(float(item) if not isinstance(item, bool) else math.nan)
        except (TypeError, ValueError, OverflowError):
            found.append(math.nan)
    if (
        not good
        or (count is not None and len(found) != count)
        or not all(abs(x) <= _LARGEST for x in found)
    ):
        wanted = counted(count, "number") if count is not None else "numbers"
        raise UserError(f"{where}: {what} must be {wanted}, got {_short(values)}; correct it")
    return found


def around(points: Iterable[Sequence[float]]) -> Box:
    """The box around points x y."""
    xy = np.array([point[:2] for point in points], np.float64)
    (x1, y1), (x2, y2) = xy.min(axis=0).tolist(), xy.max(axis=0).tolist()
    return x1, y1, x2, y2


def rotated(box: Box, degrees: float, pivot: tuple[float, float]) -> Box:
    """The upright box around a box that was turned clockwise about a point."""
    x1, y1, x2, y2 = box
    if degrees % 360 == 0:
        return box
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    px, py = pivot
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    turned = [
        (px + (x - px) * cos - (y - py) * sin, py + (x - px) * sin + (y - py) * cos)
        for x, y in corners
    ]
    return around(turned)


def around_ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float) -> Box:
    """The upright box around an ellipse that was turned clockwise about its center."""
    (x, y), (rx, ry) = center, radii
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_wide, half_high = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    return x - half_wide, y - half_high, x + half_wide, y + half_high


def yes(value: object) -> bool:
    """Whether a flag is set, written as true, 1, 1.0, "1", "true" or "yes"."""
    if isinstance(value, int | float):
        return value != 0
    return isinstance(value, str) and folded(value.strip()) in ("1", "1.0", "true", "yes")


def whole(value: object) -> int:
    """A size in pixels; 0 where it is none."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0
    return int(number) if 0 < number < 1e9 and number == int(number) else 0


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
