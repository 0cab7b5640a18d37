"""Which position a view of a face is, by the demands of a policy."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.liveness.geometry import View
from pipeline.liveness.policy import TURNS, Distance, Policy, Turn

ON_THE_WAY = 0.35  # share of the parallax asked for that must be seen just before it is reached
# How far a movement may go astray, as a part of it. Landmarks of a head that is turned to a side
# also rise by up to half of what they move.
CROSS_ASIDE, CROSS_UPRIGHT = 1.3, 0.6


def toward(turn: str, x: float, y: float, policy: Policy) -> tuple[float, float]:
    """A parallax in the direction of a turn, and across it."""
    if turn in ("up", "down"):
        return (y if turn == "down" else -y), x
    # One's own left is to the right in the picture, unless that is a mirror image.
    return (x if (turn == "left") != policy.mirrored else -x), y


def turn_of(seen: View, policy: Policy) -> Turn | None:
    """The turn that a view shows; None when it shows none clearly."""
    if seen.depth < policy.depth:
        return None
    for turn in TURNS:
        along, across = toward(turn, seen.x, seen.y, policy)
        cross = CROSS_UPRIGHT if turn in ("up", "down") else CROSS_ASIDE
        if along >= policy.parallax and abs(across) < cross * along:
            return turn
    return None


def distance_of(change: float, policy: Policy) -> Distance | None:
    """What a change of size shows."""
    if change >= policy.nearer:
        return "nearer"
    return "farther" if change <= policy.farther else None


def is_flat(seen: View, policy: Policy) -> bool:
    """Whether the plane of the face has turned without the nose."""
    return seen.tilt > policy.flat_tilt and seen.parallax < policy.flat_parallax


def on_the_way(turn: str, before: Sequence[float] | None, policy: Policy) -> bool:
    """Whether the parallax ``before`` was between the neutral position and a turn."""
    if before is None:
        return False
    return toward(turn, before[0], before[1], policy)[0] >= ON_THE_WAY * policy.parallax
