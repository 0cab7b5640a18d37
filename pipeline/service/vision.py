"""From bytes to faces and vectors: decoding and detecting in a few threads, the rest in one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.inference.detect import FaceDetector
from detector.inference.resize import Resized
from detector.types import Detections, Detector
from pipeline.service.errors import ServiceError
from pipeline.service.images import check_image, decode_image
from pipeline.service.runtime.batching import Call, Stage, Workers, late
from pipeline.service.runtime.limits import Limits, Shares
from pipeline.service.runtime.metrics import Metrics
from recognizer.crop import LandmarkFinder
from recognizer.landmarks import upright
from recognizer.types import Embedder

Image = NDArray[np.uint8]


class LivenessScorer(Protocol):
    """Says how alive faces look."""

    def score(self, image: Image, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """RGB uint8 (H, W, 3) and boxes (N, 4) -> 0 (a photo, a screen) .. 1 (alive), (N,)."""


@dataclass(frozen=True, eq=False)
class Models:
    """The networks; each but the detector is run by one thread."""

    detector: Detector  # finds faces; run by as many threads as `Limits.lanes`
    detector_name: str  # for people: the file's name and the start of its digest
    embedder: Embedder | None = None  # None for a server that only detects
    liveness: LivenessScorer | None = None  # None leaves the scores out
    # for the active liveness challenge; None for a server that offers none
    landmarks: LandmarkFinder | None = None


class Vision:
    """The models and the threads around them.

    Every method waits until its work is done, and raises ServiceError ``deadline_exceeded`` when
    that would be too late for the call.
    """

    def __init__(self, models: Models, limits: Limits, metrics: Metrics) -> None:
        self.models, self.limits = models, limits
        self._memory = Shares("bytes of images", limits.max_memory, pause=self.pause)
        self._seconds = 0.1  # of the detector for one image, a running mean
        self._decode = Stage("decode", lambda images: [decode_image(x, limits) for x in images])
        self._resize = Stage("resize", self._run_resize)
        self._detect = Stage(
            "detect",
            self._run_detect,
            limits.batch,
            limits.batch_wait,
            lambda: self._decoders.pending > 0,
        )
        self._live = Stage("liveness", self._run_liveness, limits.batch)
        self._points = Stage("landmarks", self._run_landmarks, limits.batch)
        self._embed = Stage("embed", self._run_embed, limits.face_batch)
        self._decoders = Workers(
            "decode", [self._resize, self._decode], limits.decoders, metrics.observe
        )
        self._detectors = Workers("detect", [self._detect], limits.lanes, metrics.observe)
        stages = [self._live, self._points, self._embed]
        self._networks = Workers("models", stages, 1, metrics.observe)
        for stage in (self._decode, self._detect, self._embed):
            metrics.gauge(
                f"faces_queue_{stage.name}", f"Waiting for the stage {stage.name}", stage.__len__
            )
        metrics.gauge("faces_memory_bytes", "Held for images", lambda: self._memory.held)

    @property
    def alive(self) -> bool:
        """Whether all threads run."""
        return all(w.alive for w in (self._decoders, self._detectors, self._networks))

    def pause(self) -> float:
        """Seconds after which what waits now will be done, 1..30."""
        stages = (self._decode, self._resize, self._detect)
        waiting = sum(map(len, stages)) + self.limits.batch * self.limits.lanes
        return min(30.0, max(1.0, round(waiting * self._seconds / self.limits.lanes)))

    def warm_up(self) -> None:
        """Run every model once on its largest batch, before the first request.

        The first run of a network is the slowest; and a runtime keeps the memory of its largest
        batch, so that later ones need no more.
        """
        models, picture = self.models, np.zeros((640, 640, 3), np.uint8)
        box = np.array([[10, 10, 200, 200]], np.float32)
        with ThreadPoolExecutor(self.limits.lanes) as pool:  # each lane has memory of its own
            batch = [picture] * self.limits.batch
            list(pool.map(models.detector.detect_batch, [batch] * self.limits.lanes))
        if models.liveness is not None:
            models.liveness.score(picture, box)
        if models.landmarks is not None:
            models.landmarks(picture, box)
        if models.embedder is not None:
            boxes = np.repeat(box, self.limits.face_batch, axis=0)
            models.embedder.embed(models.embedder.crop(picture, boxes))

    @contextmanager
    def opened(self, images: Sequence[bytes], call: Call) -> Iterator[list[Image]]:
        """The decoded images; their memory is accounted for until the block ends.

        Raises ServiceError with the image's place in the request.
        """
        held = 0
        try:
            for i, data in enumerate(images):
                with _of_image(i):
                    amount = len(data) + 3 * check_image(data, self.limits)
                self._memory.take(call.caller, amount)
                held += amount
            futures = [self._decoders.submit(self._decode, data, call) for data in images]
            pictures = []
            for i, future in enumerate(futures):
                with _of_image(i):
                    pictures.append(wait(future, call))
            yield pictures
        finally:
            self._memory.give_back(call.caller, held)

    def detect(
        self, pictures: Sequence[Image], call: Call, min_score: float = 0.0
    ) -> list[Detections]:
        """The faces of each picture, at most ``limits.max_faces``, the surest first."""
        ready = [self._decoders.submit(self._resize, picture, call) for picture in pictures]
        futures = [self._detectors.submit(self._detect, wait(one, call), call) for one in ready]
        found = [wait(future, call) for future in futures]
        return [faces.above(min_score)[: self.limits.max_faces] for faces in found]

    def embed(self, faces: Sequence[tuple[Image, Detections]], call: Call) -> NDArray[np.float32]:
        """Pictures and n faces in each -> unit vectors (sum of all n, D), in order."""
        assert self.models.embedder is not None
        # A piece of work is one face, so that a picture of a crowd takes turns with others.
        futures = [
            self._networks.submit(self._embed, (picture, found[i : i + 1]), call)
            for picture, found in faces
            for i in range(len(found))
        ]
        vectors = [wait(future, call) for future in futures]
        return np.array(vectors, np.float32).reshape(-1, self.models.embedder.dimension)

    def liveness(
        self, faces: Sequence[tuple[Image, Detections]], call: Call
    ) -> list[list[float | None]]:
        """For each picture the scores of its faces; None each when nobody looks."""
        if self.models.liveness is None:
            return [[None] * len(found) for _, found in faces]
        pairs = [(picture, found.xyxy) for picture, found in faces]
        futures = [self._networks.submit(self._live, pair, call) for pair in pairs]
        return [[float(score) for score in wait(future, call)] for future in futures]

    def landmarks(
        self, picture: Image, found: Detections, call: Call
    ) -> list[NDArray[np.float32] | None]:
        """Five points (5, 2) for each face; None where they are not trusted."""
        if found.landmarks is not None:
            points, trusted = found.landmarks, upright(found.landmarks)
        else:
            work = self._networks.submit(self._points, (picture, found.xyxy), call)
            points, trusted = wait(work, call)
        return [five if fine else None for five, fine in zip(points, trusted, strict=True)]

    def close(self) -> None:
        """Do what is queued and end the threads."""
        for workers in (self._decoders, self._detectors, self._networks):
            workers.close()

    def _run_resize(self, payloads: list[Any]) -> list[Image | Resized]:
        detector = self.models.detector
        if isinstance(detector, FaceDetector):  # so that no core waits while the other resizes
            return [detector.resize(picture) for picture in payloads]
        return payloads

    def _run_detect(self, payloads: list[Any]) -> list[Detections]:
        start = time.monotonic()
        found = self.models.detector.detect_batch(payloads)
        each = (time.monotonic() - start) / len(payloads)
        self._seconds += 0.1 * (each - self._seconds)
        return found

    def _run_liveness(self, payloads: list[Any]) -> list[NDArray[np.float32]]:
        assert self.models.liveness is not None
        return [self.models.liveness.score(picture, xyxy) for picture, xyxy in payloads]

    def _run_landmarks(self, payloads: list[Any]) -> list[Any]:
        assert self.models.landmarks is not None
        return [self.models.landmarks(picture, xyxy) for picture, xyxy in payloads]

    def _run_embed(self, payloads: list[Any]) -> list[NDArray[np.float32]]:
        embedder = self.models.embedder
        assert embedder is not None
        crops = np.concatenate(
            [embedder.crop(picture, found.xyxy, found.landmarks) for picture, found in payloads]
        )
        return list(embedder.embed(crops))


def wait(future: Future[Any], call: Call) -> Any:
    """What comes of it. Raises ServiceError when that is too late."""
    try:
        return future.result(None if call.left == float("inf") else max(0.0, call.left))
    except (TimeoutError, CancelledError) as error:
        future.cancel()
        raise late() from error


@contextmanager
def _of_image(i: int) -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        error.details.setdefault("image", i)
        raise
