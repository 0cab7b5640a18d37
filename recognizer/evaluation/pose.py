"""Error rates by how far the more turned of two faces is turned to the side.

Most networks have seen people who look into the camera. A pair counts where its more turned face
belongs, so the last row is a turned face against any other: what a camera at the side has to do
with photos from the front. Intervals come from drawing people again, see `groups`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.evaluation.all_pairs import Faces
from recognizer.evaluation.groups import middle

EDGES = (15.0, 30.0, 45.0)
"""Degrees; `recognizer.landmarks.yaw` is good to some ten of them."""


def by_yaw(
    faces: Faces, yaw: NDArray[np.float32], threshold: float, resamples: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """The rates of all pairs of faces whose turn is known, by the turn of the more turned one.

    Args:
        yaw: degrees (N,); NaN where no landmarks were found.
        threshold: a pair matches when its cosine is more than this.

    Returns for each range, from ``least`` to ``most`` degrees (None: without an end), how many
    pairs are ``genuine`` and ``impostor``; ``fnmr`` and ``fmr``, None without such pairs; and
    ``fnmr_interval``, 95 %, None with fewer than two people.
    """
    known = np.flatnonzero(np.isfinite(yaw) & ~faces.failed)
    faces, turned = faces[known], np.abs(yaw[known])
    person = np.unique(faces.person, return_inverse=True)[1]
    bins = len(EDGES) + 1
    people = int(person.max(initial=-1)) + 1
    genuine, missed = np.zeros((people, bins)), np.zeros((people, bins))
    impostor, false = np.zeros(bins), np.zeros(bins)
    for first, second, cosines in faces.pairs():
        place = np.searchsorted(EDGES, np.maximum(turned[first], turned[second]), "right")
        same, match = person[first] == person[second], cosines > threshold
        np.add.at(genuine, (person[first[same]], place[same]), 1)
        np.add.at(missed, (person[first[same & ~match]], place[same & ~match]), 1)
        impostor += np.bincount(place[~same], minlength=bins)
        false += np.bincount(place[~same & match], minlength=bins)
    ends = [0.0, *EDGES, None]
    return [
        {
            "least": float(ends[i] or 0.0),
            "most": ends[i + 1],
            "genuine": int(genuine[:, i].sum()),
            "impostor": int(impostor[i]),
            "fnmr": _share(missed[:, i].sum(), genuine[:, i].sum()),
            "fnmr_interval": _drawn(missed[:, i], genuine[:, i], resamples, seed),
            "fmr": _share(false[i], impostor[i]),
        }
        for i in range(bins)
    ]


def _share(wrong: float, pairs: float) -> float | None:
    return float(wrong / pairs) if pairs else None


def _drawn(
    missed: NDArray[np.float64], genuine: NDArray[np.float64], resamples: int, seed: int
) -> tuple[float, float] | None:
    used = np.flatnonzero(genuine)
    if len(used) < 2:
        return None
    chosen = used[np.random.default_rng(seed).integers(0, len(used), (resamples, len(used)))]
    rates = missed[chosen].sum(axis=1) / genuine[chosen].sum(axis=1)
    return middle(rates)
