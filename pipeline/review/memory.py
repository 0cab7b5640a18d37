"""Watches what the loop sees and notes, beside it, who was seen, and faces that nobody could name.

Of each pass before a camera the few best looks are kept, and none when the face gets a name after
all. Nothing is written by the loop's thread, and unknown faces only where it is asked for.
"""

from __future__ import annotations

import logging
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from faces.closing import Closing
from faces.errors import UserError
from pipeline.live.naming import SURE
from pipeline.teaching.gathering import refusal
from pipeline.types import Face, Look, Picture, Sighting, Tick
from recognizer.blank import find_blank
from recognizer.quality import Gates
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.store.unknown import UnknownFace, judged, keep, waiting

logger = logging.getLogger(__name__)

BEST = 3
"""Looks that are kept of one pass before the camera."""

LONGEST = 20.0
"""Seconds after which a pass that goes on is kept in between."""

EVERY = 2.0
"""Seconds between two writes."""

NO_FACE = 0.9
"""Cosine with something that is no face above which it is that again: it hangs on the wall."""


@dataclass
class _Pass:
    """One track's looks that are not kept yet, the best first."""

    look: str
    began: float
    camera: str | None
    looks: list[tuple[float, Picture, Sighting, str | None]] = field(default_factory=list)


class Memory(Closing):
    """A sink; a context manager that writes what is left when it ends.

    Args:
        kept: for how long unknown faces are kept; None keeps none.
        source: what the camera is called, where there is one.
    """

    def __init__(
        self, store: Store, kept: timedelta | None, source: str = "", gates: Gates | None = None
    ) -> None:
        self.kept = kept
        self._store, self._source, self._gates = store, source, gates or Gates()
        self._blank = find_blank(store.fingerprint, store.snapshot().same, self._gates.max_blank)
        self._run = uuid.uuid4().hex[:8]
        self._passes: dict[int, _Pass] = {}
        self._known: dict[str, str] = {}
        self._ready: list[UnknownFace] = []
        self._lock = threading.Lock()
        self._refused = ""  # why nothing could be written the last time
        self._ended = threading.Event()
        self._read_judgments()
        self._thread = threading.Thread(target=self._write_forever, name="faces-seen", daemon=True)
        self._thread.start()

    def _read_judgments(self) -> None:
        """What somebody, in whatever program, has said is to be ignored."""
        self._judged_at = self._store.version()  # first: what changes meanwhile is read again
        found = judged(self._store)
        self._judged = found["ignored"], found["not a face"]

    def show(self, tick: Tick) -> None:
        """Take a tick; returns at once."""
        if not tick.fresh and not tick.looks:
            return
        faces = {face.track: face for face in tick.faces.faces if face.track is not None}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for track, face in faces.items():
            if _sure(face):
                assert face.match.name is not None
                self._known[face.match.name] = now
                self._passes.pop(track, None)  # it has got its name after all
        if self.kept is None:
            return
        for look in tick.looks:
            for sighting in look.sightings:
                self._consider(look, sighting, faces, tick.camera)
        for track, one in list(self._passes.items()):
            if one.camera != tick.camera:
                continue
            if track not in faces:
                del self._passes[track]
            elif tick.picture.time - one.began < LONGEST:
                continue
            self._hand_over(one)
            one.began = tick.picture.time

    def _consider(
        self, look: Look, sighting: Sighting, faces: dict[int, Face], camera: str | None
    ) -> None:
        face = faces.get(sighting.track) if sighting.track is not None else None
        if face is None or sighting.embedding is None or sighting.crossing:
            return
        if face.agreement is None or _sure(face) or self._is_judged(sighting.embedding):
            return
        if refusal(look, sighting, self._gates, self._blank) is not None:
            return
        assert sighting.track is not None
        one = self._passes.setdefault(
            sighting.track, _Pass(f"{self._run} {sighting.track}", look.picture.time, camera)
        )
        others = [s.embedding for _, _, s, _ in one.looks if s.embedding is not None]
        if others and self._gates.duplicate(sighting.embedding, np.stack(others)) is not None:
            return
        guess = face.match.name or (sighting.match.name if sighting.match else None)
        one.looks.append((sighting.quality, look.picture, sighting, guess))
        one.looks.sort(key=lambda found: -found[0])
        del one.looks[BEST:]

    def _is_judged(self, vector: NDArray[np.float32]) -> bool:
        snapshot = self._store.snapshot()
        if snapshot.version != self._judged_at:
            self._read_judgments()
        ignored, no_faces = self._judged
        return bool((ignored @ vector > snapshot.same).any() or (no_faces @ vector > NO_FACE).any())

    def _new(self, faces: list[UnknownFace]) -> list[UnknownFace]:
        """Those that show something new and are still unknown: somebody may have named them."""
        snapshot = self._store.snapshot()
        kept = waiting(self._store)
        found = []
        for face in faces:
            if self._is_judged(face.embedding):
                continue
            if self._gates.duplicate(face.embedding, kept) is not None:
                continue
            [match] = snapshot.identify(face.embedding[None])
            if match.name is None or face.guess is not None:
                found.append(face)
                kept = np.concatenate([kept, face.embedding[None]])
        return found

    def _hand_over(self, one: _Pass) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        looks, one.looks = one.looks, []
        for quality, picture, sighting, guess in looks:
            assert sighting.embedding is not None
            face = FacePicture.of(
                picture.image, np.array(sighting.box, np.float32), sighting.landmarks
            )
            found = UnknownFace(
                one.look, sighting.embedding, face, quality, one.camera or self._source, now, guess
            )
            with self._lock:
                self._ready.append(found)

    def _write_forever(self) -> None:
        while not self._ended.wait(EVERY):
            self._write()

    def _write(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, []
        known, self._known = self._known, {}
        try:
            if known:
                self._store.note_seen(known)
            if self.kept is not None:
                # Also deletes those whose time is over.
                keep(self._store, self._new(ready), self.kept)
            self._refused = ""
        except UserError as error:  # a busy or full disk: the picture goes on
            if str(error) != self._refused:  # said once, not every two seconds
                logger.warning("what was seen could not be noted: %s", error)
            self._refused = str(error)

    def close(self) -> None:
        """Keep what is left, and end."""
        self._ended.set()
        self._thread.join(timeout=30.0)
        for one in self._passes.values():
            self._hand_over(one)
        self._passes.clear()
        self._write()


def _sure(face: Face) -> bool:
    return face.match.name is not None and (face.agreement or 0.0) >= SURE
