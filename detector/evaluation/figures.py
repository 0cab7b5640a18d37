"""Pictures of an evaluation: its precision-recall curves, and its worst errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.draw import FOUND, MISSED, TRUTH, contact_sheet, draw_boxes
from detector.evaluation.curves import Curve, found_faces
from detector.evaluation.matching import Matches
from faces.history import save_figure
from faces.images.read import read_image
from faces.images.write import save_image

FALSE_POSITIVE = "false alarm"
"""The kind of an error, as reports have written it since the first release."""
CELL = 232
COLUMNS = 6


@dataclass(frozen=True)
class Error:
    """One face that was missed, or one false positive."""

    kind: str  # "missed" or `FALSE_POSITIVE`
    image: str  # its name
    xyxy: tuple[float, float, float, float]  # the missed face or the false detection, in pixels
    score: float | None  # of the false positive, or the best on the missed face; None without any
    overlap: float | None  # the false positive's highest overlap with a face; None for a missed one

    def title(self) -> str:
        """What is written above its picture."""
        if self.overlap is None:
            best = "no detection" if self.score is None else f"best score {self.score:.2f}"
            return f"missed {self.xyxy[3] - self.xyxy[1]:.0f} px, {best}"
        second = ", second on a face" if self.overlap >= 0.5 else f", overlap {self.overlap:.2f}"
        return f"false positive {self.score:.2f}{second}"


def worst_errors(matches: Matches, threshold: float, count: int = 12) -> list[Error]:
    """The largest faces that were missed and the most confident false positives, ``count`` of each.

    Faces to ignore are in neither. Equal ones come in the order of their image and position.
    """
    missed = np.flatnonzero(~found_faces(matches, threshold) & ~matches.face_ignored)
    sides = matches.face_xyxy[missed, 2:] - matches.face_xyxy[missed, :2]
    missed = missed[np.argsort(-sides.prod(1), kind="stable")][:count]
    alarms = np.flatnonzero(matches.false_positive & (matches.score >= threshold))
    alarms = alarms[np.lexsort((*matches.xyxy[alarms].T, -matches.score[alarms]))][:count]
    errors = []
    for f in missed:
        best = float(matches.face_score[f])
        name, box = matches.names[matches.face_image[f]], matches.face_xyxy[f]
        errors.append(Error("missed", name, _box(box), best if np.isfinite(best) else None, None))
    for d in alarms:
        name, box = matches.names[matches.image[d]], matches.xyxy[d]
        score, overlap = float(matches.score[d]), float(matches.overlap[d])
        errors.append(Error(FALSE_POSITIVE, name, _box(box), score, overlap))
    return errors


def draw_errors(
    path: Path,
    errors: list[Error],
    matches: Matches,
    images: Mapping[str, Path],
    threshold: float,
) -> bool:
    """A contact sheet (PNG) of errors, cut out with their surroundings; whether there was any.

    Annotated faces are green, detections of at least ``threshold`` orange, the error itself red.
    Errors of images without a file in ``images`` are left out; with none left no file is written.
    """
    errors = [error for error in errors if error.image in images]
    if not errors:
        return False
    cells = [
        cut_out(
            images[error.image], error.xyxy, [error.xyxy], matches,
            matches.names.index(error.image), threshold,
        )
        for error in errors
    ]  # fmt: skip
    save_image(path, contact_sheet(cells, COLUMNS, CELL + 8, [error.title() for error in errors]))
    return True


def draw_curves(path: Path, curves: Mapping[str, Curve], title: str) -> None:
    """Precision over recall (PNG), a line and its AP for each curve with a face to find."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        if curve.ap is not None:
            # The line starts where the first detection is, not at a made-up precision of 0.
            seen = curve.precision > 0
            label = f"{name}  AP {curve.ap:.4f}  ({curve.faces:,} faces)"
            style = "--" if name == "VOC" else "-"
            axes.plot(curve.recall[seen], curve.precision[seen], style, label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.005), ylim=(0, 1.005))
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc="lower left")
    save_figure(figure, path)


def cut_out(
    path: Path,
    around: Sequence[float],
    errors: Sequence[Sequence[float]],
    matches: Matches,
    image: int,
    threshold: float,
    cell: int = CELL,
) -> NDArray[np.uint8]:
    """A part of an image, enlarged to about ``cell`` pixels before the boxes are drawn.

    Args:
        around: x1 y1 x2 y2, in the middle third of the part.
        errors: boxes to be red.
        matches, image: the image's faces (green) and, from ``threshold`` on, detections (orange).
        threshold: lowest score of a detection to be shown.
        cell: the longest side of the result.
    """
    picture = read_image(path)
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = around
    side = round(max(40.0, 3 * max(x2 - x1, y2 - y1)))
    left = int(np.clip((x1 + x2 - side) / 2, 0, max(width - side, 0)))
    top = int(np.clip((y1 + y2 - side) / 2, 0, max(height - side, 0)))
    crop = picture[top : top + side, left : left + side]
    factor = cell / max(crop.shape[:2])
    size = (max(1, round(crop.shape[1] * factor)), max(1, round(crop.shape[0] * factor)))
    drawn = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC))
    shown = (matches.image == image) & (matches.score >= threshold)
    for boxes, color, thickness in (
        (matches.face_xyxy[matches.face_image == image], TRUTH, 2),
        (matches.xyxy[shown], FOUND, 1),
        (np.array(errors), MISSED, 2),
    ):
        moved = (boxes - [left, top, left, top]) * factor
        drawn = draw_boxes(drawn, moved.astype(np.float32), color, width=thickness)
    return drawn


def _box(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2
