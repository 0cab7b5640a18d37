"""Compares an exported file with its checkpoint, before the file is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.boxes import iou

BOX_TOLERANCE = 0.01
"""Pixels by which a coordinate may differ, of a box or a point."""
SCORE_TOLERANCE = 1e-4
"""How much a score may differ; and scores closer than this count as tied."""

Found = tuple[NDArray[np.float32], ...]
"""Boxes (N, 4), scores (N,) and, where the network finds points, these (N, 5, 2), of one image."""

Run = Callable[[NDArray[np.uint8], float], list[Found]]
"""A batch (B, H, W, 3) and a score threshold -> what is found in each image."""


@dataclass(frozen=True)
class Case:
    """A batch on which both have to agree."""

    name: str  # what it stands for
    images: NDArray[np.uint8]  # RGB uint8 (B, H, W, 3), H and W multiples of 32
    score_threshold: float  # the lowest score that is given (0..1)


@dataclass(frozen=True)
class Outcome:
    """The result of one case."""

    case: str  # its name
    size: tuple[int, int, int]  # (batch, height, width)
    score_threshold: float  # as in the case
    faces: int  # how many the checkpoint found
    compared: int  # how many of them were found by both
    tied: int  # how many differ because equal scores may be resolved either way
    missing: int  # how many only one of the two found, and no tie explains it
    box_error: float  # largest difference of a coordinate, pixels
    score_error: float  # largest difference of a score
    # largest difference of a point's coordinate, pixels; None without points
    point_error: float | None = None

    @property
    def of_points(self) -> str:
        """The difference of points in words; "" without points."""
        return "" if self.point_error is None else f", points by {self.point_error:.4f} px,"

    @property
    def passed(self) -> bool:
        """Whether the differences are within the tolerances."""
        return (
            self.missing == 0
            and self.box_error <= BOX_TOLERANCE
            and self.score_error <= SCORE_TOLERANCE
            and (self.point_error or 0.0) <= BOX_TOLERANCE
        )


def check(
    expected: Run, actual: Run, cases: Sequence[Case], nms_threshold: float, limit: int
) -> list[Outcome]:
    """Run every case through both.

    Args:
        nms_threshold: overlap (IoU) above which both drop the lesser of two boxes.
        limit: how many boxes both give for an image at most.
    """
    outcomes = []
    for case in cases:
        pairs = zip(
            expected(case.images, case.score_threshold),
            actual(case.images, case.score_threshold),
            strict=True,
        )
        parts = [compare(a, b, case.score_threshold, nms_threshold, limit) for a, b in pairs]
        faces, compared, tied, missing, box_error, score_error, points = zip(*parts, strict=True)
        outcomes.append(
            Outcome(
                case.name, case.images.shape[:3], case.score_threshold, sum(faces), sum(compared),
                sum(tied), sum(missing), max(box_error), max(score_error),
                None if None in points else max(points),
            )
        )  # fmt: skip
    return outcomes


def compare(
    expected: Found, actual: Found, score_threshold: float, nms_threshold: float, limit: int
) -> tuple[int, int, int, int, float, float, float | None]:
    """One image: (faces, compared, tied, missing, largest errors of box, score and points).

    Boxes that are nearest to each other, within a pixel, are the same. One that has no such partner
    is excused only by a tie: its score equals, within the tolerance, the threshold, the last one
    given when the limit was reached, or the score of an overlapping box that the other side chose.
    """
    boxes, scores, *points = expected
    others, other_scores, *other_points = actual
    if len(boxes) and len(others):
        distance = np.abs(boxes[:, None] - others[None]).max(axis=2)
        nearest, back = distance.argmin(axis=1), distance.argmin(axis=0)
        mine = np.flatnonzero((back[nearest] == np.arange(len(boxes))) & (distance.min(axis=1) < 1))
        theirs = nearest[mine]
    else:
        distance = np.zeros((len(boxes), len(others)), np.float32)
        mine = theirs = np.zeros(0, np.int64)
    tied = missing = 0
    for found, partners, rivals in ((expected, mine, actual), (actual, theirs, expected)):
        for i in np.setdiff1d(np.arange(len(found[0])), partners):
            if _tied(found[0][i], found[1][i], rivals, score_threshold, nms_threshold, limit):
                tied += 1
            else:
                missing += 1
    box_error = float(distance[mine, theirs].max(initial=0))
    score_error = float(np.abs(scores[mine] - other_scores[theirs]).max(initial=0))
    point_error = None
    if points and other_points:
        off = np.abs(points[0][mine] - other_points[0][theirs])
        point_error = float(off.max(initial=0))
    return len(boxes), len(mine), tied, missing, box_error, score_error, point_error


def _tied(
    box: NDArray[np.float32],
    score: float,
    rivals: Found,
    score_threshold: float,
    nms_threshold: float,
    limit: int,
) -> bool:
    boxes, scores, *_ = rivals
    if score <= score_threshold + SCORE_TOLERANCE:
        return True
    if len(scores) >= limit and score <= scores[-1] + SCORE_TOLERANCE:
        return True
    same_score = np.abs(scores - score) <= SCORE_TOLERANCE
    return bool((same_score & (iou(box, boxes)[0] > nms_threshold - 1e-3)).any())


def make_cases(pictures: Sequence[NDArray[np.uint8]] = ()) -> list[Case]:
    """Sizes portrait and landscape, several images at once, a crowd, noise, and nothing at all.

    Args:
        pictures: more to compare on, RGB uint8 (H, W, 3), H and W multiples of 32.
    """
    random = np.random.default_rng(0)
    sizes = [(480, 640), (640, 480), (384, 640), (640, 256), (320, 320), (768, 1024), (96, 64)]
    cases = [
        Case(f"{width}x{height}", draw_crowd(height, width, 24, random)[None], 0.02)
        for height, width in sizes
    ]
    several = np.stack([draw_crowd(256, 384, count, random) for count in (0, 3, 40)])
    crowd = draw_crowd(640, 640, 700, random, largest=28)[None]
    noise = random.integers(0, 256, (1, 320, 480, 3), np.uint8)
    return [
        *cases,
        Case("three images at once", several, 0.02),
        Case("crowd", crowd, 0.001),
        Case("noise", noise, 0.02),
        # No score is above 1: whatever the network has learned, every image comes back empty.
        Case("no face", several, 1.0),
        *(
            Case(f"picture {i + 1}", picture[None].copy(), 0.02)
            for i, picture in enumerate(pictures)
        ),
    ]  # fmt: skip


def draw_crowd(
    height: int, width: int, count: int, random: np.random.Generator, largest: int = 72
) -> NDArray[np.uint8]:
    """A picture (height, width, 3) of ``count`` faces, 12..``largest`` pixels wide.

    The face is that of scikit-image's astronaut, on a soft background. Place, size, brightness and
    side are random, so that hardly two scores are equal.
    """
    from skimage import data

    face = np.asarray(data.astronaut())[55:195, 165:285]
    coarse = random.integers(40, 216, (height // 32, width // 32, 3), np.uint8)
    canvas = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    for _ in range(count):
        size = int(min(12 * (largest / 12) ** random.random(), 0.7 * min(height, width)))
        small = Image.fromarray(face[:, :: random.choice([-1, 1])]).resize(
            (size, size * 7 // 6), Image.Resampling.BILINEAR
        )
        pixels = (np.asarray(small) * random.uniform(0.5, 1.2)).clip(0, 255).astype(np.uint8)
        y = int(random.integers(0, height - pixels.shape[0] + 1))
        x = int(random.integers(0, width - pixels.shape[1] + 1))
        canvas[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return canvas


def report(outcomes: Sequence[Outcome], **about: Any) -> dict[str, Any]:
    """The outcomes as JSON-ready values, with whatever else there is to say ``about`` them."""
    return {
        **about,
        "passed": all(outcome.passed for outcome in outcomes),
        "compared": sum(outcome.compared for outcome in outcomes),
        "tolerance": {"box": BOX_TOLERANCE, "score": SCORE_TOLERANCE},
        "cases": [{**asdict(outcome), "passed": outcome.passed} for outcome in outcomes],
    }


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as aligned text."""
    lines = [
        f"{'case':<22}{'batch':>6}{'size':>11}{'faces':>7}{'tied':>6}{'missing':>9}"
        f"{'box error':>12}{'score error':>13}"
        + (f"{'points':>13}" if any(o.point_error is not None for o in outcomes) else "")
    ]
    for o in outcomes:
        batch, height, width = o.size
        lines.append(
            f"{o.case:<22}{batch:>6}{f'{width}x{height}':>11}{o.faces:>7}{o.tied:>6}{o.missing:>9}"
            f"{o.box_error:>9.5f} px{o.score_error:>13.1e}"
            + ("" if o.point_error is None else f"{o.point_error:>10.5f} px")
            + ("" if o.passed else "  FAILED")
        )
    return "\n".join(lines)
