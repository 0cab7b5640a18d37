"""The images on which detector and labels disagree most, to be looked at by a person first.

Either may be wrong, so this is for correcting labels as much as for knowing a detector.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.draw import contact_sheet
from detector.evaluation.curves import found_faces
from detector.evaluation.figures import cut_out
from detector.evaluation.matching import Matches, best_overlap
from detector.evaluation.report import Evaluation
from faces.files import atomic_write_text
from faces.images.write import save_image

log = logging.getLogger(__name__)

NOT_FOUND, NOT_LABELED, LABELED_ONCE, BOXES_DIFFER = (
    "labeled, not found", "found, not labeled", "found twice, labeled once", "boxes differ",
)  # fmt: skip
SURE = 32.0
"""Pixels: a face whose longest side is shorter counts less, in proportion: detectors miss such
faces, and a pixel more or less makes another box of them. Their labels are seldom wrong."""
SAME = 0.25
"""Overlap from which on a detection and a label that have no other partner mean one face."""
COLUMNS, CELL = 4, 360
MOST_DRAWN = 200


@dataclass(frozen=True)
class Disagreement:
    """One face of one image."""

    why: str  # `NOT_FOUND`, `NOT_LABELED`, `LABELED_ONCE` or `BOXES_DIFFER`
    # the label's box where it was not found, else the detection's
    xyxy: tuple[float, float, float, float]
    # the detection's; of a label not found the best on it, None where there is none
    score: float | None
    # intersection over union of the detection and the label nearest to it; None for a label that
    # was not found
    overlap: float | None
    # how much they disagree, 0..1: the detection's score where there is no label; what the score
    # lacks to 1 where there is no detection; what the overlap lacks to 1 where the boxes differ.
    # Less for small faces, see `SURE`.
    weight: float


@dataclass(frozen=True)
class HardImage:
    """An image and what there is to look at, the worst first."""

    index: int  # the image's place in `Matches.names`
    name: str  # its name
    faces: tuple[Disagreement, ...]  # at least one

    @property
    def weight(self) -> float:
        """The sum of its faces' weights."""
        return sum(face.weight for face in self.faces)


def hardest(matches: Matches, threshold: float, count: int) -> list[HardImage]:
    """At most ``count`` images by the sum of their disagreements, the largest first.

    Faces to ignore (difficult) and detections on them are in none. Only detections that score at
    least ``threshold`` (0..1) say that there is a face. Images of equal weight come in their order.
    """
    found: defaultdict[int, list[Disagreement]] = defaultdict(list)
    missed = ~found_faces(matches, threshold) & ~matches.face_ignored
    for d in np.flatnonzero(matches.false_positive & (matches.score >= threshold)):
        score, overlap = float(matches.score[d]), float(matches.overlap[d])
        why, weight = LABELED_ONCE if matches.face[d] >= 0 else NOT_LABELED, score
        if matches.face[d] < 0 and overlap >= SAME:
            of_image = np.flatnonzero(matches.face_image == matches.image[d])
            nearest, _ = best_overlap(matches.xyxy[d : d + 1], matches.face_xyxy[of_image])
            face = of_image[nearest[0]]
            if missed[face]:  # one row, not two, for one face
                why, weight, missed[face] = BOXES_DIFFER, 1 - overlap, False
        one = _weighted(why, matches.xyxy[d], score, overlap, weight)
        found[int(matches.image[d])].append(one)
    for f in np.flatnonzero(missed):
        best = float(matches.face_score[f]) if np.isfinite(matches.face_score[f]) else None
        one = _weighted(NOT_FOUND, matches.face_xyxy[f], best, None, 1 - (best or 0))
        found[int(matches.face_image[f])].append(one)
    images = [
        HardImage(i, matches.names[i], tuple(sorted(found[i], key=lambda face: -face.weight)))
        for i in sorted(found)
    ]
    return sorted(images, key=lambda image: -image.weight)[:count]


def _weighted(
    why: str,
    xyxy: NDArray[np.float64],
    score: float | None,
    overlap: float | None,
    weight: float,
) -> Disagreement:
    x1, y1, x2, y2 = (float(value) for value in xyxy)
    sure = min(1.0, max(x2 - x1, y2 - y1) / SURE)
    return Disagreement(why, (x1, y1, x2, y2), score, overlap, weight * sure)


def write_hardest(result: Evaluation, folder: Path, count: int) -> list[Path]:
    """Write hardest.csv, a row for each face, and hardest.png, a cell for each image.

    Cells have the labels in green, detections in orange and the faces in question in red; the sheet
    has at most `MOST_DRAWN`. Returns the files; without the images there is no sheet, which is
    said. A CSV without rows says that they agree. Raises OSError when they cannot be written.
    """
    threshold = result.setup.threshold
    images = hardest(result.matches, threshold, count)
    written = [folder / "hardest.csv"]
    atomic_write_text(written[0], _csv(images, result))
    drawn = [image for image in images if image.name in result.images][:MOST_DRAWN]
    sheet = folder / "hardest.png"
    sheet.unlink(missing_ok=True)  # of another run, it would not belong to the list
    if drawn:
        cells = [
            cut_out(
                result.images[image.name],
                _around(image.faces),
                [face.xyxy for face in image.faces],
                result.matches,
                image.index,
                threshold,
                CELL,
            )
            for image in drawn
        ]
        titles = [_title(rank, image) for rank, image in enumerate(drawn, 1)]
        save_image(sheet, contact_sheet(cells, COLUMNS, CELL + 8, titles))
        written.append(sheet)
    elif images:
        log.warning("no hardest.png: the images are needed for it, give --image-path")
    else:
        log.warning("--hardest: detector and labels agree on all images, hardest.csv has no row")
    if len(drawn) == MOST_DRAWN < len(images):
        log.warning("hardest.png shows the first %d of %d images", MOST_DRAWN, len(images))
    return written


def _csv(images: Sequence[HardImage], result: Evaluation) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["rank", "image", "why", "score", "iou", "x1", "y1", "x2", "y2", "weight"])
    for rank, image in enumerate(images, 1):
        path = result.images.get(image.name, image.name)
        for face in image.faces:
            numbers = ["" if x is None else f"{x:.3f}" for x in (face.score, face.overlap)]
            box = [f"{value:.2f}".rstrip("0").rstrip(".") for value in face.xyxy]
            rows.writerow([rank, path, face.why, *numbers, *box, f"{face.weight:.3f}"])
    return text.getvalue()


def _around(faces: Sequence[Disagreement]) -> tuple[float, float, float, float]:
    """What a cell shows with its surroundings: all faces in question."""
    x1, y1, x2, y2 = np.array([face.xyxy for face in faces]).T
    return float(x1.min()), float(y1.min()), float(x2.max()), float(y2.max())


def _title(rank: int, image: HardImage) -> str:
    first = image.faces[0]
    more = f" (+{len(image.faces) - 1})" if len(image.faces) > 1 else ""
    number = "" if first.score is None else f" {first.score:.2f}"
    if first.why == BOXES_DIFFER:
        number = f", IoU {first.overlap:.2f}"
    return f"{rank}. {first.why}{number}{more}"
