"""Gathering examples of one person from the looks of the loop, without ever taking another's face.

A face is followed by its track and by what it looks like. The track says that it is the same face
as a moment ago; the vectors say that it is the same person as what was trusted so far. Where they
disagree, or where two faces met, nothing is taken until the vectors have agreed for some looks in
a row, on this track or on another one. Whoever else is in the picture meanwhile is remembered as
somebody else. No threads, no camera, no store: looks in, examples out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Look, Sighting
from recognizer.blank import Blank
from recognizer.gallery import Gallery
from recognizer.quality import Gates, measure
from recognizer.store.face_picture import FacePicture
from recognizer.types import unit

ALIKE = 3
"""The trusted vectors nearest to a new one that it is compared with: a face has several sides."""

OTHERS = 256
"""Vectors of other people in the picture that are remembered."""

JUMP = 1.0
"""Seconds by which the time of a source must go back to be taken for a new beginning; looks may
come a little late."""

ADVICE = {
    "size": "come nearer",
    "blur": "hold still",
    "exposure": "the light is bad",
    "edge": "come into the picture",
    "blank": "look at the camera",
}
"""What to do, by the first word of a gate's refusal."""


@dataclass(frozen=True)
class TeachOptions:
    """How people are taught."""

    wanted: int = 50  # examples, the clicked one included
    seconds: float = 30.0  # after which gathering ends with what it has
    pause: float = 0.1  # seconds between two examples, at least
    # how far the bar for an example lies above the one for a name, as a part of the way from there
    # to 1
    stricter: float = 0.2
    # by how much more an example must be like this person than like anybody else
    margin: float = 0.1
    certain: int = 3  # looks in a row that must agree after a doubt
    repeats: int = 15  # near-duplicates (see `Gates.max_similarity`) that are taken at most
    # which pictures are stored besides the vectors: none, only the clicked one (shown in lists of
    # people), or all (so that another embedder can use them later)
    pictures: Literal["none", "first", "all"] = "first"
    gates: Gates = field(default_factory=Gates)  # what a face must have
    blank: Blank | None = None  # of the embedder: which faces show too little

    def __post_init__(self) -> None:
        if self.wanted < 1 or self.seconds <= 0 or self.certain < 1:
            raise ValueError("wanted, seconds and certain must be positive")
        if not 0 <= self.stricter < 1 or self.margin < 0:
            raise ValueError("stricter must be 0..1, margin not negative")


@dataclass(frozen=True, eq=False)
class Example:
    """One face of the person."""

    embedding: NDArray[np.float32]  # unit float32 (D,)
    picture: FacePicture | None = None  # its picture, where it is to be kept


def refusal(look: Look, sighting: Sighting, gates: Gates, blank: Blank | None) -> str | None:
    """Why a face is no good example (a sentence), or None."""
    box = np.array(sighting.box, np.float32)
    refusals = gates.refusals(measure(look.picture.image, box, sighting.landmarks))
    if refusals:
        return refusals[0]
    if blank is None or sighting.embedding is None:
        return None
    return blank.refusal(sighting.embedding)


