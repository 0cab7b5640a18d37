"""From cosines of pairs to error rates: FMR, FNMR, ROC, AUC, EER, and thresholds.

The terms are those of ISO/IEC 19795-1:2021: the false match rate (FMR, also called FAR) is the
share of impostor pairs, which show two people, that are taken for one; the false non-match rate
(FNMR) the share of genuine pairs, which show one person, that are not; TAR = 1 - FNMR. Two faces
match when their cosine is **more than** the threshold, as in `recognizer.snapshot.Snapshot`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recognizer.types import frozen

NEEDED = 10
"""Trials, times the rate to be measured, below which no rate is given. With 10 errors expected the
standard error is a third of the rate; Doddington's rule wants 30 errors for +-30 % with 90 %
confidence (Doddington et al., "The NIST speaker recognition evaluation", Speech Communication 31,
2000)."""

FAILED = -1.0
"""The cosine of a pair with an image in which no face was found: such a pair never matches."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Cosines of genuine and of impostor pairs, float64, made ascending; either may be empty.

    Raises ValueError for one that is not a number from -1 to 1 (give or take rounding).
    """

    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("genuine", "impostor"):
            values = np.array(getattr(self, name), np.float64).ravel()
            if not (np.abs(values) < 1 + 1e-3).all():
                bad = values[~(np.abs(values) < 1 + 1e-3)][0]
                raise ValueError(f"{name} pairs need cosines from -1 to 1, got {bad}")
            values.clip(-1, 1, out=values).sort()
            object.__setattr__(self, name, frozen(values, np.float64))

    @classmethod
    def of_pairs(cls, cosines: NDArray[np.floating], same: NDArray[np.bool_]) -> Scores:
        """From the cosines (P,) of pairs, and whether each shows one person."""
        values = cosines.astype(np.float64)
        return cls(values[same], values[~same])

    @property
    def complete(self) -> bool:
        """Whether there are pairs of both kinds, without which nothing can be weighed."""
        return bool(len(self.genuine) and len(self.impostor))

    def fmr(self, threshold: ArrayLike) -> NDArray[np.float64]:
        """False match rate at each threshold; NaN without impostor pairs."""
        return _share(self.impostor, threshold, above=True)

    def fnmr(self, threshold: ArrayLike) -> NDArray[np.float64]:
        """False non-match rate at each threshold; NaN without genuine pairs."""
        return _share(self.genuine, threshold, above=False)


@dataclass(frozen=True, eq=False)
class Roc:
    """Error rates at every threshold that makes a difference, float64 (T,).

    Thresholds fall from the highest cosine, where nothing matches, to -1, where everything does
    except `FAILED` pairs.
    """

    threshold: NDArray[np.float64]
    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]


def roc(scores: Scores) -> Roc | None:
    """The whole curve; None when a kind of pair is missing."""
    if not scores.complete:
        return None
    values = np.concatenate([[-1.0], scores.genuine, scores.impostor])
    threshold = np.unique(values)[::-1]
    return Roc(threshold, scores.fmr(threshold), scores.fnmr(threshold))


def area_under(scores: Scores) -> float | None:
    """Area under the ROC curve: how often a genuine pair beats an impostor pair, ties half.

    None when a kind of pair is missing.
    """
    if not scores.complete:
        return None
    below = np.searchsorted(scores.impostor, scores.genuine, "left")
    not_above = np.searchsorted(scores.impostor, scores.genuine, "right")
    return float((below + not_above).mean() / (2 * len(scores.impostor)))


def equal_error_rate(curve: Roc) -> float | None:
    """The rate at which FMR and FNMR meet; None when so many pairs failed that they do not.

    Between two points of the curve both rates are interpolated along the line that joins them.
    """
    gap = curve.fmr - curve.fnmr  # rises from -1, where nothing matches
    after = int(np.argmax(gap >= 0))
    if after == 0:
        return None
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(curve.fmr[after - 1] + share * (curve.fmr[after] - curve.fmr[after - 1]))


def threshold_for(impostor: NDArray[np.float64], rate: float) -> float | None:
    """The lowest threshold at which at most a share ``rate`` of the impostors match.

    Args:
        impostor: their cosines, ascending.
        rate: above 0, below 1.

    None when fewer than `NEEDED` / ``rate`` impostors are there to measure it.
    """
    count = len(impostor)
    if not supported(count, rate):
        return None
    allowed = int(rate * count + 1e-9)
    return float(impostor[count - 1 - allowed])


def supported(count: int, rate: float) -> bool:
    """Whether ``count`` trials are enough to measure a rate, see `NEEDED`."""
    return count * rate >= NEEDED * (1 - 1e-9)


def best_threshold(scores: Scores, curve: Roc | None) -> tuple[float, float]:
    """The threshold that decides most pairs of a ``roc`` rightly, and the share it does.

    It lies half-way between two cosines; of several that are equally good it is the middle one.
    Raises ValueError when a kind of pair is missing.
    """
    if curve is None:
        raise ValueError("a threshold needs genuine and impostor pairs")
    genuine, impostor = len(scores.genuine), len(scores.impostor)
    right = (1 - curve.fnmr) * genuine + (1 - curve.fmr) * impostor
    best = np.flatnonzero(right > right.max() - 0.5)  # counts, so apart by 1 at least
    middle = int(best[len(best) // 2])
    above = curve.threshold[max(middle - 1, 0)]
    threshold = float((curve.threshold[middle] + above) / 2)
    return threshold, float(right[middle] / (genuine + impostor))


def wilson(errors: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, for independent trials, at least one."""
    from scipy.stats import binomtest

    low, high = binomtest(errors, trials).proportion_ci(0.95, method="wilson")
    return float(low), float(high)


def _share(
    ascending: NDArray[np.float64], threshold: ArrayLike, above: bool
) -> NDArray[np.float64]:
    threshold = np.asarray(threshold, np.float64)
    count = len(ascending)
    if not count:
        return np.full(threshold.shape, np.nan)
    not_above = np.searchsorted(ascending, threshold, "right")
    return (count - not_above if above else not_above) / count
