"""The acceptance test: a new snapshot takes the old one's place only if it is no worse."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.snapshot import Snapshot
from recognizer.types import Match, frozen

SHARE = 0.2
"""Of a person's vectors, held back from teaching."""

LEAST = 5
"""A person with fewer vectors than this has none to spare."""


@dataclass(frozen=True, eq=False)
class HeldBack:
    """Labeled vectors that neither snapshot was taught with."""

    names: tuple[str | None, ...]  # whose each vector is; None is nobody enrolled
    embeddings: NDArray[np.float32]  # unit vectors, float32 (N, D)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "embeddings", frozen(self.embeddings, np.float32))


@dataclass(frozen=True)
class Count:
    """Of one person's vectors (or the impostors'): how each snapshot does."""

    vectors: int  # how many there are
    # old_right, new_right: with the right name; for impostors, unknown
    old_right: int
    new_right: int
    # old_wrong, new_wrong: with the name of somebody else
    old_wrong: int
    new_wrong: int

    @property
    def worse(self) -> bool:
        """Fewer right answers than before, or more wrong names."""
        return self.new_right < self.old_right or self.new_wrong > self.old_wrong


@dataclass(frozen=True)
class Verdict:
    """What the comparison found."""

    people: dict[str, Count]  # those whom both snapshots know
    # those whom only the new one knows; they are counted, but decide nothing
    newcomers: dict[str, Count]
    # vectors of people whom the new one must not know, also those it has forgotten
    impostors: Count
    untested: tuple[str, ...]  # people of both snapshots of whom nothing was held back

    @property
    def accepted(self) -> bool:
        """Nobody whom the old one knew is recognized worse, no more impostors are named."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each thing that got worse, for a log or a window."""
        found = [
            f"{name}: {c.new_right} of {c.vectors} photos recognized, {c.old_right} before; "
            f"{c.new_wrong} taken for somebody else, {c.old_wrong} before"
            for name, c in self.people.items()
            if c.worse
        ]
        s = self.impostors
        if s.new_wrong > s.old_wrong:
            found.append(f"{s.new_wrong} of {s.vectors} strangers named, {s.old_wrong} before")
        return tuple(found)


def compare_snapshots(old: Snapshot, new: Snapshot, held_back: HeldBack) -> Verdict:
    """Both snapshots on the same held-back vectors, person by person.

    The new one is accepted when nobody known to both has fewer right answers or more wrong names
    than before, and no more impostors are named. People whom only the new one knows cannot get
    worse; people whom it no longer knows (they were removed) count as impostors to both.
    """
    before, after = old.identify(held_back.embeddings), new.identify(held_back.embeddings)
    known_old, known_new = known_people(old), known_people(new)
    rows: dict[str | None, list[int]] = {}
    for i, name in enumerate(held_back.names):
        rows.setdefault(name if name in known_new else None, []).append(i)
    # A face of somebody removed was no mistake when the old snapshot named it.
    forgiven = [
        Match(None) if held_back.names[i] == match.name else match for i, match in enumerate(before)
    ]
    counts = {
        name: _count(name, rows.get(name, []), before if name is not None else forgiven, after)
        for name in (*sorted(known_new), None)
    }
    tested = {name: count for name, count in counts.items() if name and count.vectors}
    return Verdict(
        people={name: count for name, count in tested.items() if name in known_old},
        newcomers={name: count for name, count in tested.items() if name not in known_old},
        impostors=counts[None],
        untested=tuple(sorted((known_old & known_new) - set(tested))),
    )


def known_people(snapshot: Snapshot) -> set[str]:
    """Everybody in its gallery or its head."""
    classes = snapshot.head.names if snapshot.head is not None else ()
    return {*snapshot.gallery.people, *(name for name in classes if name is not None)}


def held_back(names: Sequence[str], embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which vectors to keep out of teaching, for `compare_snapshots`: bool (N,).

    About `SHARE` of each person who has at least `LEAST`. A vector's own bytes decide, so it stays
    on its side however many others join it, and what one snapshot was taught with is never held
    back for the next.
    """
    bar = int(SHARE * 2**32)
    total: dict[str, int] = {}
    for name in names:
        total[name] = total.get(name, 0) + 1
    chosen = [
        total[name] >= LEAST
        and int.from_bytes(hashlib.sha256(vector.tobytes()).digest()[:4], "big") < bar
        for name, vector in zip(names, np.asarray(embeddings, np.float32), strict=True)
    ]
    return np.array(chosen, bool)


def _count(
    name: str | None, rows: list[int], before: Sequence[Match], after: Sequence[Match]
) -> Count:
    def right(matches: Sequence[Match]) -> int:
        return sum(matches[i].name == name for i in rows)

    def wrong(matches: Sequence[Match]) -> int:
        return sum(matches[i].name not in (name, None) for i in rows)

    return Count(len(rows), right(before), right(after), wrong(before), wrong(after))
