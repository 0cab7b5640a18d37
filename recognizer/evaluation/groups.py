"""FMR and FNMR of groups of people, with intervals: an audit, not a certificate.

A genuine pair counts for a group when both its images have that label; an impostor pair too, so FMR
is the rate at which people *of the group* are mistaken for one another. That is the harder and the
relevant case (Grother et al., "Face Recognition Vendor Test Part 3: Demographic Effects", NISTIR
8280, 2019, section 3): an impostor resembles his victim, and mixed pairs would hide differences.

The intervals are percentile bootstrap intervals over *people*. Pairs are not independent: a person
with n photos is in n (n - 1) / 2 genuine pairs, and one with a common face in many false matches.
Resampling pairs would take each for a new fact and claim far too much certainty (Bolle, Ratha and
Pankanti, "Error analysis of pattern recognition systems - the subsets bootstrap", CVIU 93, 2004). A
person drawn twice counts twice in genuine pairs, and each impostor pair as often as both its people
were drawn, multiplied; pairs of a person with their own copy are no impostor pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.error_rates import threshold_for, wilson
from recognizer.evaluation.all_pairs import Faces

CONFIDENCE = 0.95


def audit(
    faces: Faces,
    kind: str,
    labels: Sequence[str],
    threshold: float,
    *,
    fmr: float = 1e-3,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the groups of one kind of label, over all pairs of images.

    Returns ``kind``, ``groups``, how many images are ``unlabeled`` and left out, and ``fmr_ratio``
    and ``fnmr_ratio``, see `_largest_ratio`. A group, called ``group``, has

    - ``people``, ``images``: with that label; images without a face count, as they fail
    - ``failed``: images without a face; ``failed_interval``: their share, as a Wilson interval for
      so many independent images
    - ``genuine``, ``impostor``: pairs within the group
    - ``threshold``: the lowest at which no more than ``fmr`` of its impostor pairs match; None when
      they are too few to measure it
    - ``fnmr``, ``fmr``: None without pairs of that kind
    - ``fnmr_interval``, ``fmr_interval``: 95 %, see `_interval`

    Args:
        labels: of every image (N,); "" for none. Images of one person may have different ones.
        threshold: a pair matches when its cosine is more than this.
        fmr: the false match rate for which each group's own threshold is sought.
        resamples, seed: of the bootstrap; the same seed gives the same intervals.
    """
    names = sorted(set(labels) - {""})
    number = {name: i for i, name in enumerate(names)}
    used = np.array([label != "" for label in labels], bool)
    group = np.array([number[label] for label in labels if label], np.int64)
    if not names:
        return {
            "kind": kind, "groups": [], "unlabeled": len(labels), "fmr_ratio": None,
            "fnmr_ratio": None,
        }  # fmt: skip
    tally = _Tally(faces[np.flatnonzero(used)], group, len(names), threshold)
    rates = tally.rates()
    drawn = tally.draw(resamples, seed)
    failed = np.bincount(group[faces.failed[used]], minlength=len(names))
    results = []
    for i, name in enumerate(names):
        people = int((tally.images[:, i] > 0).sum())
        genuine_people = int((tally.genuine[:, i] > 0).sum())
        missed, false = rates["FNMR"][i], rates["FMR"][i]
        results.append(
            {
                "group": name,
                "people": people,
                "images": int(tally.images[:, i].sum()),
                "failed": int(failed[i]),
                "failed_interval": wilson(int(failed[i]), int(tally.images[:, i].sum())),
                "genuine": int(tally.genuine[:, i].sum()),
                "impostor": int(tally.impostors()[i]),
                "threshold": threshold_for(tally.cosines(i), fmr),
                "fnmr": missed,
                "fnmr_interval": _interval(missed, drawn["FNMR"][:, i], genuine_people),
                "fmr": false,
                "fmr_interval": _interval(false, drawn["FMR"][:, i], people // 2, people),
            }
        )
    return {
        "kind": kind,
        "groups": results,
        "unlabeled": int((~used).sum()),
        "fmr_ratio": _largest_ratio(names, rates["FMR"], drawn["FMR"]),
        "fnmr_ratio": _largest_ratio(names, rates["FNMR"], drawn["FNMR"]),
    }


class _Tally:
    """Pairs of each group by the people in them, from which any draw of people can be summed.

    ``images``, ``genuine`` and ``missed`` are float64 (people, groups); ``false`` is for each group
    a sparse matrix (people, people) of falsely matched pairs.
    """

    def __init__(
        self, faces: Faces, group: NDArray[np.int64], groups: int, threshold: float
    ) -> None:
        from scipy.sparse import coo_array

        person = np.unique(faces.person, return_inverse=True)[1]
        people = int(person.max()) + 1
        shape = (people, groups)
        self.images = np.zeros(shape)
        np.add.at(self.images, (person, group), 1)
        self.genuine = self.images * (self.images - 1) / 2
        self.missed = np.zeros(shape)
        self._cosines: list[list[NDArray]] = [[np.empty(0, np.float32)] for _ in range(groups)]
        rows: list[list[NDArray]] = [[np.empty(0, np.int64)] for _ in range(3)]
        for first, second, cosines in faces.pairs():
            together = group[first] == group[second]
            same = person[first] == person[second]
            strangers = together & ~same
            label = group[first]
            for g, found in enumerate(self._cosines):
                found.append(cosines[strangers & (label == g)].astype(np.float32))
            missed = together & same & (cosines <= threshold)
            np.add.at(self.missed, (person[first[missed]], group[first[missed]]), 1)
            false = np.flatnonzero(strangers & (cosines > threshold))
            for column, values in zip(
                rows,
                (person[first[false]], person[second[false]], group[first[false]]),
                strict=True,
            ):
                column.append(values)
        one, other, whose = (np.concatenate(column) for column in rows)
        self.false = [
            coo_array(
                (np.ones(int((whose == g).sum())), (one[whose == g], other[whose == g])),
                shape=(people, people),
            ).tocsr()
            for g in range(groups)
        ]

    def cosines(self, number: int) -> NDArray[np.float64]:
        """Of a group's impostor pairs, ascending."""
        return np.sort(np.concatenate(self._cosines[number])).astype(np.float64)

    def impostors(self, times: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Impostor pairs (G,) of each group; with ``times`` (R, people) drawn: (R, G)."""
        if times is None:
            times = np.ones(len(self.images))
        # (sum of n)^2 counts every ordered pair, and the pairs of a person with themselves.
        return ((times @ self.images) ** 2 - times**2 @ self.images**2) / 2

    def rates(self) -> dict[str, list[float | None]]:
        """FMR and FNMR of each group as it is; None without pairs of that kind."""

        def rates(wrong: NDArray[np.float64], pairs: NDArray[np.float64]) -> list[float | None]:
            return [float(w / n) if n else None for w, n in zip(wrong, pairs, strict=True)]

        false = np.array([matrix.sum() for matrix in self.false])
        return {
            "FMR": rates(false, self.impostors()),
            "FNMR": rates(self.missed.sum(axis=0), self.genuine.sum(axis=0)),
        }

    def draw(self, resamples: int, seed: int) -> dict[str, NDArray[np.float64]]:
        """FMR and FNMR (R, G) of ``resamples`` draws of the people; NaN where nothing is left."""
        random = np.random.default_rng(seed)
        people = len(self.images)
        false = np.empty((resamples, len(self.false)))
        total, missed, genuine = np.empty_like(false), np.empty_like(false), np.empty_like(false)
        block = 100  # of draws, to bound the memory
        for start in range(0, resamples, block):
            rows = slice(start, min(start + block, resamples))
            count = rows.stop - rows.start
            chosen = random.integers(0, people, (count, people))
            cells = chosen + people * np.arange(count)[:, None]
            drawn = np.bincount(cells.ravel(), minlength=count * people)
            times = drawn.reshape(count, people).astype(np.float64)
            missed[rows], genuine[rows] = times @ self.missed, times @ self.genuine
            total[rows] = self.impostors(times)
            for g, matrix in enumerate(self.false):
                false[rows, g] = ((matrix.T @ times.T).T * times).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "FMR": np.where(total > 0, false / total, np.nan),
                "FNMR": np.where(genuine > 0, missed / genuine, np.nan),
            }


def _interval(
    rate: float | None, drawn: NDArray[np.float64], trials: int, people: int | None = None
) -> tuple[float, float] | None:
    """95 % interval of a rate; None when a single person is behind it.

    Where not one pair, or every pair, was wrong, which drawing again cannot change, it is the exact
    binomial one for as many ``trials`` as there are people (for FMR: half as many, who form pairs
    that share nobody). ``people`` behind the rate are ``trials`` by default.
    """
    if rate is None or (trials if people is None else people) < 2:
        return None
    if rate in (0, 1):
        reach = 1 - ((1 - CONFIDENCE) / 2) ** (1 / trials)
        return (0.0, reach) if rate == 0 else (1 - reach, 1.0)
    return middle(drawn[np.isfinite(drawn)])


def _largest_ratio(
    names: list[str], rates: list[float | None], drawn: NDArray[np.float64]
) -> dict[str, Any] | None:
    """Between the group that fares ``worst`` and the one that fares ``best``: the ``ratio`` of
    their rates, None when the best one's is 0, and its ``interval``, 95 %, for these two groups.

    None when fewer than two groups have that rate, or all rates are 0. The interval's upper end is
    None where the ratio has no bound, and all of it when the best one's rate is 0. The two were
    picked because they differ most, so it is somewhat too far from 1.
    """
    known = [i for i, rate in enumerate(rates) if rate is not None]
    values = [rate for rate in rates if rate is not None]
    if len(known) < 2 or not any(values):
        return None
    worst, best = known[int(np.argmax(values))], known[int(np.argmin(values))]
    if min(values) == max(values):
        return {"worst": names[known[0]], "best": names[known[1]], "ratio": 1.0, "interval": None}
    between = {"worst": names[worst], "best": names[best]}
    if not min(values):
        return {**between, "ratio": None, "interval": None}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = drawn[:, worst] / drawn[:, best]
    ratios = ratios[~np.isnan(ratios)]
    interval = None
    if len(ratios):
        low, high = middle(ratios)
        interval = (low, high if np.isfinite(high) else None) if np.isfinite(low) else None
    return {**between, "ratio": max(values) / min(values), "interval": interval}


def middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the middle 95 %; "nearest", because there is no mean of a number and infinity."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")
    return float(low), float(high)
