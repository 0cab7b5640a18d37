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

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from detector.types import Detector
from faces.closing import Closing
from pipeline.live.area import Area
from pipeline.live.following import Following, LoopOptions, photo_faces
from pipeline.live.frame_rate import FrameRate
from pipeline.live.patience import GaveUp, Patience
from pipeline.live.tasks import FaceNetworks, Failure, Seen, attempt
from pipeline.live.worker import Worker
from pipeline.types import Face, FrameFaces, Look, Note, Picture, Source, Tick
from recognizer.types import Embedder, Recognizer

T = TypeVar("T")

PATIENCE = 0.1
"""Seconds to wait for a frame before the loop turns without one."""


class Loop(Closing):
    """Turns frames into `Tick`s; a context manager that stops its worker.

    Args:
        detector: finds faces; a low threshold (0.3) lets weak detections continue tracks.
        worker: who detects and embeds; a `Worker` unless given.

    Raises ValueError when the recognizer belongs to another embedder.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder,
        recognizer: Recognizer,
        options: LoopOptions = LoopOptions(),  # noqa: B008 (immutable)
        worker: Worker | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.embedder = embedder
        self._looker = FaceNetworks(detector, embedder, Area(options.zones, options.min_face))
        self.options = options
        self.notes: tuple[Note, ...] = ()
        self._recognizer = self._fitting(recognizer)
        self._worker = worker or Worker()
        self._following = Following(options, self._worker.inline, numbers)
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._photo_faces: tuple[Face, ...] = ()
        self._last: Tick | None = None
        self._meter = FrameRate()
        self._since = options.every  # frames since one was given to the detector
        self._looking, self._turning = Patience("looking at a frame"), Patience("a frame")

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
        now = self._last.picture.time if self._last else 0.0
        self._following.watch(track, now + seconds if seconds > 0 else None)

    def embeddings(self, track: int) -> NDArray[np.float32]:
        """What is kept of a track, float32 (K, D); K is 0 for one that is gone or not looked at."""
        vectors = self._following.namer.embeddings(track)
        return vectors if len(vectors) else np.zeros((0, self.embedder.dimension), np.float32)

    def forget(self, track: int) -> None:
        """Drop what was seen of a track and who it was taken for."""
        self._following.namer.forget(track)

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
            due = self._worker.inline and self._since >= self.options.every
            before = None if self._last is None else self._last.picture
            if self._following.has_changed(picture, before, due):
                self._since = self.options.every
        elif self._worker.inline:
            self._photo_faces = ()  # each photo is looked at below; if that fails, it has no faces
        looks = self._look(picture, recognizer)
        while (
            picture.wait > 0
            and self._following.awaits(picture)
            and self._worker.wait(picture.captured + picture.wait)
        ):
            looks += self._look(picture, recognizer)
        faces = self._photo_faces
        if self.options.follow:
            faces = self._following.faces(picture, recognizer)
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

    def _collect(self, recognizer: Recognizer) -> Iterator[Look]:
        """The looks that are complete, as far as the worker has got."""
        for result in self._worker.finished():
            if isinstance(result, Failure):
                self._looking.failed(result.error, f" (frame {result.index})")
                continue
            if isinstance(result, Seen):
                taken = self._following.take(result)
                if taken is None:
                    continue
                look, chosen = taken
                if chosen:
                    job = partial(self._looker.embed, look, chosen)
                    self._worker.submit(partial(attempt, job, result.picture.index))
                    continue
            else:
                look = self._following.learn(result, recognizer)
            self._meter.look()
            self._looking.fine()
            if not self.options.follow:
                self._photo_faces = photo_faces(look, recognizer)
            yield look

    def _obey(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except Empty:
                return
            command()

    def _fitting(self, recognizer: Recognizer) -> Recognizer:
        fingerprint = getattr(recognizer, "fingerprint", self.embedder.fingerprint)
        if fingerprint != self.embedder.fingerprint:
            raise ValueError(
                f"the recognizer knows vectors of {fingerprint}, the embedder makes those of "
                f"{self.embedder.fingerprint}"
            )
        return recognizer


def _run(command: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(command())
    except Exception as error:
        future.set_exception(error)