class Gatherer:
    """One person's examples, from the clicked one on.

    Args:
        name: theirs, so that the gallery's prototype of them is no rival.
        track: the one that was clicked.
        first: the clicked example; it is trusted.
        bar: the cosine from which on a face gets a name.
        time: of the click, seconds of the source.
        denied: faces of which somebody has said that they are not this person, (M, D).

    Attributes:
        track: the one that is followed now, None when none is certain.
        examples: in the order in which they were taken.
        message: why nothing is taken just now, or how it ended; may be empty.
    """

    def __init__(
        self,
        name: str,
        track: int,
        first: Example,
        bar: float,
        time: float,
        options: TeachOptions = TeachOptions(),
        denied: NDArray[np.float32] | None = None,
    ) -> None:
        self._denied = denied
        self.name, self.examples = name, [first]
        self.track: int | None = track
        self.message = ""
        self.options = options
        self._named = bar
        self._bar = bar + options.stricter * (1 - bar)
        self._begun = self._now = self._last = time
        self._followed = track
        self._doubt = False
        self._agreed: tuple[int, int] | None = None  # a track, and its looks that agreed in a row
        self._others: deque[NDArray[np.float32]] = deque(maxlen=OTHERS)
        self._repeats = 0

    @property
    def full(self) -> bool:
        """Whether all that were wanted are there."""
        return len(self.examples) >= self.options.wanted

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return self._now - self._begun >= self.options.seconds

    @property
    def done(self) -> bool:
        """Whether nothing more will be taken."""
        return self.full or self.late

    @property
    def certain(self) -> bool:
        """Whether it is beyond doubt which face is the person's."""
        return not self._doubt

    def at(self, time: float) -> None:
        """It is ``time`` (seconds of the source) now, whether anything was looked at or not."""
        if time < self._now - JUMP:  # a video that begins again: the time so far still counts
            for_now = self._now - time
            self._begun, self._last = self._begun - for_now, self._last - for_now
            self._now = time
        self._now = max(self._now, time)
        if self.late and not self.full:
            self.message = (
                f"{self.options.seconds:g} s are over: {len(self.examples)} of "
                f"{self.options.wanted} examples"
            )

    def take(self, look: Look, gallery: Gallery) -> None:
        """Take at most one example from a look.

        Args:
            look: of the loop; those from before the click are left aside.
        """
        time = look.picture.time
        if time < self._begun or self.done:
            return
        own = next((s for s in look.sightings if s.track == self._followed), None)
        if own is None:
            self._suspend("not in sight")
        elif own.crossing:
            self._suspend("two faces meet")
            self._agreed = None
        elif own.embedding is not None and self._is_other(own.embedding, gallery):
            self._suspend("is this still the same face?")
        if self._doubt:
            self._look_for(look, gallery)
            return
        assert own is not None
        if own.embedding is None:
            return
        agrees = self._agrees(own.embedding, gallery)
        if agrees:
            self._note_others(look, own)
            agrees = self._agrees(own.embedding, gallery)  # the others may have been new
        if agrees:
            self._consider(look, own, time)
        else:
            self.message = "not sure that it is the same face"

    # -- whose face is it?

    def _alike(self, vector: NDArray[np.float32]) -> float:
        """Mean cosine with the nearest trusted vectors."""
        cosines = self._trusted @ vector
        return float(np.sort(cosines)[-ALIKE:].mean())

    @property
    def _trusted(self) -> NDArray[np.float32]:
        return np.stack([example.embedding for example in self.examples])

    def _rival(self, vector: NDArray[np.float32], gallery: Gallery) -> float:
        """Greatest cosine with anybody else: in the gallery, or in the picture since the click."""
        best = -1.0
        if len(gallery):
            best = float(gallery.nearest(vector[None], without=[self.name])[1][0])
        if self._denied is not None and len(self._denied):
            best = max(best, float((self._denied @ vector).max()))
        if self._others:
            best = max(best, float((np.stack(self._others) @ vector).max()))
        return best

    def _agrees(self, vector: NDArray[np.float32], gallery: Gallery) -> bool:
        """The strict bar: like the nearest trusted ones, like all of them, like nobody else.

        The mean of all, and the one that was clicked, keep a chain of small steps from leading to
        somebody else.
        """
        alike = self._alike(vector)
        whole = float(unit(self._trusted.sum(axis=0)) @ vector)
        return (
            alike >= self._bar
            and whole >= self._named
            and float(self.examples[0].embedding @ vector) >= self._named
            and alike >= self._rival(vector, gallery) + self.options.margin
        )

    def _is_other(self, vector: NDArray[np.float32], gallery: Gallery) -> bool:
        """Whether a face on the followed track speaks against being the person."""
        alike = self._alike(vector)
        return alike < self._named or self._rival(vector, gallery) > alike

    def _note_others(self, look: Look, own: Sighting) -> None:
        """Nobody is in two places: all other faces of this picture are other people's."""
        for sighting in look.sightings:
            if sighting is not own and sighting.embedding is not None and not sighting.crossing:
                self._others.append(sighting.embedding)

    def _suspend(self, message: str) -> None:
        self._doubt, self.track, self.message = True, None, message

    def _look_for(self, look: Look, gallery: Gallery) -> None:
        """Count looks in which one face agrees, and only one; after enough of them follow it."""
        agreeing = [
            sighting.track
            for sighting in look.sightings
            if sighting.track is not None
            and sighting.embedding is not None
            and not sighting.crossing
            and self._agrees(sighting.embedding, gallery)
        ]
        seen = {s.track for s in look.sightings if s.embedding is not None or s.crossing}
        if len(agreeing) != 1:
            if agreeing or self._agreed is None or self._agreed[0] in seen:
                self._agreed = None
            return
        [track] = agreeing
        before = self._agreed[1] if self._agreed and self._agreed[0] == track else 0
        self._agreed = (track, before + 1)
        if before + 1 >= self.options.certain:
            self.track = self._followed = track
            self._doubt, self._agreed, self.message = False, None, ""

    # -- is it a good example?

    def _consider(self, look: Look, own: Sighting, time: float) -> None:
        options = self.options
        assert own.embedding is not None
        if time - self._last < options.pause:
            return
        bad = refusal(look, own, options.gates, options.blank)
        if bad is not None:
            self.message = ADVICE.get(bad.partition(":")[0], bad)
            return
        if options.gates.duplicate(own.embedding, self._trusted) is not None:
            # Somebody who sits still looks the same all the time; a few of that are enough.
            self.message = "turn your head a little"
            if self._repeats >= options.repeats or time - self._last < 3 * options.pause:
                return
            self._repeats += 1
        else:
            self.message = ""
        picture = None
        if options.pictures == "all":
            picture = FacePicture.of(
                look.picture.image, np.array(own.box, np.float32), own.landmarks
            )
        self.examples.append(Example(own.embedding, picture))
        self._last = time
