"""The check on the page that a face is a living one: the active liveness challenge, in a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from faces.boxes import iou
from faces.errors import UserError
from pipeline.live.best_views import face_of
from pipeline.liveness.attempt import Attempt, Sample
from pipeline.liveness.challenge import Challenge
from pipeline.liveness.policy import Policy
from pipeline.types import Box, Face, Tick
from recognizer.crop import LandmarkFinder
from recognizer.types import Embedder

logger = logging.getLogger(__name__)

LEAST_PAUSE = 0.07
"""Seconds between two pictures that are looked at: a challenge wants eight a second, not thirty."""

SAME = 0.3
"""Overlap (IoU) with where the face was, for a face that is followed under a new number since."""


@dataclass(eq=False)
class _Running:
    track: int
    attempt: Attempt
    box: Box
    last: float
    name: str | None
    camera: str | None = None


class LivenessCheck:
    """One challenge at a time, of one face on the page.

    `show` belongs to the loop's thread and returns at once, `run_forever` to a thread of its own;
    any thread may call the rest.

    Args:
        embedder: of the loop; another person who goes on with a challenge is noticed by it.
        open_landmarks: opens what finds five points in a face; called when first needed.
    """

    def __init__(
        self,
        embedder: Embedder,
        open_landmarks: Callable[[], LandmarkFinder] | None = None,
        new_challenge: Callable[[Policy], Challenge] = lambda policy: Challenge.new(policy=policy),
    ) -> None:
        self.new_challenge = new_challenge
        self._embedder, self._open = embedder, open_landmarks or _shipped
        self._finder: LandmarkFinder | None = None
        self._lock, self._wanted = threading.Lock(), threading.Event()
        self._closed = False
        self._newest: dict[str | None, Tick] = {}  # camera -> its newest
        self._waiting: Tick | None = None
        self._running: _Running | None = None
        self._state: dict[str, Any] | None = None

    @property
    def state(self) -> dict[str, Any] | None:
        """How it goes, as `State.to_json` with ``track``, ``asks`` and ``name``; None: no check.

        The verdict stays until `stop` or the next `begin`.
        """
        return self._state

    def begin(
        self, track: int, mirrored: Callable[[str | None], bool] = lambda camera: False
    ) -> None:
        """Check this face; another check ends without a verdict. Raises UserError: it has gone.

        ``mirrored`` says whether left and right are exchanged in a camera.
        """
        newest = tuple(self._newest.values())
        tick = next((tick for tick in newest if face_of(track, tick)), None)
        face = None if tick is None else face_of(track, tick)
        if tick is None or face is None:
            raise UserError("this face is not in the picture any more")
        if self._finder is None:
            self._finder = self._open()
        attempt = Attempt(self.new_challenge(Policy(mirrored=mirrored(tick.camera))))
        with self._lock:
            self._running = _Running(
                track, attempt, face.box, float("-inf"), None, camera=tick.camera
            )
            self._tell(self._running)

    def stop(self) -> None:
        """End it, or take the verdict away."""
        with self._lock:
            self._running = self._state = None

    def show(self, tick: Tick) -> None:
        """Take a tick."""
        if not tick.fresh:
            return
        self._newest[tick.camera] = tick
        running = self._running
        if running is not None and running.camera == tick.camera:
            self._waiting = tick
            self._wanted.set()

    def run_forever(self) -> None:
        """Look at the newest picture as long as a check runs; until `close`."""
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed:
                return
            running, tick = self._running, self._waiting
            if running is None or tick is None:
                continue
            if tick.picture.captured - running.last < LEAST_PAUSE:
                continue
            try:
                self._look(running, tick)
            except Exception:  # the picture goes on
                logger.exception("the check of a face has failed")
                with self._lock:
                    if self._running is running:
                        running.attempt.give_up()
                        self._tell(running)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._wanted.set()

    def _look(self, running: _Running, tick: Tick) -> None:
        picture, face = tick.picture, _same_face(tick, running)
        sample = None if face is None else self._sample(picture.image, face.box)
        with self._lock:
            if self._running is not running:
                return  # stopped meanwhile
            if face is not None:
                running.box, running.name = face.box, face.match.name
                running.track = running.track if face.track is None else face.track
            running.last = picture.captured
            running.attempt.look(picture.captured, sample, picture.size)
            self._tell(running)

    def _sample(self, image: Any, box: Box) -> Sample:
        assert self._finder is not None
        row = np.array([box], np.float32)
        points, trusted = self._finder(image, row)
        if not trusted[0]:
            return Sample(None, row[0])
        vector = self._embedder.embed(self._embedder.crop(image, row))[0]
        return Sample(points[0], row[0], vector)

    def _tell(self, running: _Running) -> None:
        """Note what is shown; at the end nothing else of the face stays. Holds the lock."""
        attempt = running.attempt
        passed = attempt.challenge.status == "passed"
        self._state = {
            "track": running.track,
            "asks": attempt.challenge.asks,
            "name": running.name if passed else None,
            **attempt.state.to_json(),
        }
        if attempt.over:
            self._running = None


def _same_face(tick: Tick, running: _Running) -> Face | None:
    """The face by its track; where that has ended, by its place: the challenge notices a change."""
    face = face_of(running.track, tick)
    if face is not None:
        return face
    faces = tick.faces.faces
    overlaps = iou([face.box for face in faces], [running.box])[:, 0]
    return faces[overlaps.argmax()] if (overlaps > SAME).any() else None


def _shipped() -> LandmarkFinder:
    from recognizer.landmarks import LandmarkNet

    return LandmarkNet(threads=1)
