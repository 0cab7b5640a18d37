"""Names given against names that are right: confusion matrix, precision, recall and F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PersonFigures:
    """Of one person.

    Args:
        probes: how many show this person.
        named: how many were given this name.
        right: how many of them rightly.
        precision: right / named; None when nobody was given this name.
        recall: right / probes; None without probes.
        f1: 2 right / (probes + named); None without either.
    """

    name: str
    probes: int
    named: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Macro:
    """Means over people who have probes, each counting the same; None without any.

    Somebody whose name was never given counts with precision 0.
    """

    people: int
    precision: float | None
    recall: float | None
    f1: float | None


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


def per_person(people: Sequence[str], matrix: NDArray[np.int64]) -> list[PersonFigures]:
    """Of everyone enrolled, in the order given."""
    results = []
    for i, name in enumerate(people):
        right, probes, named = (
            int(count) for count in (matrix[i, i], matrix[i].sum(), matrix[:, i].sum())
        )
        results.append(
            PersonFigures(
                name,
                probes,
                named,
                right,
                precision=right / named if named else None,
                recall=right / probes if probes else None,
                f1=2 * right / (probes + named) if probes + named else None,
            )
        )
    return results


def macro(figures: Sequence[PersonFigures]) -> Macro:
    """Means over people."""
    shown = [person for person in figures if person.probes]
    if not shown:
        return Macro(0, None, None, None)
    columns = [(person.precision or 0.0, person.recall, person.f1) for person in shown]
    precision, recall, f1 = np.array(columns, np.float64).mean(axis=0).tolist()
    return Macro(len(shown), precision, recall, f1)


def confusions(
    people: Sequence[str], matrix: NDArray[np.int64], count: int = 20
) -> list[tuple[str, str, int]]:
    """The most frequent mix-ups of two people: (who it is, who it was said to be, how often)."""
    wrong = matrix[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")[:count]
    return [(people[rows[i]], people[columns[i]], int(wrong[rows[i], columns[i]])) for i in order]
