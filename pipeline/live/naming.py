"""Who is on a track: which of its faces to look at, and one steady name from what was seen.

Of each track a few embeddings are kept, with how good the face was to see. The name is their vote.
When the recognizer learns something, the same embeddings are asked again, so a new name is there on
the very next frame without another look.

A track says where a face is, not whose it is. When something speaks for another face at its place,
it is looked at at once, and what it was taken for before counts only if the new look agrees.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.live.changes import SAME_FACE, SAME_VIEW, View, likeness
from pipeline.live.votes import Vote, elect, weights
from pipeline.types import Sighting
from recognizer.types import UNKNOWN, Match, Recognizer

KEEP = 8
"""Embeddings kept for each track."""

ENOUGH = 3
"""Embeddings after which a name may be sure."""

SURE = 0.75
"""Share of the votes from which on a name is sure."""

CLEAR = 0.5
"""How good a face must be to see, as a part of the best look at its track, for one look to show
that it is another one when it looks different all at once."""

OTHER = 1.2
"""How much must speak for another face when nothing else does: the sum of the same parts over looks
in a row, so two good ones or many blurred ones."""


@dataclass(frozen=True)
class NamingOptions:
    """When a face is looked at again."""

    soonest: float = 0.25  # seconds between two looks at the same track, at least
    # the most seconds until an unsure name is looked at again; the pause begins with ``soonest``
    # and doubles with every look that did not help
    unsure: float = 4.0
    refresh: float = 3.0  # seconds until a sure name is looked at again, as tracks can be wrong
    # how much better than its best (as a factor) a face must be to be looked at sooner
    better: float = 1.3
    batch: int = 8  # faces that are looked at together, at most; a file waits for all that are new


class Learned(NamedTuple):
    """What a look has shown."""

    other: bool  # the track has gone on with another face; what was seen before it is forgotten
    match: Match | None  # who it is by this look alone; None without a recognizer


@dataclass
class _Memory:
    """What is known of one track."""

    votes: list[Vote] = field(default_factory=list)
    looks: int = 0
    last: float = -np.inf
    best: float = 0.0
    view: View | None = None  # see `changes.face_view`; as it was detected last
    looked: View | None = None  # the same, as it was looked at last
    crossed: bool = False  # since it was looked at
    doubted: float = -np.inf  # it may be another face from this time on; see `Namer.doubt`
    changed: bool = False  # it does not look as it did a moment ago
    changing: bool = False  # nor as it did when it was looked at, bit by bit
    unsettled: bool = False  # it was changing when it was looked at last, as in a cross-fade
    against: float = 0.0  # what speaks for another face, see OTHER
    disputed: bool = False  # that began when it looked different all at once
    disputes: int = 0
    stale: bool = True  # the name does not know the newest vote yet
    match: Match = UNKNOWN
    agreement: float | None = None

    @property
    def doubtful(self) -> bool:
        """Whether it may be another face, and was not looked at well enough since then."""
        return self.disputed or self.doubted > self.last

    @property
    def sure(self) -> bool:
        enough = len(self.votes) >= ENOUGH and not self.against
        return enough and (self.agreement or 0.0) >= SURE

    def see(self, view: View) -> None:
        """Compare with what was seen before."""
        if self.view is not None and self.looked is not None:
            self.changed |= likeness(self.view, view) < SAME_FACE
            self.changing |= likeness(self.looked, view) < SAME_VIEW
        self.view = view


class Namer:
    """The memory of all tracks; used by one thread."""

    def __init__(self, options: NamingOptions = NamingOptions()) -> None:
        self.options = options
        self._memories: dict[int, _Memory] = {}
        self._recognizer: tuple[Recognizer, int] | None = None

    def doubt(self, track: int, time: float) -> None:
        """It may be another face from ``time`` (seconds of the source) on: it has no name until a
        picture of then or later has been looked at."""
        if track in self._memories:
            memory = self._memories[track]
            memory.doubted = max(memory.doubted, time)

    def waits(self, track: int) -> bool:
        """Whether nothing is known of a track, or nothing since it is in doubt."""
        memory = self._memories.get(track)
        return memory is None or not memory.looks or memory.doubtful

    def choose(
        self,
        sightings: Sequence[Sighting],
        time: float,
        watched: Collection[int] = (),
        views: Sequence[View] = (),
        whole: bool = False,
    ) -> list[int]:
        """Positions of the sightings that should be embedded now, most urgent first.

        Those of ``watched`` tracks always are, others when they are new, in doubt, changed, better
        to see than before, or their name is unsure or old; never while two faces cross, except when
        they are new or in doubt.

        Args:
            views: of each sighting its `pipeline.live.changes.face_view`; without them no change is
                noticed.
            whole: take all that cannot wait, however many they are.
        """
        urgent: list[tuple[int, float, int]] = []
        for i, sighting in enumerate(sightings):
            if sighting.track is None:
                continue
            memory = self._memories.setdefault(sighting.track, _Memory())
            memory.crossed |= sighting.crossing
            if views:
                memory.see(views[i])
            if memory.doubted > time:
                continue  # a look at an earlier picture would not tell
            if not memory.looks or memory.doubtful:
                urgent.append((0, -sighting.quality, i))
            elif sighting.crossing:
                continue
            elif memory.changed or memory.changing:
                urgent.append((1, memory.last, i))
            elif sighting.track in watched:
                urgent.append((2, memory.last, i))
            elif time - memory.last >= self._pause(memory, sighting):
                urgent.append((3, memory.last, i))
        urgent.sort()
        most = self.options.batch
        if whole:
            most = max(most, sum(order < 2 for order, *_ in urgent))
        return [i for *_, i in urgent[:most]]

    def _pause(self, memory: _Memory, sighting: Sighting) -> float:
        """Seconds to wait after the last look."""
        options = self.options
        if memory.crossed or memory.unsettled or sighting.quality >= options.better * memory.best:
            return options.soonest
        if memory.sure:
            return options.refresh
        pause = options.soonest * 2.0 ** max(0, memory.looks - ENOUGH)
        if memory.against:  # soon again, but somebody between two names not for ever
            pause = min(pause, options.soonest * 2.0**memory.disputes)
        return min(pause, options.unsure)

    def learn(
        self,
        track: int,
        embedding: NDArray[np.float32],
        quality: float,
        time: float,
        recognizer: Recognizer | None = None,
    ) -> Learned:
        """Take a new embedding (D,) of a track, seen with a quality of 0..1 at ``time``."""
        if recognizer is not None:
            self._use(recognizer)
        memory = self._memories.setdefault(track, _Memory())
        match = None
        if self._recognizer is not None:
            [match] = self._recognizer[0].identify(embedding[None])
        vote = Vote(embedding, max(quality, 1e-3), time, match)
        other = self._is_another(memory, vote)
        if other:
            row = [old for old in memory.votes if old.other and memory.against]
            fresh = _Memory(row[-ENOUGH:], view=memory.view, doubted=memory.doubted)
            memory.__dict__.update(fresh.__dict__)
            memory.looks = len(memory.votes)
            memory.best = max((old.quality for old in memory.votes), default=0.0)
            for old in memory.votes:
                old.other = False
        memory.votes.append(vote)
        if len(memory.votes) > KEEP:
            del memory.votes[int(np.argmin(weights(memory.votes)[:-1]))]  # the newest stays
        memory.looks += 1
        memory.last, memory.best = time, max(memory.best, quality)
        memory.looked = memory.view
        memory.unsettled = memory.changing and not other
        memory.crossed = memory.changed = memory.changing = False
        memory.stale = True
        return Learned(other, match)

    def _is_another(self, memory: _Memory, vote: Vote) -> bool:
        """Whether the face of a new vote is not the one that was seen before.

        One look is enough when something speaks for it already: the track was lost, two faces met,
        or this one looks different from one moment to the next. Without that it may be a bad look.
        """
        if not memory.votes:
            return False
        suspect = memory.crossed or memory.last < memory.doubted <= vote.time
        known = self._recognizer[0] if self._recognizer else None
        bar = getattr(known, "same", None)  # only a `Snapshot` must know it
        if bar is None:  # it cannot be told; two who met are taken to have changed places
            return suspect
        # What was seen while it was changing may show two people in one.
        certain = memory.votes[: -1 if memory.unsettled else None]
        before = [old.embedding for old in certain if not old.other]
        alike = float((np.stack(before) @ vote.embedding).max()) if before else -1.0
        named = vote.match.name if vote.match else None
        contradicts = named is not None and memory.match.name not in (named, None)
        if alike > bar and not contradicts:
            memory.against, memory.disputed = 0.0, False
            return False
        if memory.against == 0:
            memory.disputes += 1
            for old in memory.votes:  # only those in a row count
                old.other = False
        vote.other = True
        clear = min(vote.quality / max(memory.best, 1e-3), 1.0)
        memory.against += clear
        changing = memory.changed or memory.changing or memory.unsettled
        memory.disputed |= changing
        if suspect or (changing and clear >= CLEAR):
            for old in memory.votes:  # disputes of before were about whoever was there then
                old.other = False
            return True
        return memory.against >= OTHER

    def names(
        self, tracks: Collection[int], recognizer: Recognizer
    ) -> dict[int, tuple[Match, float | None]]:
        """For each track its name and the share of the votes for it.

        Nothing is known of those that are in doubt or were not looked at yet: unknown, None. Only
        what has changed is asked: votes since the last call, or all of them when the recognizer is
        another one.
        """
        self._use(recognizer)
        stale = [
            memory
            for track in tracks
            if (memory := self._memories.get(track)) and memory.stale and memory.votes
        ]
        ask = [vote for memory in stale for vote in memory.votes if vote.match is None]
        if ask:
            matches = recognizer.identify(np.stack([vote.embedding for vote in ask]))
            for vote, match in zip(ask, matches, strict=True):
                vote.match = match
        for memory in stale:
            memory.match, memory.agreement = elect(
                memory.votes, memory.match.name, memory.agreement is not None
            )
            memory.stale = False
        found = {track: self._memories.get(track, _Memory()) for track in tracks}
        return {
            track: (UNKNOWN, None) if memory.doubtful else (memory.match, memory.agreement)
            for track, memory in found.items()
        }

    def _use(self, recognizer: Recognizer) -> None:
        """Ask everything again when it is another one."""
        known = self._recognizer
        if known and known[0] is recognizer and known[1] == recognizer.version:
            return
        self._recognizer = (recognizer, recognizer.version)
        for memory in self._memories.values():
            memory.stale, memory.match, memory.agreement = True, UNKNOWN, None
            for vote in memory.votes:
                vote.match = None

    def embeddings(self, track: int) -> NDArray[np.float32]:
        """What is kept of a track: (K, D); (0, 0) for one that was not looked at."""
        memory = self._memories.get(track)
        if memory is None or not memory.votes:
            return np.zeros((0, 0), np.float32)
        return np.stack([vote.embedding for vote in memory.votes])

    def move(self, track: int, new: int) -> None:
        """A track has got another number."""
        self._memories[new] = self._memories.pop(track)

    def forget(self, track: int) -> None:
        """Drop what was seen of a track; it is looked at again as if it were new."""
        self._memories.pop(track, None)

    def keep(self, tracks: Collection[int]) -> None:
        """Forget all other tracks."""
        for gone in self._memories.keys() - set(tracks):
            del self._memories[gone]
