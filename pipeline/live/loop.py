"""The live loop: frame in, names out.

    with Loop(detector, embedder, snapshot, worker=Background()) as loop:
        for tick in loop.run(source):
            window.show(tick)

The loop itself is cheap. Detecting and embedding are jobs for a worker (`pipeline.live.worker`):
done at once (`Worker`: a file, every frame exact) or in a thread beside it (`Background`: a camera,
whose frames never wait for the detector; between two detections faces are moved on). A detection
becomes tracks, the tracks choose which faces to embed, the embeddings vote for names.

Everything a loop owns belongs to the thread that runs it. Others reach it in three ways, none of
which needs a lock: assigning ``loop.recognizer``, assigning ``loop.notes``, and `Loop.call_soon`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from detector.types import Detector
from faces.closing import Closing
from pipeline.live.area import Area, Polygon
from pipeline.live.changes import OTHER_PLACE, SAME_PLACE, PlaceWatch, SceneWatch
from pipeline.live.frame_rate import FrameRate
from pipeline.live.naming import Namer, NamingOptions
from pipeline.live.patience import GaveUp, Patience
from pipeline.live.tasks import Embedded, FaceNetworks, Failure, Seen, attempt, box_of, face_quality
from pipeline.live.tracking import FaceTracker
from pipeline.live.worker import Worker
from pipeline.types import Face, FrameFaces, Look, Note, Picture, Sighting, Source, Tick
from recognizer.types import Embedder, Match, Recognizer

T = TypeVar("T")

PATIENCE = 0.1
"""Seconds to wait for a frame before the loop turns without one."""


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


class Loop(Closing):
    """Turns frames into `Tick`s; a context manager that stops its worker.

    Args:
        detector: finds faces; a low threshold (0.3) lets weak detections continue tracks.
        embedder: makes vectors.
        recognizer: names vectors; see the attribute.
        options: see `LoopOptions`.
        worker: who detects and embeds; a `Worker` unless given.
        numbers: of the tracks, see `FaceTracker`.

    Raises ValueError when the recognizer belongs to another embedder.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder,
        recognizer: Recognizer,
        options: LoopOptions = LoopOptions(),
        worker: Worker | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.embedder = embedder
        self._looker = FaceNetworks(detector, embedder, Area(options.zones, options.min_face))
        self.options = options
        self.notes: tuple[Note, ...] = ()
        self._recognizer = self._fitting(recognizer)
        self._worker = worker or Worker()
        self._tracker = FaceTracker(options.start_score, numbers=numbers)
        self._namer = Namer(options.naming)
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._watched: dict[int, float] = {}  # track -> until, seconds of the source
        self._photo_faces: tuple[Face, ...] = ()
        self._last: Tick | None = None
        self._meter = FrameRate()
        self._since = options.every  # frames since one was given to the detector
        self._scene = SceneWatch()
        self._cut, self._seen = 0, -1  # the first frame of this shot; the newest looked at
        self._looking, self._turning = Patience("looking at a frame"), Patience("a frame")
        self._places = PlaceWatch()

    # -- for other threads

    @property
    def recognizer(self) -> Recognizer:
        """Who names faces. Assign another one at any time, from any thread: the next frame uses it.

        It is read once per frame, so no frame is named by two. Raises ValueError for one of another
        embedder.
        """
        return self._recognizer

    @recognizer.setter
    def recognizer(self, recognizer: Recognizer) -> None:
        self._recognizer = self._fitting(recognizer)

    @property
    def area(self) -> Area:
        """Where in the picture faces count, and from which size on; to be assigned like that."""
        return self._looker.area

    @area.setter
    def area(self, area: Area) -> None:
        self._looker.area = area

    def call_soon(self, command: Callable[[], T]) -> Future[T]:
        """Have ``command`` called by the loop's thread before its next frame, from any thread.

        What it returns or raises is in the future. Only there may methods of the loop be called.
        """
        future: Future[T] = Future()
        self._commands.put(partial(_run, command, future))
        return future

    # -- for the loop's own thread

    def watch(self, track: int, seconds: float) -> None:
        """Embed a track at every look for some seconds of the source (0 ends it); for teaching."""
        if seconds > 0:
            self._watched[track] = self._now + seconds
        else:
            self._watched.pop(track, None)

    def embeddings(self, track: int) -> NDArray[np.float32]:
        """What is kept of a track, float32 (K, D); K is 0 for one that is gone or not looked at."""
        vectors = self._namer.embeddings(track)
        return vectors if len(vectors) else np.zeros((0, self.embedder.dimension), np.float32)

    def forget(self, track: int) -> None:
        """Drop what was seen of a track and who it was taken for."""
        self._namer.forget(track)

    @property
    def failures(self) -> int:
        """Frames that could not be looked at, in all; each was reported when it happened."""
        return self._looking.failures + self._turning.failures

    @property
    def looking(self) -> bool:
        """Whether a frame is being looked at, beside this thread."""
        return not self._worker.idle

    def run(self, source: Source, over: Callable[[], bool] = lambda: False) -> Generator[Tick]:
        """Ticks until the source ends or ``over()``; raises what the source raised.

        An error while a frame is looked at is reported, and the frame comes out without that look.
        Raises `pipeline.live.patience.GaveUp` when many in a row have failed.

        Without a new frame there is a tick that is not ``fresh`` about every 0.1 s once a first
        frame was seen, so that windows stay alive and what is wrong can be shown.
        """
        while not over():
            tick = self.turn(source, PATIENCE)
            if tick is not None:
                yield tick
            elif source.ended:
                return

    def turn(self, source: Source, patience: float) -> Tick | None:
        """One turn of `run`: waits for a frame for ``patience`` seconds at most. None at the end of
        the source, and before the first frame."""
        picture = source.read(patience)
        self._meter.dropped = source.dropped
        if picture is not None:
            tick = self._step_or_skip(picture)
            return replace(tick, status=source.status) if source.status else tick
        return None if source.ended else self.idle(source.status)

    def _step_or_skip(self, picture: Picture) -> Tick:
        """A frame on which something fails comes out without faces: no film becomes shorter."""
        try:
            tick = self.step(picture)
        except GaveUp:
            raise
        except Exception as error:
            self._turning.failed(error, f" (frame {picture.index})")
            version = self._recognizer.version
            nobody = self._frame(picture, (), version)
            stats = self._meter.tick(picture.captured)
            return Tick(picture, nobody, (), self.notes, stats=stats)
        self._turning.fine()
        return tick

    def step(self, picture: Picture) -> Tick:
        """Take one frame.

        An error of a network is reported and costs this look only. Raises
        `pipeline.live.patience.GaveUp` when many looks in a row have failed.
        """
        self._obey()
        recognizer = self._recognizer  # once: see the property
        self._since += 1
        if self.options.follow:
            self._watch_for_changes(picture)
        elif self._worker.inline:
            self._photo_faces = ()  # each photo is looked at below; if that fails, it has no faces
        looks = self._look(picture, recognizer)
        while (
            picture.wait > 0
            and self._awaited(picture)
            and self._worker.wait(picture.captured + picture.wait)
        ):
            looks += self._look(picture, recognizer)
        faces = self._faces(picture, recognizer)
        tick = Tick(
            picture,
            self._frame(picture, faces, recognizer.version),
            tuple(looks),
            self.notes,
            stats=self._meter.tick(picture.captured),
        )
        self._last = tick
        return tick

    def _look(self, picture: Picture, recognizer: Recognizer) -> list[Look]:
        """Have this frame looked at if it is time to; the looks that are complete."""
        looks = [*self._collect(recognizer)]
        if self._since >= self.options.every and self._worker.idle:
            self._since = 0
            self._worker.submit(partial(attempt, partial(self._looker.see, picture), picture.index))
            looks += self._collect(recognizer)
        return looks

    def _awaited(self, picture: Picture) -> bool:
        """Whether a look would tell more of this frame: it begins a shot of which nothing was seen
        yet, or shows a face that was not named since it came or may have changed."""
        return self._seen < self._cut or any(
            track.at(picture.time, picture.size) is not None and self._namer.waits(track.id)
            for track in self._tracker.tracks
        )

    def _frame(self, picture: Picture, faces: tuple[Face, ...], version: int) -> FrameFaces:
        camera = self.options.camera
        return FrameFaces(picture.index, picture.time, picture.size, faces, version, camera)

    def idle(self, status: str | None = None) -> Tick | None:
        """A tick without a new frame, with the last one's picture; None before the first frame."""
        self._obey()
        looks = tuple(self._collect(self._recognizer))
        if self._last is None:
            return None
        return replace(self._last, looks=looks, notes=self.notes, status=status, fresh=False)

    def close(self) -> None:
        """Stop the worker."""
        self._worker.close()

    # -- what comes of them

    def _watch_for_changes(self, picture: Picture) -> None:
        """See that this frame goes on from the last one; look at it now if it does not."""
        if picture.index < self._cut:  # a source that counts again
            self._cut, self._seen = picture.index, -1
        if self._scene.cut(picture.image):
            self._cut, self._since = picture.index, self.options.every
            self._tracker.reset()
            self._namer.keep(())
            self._places.clear()
            return
        if self._worker.inline and self._since >= self.options.every:
            self._places.clear()
            return  # it is looked at now in any case
        if self._last is not None:
            for track in self._tracker.tracks:
                alike = self._places.alike(track, self._last.picture, picture)
                if alike < SAME_PLACE:
                    self._since = self.options.every
                if alike < OTHER_PLACE:
                    self._namer.doubt(track.id, picture.time)

    def _collect(self, recognizer: Recognizer) -> Iterator[Look]:
        """The looks that are complete, as far as the worker has got."""
        for result in self._worker.finished():
            if isinstance(result, Failure):
                self._looking.failed(result.error, f" (frame {result.index})")
                continue
            if isinstance(result, Seen):
                if self.options.follow and result.picture.index < self._cut:
                    continue  # of the shot before: nobody is there any more
                self._seen = result.picture.index
                look, chosen = self._follow(result)
                if chosen:
                    job = partial(self._looker.embed, look, chosen)
                    self._worker.submit(partial(attempt, job, result.picture.index))
                    continue
            else:
                look = self._learn(result, recognizer)
            self._meter.look()
            self._looking.fine()
            if not self.options.follow:
                self._photo_faces = _photo_faces(look, recognizer)
            yield look

    def _follow(self, seen: Seen) -> tuple[Look, tuple[int, ...]]:
        """Detections -> sightings on tracks, and which of them to embed."""
        picture, found = seen.picture, seen.detections
        if not self.options.follow:  # weaker ones are for tracks that go on
            found = found.above(self.options.start_score)  # in descending order, as `seen.sharp`
        ids: Sequence[int | None] = [None] * len(found)
        crossing: set[int] = set()
        if self.options.follow:
            ids = self._tracker.update(found, picture.time)
            tracks = self._tracker.tracks
            crossing = {track.id for track in tracks if track.crossing}
            self._namer.keep([track.id for track in tracks])
            for track in tracks:
                if track.doubtful:
                    self._namer.doubt(track.id, picture.time)
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
        if not self.options.follow:
            return Look(picture, sightings), tuple(range(len(found)))
        self._watched = {t: until for t, until in self._watched.items() if until > picture.time}
        chosen = self._namer.choose(
            sightings, picture.time, self._watched, seen.views, self._worker.inline
        )
        return Look(picture, sightings), tuple(chosen)

    def _learn(self, done: Embedded, recognizer: Recognizer) -> Look:
        """The vectors become votes; a track on which there is another face gets a new number."""
        sightings = list(done.look.sightings)
        alive = {track.id for track in self._tracker.tracks}
        for i, crop, vector in zip(done.chosen, done.crops, done.vectors, strict=True):
            seen = replace(sightings[i], crop=crop, embedding=vector)
            track = seen.track
            if track in alive:
                found = self._namer.learn(
                    track, vector, seen.quality, done.look.picture.time, recognizer
                )
                if found.other:
                    track = self._part(track)
                seen = replace(seen, track=track, match=found.match)
            sightings[i] = seen
        return replace(done.look, sightings=tuple(sightings))

    def _part(self, track: int) -> int:
        new = self._tracker.part(track)
        self._namer.move(track, new)
        self._places.forget(track)
        self._watched.pop(track, None)
        return new

    def _faces(self, picture: Picture, recognizer: Recognizer) -> tuple[Face, ...]:
        if not self.options.follow:
            return self._photo_faces
        tracks = self._tracker.tracks
        boxes = {track.id: track.at(picture.time, picture.size) for track in tracks}
        names = self._namer.names([track.id for track in tracks], recognizer)
        return tuple(
            Face(box, track.score, track.id, *names[track.id])
            for track in tracks
            if (box := boxes[track.id]) is not None
            and not (track.misses and self._places.is_gone(track.id, box, picture))
        )

    def _obey(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except Empty:
                return
            command()

    @property
    def _now(self) -> float:
        return self._last.picture.time if self._last else 0.0

    def _fitting(self, recognizer: Recognizer) -> Recognizer:
        fingerprint = getattr(recognizer, "fingerprint", self.embedder.fingerprint)
        if fingerprint != self.embedder.fingerprint:
            raise ValueError(
                f"the recognizer knows vectors of {fingerprint}, the embedder makes those of "
                f"{self.embedder.fingerprint}"
            )
        return recognizer


def _photo_faces(look: Look, recognizer: Recognizer) -> tuple[Face, ...]:
    """Every face named by itself."""
    matches: Sequence[Match] = ()
    if look.sightings:
        matches = recognizer.identify(
            np.stack([s.embedding for s in look.sightings if s.embedding is not None])
        )
    return tuple(
        Face(sighting.box, sighting.score, None, match, 1.0, landmarks=sighting.landmarks)
        for sighting, match in zip(look.sightings, matches, strict=True)
    )


def _run(command: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(command())
    except Exception as error:
        future.set_exception(error)
