"""Identification: who is this, of everyone enrolled, and is it anyone at all?

Terms of ISO/IEC 19795-1:2021. A *mated* probe shows somebody enrolled, a *non-mated* one
somebody else. With only the nearest person returned, and only when the cosine is more than the
threshold: FNIR is the share of mated probes that are not given their own name (too far away, or
somebody else was nearer); FPIR the share of non-mated probes that are given any name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.error_rates import FAILED, NEEDED, threshold_for
from recognizer.gallery import Gallery
from recognizer.types import frozen

FALSE_POSITIVE_RATES = (1e-1, 1e-2, 1e-3)
RANKS = (1, 5)


@dataclass(frozen=True, eq=False)
class Split:
    """Images, by position: to enroll, of the enrolled, of others; int64 each."""

    enroll: NDArray[np.int64]
    mated: NDArray[np.int64]
    nonmated: NDArray[np.int64]

    @property
    def probes(self) -> NDArray[np.int64]:
        """All that are to be named: the mated ones, then the others."""
        return np.concatenate([self.mated, self.nonmated])


def split(person: NDArray[np.int64], enroll: int, nonmated: float = 0.0, seed: int = 0) -> Split:
    """Choose who is enrolled with which images.

    Args:
        person: number of the person on each image, int64 (N,).
        enroll: images of a person that go into the gallery, drawn at random. People with no image
            more than that are not enrolled.
        nonmated: share (0..1) of the others who are kept out, too.
        seed: of both draws.
    """
    random = np.random.default_rng(seed)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    people, counts = np.unique(person, return_counts=True)
    enough = people[counts > enroll]
    out = random.permutation(enough)[: round(nonmated * len(enough))]
    kept = set(enough.tolist()) - set(out.tolist())
    for number in people.tolist():
        images = np.flatnonzero(person == number)
        if number in kept:
            images = random.permutation(images)
            parts[0].extend(images[:enroll].tolist())
            parts[1].extend(images[enroll:].tolist())
        else:
            parts[2].extend(images.tolist())
    return Split(*(np.sort(np.array(part, np.int64)) for part in parts))


@dataclass(frozen=True, eq=False)
class Search:
    """What the gallery answers to each probe (N,).

    Args:
        people: everyone enrolled, P names.
        mate: position in ``people`` of who the probe shows; -1 for nobody enrolled.
        nearest: position of the nearest person; -1 when the probe failed or nobody is enrolled.
        cosine: with that person; `FAILED` when the probe failed.
        rank: of the mate, from 1 on; 0 for a non-mated and for a failed probe.
    """

    people: tuple[str, ...]
    mate: NDArray[np.int64]
    nearest: NDArray[np.int64]
    cosine: NDArray[np.float64]
    rank: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, dtype in (
            ("mate", np.int64), ("nearest", np.int64), ("cosine", np.float64), ("rank", np.int64),
        ):  # fmt: skip
            object.__setattr__(self, name, frozen(getattr(self, name), dtype))

    @property
    def mated(self) -> NDArray[np.bool_]:
        """Whether each probe shows somebody enrolled."""
        return self.mate >= 0

    def fnir(self, threshold: NDArray[np.float64]) -> NDArray[np.float64]:
        """False negative identification rate at each threshold; NaN without mated probes."""
        hit = np.sort(self.cosine[self.mated & (self.rank == 1)])
        total = self.mated.sum()
        found = len(hit) - np.searchsorted(hit, threshold, "right")
        return 1 - found / total if total else np.full(np.shape(threshold), np.nan)

    def fpir(self, threshold: NDArray[np.float64]) -> NDArray[np.float64]:
        """False positive identification rate at each threshold; NaN without non-mated probes."""
        impostors = np.sort(self.cosine[~self.mated])
        if not len(impostors):
            return np.full(np.shape(threshold), np.nan)
        return 1 - np.searchsorted(impostors, threshold, "right") / len(impostors)


def search(
    gallery: Gallery,
    embeddings: NDArray[np.float32],
    failed: NDArray[np.bool_],
    truth: Sequence[str | None],
) -> Search:
    """Look every probe up.

    Args:
        embeddings, failed: of the probes, unit vectors float32 (N, D) and bool (N,).
        truth: who each shows; a name that is not in the gallery, or None, is nobody enrolled.
    """
    people = gallery.people
    row = {name: i for i, name in enumerate(people)}
    mate = np.array([row.get(name, -1) if name is not None else -1 for name in truth], np.int64)
    nearest = np.full(len(mate), -1, np.int64)
    cosine = np.full(len(mate), FAILED)
    rank = np.zeros(len(mate), np.int64)
    block = 1024
    for start in range(0, len(mate) if people else 0, block):
        part = slice(start, start + block)
        cosines = embeddings[part] @ gallery.prototypes.T
        at = np.arange(len(cosines))
        nearest[part] = cosines.argmax(axis=1)
        cosine[part] = cosines[at, nearest[part]]
        own = cosines[at, mate[part]]
        # Of equal cosines the nearest is the first person, see `Gallery.nearest`.
        before = np.arange(len(people)) < mate[part, None]
        ahead = (cosines > own[:, None]) | ((cosines == own[:, None]) & before)
        rank[part] = np.where(mate[part] >= 0, ahead.sum(axis=1) + 1, 0)
    nearest[failed], cosine[failed], rank[failed] = -1, FAILED, 0
    return Search(people, mate, nearest, cosine, rank)


def fnir_at(found: Search, fpir: float) -> dict[str, Any]:
    """``fnir`` when at most a share ``fpir`` of the non-mated probes may get a name, on the curve's
    own steps.

    ``fnir`` and ``threshold`` are None with fewer non-mated probes than are ``needed`` to measure
    it, and without mated ones.
    """
    impostors = np.sort(found.cosine[~found.mated])
    threshold = threshold_for(impostors, fpir) if found.mated.any() else None
    fnir = None if threshold is None else float(found.fnir(np.array(threshold)))
    return {"fpir": fpir, "fnir": fnir, "threshold": threshold, "needed": round(NEEDED / fpir)}


def within_rank(found: Search, rank: int) -> float | None:
    """Share of mated probes whose own person is among the ``rank`` nearest; None without any."""
    mated = found.mated
    if not mated.any():
        return None
    good = (found.rank[mated] > 0) & (found.rank[mated] <= rank)
    return float(good.mean())


def operating_point(
    mate: NDArray[np.int64], named: NDArray[np.int64], sources: Sequence[str]
) -> dict[str, Any]:
    """How a rule that names or refuses did.

    Args:
        mate: who each probe shows, -1 for nobody enrolled.
        named: who it was said to be, -1 for unknown.
        sources: `recognizer.types.Match.source` of each.

    Returns how many probes are ``mated`` and ``nonmated``; the shares, None without such probes, of
    mated ones without their own name (``fnir``), with somebody else's (``misidentified``, a part of
    it) and of non-mated ones with a name (``fpir``); and how many each part of the rule decided
    (``by``).
    """
    mated = mate >= 0
    wrong = named[mated] != mate[mated]
    other = wrong & (named[mated] >= 0)
    false = named[~mated] >= 0
    return {
        "mated": int(mated.sum()),
        "nonmated": int((~mated).sum()),
        "fnir": float(wrong.mean()) if mated.any() else None,
        "misidentified": float(other.mean()) if mated.any() else None,
        "fpir": float(false.mean()) if len(false) else None,
        "by": {source: list(sources).count(source) for source in ("head", "gallery", "none")},
    }
