"""May a new photo become a sample of a person? The one rule, whoever asks.

`faces enroll`, `faces fit`, the import of people, the service and the page ask here, so that none
of them takes somebody else's face under a known name without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recognizer.blank import find_blank
from recognizer.quality import Gates
from recognizer.rule import SAME_SHARE
from recognizer.snapshot import Snapshot
from recognizer.types import cosines_of


@dataclass(frozen=True)
class Decision:
    """Whether a photo becomes a sample."""

    # None when it does, else the kind of reason
    why: Literal["poor_photo", "duplicate_photo", "another_face"] | None = None
    reason: str = ""  # a sentence; empty when it does
    similarity: float | None = None  # with the person's other photos, where that is the reason
    # somebody else who would be named on it, and the cosine; that alone refuses nothing
    looks_like: tuple[str, float] | None = None


def decide(
    snapshot: Snapshot,
    name: str,
    vectors: NDArray[np.float32],
    gates: Gates | None,
    *,
    force: bool = False,
    enrolled_before: bool = False,
) -> list[Decision]:
    """Which photos of one person become samples.

    Args:
        vectors: one for each photo, unit float32 (N, D).
        gates: how near a duplicate may be; None takes duplicates, and blank faces (see
            `recognizer.blank`).
        force: take photos that do not look like the others, or of which somebody has said that they
            are not this person.
        enrolled_before: the photos may be those of the samples in ``snapshot``, so they are
            compared for duplicates with each other only.
    """
    own = snapshot.gallery.of(name)
    blank = None
    if gates is not None:
        blank = find_blank(snapshot.fingerprint, snapshot.same, gates.max_blank)
    poor = [None if blank is None else blank.refusal(vector) for vector in vectors]
    seen = np.array([reason is None for reason in poor], bool)
    too_low: list[float | None] = [None] * len(vectors)
    if not force:
        cosines = unlike(own, vectors[seen], SAME_SHARE * snapshot.same)
        for row, cosine in zip(np.flatnonzero(seen).tolist(), cosines, strict=True):
            too_low[row] = cosine
    taken = [] if enrolled_before else list(own)
    found = []
    for vector, unseen, cosine in zip(vectors, poor, too_low, strict=True):
        if unseen is not None:
            found.append(Decision("poor_photo", unseen))
            continue
        other = somebody_else(snapshot, name, vector)
        if not force and snapshot.denies(vector, name):
            reason = f"somebody has said of this face that it is not {name}"
            found.append(Decision("another_face", reason, cosine, other))
            continue
        if cosine is not None:
            reason = f"does not look like the other photos of {name} ({cosine:.2f})"
            if other is not None:
                reason += f"; it looks like {other[0]} ({other[1]:.2f})"
            found.append(Decision("another_face", reason, cosine, other))
            continue
        again = None
        if gates is not None and taken:
            again = gates.duplicate(vector, np.stack(taken))
        if again is not None:
            found.append(Decision("duplicate_photo", again))
            continue
        taken.append(vector)
        found.append(Decision(looks_like=other))
    return found


def somebody_else(
    snapshot: Snapshot, name: str, vector: NDArray[np.float32]
) -> tuple[str, float] | None:
    """Who is known already, under another name, and would be named on this face; and the cosine."""
    [match] = snapshot.identify(vector[None])
    if match.name is None or match.name == name:
        return None
    own = snapshot.gallery.prototype(match.name)
    if own is None:  # a class of the head alone
        return match.name, match.similarity or 0.0
    return match.name, float(cosines_of(own, vector))


def unlike(
    known: NDArray[np.float32], vectors: NDArray[np.float32], least: float
) -> list[float | None]:
    """For each new face of a person None, or its cosine with the rest where that is too low.

    Those of a known person must be like what is known, or like that together with new ones that
    are: many new ones of somebody else agree with each other, and outvote nobody. Of a new person
    the largest group counts as known, so that photos of two people are not all taken. Each is then
    compared with the mean of all others, new ones too, so that one wrong photo in a folder is found
    whichever comes first; the worst is taken away and the rest compared again. Of two that are
    unlike and alone the later one is refused.
    """
    found: list[float | None] = [None] * len(vectors)
    like = np.zeros(len(vectors), bool) if len(known) else _largest_group(vectors, least)
    while not like.all():
        center = known.sum(axis=0) + vectors[like].sum(axis=0)
        cosines = vectors @ center / max(float(np.linalg.norm(center)), 1e-6)
        more = (cosines > least) & ~like
        if not more.any():
            found = [None if fine else float(c) for fine, c in zip(like, cosines, strict=True)]
            break
        like |= more
    left = [int(i) for i in np.flatnonzero(like)]
    while left and len(left) + len(known) > 1:
        total = known.sum(axis=0) + vectors[left].sum(axis=0)
        rest = total[None] - vectors[left]
        length = np.maximum(np.linalg.norm(rest, axis=1), 1e-6)
        cosines = (rest * vectors[left]).sum(axis=1) / length
        worst = int(np.flatnonzero(cosines <= cosines.min() + 1e-6)[-1])
        if cosines[worst] > least:
            break
        found[left.pop(worst)] = float(cosines[worst])
    return found


GROUPED = 2000
"""New photos of a person, evenly spaced, that are put into groups; the others join one of those."""


def _largest_group(vectors: NDArray[np.float32], least: float) -> NDArray[np.bool_]:
    """Those in the largest group, of several as large the one with the first photo.

    Groups whose photos have a mean cosine above ``least`` with each other are one (average
    linkage).
    """
    found = np.zeros(len(vectors), bool)
    count = min(len(vectors), GROUPED)
    rows = np.linspace(0, len(vectors) - 1, count).astype(int)
    if len(rows) < 2:
        found[rows] = True
        return found
    from scipy.cluster.hierarchy import fcluster, linkage

    some = vectors[rows].astype(np.float64)
    apart = np.nan_to_num(1 - (some @ some.T)[np.triu_indices(len(some), 1)], nan=2.0).clip(min=0)
    groups = fcluster(linkage(apart, "average"), 1 - least, "distance")
    sizes = np.bincount(groups)
    largest = groups[int(sizes[groups].argmax())]  # argmax: the first of several
    found[rows[groups == largest]] = True
    return found
