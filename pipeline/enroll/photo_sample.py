"""From a photo to a sample: the one rule that the command, the service and Python ask.

First which face of the photo is meant and whether it is good enough (`one_face`), then, when all
photos of a person have their vectors, which of them add something to what is known of that person
and show nobody else (`judge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recognizer.likeness import sentence, somebody_else, unlike
from recognizer.quality import Gates, measure
from recognizer.snapshot import Snapshot

Why = Literal["no_face", "several_faces", "poor_photo", "duplicate_photo", "another_face"]
"""Why a photo is no sample; the service's codes."""


class Refused(Exception):
    """A photo that cannot be used.

    Args:
        reasons: why, a sentence each.
        why: the kind of reason.
        faces: how many were found.
    """

    def __init__(self, *reasons: str, why: Why = "poor_photo", faces: int = 1) -> None:
        super().__init__(*reasons)
        self.reasons, self.why, self.faces = reasons, why, faces


def one_face(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], gates: Gates | None, largest: bool
) -> NDArray[np.float32]:
    """The box (4,) of the one face that is good enough.

    Args:
        image: RGB uint8 (H, W, 3).
        boxes: all faces on it, float32 (N, 4).
        gates: what the face must have; None takes every face.
        largest: of several take the largest instead of refusing the photo.

    Raises Refused.
    """
    if not len(boxes):
        raise Refused("no face was found, exactly one is needed", why="no_face", faces=0)
    if len(boxes) > 1 and not largest:
        raise Refused(
            f"{len(boxes)} faces were found, exactly one is needed (or take the largest with "
            "--largest)",
            why="several_faces",
            faces=len(boxes),
        )
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    box: NDArray[np.float32] = boxes[int(areas.argmax())]
    if gates is not None and (refusals := gates.refusals(measure(image, box))):
        raise Refused(*refusals, faces=len(boxes))
    return box


@dataclass(frozen=True)
class Judgment:
    """Whether a good photo becomes a sample.

    Args:
        why: None when it does.
        reason: a sentence; empty when it does.
        looks_like: somebody else who would be named on it, and the cosine; it is used all the same.
    """

    why: Why | None = None
    reason: str = ""
    looks_like: tuple[str, float] | None = None


def judge(
    snapshot: Snapshot,
    name: str,
    vectors: NDArray[np.float32],
    gates: Gates | None,
    force: bool = False,
) -> list[Judgment]:
    """Which photos of one person become samples.

    Args:
        snapshot: who is known.
        name: the person's, known or new.
        vectors: one for each photo, unit float32 (N, D).
        gates: how near a duplicate may be; None takes duplicates.
        force: take photos that do not look like the others.
    """
    none = np.zeros((0, vectors.shape[1]), np.float32)
    strange = [None] * len(vectors) if force else unlike(snapshot, name, vectors, none)
    mine = np.array([known == name for known in snapshot.gallery.names], bool)
    known: list[NDArray[np.float32]] = list(snapshot.gallery.embeddings[mine])
    found = []
    for vector, cosine in zip(vectors, strange, strict=True):
        other = somebody_else(snapshot, name, vector)
        if cosine is not None:
            reason = sentence(name, cosine)
            if other is not None:
                reason += f"; it looks like {other[0]} ({other[1]:.2f})"
            found.append(Judgment("another_face", reason))
            continue
        again = None if gates is None else gates.duplicate(vector, _stacked(known, none))
        if again is not None:
            found.append(Judgment("duplicate_photo", again))
            continue
        known.append(vector)
        found.append(Judgment(looks_like=other))
    return found


def _stacked(
    vectors: Sequence[NDArray[np.float32]], none: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.stack(vectors) if vectors else none
