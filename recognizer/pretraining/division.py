"""Which faces are learned from, which validate, and whose name is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.crop import CropRecipe
from recognizer.pretraining.batches import UNNAMED, Material
from recognizer.pretraining.cache import Faces

UNLIKE = 0.2
"""Cosine with the mean of their person's other faces below which a name is not believed."""

ALIKE = 0.5
"""The teacher's cosine from which a face may show somebody who judges: it is not learned from."""

MOST_UNNAMED = 1000  # faces without names that validate


@dataclass(frozen=True, eq=False)
class Division:
    """What is learned from, and what validates."""

    material: Material  # to learn from
    # faces that validate, of people who are not learned, positions in ``material.faces``
    rows: NDArray[np.int64]
    person: NDArray[np.int64]  # the number of the person on each of these, `UNNAMED` without a name
    doubted: int  # faces whose name is not believed; they are learned from without it
    shunned: int  # faces that are not used at all, as they look like somebody who judges


def divide(
    faces: Faces,
    people: Sequence[str | None],
    hold_out: float,
    seed: int,
    judges: NDArray[np.float32] | None = None,
    *,
    recipe: CropRecipe | None = None,
) -> Division:
    """Divide by people.

    Args:
        people: who is on each photo, None when nobody knows.
        hold_out: part (0..1) of the people, and of the faces without names, that validate.
        seed: of the choice.
        judges: the teacher's vectors (M, D) of the faces that judge.
        recipe: by which the crops are cut; None: aligned.
    """
    random = np.random.default_rng([seed, 1])
    names = np.array([people[i] or "" for i in faces.photo])
    number = np.full(len(faces), UNNAMED)
    known = names != ""
    if known.any():
        number[known] = np.unique(names[known], return_inverse=True)[1]
    doubt = _unlike(faces.vectors, number)
    number[doubt] = UNNAMED
    count = np.bincount(number[number != UNNAMED])
    number[(number != UNNAMED) & (count[number] < 2)] = UNNAMED  # one photo teaches no difference
    rich = np.unique(number[number != UNNAMED])
    kept = random.permutation(rich)[: round(hold_out * len(rich))]
    loose = np.flatnonzero(~known)
    some = random.permutation(loose)[: min(round(hold_out * len(loose)), MOST_UNNAMED)]
    validates = np.isin(number, kept)
    validates[some] = True
    shunned = np.zeros(len(faces), bool) if judges is None else _alike(faces.vectors, judges)
    used = np.flatnonzero(~validates & ~shunned)
    learned = np.full(len(faces), UNNAMED)
    named = used[number[used] != UNNAMED]
    if len(named):
        learned[named] = np.unique(number[named], return_inverse=True)[1]
    rows = np.flatnonzero(validates)
    return Division(
        Material(faces, used, learned, recipe),
        rows,
        number[rows],
        int(doubt.sum()),
        int(shunned.sum()),
    )


def _alike(vectors: NDArray[np.float32], judges: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Faces that look like one of ``judges`` (M, D), (N,)."""
    parts = [
        (vectors[start : start + 4096] @ judges.T).max(axis=1) >= ALIKE
        for start in range(0, len(vectors), 4096)
    ]
    return np.concatenate(parts)


def _unlike(vectors: NDArray[np.float32], number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Faces with names that are far from the mean of their person's other faces, (N,)."""
    found = np.zeros(len(number), bool)
    named = np.flatnonzero(number != UNNAMED)
    if not len(named):
        return found
    own, own_vectors = number[named], vectors[named]
    sums = np.zeros((own.max() + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, own, own_vectors)
    others = sums[own] - own_vectors
    length = np.maximum(np.linalg.norm(others, axis=1), 1e-6)
    cosine = (others * own_vectors).sum(axis=1) / length
    found[named] = (cosine < UNLIKE) & (np.bincount(own)[own] > 1)
    return found
