"""Verification: are these two faces one person? By folds of listed pairs, or over all pairs.

LFW's protocol (Huang et al., "Labeled Faces in the Wild", UMass 07-49, 2007, section 6): the pairs
come in folds that share no person; for each fold the threshold that is best on all the others is
used; accuracy is the mean over the folds, with its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.error_rates import (
    NEEDED,
    Roc,
    Scores,
    area_under,
    best_threshold,
    equal_error_rate,
    roc,
    threshold_for,
)

FALSE_MATCH_RATES = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class FoldAccuracy:
    """Of one fold: the threshold chosen on the others, and the share of its pairs decided right."""

    fold: int
    pairs: int
    threshold: float
    accuracy: float


def summarize(scores: Scores, curve: Roc | None) -> dict[str, Any]:
    """Everything that needs no folds, as the report has it; ``curve`` is the scores' `roc`.

    ``best_threshold`` is the one that suits these very pairs best, which is for use elsewhere:
    ``best_accuracy``, its accuracy here, is flattered. Figures are None when a kind of pair is
    missing.
    """
    best: tuple[float, float] | tuple[None, None] = (None, None)
    if curve is not None:
        best = best_threshold(scores, curve)
    return {
        "genuine": len(scores.genuine),
        "impostor": len(scores.impostor),
        "auc": area_under(scores),
        "eer": None if curve is None else equal_error_rate(curve),
        "best_threshold": best[0],
        "best_accuracy": best[1],
        "tar": [tar_at(scores, rate) for rate in FALSE_MATCH_RATES],
    }


def tar_at(scores: Scores, far: float) -> dict[str, Any]:
    """The share ``tar`` of genuine pairs that match when at most a share ``far`` of the impostors
    may, on the curve's own steps: nothing is interpolated.

    ``tar`` and ``threshold`` are None with fewer impostor pairs than are ``needed`` to measure it.
    """
    threshold = threshold_for(scores.impostor, far) if len(scores.genuine) else None
    tar = None if threshold is None else float(1 - scores.fnmr(threshold))
    return {"far": far, "tar": tar, "threshold": threshold, "needed": round(NEEDED / far)}


def by_folds(
    cosines: NDArray[np.floating],
    same: NDArray[np.bool_],
    fold: NDArray[np.int64],
    test: Sequence[int] | None = None,
) -> list[FoldAccuracy]:
    """Accuracy of each tested fold, with a threshold that has never seen it.

    Args:
        cosines, same, fold: of each pair (P,); see `recognizer.data.lfw.Lfw`.
        test: folds to test on; the threshold is chosen on all the others together. None tests each
            fold in turn against all others.

    Raises UserError for a single fold, a test fold that does not exist, no fold left to choose on,
    or folds to choose on that lack genuine or impostor pairs.
    """
    folds = [int(number) for number in np.unique(fold)]
    if len(folds) < 2:
        raise UserError(
            f"the pairs have {len(folds)} fold, the protocol needs two or more: the threshold is "
            "chosen on other folds than it is tested on"
        )
    if test is not None:
        strange = sorted(set(test) - set(folds))
        if strange:
            raise UserError(f"there is no fold {strange[0]}, only {', '.join(map(str, folds))}")
        if not set(folds) - set(test):
            raise UserError("every fold is a test fold; leave one out to choose the threshold on")
    results = []
    for number in folds if test is None else sorted(set(test)):
        chosen_on = ~np.isin(fold, [number] if test is None else list(test))
        scores = Scores.of_pairs(cosines[chosen_on], same[chosen_on])
        if not scores.complete:
            raise UserError(
                f"fold {number}: the other folds have {len(scores.genuine)} genuine and "
                f"{len(scores.impostor)} impostor pairs; a threshold needs both kinds"
            )
        threshold, _ = best_threshold(scores, roc(scores))
        tested = fold == number
        right = (cosines[tested] > threshold) == same[tested]
        results.append(FoldAccuracy(number, int(tested.sum()), threshold, float(right.mean())))
    return results


def accuracy(folds: Sequence[FoldAccuracy]) -> tuple[float, float | None]:
    """The mean over folds and its standard error; None for a single one, which shows no spread."""
    values = np.array([fold.accuracy for fold in folds])
    error = float(values.std(ddof=1) / sqrt(len(values))) if len(values) > 1 else None
    return float(values.mean()), error
