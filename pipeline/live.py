"""Teaching while the picture runs: one object that the window and the page talk to.

    live = Live(loop, store, embedder)
    for tick in loop.run(source):
        live.show(tick)                     # a sink like any other; it must get every tick
        face = live.face_at(x, y)
        live.teach(face.track, "Ada")       # the next frame knows her
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.errors import UserError
from pipeline.loop import Loop
from pipeline.types import Face, Tick
from recognizer.snapshot import Snapshot
from recognizer.store import Store
from recognizer.store_read import PersonInfo
from recognizer.types import Embedder

Phase = Literal["idle", "gathering", "training", "swapped", "failed", "cancelled"]


@dataclass(frozen=True)
class Teaching:
    """How far the teaching of one person is, for the picture and for the page.

    Args:
        name: of the person.
        track: the face that is followed; None while it is out of sight or not certain.
        gathered: examples so far, the clicked one included.
        wanted: how many there shall be.
        phase: ``gathering``, then ``training``, then ``swapped`` or ``failed``; ``cancelled``.
        message: why nothing is gathered just now, or why it failed; may be empty.
    """

    name: str
    track: int | None
    gathered: int
    wanted: int
    phase: Phase
    message: str = ""


@dataclass(frozen=True)
class HeadState:
    """How the classifier head is.

    Args:
        phase: ``none``: there is no head; ``training``: one is being taught in the background;
            ``swapped``: the newest is in use; ``failed``: the old one stays, see ``message``.
        message: why it failed, or what came of it.
        version: of the gallery in use.
        seconds: how long the last training took, or the present one has been running.
    """

    phase: Literal["none", "training", "swapped", "failed"]
    message: str = ""
    version: int = 0
    seconds: float | None = None


class AlreadyKnown(UserError):
    """The face looks like somebody known under another name; or the name is somebody else's.

    Attributes:
        name: of that person.
        similarity: cosine of the face with them.
    """

    def __init__(self, message: str, name: str, similarity: float) -> None:
        super().__init__(message)
        self.name, self.similarity = name, similarity


class Live:
    """Teaches, corrects and forgets people while a loop runs. Any thread may call any method."""

    def __init__(self, loop: Loop, store: Store, embedder: Embedder) -> None:
        raise NotImplementedError

    def show(self, tick: Tick) -> None:
        """Take a tick; called by the loop's thread with every one, as sinks are."""
        raise NotImplementedError

    def face_at(self, x: float, y: float) -> Face | None:
        """The face at a point of the newest frame; the smallest where several overlap."""
        raise NotImplementedError

    def teach(self, track: int, name: str, *, sure: bool = False) -> Teaching:
        """Enrol the face of a track at once and begin to gather more of it.

        Raises AlreadyKnown unless ``sure``; UserError when the face cannot be taught just now.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """End the present teaching without a trace; nothing happens when there is none."""
        raise NotImplementedError

    def correct(self, track: int, name: str) -> None:
        """The name on a track is wrong: the crops of this face move to ``name``."""
        raise NotImplementedError

    def forget(self, name: str) -> None:
        """Somebody is gone from memory and disk when this returns."""
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
        """See `recognizer.store.Store.rename`."""
        raise NotImplementedError

    def merge(self, source: str, into: str) -> None:
        """See `recognizer.store.Store.merge`."""
        raise NotImplementedError

    def people(self) -> list[PersonInfo]:
        """Everyone, sorted by name."""
        raise NotImplementedError

    def thumbnail(self, name: str) -> bytes | None:
        """A PNG of somebody; None when no picture was kept."""
        raise NotImplementedError

    @property
    def teaching(self) -> Teaching | None:
        """The newest teaching, also when it has ended; None before the first."""
        raise NotImplementedError

    def head(self) -> HeadState:
        """How the classifier head is."""
        raise NotImplementedError

    def swap(self, snapshot: Snapshot) -> None:
        """Use a snapshot from the next frame on, unless a newer one is in use already."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the teaching in the background; what is stored stays as it is."""
        raise NotImplementedError
