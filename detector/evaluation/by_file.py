"""Attributes of faces from a CSV file, for breaking recall down by any of them.

The first line names the columns. ``image`` is the image's name (see `detector.data.submission`; its
suffix or, if it is unique, its folder may be left out or not). Then either ``face``, the position
of the face among the image's annotated faces, counted from 0, or ``x1,y1,x2,y2``, its box in
pixels, which must overlap the annotated one by half. Every other column is an attribute; an empty
cell means that it is not known.

    image,face,skin,age
    0--Parade/0_Parade_marchingband_1_465.jpg,0,type 5,adult
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.evaluation.matching import IOU, ImageFaces, best_overlap
from detector.evaluation.truth import Names
from faces.errors import UserError
from faces.files import read_table, refuse_many_groups

logger = logging.getLogger(__name__)

BOX = ("x1", "y1", "x2", "y2")


def read_attributes(path: Path, truth: Sequence[ImageFaces]) -> dict[str, list[str]]:
    """For each attribute column, the value of every face of ``truth`` in order, "" for unknown.

    Lines of images that are not evaluated are passed over and counted in the log. Raises UserError,
    naming file and line, for a file that breaks the format above, names a face that does not exist
    or the same one twice, has a column with more than 50 values, or is about no evaluated image.
    """
    header, lines = read_table(path)
    attributes = _attributes(header, path)
    names = Names(image.name for image in truth)
    position = {image.name: i for i, image in enumerate(truth)}
    starts = np.cumsum([0, *map(len, truth)])
    values = {name: [""] * int(starts[-1]) for name in attributes}
    seen: dict[int, int] = {}
    for number, cells in lines:
        where = f"{path}, line {number}"
        try:
            name = names.find(cells["image"])
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        if name is None:
            continue
        image = truth[position[name]]
        face = int(starts[position[name]]) + _face(cells, image, where)
        if face in seen:
            raise UserError(f"{where}: the same face as line {seen[face]}; remove one of them")
        seen[face] = number
        for attribute in attributes:
            values[attribute][face] = cells[attribute]
    if not seen:
        raise UserError(
            f"{path}: none of its {len(lines):,} lines is about an evaluated image; expected "
            f"names such as {truth[0].name!r}"
        )
    if len(seen) < len(lines):
        logger.warning(
            "%s: %d of %d lines are about images that are not evaluated",
            path,
            len(lines) - len(seen),
            len(lines),
        )
    for attribute, column in values.items():
        refuse_many_groups(path, attribute, column)
    return values


def _attributes(header: list[str], path: Path) -> list[str]:
    """The columns that are attributes, of a header that says which face is meant in one way."""
    by_box = all(name in header for name in BOX)
    if "image" not in header or by_box == ("face" in header):
        raise UserError(
            f"{path}, line 1: expected the column 'image' and either 'face' or 'x1,y1,x2,y2', "
            f"got {','.join(header)!r}"
        )
    attributes = [name for name in header if name not in ("image", "face", *BOX)]
    if not attributes:
        raise UserError(f"{path}, line 1: no attribute column beside {','.join(header)!r}")
    return attributes


def _face(cells: dict[str, str], image: ImageFaces, where: str) -> int:
    """The position of the face in its image."""
    if "face" in cells:
        text = cells["face"]
        if not text.isdecimal() or int(text) >= len(image):
            raise UserError(
                f"{where}: face {text!r} does not exist; {image.name} has {len(image)} annotated "
                "faces, counted from 0"
            )
        return int(text)
    try:
        box = np.array([[float(cells[name]) for name in BOX]])
    except ValueError as error:
        raise UserError(f"{where}: x1, y1, x2 and y2 must be numbers") from error
    index, overlap = best_overlap(box, image.xyxy)
    if not overlap[0] >= IOU:  # also when a coordinate is not a number
        raise UserError(f"{where}: {image.name} has no annotated face at {box[0].tolist()}")
    return int(index[0])
