"""How good a network in training is, on faces that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.data.lfw import Lfw
from recognizer.error_rates import Scores, best_threshold, roc
from recognizer.evaluation.all_pairs import Faces as Embedded
from recognizer.evaluation.verification import tar_at
from recognizer.pretraining.batches import UNNAMED
from recognizer.pretraining.cache import RIM
from recognizer.pretraining.division import Division

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Crops uint8 (N, S, S, 3) -> unit vectors (N, D)."""


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-out faces: crops uint8 (N, S, S, 3), the teacher's vectors, and whose they are."""

    crops: NDArray[np.uint8]
    vectors: NDArray[np.float32]
    person: NDArray[np.int64]

    @classmethod
    def of(cls, division: Division) -> Validation:
        """What a division holds back, as it is: without variation."""
        faces = division.material.faces
        crops = [faces[row][RIM:-RIM, RIM:-RIM] for row in division.rows]
        empty = np.zeros((0, 1, 1, 3), np.uint8)
        vectors = faces.vectors[division.rows]
        return cls(np.stack(crops) if crops else empty, vectors, division.person)

    def __call__(self, embed: Embed) -> dict[str, Any]:
        """The loss (1 - cosine with the teacher) and the share of same-person pairs that match.

        ``tar`` is at the lowest rate of false matches, ``far``, that so many pairs can show;
        without pairs enough there is none.
        """
        if not len(self.crops):
            return {"valid": {"loss": float("nan")}}
        given = embed(self.crops)
        found: dict[str, Any] = {}
        if given.shape == self.vectors.shape:
            found["valid"] = {"loss": float(1 - (given * self.vectors).sum(axis=1).mean())}
        named = self.person != UNNAMED
        return found | _tar(given[named], self.person[named])


def _tar(vectors: NDArray[np.float32], person: NDArray[np.int64]) -> dict[str, float]:
    scores = Embedded(vectors, person, np.zeros(len(person), bool)).scores()
    for rate in (1e-3, 1e-2, 1e-1):
        tar = tar_at(scores, rate)["tar"]
        if tar is not None:
            return {"tar": tar, "far": rate}
    return {}


@dataclass(frozen=True, eq=False)
class HeldOutPairs:
    """Verification of pairs: the threshold is chosen on ``tuning`` and applied to ``held_out``.

    The faces are aligned crops uint8 (N, S, S, 3) of each set's images. With ``learned`` the people
    of ``tuning`` are among those trained on, and TAR is of the others alone.
    """

    tuning: Lfw
    tuning_faces: NDArray[np.uint8]
    held_out: Lfw
    held_out_faces: NDArray[np.uint8]
    learned: bool = False

    def __post_init__(self) -> None:
        both = set(self.tuning.people) & set(self.held_out.people)
        if both:
            raise ValueError(f"people in both parts: {sorted(both)[:5]}")

    def of_strangers(self, embed: Embed) -> NDArray[np.float32]:
        """Vectors of the people who are never trained on."""
        parts = [self.held_out_faces] if self.learned else [self.tuning_faces, self.held_out_faces]
        return np.concatenate([embed(part) for part in parts])

    def __call__(self, embed: Embed) -> dict[str, float]:
        """Accuracy on both, the threshold, and TAR over all pairs of people never trained on."""
        vectors = [embed(self.tuning_faces), embed(self.held_out_faces)]
        tuning, held_out = self.tuning.cosines(vectors[0]), self.held_out.cosines(vectors[1])
        scores = Scores.of_pairs(tuning, self.tuning.same)
        threshold, _ = best_threshold(scores, roc(scores))
        people = self.held_out.people
        if not self.learned:
            vectors[1], people = np.concatenate(vectors), self.tuning.people + people
        return {
            "tuning": float(((tuning > threshold) == self.tuning.same).mean()),
            "held_out": float(((held_out > threshold) == self.held_out.same).mean()),
            "threshold": threshold,
        } | _tar(vectors[1], np.unique(np.array(people), return_inverse=True)[1])
