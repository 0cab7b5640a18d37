"""Names given against names that are right: confusion matrix, precision, recall and F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(
    people: int, truth: NDArray[np.int64], named: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Counts int64 (P + 1, P + 1): who it is down, who it was said to be across.

    Args:
        people: P.
        truth, named: positions (N,) from 0 to P - 1; -1 (nobody enrolled, or unknown) is the
            last row or column, P.
    """
    side = people + 1
    cells = np.where(truth < 0, people, truth) * side + np.where(named < 0, people, named)
    return np.bincount(cells, minlength=side * side).reshape(side, side)


def accuracy(matrix: NDArray[np.int64]) -> float | None:
    """Share of probes named rightly, or rightly called unknown; None without probes."""
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else None


def per_person(people: Sequence[str], matrix: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Of everyone enrolled, in the order given: ``name``, how many ``probes`` show them, how many
    were ``named`` so, how many of them are ``right``; ``precision``, ``recall`` and ``f1``, None
    where they would divide by 0."""
    results = []
    for i, name in enumerate(people):
        right, probes, named = (
            int(count) for count in (matrix[i, i], matrix[i].sum(), matrix[:, i].sum())
        )
        results.append(
            {
                "name": name,
                "probes": probes,
                "named": named,
                "right": right,
                "precision": right / named if named else None,
                "recall": right / probes if probes else None,
                "f1": 2 * right / (probes + named) if probes + named else None,
            }
        )
    return results


def macro(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the ``people`` who have probes, each counting the same; None without any.

    Somebody whose name was never given counts with precision 0.
    """
    shown = [person for person in figures if person["probes"]]
    keys = ("precision", "recall", "f1")
    rows = np.array([[person[key] or 0.0 for key in keys] for person in shown])
    means = rows.mean(axis=0).tolist() if shown else [None] * 3
    return {"people": len(shown), **dict(zip(keys, means, strict=True))}


def confusions(people: Sequence[str], matrix: NDArray[np.int64]) -> list[tuple[str, str, int]]:
    """The 20 most frequent mix-ups of two people: (who it is, who it was said to be, how often)."""
    wrong = matrix[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")[:20]
    return [(people[rows[i]], people[columns[i]], int(wrong[rows[i], columns[i]])) for i in order]
