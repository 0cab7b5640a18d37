"""The score calibration of a detector: which of its scores is to be called 0.5.

0.5 is the default threshold everywhere. What a network's scores are worth depends on how long and
on what it was trained, so the score that gives a wanted number of false positives a picture is
measured, on pictures that it was not trained on, and stored in the checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import chi2

from detector.checkpoint import checkpoint_config, load_checkpoint, save_checkpoint
from detector.config import to_dict
from detector.evaluation.curves import at_threshold, threshold_for
from detector.evaluation.matching import Matches
from faces.errors import UserError
from faces.folders import copy_file

LOWEST = 1e-3
"""Lowest plain score, of the network without calibration, that is looked at."""


@dataclass(frozen=True)
class ScoreCalibration:
    """What was measured."""

    score: float  # the plain score (0..1, without any calibration) that is to be called 0.5
    wanted: float  # false positives a picture that were asked for, at most
    false_positives: float  # those there are at ``score`` and above, a picture
    # of that figure, 95 %, if false positives are independent of each other (Poisson)
    interval: tuple[float, float]
    # images, faces: evaluated; faces to ignore are not among them
    images: int
    faces: int
    found: int  # faces found at ``score`` and above
    lowest: bool  # even at the lowest score looked at there are no more than wanted


def calibrate_scores(matches: Matches, wanted: float) -> ScoreCalibration:
    """The lowest score with at most ``wanted`` false positives a picture.

    Args:
        matches: of detections with plain scores of at least `LOWEST`, and annotated faces.
        wanted: false positives a picture, above 0.

    It lies half-way (in logits) between the first false positive too many and the next better
    detection, so that rounding cannot change on which side they are. Raises UserError when the
    pictures are too few for the figure, or nothing was detected.
    """
    images = len(matches.names)
    allowed = math.floor(wanted * images + 1e-9)
    if allowed < 1:
        raise UserError(
            f"{wanted:g} false positives a picture cannot be measured on {images} pictures, where "
            f"one would be {1 / max(images, 1):.2g}: give at least {math.ceil(1 / wanted)} "
            "pictures, or allow more false positives"
        )
    counted = matches.score[matches.counted]
    if not len(counted):
        raise UserError(
            "the detector finds nothing at all on these pictures, so there is no score to measure: "
            "train it for longer"
        )
    threshold = threshold_for(matches, allowed / images)
    worse = counted if threshold is None else counted[counted < threshold]
    if len(worse):
        first = float(worse.max())
        better = (1 + first) / 2 if threshold is None else threshold
        score = _sigmoid((_logit(first) + _logit(better)) / 2)
    else:
        score = _sigmoid(_logit(float(counted.min())) - 0.01)
    at = at_threshold(matches, score)
    low, high = _poisson(at.false_positives)
    return ScoreCalibration(
        score=score,
        wanted=wanted,
        false_positives=at.false_positives_per_image,
        interval=(low / images, high / images),
        images=images,
        faces=at.faces,
        found=at.found,
        lowest=not len(worse),
    )


def store_calibration(model: Path, out: Path | None, found: ScoreCalibration) -> Path | None:
    """Write ``found`` into the checkpoint ``model``, or into a copy of it, ``out``.

    Nothing else in it changes. Without ``out`` the file as it was trained stays beside it; returns
    its path when that was written now, None when a copy of it is there from an earlier time, or
    nothing was replaced. Raises UserError when the disk is full or the folder cannot be written.
    """
    payload = load_checkpoint(model)
    kept = None
    if out is None and "calibration" not in payload.get("provenance", {}):
        kept = model.with_name(f"{model.stem}.uncalibrated{model.suffix}")
        copy_file(model, kept)
    config = checkpoint_config(payload)
    config = replace(config, model=replace(config.model, score_calibration=found.score))
    payload["config"] = to_dict(config)
    calibration = {**asdict(found), "interval": list(found.interval)}  # as JSON and torch store it
    payload["provenance"] = {**payload.get("provenance", {}), "calibration": calibration}
    del payload["format"], payload["version"]
    save_checkpoint(out or model, payload)
    return kept


def check_calibrates(payload: dict[str, Any], path: Path) -> None:
    """Raises UserError for a network whose scores are not calibrated."""
    if checkpoint_config(payload).model.arch == "reference":
        raise UserError(
            f"{path} is a `reference` network, whose scores are as published: choose a threshold "
            "where it is used instead"
        )


def _poisson(count: int) -> tuple[float, float]:
    """The exact 95 % interval of the mean of a Poisson distribution that gave ``count``."""
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low), float(chi2.ppf(0.975, 2 * count + 2) / 2)


def _logit(score: float) -> float:
    score = min(max(score, 1e-12), 1 - 1e-12)
    return math.log(score / (1 - score))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
