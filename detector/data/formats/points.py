"""The five points of a face where a tool has them apart from its box, and by which names."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from detector.data.formats.parse import Box
from faces.filenames import folded

_NAMES = (
    ("left eye", "eye left", "l eye", "eye l", "left eye center"),
    ("right eye", "eye right", "r eye", "eye r", "right eye center"),
    ("nose", "nose tip"),
    ("left mouth", "mouth left", "left mouth corner", "mouth left corner", "mouth l"),
    ("right mouth", "mouth right", "right mouth corner", "mouth right corner", "mouth r"),
)
_PLACES = {name.replace(" ", ""): k for k, names in enumerate(_NAMES) for name in names}


@dataclass(frozen=True)
class LoosePoint:
    """A point that was drawn apart from its box.

    Args:
        place: which of the five it is, 0 to 4.
        xy: in pixels.
        group: what the tool keeps together has the same; None: it does not say.
        where: file and line or index, for messages.
    """

    place: int
    xy: tuple[float, float]
    group: Hashable
    where: str


def place_of(name: str) -> int | None:
    """Which of the five points (0..4) a name such as "left_eye" or "Nose tip" means."""
    return _PLACES.get(re.sub(r"[^a-z]", "", folded(name)))


def assign(
    points: Sequence[LoosePoint], boxes: Sequence[Box], groups: Sequence[Hashable]
) -> tuple[dict[int, list[LoosePoint]], list[LoosePoint]]:
    """Which points belong to which box, and those that belong to none.

    Args:
        points: of one image.
        boxes: its boxes.
        groups: the group of each box.

    Points of a group go to the box of that group, without one to the box that holds most of them;
    a point without a group goes to the smallest box around it. No box gets a point twice.
    """
    together: dict[Hashable, list[LoosePoint]] = {}
    for i, point in enumerate(points):
        key = ("alone", i) if point.group is None else ("group", point.group)
        together.setdefault(key, []).append(point)
    owned: dict[int, list[LoosePoint]] = {}
    left: list[LoosePoint] = []
    # Those that say where they belong come first.
    for several in sorted(together.values(), key=lambda x: x[0].group is None):
        group = several[0].group
        own = [i for i, other in enumerate(groups) if group is not None and other == group]
        ranked = sorted(
            own or range(len(boxes)), key=lambda i: (-_inside(several, boxes[i]), _area(boxes[i]))
        )
        places = [point.place for point in several]
        for i in ranked:
            taken = {point.place for point in owned.get(i, [])}
            enough = i in own or 2 * _inside(several, boxes[i]) > len(several)
            if enough and not taken & set(places) and len(set(places)) == len(places):
                owned.setdefault(i, []).extend(several)
                break
        else:
            left += several
    return owned, left


def _inside(points: Sequence[LoosePoint], box: Box) -> int:
    x1, y1, x2, y2 = box
    return sum(x1 <= p.xy[0] <= x2 and y1 <= p.xy[1] <= y2 for p in points)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
