"""The frames of a camera or film with the people on them, for a loop in Python."""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

from detector.types import Detector
from faces.closing import Closing
from pipeline.analyzer import current, open_existing
from pipeline.gallery import Gallery, open_detector, open_embedder
from pipeline.live.loop import Loop, LoopOptions
from pipeline.live.worker import Background, Worker
from pipeline.sources.open import AnySource, EverySource, SourceOptions, open_source
from pipeline.types import Tick
from recognizer.gallery import Gallery as Known
from recognizer.snapshot import Snapshot
from recognizer.types import Embedder, Recognizer

LOOKS = 10.0
"""Runs of the detector a second of film, unless ``every`` says otherwise."""
CAMERA_SIDE, FILM_SIDE = 480, 640
"""Longest side in pixels to which frames are shrunk for the detector, unless ``max_side`` says."""
WEAK = 0.2
"""How much below ``threshold`` a detection may score that continues a track."""


class Stream(Closing):
    """An iterator of `pipeline.types.Tick`, and a context manager; made by `stream`."""

    def __init__(
        self, ticks: Generator[Tick], source: AnySource, loop: Loop, owned: ExitStack
    ) -> None:
        self.source, self.loop = source, loop
        self._ticks = ticks
        # Also where somebody leaves the loop and drops the stream without closing it.
        self._finish = weakref.finalize(self, owned.close)

    def __iter__(self) -> Iterator[Tick]:
        return self

    def __next__(self) -> Tick:
        try:
            return next(self._ticks)
        except BaseException:  # the end, too
            self.close()
            raise

    def close(self) -> None:
        """Stop the threads and let go of the camera or file; no frame comes any more."""
        self._ticks.close()
        self._finish()

    def __repr__(self) -> str:
        return f"Stream({self.source.name})"


def stream(
    source: str | Path | int,
    detector: Detector | str | Path | None = None,
    embedder: Embedder | str | Path | None = None,
    gallery: Gallery | Recognizer | str | Path | None = None,
    *,
    every: int | None = None,
    min_face: int = 20,
    threshold: float = 0.5,
    max_side: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    options: SourceOptions | None = None,
) -> Stream:
    """Find, follow and name the people of a camera or film, frame by frame.

    A film or a folder of photos gives every frame, always the same; a camera or address gives the
    newest, and detection runs beside it. Close it, or use ``with``, to let go of the camera; that
    also happens at the end, or when nothing refers to it any more.

    Args:
        source: a camera's index or name, a video file, an ``rtsp://`` or ``http://`` address, or a
            folder of photos.
        detector, embedder, gallery: see `faces.FaceAnalyzer`. What changes in a gallery's file
            holds from the next frame on.
        every: detect on every Nth frame and move faces on in between; None is ten times a second
            for a film and as often as possible for a camera.
        min_face: faces narrower or lower than this many pixels are left out.
        threshold: lowest score (0..1) with which a face is followed.
        max_side: longest side in pixels to which frames are shrunk for the detector, 0 keeps their
            own; None is 480 for a camera and 640 for a film.
        device, threads: see `faces.load_detector`; None leaves half of the cores to what shows a
            camera's picture.
        options: of the source, see `pipeline.sources.open.SourceOptions`.

    Returns:
        An iterator of `pipeline.types.Tick`: ``tick.image`` is the frame, RGB uint8 (H, W, 3),
        ``tick.faces`` who is on it, one `faces.Face` each, and ``tick.drawn`` the frame with boxes
        and names.

    Raises UserError, at once or later, for a source that cannot be read.

    >>> import faces
    >>> from PIL import Image
    >>> from skimage.data import astronaut
    >>> Image.fromarray(astronaut()).save("eileen.png")
    >>> with faces.stream("eileen.png") as frames:
    ...     for tick in frames:
    ...         print(tick.faces.time, list(tick.faces))
    0.0 [Face(unknown, box [177 61 270 176], score 0.95)]
    """
    if embedder is None and isinstance(gallery, Gallery):
        embedder = gallery.embedder
    with ExitStack() as opening:
        opened = open_source(str(source), options or SourceOptions())
        opening.callback(opened.close)
        film = isinstance(opened, EverySource)
        if threads is None and not film:
            threads = half_of_the_cores()
        embedder = open_embedder(embedder, threads)
        if isinstance(gallery, str | Path):
            gallery = opening.enter_context(open_existing(gallery, embedder))
        side = FILM_SIDE if film else CAMERA_SIDE
        network = open_detector(
            detector,
            score_threshold=max(0.05, threshold - WEAK),
            max_side=side if max_side is None else max_side,
            device=device,
            threads=threads,
        )
        follow = opened.follow if isinstance(opened, EverySource) else True
        if every is None:
            every = max(1, round(opened.fps / LOOKS)) if isinstance(opened, EverySource) else 1
        settings = LoopOptions(every if follow else 1, min_face, threshold, follow)
        worker = Worker() if film else Background()
        who = current(gallery)
        if who is None:
            who = Snapshot(Known.empty(embedder.fingerprint, embedder.dimension))
        loop = opening.enter_context(Loop(network, embedder, who, settings, worker))
        owned = opening.pop_all()
    return Stream(_ticks(loop, opened, gallery), opened, loop, owned)


def half_of_the_cores() -> int:
    """CPU threads of each network where the picture of a camera wants its share."""
    return max(1, (os.cpu_count() or 2) // 2)


def _ticks(loop: Loop, source: AnySource, gallery: Gallery | Recognizer | None) -> Generator[Tick]:
    """The frames, each once; a camera's pauses are not told."""
    for tick in loop.run(source):
        if tick.fresh:
            yield tick
        if isinstance(gallery, Gallery):
            loop.recognizer = gallery.snapshot()
    if isinstance(source, EverySource):
        source.check_end()
