"""The faces of one source over time: which track each is on, who they are, when a shot begins.

Everything here belongs to the thread of the loop that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.live.area import Polygon
from pipeline.live.changes import OTHER_PLACE, SAME_PLACE, PlaceWatch, SceneWatch
from pipeline.live.naming import Namer, NamingOptions
from pipeline.live.tasks import Embedded, Seen, box_of, face_quality
from pipeline.live.tracking import FaceTracker
from pipeline.types import Face, Look, Picture, Sighting
from recognizer.types import Match, Recognizer


@dataclass(frozen=True)
class LoopOptions:
    """What the loop looks at."""

    # detect on every Nth frame, and whenever the picture or a face in it changes all at once; faces
    # are moved on in between
    every: int = 1
    min_face: int = 20  # faces narrower or lower than this many pixels are left out
    start_score: float = 0.5  # see `pipeline.live.tracking.FaceTracker`
    # False for photos, which have nothing to do with one another: no tracks, every face is embedded
    follow: bool = True
    naming: NamingOptions = field(default_factory=NamingOptions)
    camera: str | None = None  # its name, where there are several
    zones: tuple[Polygon, ...] = ()  # see `pipeline.live.area.Area`

    def __post_init__(self) -> None:
        if self.every < 1 or self.min_face < 1:
            raise ValueError("every and min_face must be at least 1")


class Following:
    """Takes what was found and embedded, and tells where everybody is now.

    Args:
        options: see `LoopOptions`.
        inline: whether a frame is looked at before the next one comes.
        numbers: of the tracks, see `FaceTracker`.
    """

    def __init__(
        self, options: LoopOptions, inline: bool, numbers: Iterator[int] | None = None
    ) -> None:
        self.options = options
        self.tracker = FaceTracker(options.start_score, numbers=numbers)
        self.namer = Namer(options.naming)
        self._inline = inline
        self._watched: dict[int, float] = {}  # track -> until, seconds of the source
        self._scene, self._places = SceneWatch(), PlaceWatch()
        self._cut, self._seen = 0, -1  # the first frame of this shot; the newest looked at

    def watch(self, track: int, until: float | None) -> None:
        """Have a track embedded at every look until then (seconds of the source); None ends it."""
        self._watched.pop(track, None)
        if until is not None:
            self._watched[track] = until

    def has_changed(self, picture: Picture, before: Picture | None, due: bool) -> bool:
        """Whether a frame, or a face in it, does not go on from the one ``before`` it.

        ``due``: it is looked at now in any case.
        """
        if picture.index < self._cut:  # a source that counts again
            self._cut, self._seen = picture.index, -1
        if self._scene.cut(picture.image):
            self._cut = picture.index
            self.tracker.reset()
            self.namer.keep(())
            self._places.clear()
            return True
        if due:
            self._places.clear()
            return False
        if before is None:
            return False
        changed = False
        for track in self.tracker.tracks:
            alike = self._places.alike(track, before, picture)
            changed = changed or alike < SAME_PLACE
            if alike < OTHER_PLACE:
                self.namer.doubt(track.id, picture.time)
        return changed

    def awaits(self, picture: Picture) -> bool:
        """Whether a look would tell more of this frame: it begins a shot of which nothing was seen
        yet, or shows a face that was not named since it came or may have changed."""
        return self._seen < self._cut or any(
            track.at(picture.time, picture.size) is not None and self.namer.waits(track.id)
            for track in self.tracker.tracks
        )

    def take(self, seen: Seen) -> tuple[Look, tuple[int, ...]] | None:
        """Detections -> sightings on tracks, and which of them to embed.

        None for a picture of the shot before: nobody is there any more.
        """
        picture, found = seen.picture, seen.detections
        follow = self.options.follow
        if follow and picture.index < self._cut:
            return None
        self._seen = picture.index
        if not follow:  # weaker ones are for tracks that go on
            found = found.above(self.options.start_score)  # in descending order, as `seen.sharp`
        ids: Sequence[int | None] = [None] * len(found)
        crossing: set[int] = set()
        if follow:
            ids = self.tracker.update(found, picture.time)
            tracks = self.tracker.tracks
            crossing = {track.id for track in tracks if track.crossing}
            self.namer.keep([track.id for track in tracks])
            for track in tracks:
                if track.doubtful:
                    self.namer.doubt(track.id, picture.time)
            self._places.take(ids, seen.views, {track.id for track in tracks})
        sightings = tuple(
            Sighting(
                box := box_of(found.xyxy[i]),
                score := float(found.score[i]),
                ids[i],
                seen.sharp[i],
                face_quality(box, score, seen.sharp[i]),
                ids[i] in crossing,
                landmarks=None if found.landmarks is None else found.landmarks[i],
            )
            for i in range(len(found))
        )
        if not follow:
            return Look(picture, sightings), tuple(range(len(found)))
        self._watched = {t: until for t, until in self._watched.items() if until > picture.time}
        chosen = self.namer.choose(sightings, picture.time, self._watched, seen.views, self._inline)
        return Look(picture, sightings), tuple(chosen)

    def learn(self, done: Embedded, recognizer: Recognizer) -> Look:
        """The vectors become votes; a track on which there is another face gets a new number."""
        sightings = list(done.look.sightings)
        alive = {track.id for track in self.tracker.tracks}
        for i, crop, vector in zip(done.chosen, done.crops, done.vectors, strict=True):
            seen = replace(sightings[i], crop=crop, embedding=vector)
            track = seen.track
            if track in alive:
                found = self.namer.learn(
                    track, vector, seen.quality, done.look.picture.time, recognizer
                )
                if found.other:
                    track = self._part(track)
                seen = replace(seen, track=track, match=found.match)
            sightings[i] = seen
        return replace(done.look, sightings=tuple(sightings))

    def _part(self, track: int) -> int:
        new = self.tracker.part(track)
        self.namer.move(track, new)
        self._places.forget(track)
        self._watched.pop(track, None)
        return new

    def faces(self, picture: Picture, recognizer: Recognizer) -> tuple[Face, ...]:
        """Everybody who is on a frame, as far as is known."""
        tracks = self.tracker.tracks
        boxes = {track.id: track.at(picture.time, picture.size) for track in tracks}
        names = self.namer.names([track.id for track in tracks], recognizer)
        return tuple(
            Face(box, track.score, track.id, *names[track.id])
            for track in tracks
            if (box := boxes[track.id]) is not None
            and not (track.misses and self._places.is_gone(track.id, box, picture))
        )


def photo_faces(look: Look, recognizer: Recognizer) -> tuple[Face, ...]:
    """Every face of a photo, named by itself."""
    matches: Sequence[Match] = ()
    if look.sightings:
        matches = recognizer.identify(
            np.stack([s.embedding for s in look.sightings if s.embedding is not None])
        )
    return tuple(
        Face(sighting.box, sighting.score, None, match, 1.0, landmarks=sighting.landmarks)
        for sighting, match in zip(look.sightings, matches, strict=True)
    )
