"""Faces of which too little is to be seen to say whose they are.

An embedder answers something to every crop. To a face that is turned away, hidden or out of focus
the answer is nearly the same, whoever it is: the *blank* vector. Such faces are like each other
and like nobody else, so they must neither become samples of a person nor found a group. Size,
sharpness and light of the picture (`recognizer.quality`) do not tell: of 967 faces of WIDER FACE
that pass those, 343 are blank, and whoever is enrolled with one of them is seen in 9.5 % of all
strangers on average, with any other one in 0.09 % (`python -m benchmarks.blank`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from recognizer.training.background import DEFAULTS, read_spreads
from recognizer.types import frozen, unit

LIMIT = 0.55
"""Cosine with the blank vector from which a face is blank, as a part of the embedder's threshold
for one person. At 0.7 a group of 29 faces of WIDER FACE is left that are 29 people's, at 0.5 1.3 %
of LFW's faces are blank (docs/recognition.md)."""

BLURS = (6.0, 9.0)
"""Radii, in pixels of a crop of 112, at which nothing of a face is left but that it is one."""


@dataclass(frozen=True, eq=False)
class Blank:
    """What an embedder answers to a face that cannot be seen."""

    vector: NDArray[np.float32]  # unit, float32 (D,)
    limit: float  # cosine with it from which a face is blank

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of these unit vectors (N, D) are blank, bool (N,)."""
        found: NDArray[np.bool_] = embeddings @ self.vector > self.limit
        return found

    def refusal(self, embedding: NDArray[np.float32]) -> str | None:
        """Why a face (D,) may not be remembered, a sentence; None where it is not blank."""
        likeness = float(embedding @ self.vector)
        if likeness <= self.limit:
            return None
        return (
            "blank: too little of the face is to be seen (turned away, hidden or out of focus), so "
            f"that it is like anybody's; likeness {likeness:.2f}, at most {self.limit:.2f} is "
            "allowed"
        )


def find_blank(
    fingerprint: str, threshold: float, part: float = LIMIT, path: Path = DEFAULTS
) -> Blank | None:
    """Of an embedder, if `faces calibrate --defaults` has measured it.

    Args:
        fingerprint: of the embedder.
        threshold: its cosine for one person.
        part: of the threshold, from which a face is blank.
        path: of what was measured.
    """
    vector = _vector(fingerprint, path, path.stat().st_mtime_ns if path.is_file() else 0)
    return None if vector is None else Blank(vector, part * threshold)


@lru_cache(maxsize=16)
def _vector(fingerprint: str, path: Path, changed: int) -> NDArray[np.float32] | None:
    spread = read_spreads(fingerprint, path).get("blank")
    return None if spread is None else frozen(unit(spread.mean[None])[0], np.float32)


def blank_faces(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same crops (N, S, S, 3) with nothing to be seen, each once for every blur."""
    scale = faces.shape[1] / 112
    return np.stack(
        [
            np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(radius * scale)))
            for radius in BLURS
            for face in faces
        ]
    )
