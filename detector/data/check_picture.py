"""A picture of what an annotation folder holds, for the eye to check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.data.check import BOX_PROBLEMS, SetReport
from detector.data.voc.annotation import load_voc
from detector.data.voc.boxes import Box, BoxFrame, mend_box, upright_annotation_boxes
from detector.draw import MISSED, TRUTH, contact_sheet, draw_boxes
from faces.errors import UserError
from faces.images.read import image_info, read_image


def draw_check(
    reports: Sequence[SetReport], count: int = 12, boxes: BoxFrame = "auto"
) -> NDArray[np.uint8] | None:
    """A sheet of up to ``count`` images with their boxes: sound ones green, the others red.

    Half of them have problems with their boxes where there are that many. RGB (H, W, 3), or None
    when no image can be shown.
    """
    findings = [finding for report in reports for finding in report.findings]
    troubled = {finding.file for finding in findings if finding.kind in BOX_PROBLEMS}
    every = [item for report in reports for item in report.pairs.pairs]
    bad = _spread([item for item in every if item[1] in troubled], count // 2)
    good = _spread([item for item in every if item[1] not in troubled], count - len(bad))
    pictures, titles = [], []
    for image, annotation in [*bad, *good]:
        try:
            voc = load_voc(annotation)[1]
            info = image_info(image)
            picture = read_image(image)
        except UserError:
            continue  # it is among the findings
        placed = upright_annotation_boxes(voc, info, boxes)
        wrong = [bool(mend_box(box, info.width, info.height)[1]) for box in placed]
        corners = np.array([_sorted(box) for box in placed], np.float32).reshape(-1, 4)
        bad_ones = np.array(wrong, bool)
        thickness = max(2, round(max(picture.shape[:2]) / 200))  # still seen when it is shrunk
        picture = draw_boxes(picture, corners[~bad_ones], TRUTH, width=thickness)
        picture = draw_boxes(picture, corners[bad_ones], MISSED, width=thickness)
        pictures.append(picture)
        titles.append(f"{image.name[-40:]}  {len(placed)} boxes, {sum(wrong)} wrong")
    return contact_sheet(pictures, 3, 420, titles) if pictures else None


def _sorted(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _spread(items: Sequence[tuple[Path, Path]], count: int) -> list[tuple[Path, Path]]:
    """Up to ``count`` items, evenly over the list."""
    if not items or count < 1:
        return []
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[i] for i in places.tolist()]
