"""Does a new photo show the person under whose name it is to be kept? The one rule for every door.

`faces enroll`, the service and the import of people ask here, so that none of them takes
somebody else's face under a known name without a word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recognizer.snapshot import Snapshot
from recognizer.types import unit

PART = 0.6
"""Part of the gallery's threshold up to which a face is unlike the others of a person. A name asks
for much, as there are many strangers; here somebody has said who it is, and a photo may be bad.
Shipped embedder, 60 people of LFW: of the true photos 6 % are refused when there is one other
photo and none when there are three; 2 % of other people's are taken."""


def bar(snapshot: Snapshot) -> float:
    """The cosine with a person's other photos up to which a face is unlike them."""
    return PART * snapshot.same


def unlike(
    snapshot: Snapshot, name: str, vectors: NDArray[np.float32], others: NDArray[np.float32]
) -> list[float | None]:
    """Which of the new faces of one person do not look like the rest of them.

    Each is compared with the mean of all others, new ones too, so that one wrong photo in a folder
    is found whichever comes first; the worst is taken away and the rest compared anew. Of two that
    are unlike and alone the later one is refused.

    Args:
        snapshot: who is known.
        name: the person's; may be new.
        vectors: of the new faces, unit float32 (N, D).
        others: what else is known of the person and not in the snapshot, (M, D).

    Returns:
        For each of ``vectors`` None, or the cosine that is too low.
    """
    gallery = snapshot.gallery
    mine = np.array([known == name for known in gallery.names], bool)
    known = np.concatenate([gallery.embeddings[mine], others.reshape(-1, vectors.shape[1])])
    found: list[float | None] = [None] * len(vectors)
    left = list(range(len(vectors)))
    while left and len(left) + len(known) > 1:
        total = known.sum(axis=0) + vectors[left].sum(axis=0)
        rest = total[None] - vectors[left]
        length = np.maximum(np.linalg.norm(rest, axis=1), 1e-6)
        cosines = (rest * vectors[left]).sum(axis=1) / length
        worst = int(np.flatnonzero(cosines <= cosines.min() + 1e-6)[-1])
        if cosines[worst] > bar(snapshot):
            break
        found[left.pop(worst)] = float(cosines[worst])
    return found


def sentence(name: str, cosine: float) -> str:
    """What is said of such a face."""
    return f"does not look like the other photos of {name} ({cosine:.2f})"


def somebody_else(
    snapshot: Snapshot, name: str, vector: NDArray[np.float32]
) -> tuple[str, float] | None:
    """Who is known already, under another name, and would be named on this face; and the cosine."""
    [match] = snapshot.identify(vector[None])
    if match.name is None or match.name == name:
        return None
    people = snapshot.gallery.people
    if match.name not in people:  # a class of the head alone
        return match.name, match.similarity or 0.0
    return match.name, float(snapshot.gallery.prototypes[people.index(match.name)] @ vector)


def mean_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Cosine of the means of two sets of vectors (N, D) and (M, D)."""
    return float(unit(a.sum(axis=0)) @ unit(b.sum(axis=0)))
