"""One teaching, from the click to the new head: how far it is, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.teaching.background_fit import Batch
from pipeline.teaching.gathering import Gatherer
from pipeline.types import Note
from recognizer.gallery import Head
from recognizer.store.write import NewSample

Phase = Literal["idle", "gathering", "training", "swapped", "failed", "cancelled"]


SHOWN = 3.0
"""Seconds for which the end of a teaching stays on the picture."""


@dataclass(frozen=True)
class Teaching:
    """How far the teaching of one person is, for the picture and for the page."""

    name: str  # of the person
    track: int | None  # the face that is followed; None while it is out of sight or not certain
    gathered: int  # examples so far, the clicked one included
    wanted: int  # how many there shall be
    phase: Phase  # ``gathering``, then ``training``, then ``swapped`` or ``failed``; ``cancelled``
    message: str = ""  # why nothing is gathered just now, or why it failed; may be empty


@dataclass(eq=False)
class TeachingRun:
    """One teaching. Not for several threads at once."""

    source: str  # stands with its samples in the store
    name: str  # of the person
    gatherer: Gatherer  # of its examples
    first: int  # number of the first sample
    # what was taken out of use because it contradicted the user, and its provenance
    head: tuple[Head, dict[str, Any]] | None
    act: int  # its number, see `recognizer.store.journal`
    phase: Phase = "gathering"  # see `Teaching`
    message: str = ""  # why it failed, or how the gathering ended
    ended: float | None = None  # when its end was first told, seconds of the source
    camera: str | None = None  # whose picture was clicked, where there are several

    @property
    def active(self) -> bool:
        """Whether it can still be cancelled."""
        return self.phase in ("gathering", "training")

    def end(self, phase: Phase, message: str = "") -> None:
        """It is over."""
        self.phase, self.message = phase, message

    def rename(self, name: str) -> None:
        """The person is called so from now on."""
        self.name = self.gatherer.name = name

    def hand_over(self) -> Batch:
        """Gathering is over; the examples after the first one, for the trainer."""
        self.phase = "training"
        self.message = self.gatherer.message if not self.gatherer.full else ""
        samples = tuple(
            NewSample(example.embedding, example.picture, self.source)
            for example in self.gatherer.examples[1:]
        )
        return Batch(self.source, self.name, samples)

    def describe(self) -> Teaching:
        """How far it is."""
        gatherer = self.gatherer
        message = gatherer.message if self.phase == "gathering" else self.message
        return Teaching(
            self.name, gatherer.track, len(gatherer.examples), gatherer.options.wanted,
            self.phase, message,
        )  # fmt: skip

    def notes(self, time: float) -> tuple[Note, ...]:
        """What is written on the picture at ``time`` seconds of the source."""
        if not self.active:
            if self.ended is None:
                self.ended = time
            if not 0 <= time - self.ended <= SHOWN:
                return ()
        state = self.describe()
        share = state.gathered / state.wanted if state.phase == "gathering" else None
        text = {
            "gathering": f"{state.gathered} of {state.wanted}",
            "training": "learning ...",
            "swapped": "learned",
            "failed": "not learned",
            "cancelled": "cancelled",
        }[state.phase]
        if state.message:
            text += f": {state.message}"
        if state.track is None:
            text = f"{state.name}: {text}"
        return (Note(text, state.track, share),)
