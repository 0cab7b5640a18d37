"""One name from what several looks at a face have said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.types import UNKNOWN, Match, Source

STICKY = 1.3
"""By how much the votes for another name must outweigh those for the present one."""

HALF_LIFE = 10.0
"""Seconds after which an embedding counts half."""


@dataclass(eq=False)
class Vote:
    """One look at a face."""

    embedding: NDArray[np.float32]
    quality: float
    time: float
    match: Match | None = None  # None: not asked yet
    other: bool = False  # it was not like the looks before it


def weights(votes: Sequence[Vote]) -> NDArray[np.float64]:
    """How much each vote counts at the time of the last: its quality, less with age; (N,)."""
    age = votes[-1].time - np.array([vote.time for vote in votes])
    return np.array([vote.quality for vote in votes]) * 0.5 ** (age / HALF_LIFE)


def elect(votes: Sequence[Vote], present: str | None, named: bool) -> tuple[Match, float]:
    """The name that the votes agree on, and the share of them for it, 0..1.

    Args:
        present: the name until now, which stays unless another one clearly outweighs it.
        named: whether there was one until now (``present`` may be None for somebody unknown).
    """
    matches = [vote.match or UNKNOWN for vote in votes]
    shares = weights(votes) * [_strength(match) for match in matches]
    tally: dict[str | None, float] = {}
    for match, share in zip(matches, shares, strict=True):
        tally[match.name] = tally.get(match.name, 0.0) + float(share)
    # Ties go to the name that was seen first, as dicts keep their order.
    name = max(tally, key=lambda candidate: tally[candidate])
    if named and present in tally:
        name = name if tally[name] > STICKY * tally[present] else present
    return _summary(name, matches, shares), tally[name] / max(sum(tally.values()), 1e-12)


def _strength(match: Match) -> float:
    """How much a match says: a name by how near it is, "unknown" by how far everyone is."""
    if match.name is None:
        return max(1.0 - max(match.similarity or 0.0, 0.0), 0.05)
    certain = match.confidence if match.source == "head" else match.similarity
    return max(certain or 0.0, 0.05)


def _summary(
    name: str | None, matches: Sequence[Match], weights: NDArray[np.float64]
) -> Match:  # fmt: skip
    """One match for all of ``name``: weighted means; who decided is as the weightiest says."""
    own = [i for i, match in enumerate(matches) if match.name == name]
    first = matches[max(own, key=lambda i: weights[i])]
    source: Source = first.source
    return Match(
        name,
        _mean([(matches[i].similarity, weights[i]) for i in own]),
        _mean([(matches[i].confidence, weights[i]) for i in own]),
        source,
        first.nearest,
    )


def _mean(values: Sequence[tuple[float | None, float]]) -> float | None:
    there = [(value, weight) for value, weight in values if value is not None]
    if not there:
        return None
    return float(np.average([v for v, _ in there], weights=[w for _, w in there]))
