"""How fast the live loop is, how late its picture comes, and whether either grows with time.

    python benchmarks/live.py                        naive loop, file loop, live loop: two minutes
    python benchmarks/live.py --minutes 20           also a camera that runs for 20 minutes
    python benchmarks/live.py --embedder auto --detector model.onnx

The film is made: four real faces (two portraits that come with packages, and two people of
../shared/data/lfw where that is there, else the portraits mirrored) move over a real photograph,
640x480, 30 frames a second. Compared are

- naive: facenet-pytorch's MTCNN and InceptionResnetV1 (random weights: only its time counts) on
  every face of every frame;
- file: the loop as `faces run` uses it, one frame after the other;
- live: the loop as `faces webcam` uses it, behind a simulated camera of 30 frames a second, in real
  time. Glass to glass: from the moment a frame is there until its drawn picture is.

All use the same number of threads for each network. Of file and live it is also said which part of
the true faces had a box (IoU of at least 0.5) and, with --embedder auto, the right name, so that
speed is not bought with blindness. Exit code 0: at least 5 times the naive frames a second, at
least 15 of them, and no growth of more than 5 % in memory or 25 % in latency; 1: not so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from benchmarks.moving_scene import (
    Actor,
    MovingScene,
    cut_actor,
    mirrored,
    photo_background,
    portrait_actors,
)
from detector.inference.load import load_detector
from detector.inference.mtcnn import MtcnnDetector
from detector.types import Detector
from faces.boxes import iou
from faces.images.find import find_images
from faces.images.read import read_image
from pipeline.live.loop import Loop, LoopOptions
from pipeline.live.worker import Background
from pipeline.sources.live import LiveSource
from pipeline.types import Box, FrameFaces, Picture
from recognizer.gallery import Gallery
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.types import Embedder, unit

FPS = 30.0
LFW = Path("../shared/data/lfw/images")
FASTER, ENOUGH = 5.0, 15.0
MEMORY_GROWTH, LATENCY_GROWTH, LATENCY_SLACK = 0.05, 0.25, 0.010


class Inception:
    """facenet-pytorch's InceptionResnetV1 with random weights: the time is that of trained ones."""

    fingerprint, size, dimension = "random-inception", 160, 512

    def __init__(self) -> None:
        import torch
        from facenet_pytorch import InceptionResnetV1

        torch.manual_seed(0)
        self._torch = torch
        self._network = InceptionResnetV1(pretrained=None).eval()

    def crop(
        self,
        image: NDArray[np.uint8],
        xyxy: NDArray[np.float32],
        landmarks: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """The boxes, squeezed into squares."""
        picture = Image.fromarray(image)
        faces = [np.asarray(picture.resize((self.size, self.size), box=tuple(box))) for box in xyxy]
        return np.stack(faces) if faces else np.zeros((0, self.size, self.size, 3), np.uint8)

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Standardized as facenet-pytorch does it."""
        if not len(faces):
            return np.zeros((0, self.dimension), np.float32)
        with self._torch.inference_mode():
            batch = (self._torch.from_numpy(faces).permute(0, 3, 1, 2).float() - 127.5) / 128
            return unit(self._network(batch).numpy())


@dataclass
class Film:
    """Frames of one period, made once, and where the faces are on each."""

    images: list[NDArray[np.uint8]]
    truth: list[dict[str, Box]]
    actors: Sequence[Actor]

    @classmethod
    def make(cls, actors: Sequence[Actor], seconds: float, leave: Mapping[str, bool]) -> Film:
        """``seconds`` is the period: the film can be repeated without a jump."""
        scene = MovingScene(actors, photo_background(), seconds, leave=leave)
        frames = [scene.frame(i / FPS) for i in range(round(seconds * FPS))]
        return cls([image for image, _ in frames], [truth for _, truth in frames], actors)

    def picture(self, i: int) -> Picture:
        """The frame ``i``, however often the film was repeated."""
        return Picture(i, i / FPS, self.images[i % len(self.images)], time.monotonic())


class Camera:
    """A `pipeline.sources.captures.Capture` that plays a film in real time."""

    fps = FPS

    def __init__(self, film: Film) -> None:
        self.film = film
        self._count = 0
        self._start = time.monotonic()

    def read(self) -> NDArray[np.uint8] | None:
        """The frame whose time has come."""
        late = self._start + self._count / FPS - time.monotonic()
        if late > 0:
            time.sleep(late)
        # A copy, as a real camera gives a new picture each time.
        image = self.film.images[self._count % len(self.film.images)].copy()
        self._count += 1
        return image

    def close(self) -> None:
        """Nothing to let go."""


@dataclass
class Score:
    """How many of the true faces had a box, and the right name."""

    faces: int = 0
    boxed: int = 0
    named: int = 0
    wrong: int = 0
    times: list[float] = field(default_factory=list)

    def add(self, faces: FrameFaces, truth: Mapping[str, Box]) -> None:
        """Count one frame."""
        for name, box in truth.items():
            self.faces += 1
            best = max(faces.faces, key=lambda face: iou([face.box], [box]), default=None)
            if best is not None and iou([best.box], [box]) >= 0.5:
                self.boxed += 1
                self.named += best.match.name == name
                self.wrong += best.match.name not in (name, None)

    def __str__(self) -> str:
        def share(count: int) -> str:
            return f"{count / max(self.faces, 1):.1%}"

        return (
            f"{share(self.boxed)} of the true faces boxed, {share(self.named)} rightly and "
            f"{share(self.wrong)} wrongly named"
        )


def cast(detector: Detector, folder: Path | None) -> list[Actor]:
    """Four people: the two portraits, and two of LFW or the portraits mirrored."""
    actors = portrait_actors()
    if folder is not None and folder.is_dir():
        for path in find_images(folder)[5::797]:
            photo = read_image(path)
            found = detector.detect(photo)
            if len(found) == 1:
                actors.append(cut_actor(path.parent.name, photo, found.xyxy[0].tolist()))
            if len(actors) == 4:
                return actors
    return [*actors[:2], *(mirrored(actor, f"{actor.name} mirrored") for actor in actors[:2])]


def enroll(actors: Sequence[Actor], embedder: Embedder, thresholds: Thresholds) -> Snapshot:
    """Everyone in the cast is known from the picture that they are cut from."""
    gallery = Gallery.empty(embedder.fingerprint, embedder.dimension)
    for actor in actors:
        crop = embedder.crop(actor.pixels, np.array([actor.box], np.float32))
        gallery = gallery.add(actor.name, embedder.embed(crop))
    return Snapshot(gallery, None, thresholds, 1)


def naive(film: Film, embedder: Embedder, frames: int) -> float:
    """Frames a second of MTCNN and the embedder on every face of every frame."""
    detector = MtcnnDetector()
    step = max(1, len(film.images) // frames)
    seconds = []
    for i in range(-1, frames):  # the first one warms up
        image = film.images[i * step % len(film.images)]
        start = time.perf_counter()
        found = detector.detect(image)
        embedder.embed(embedder.crop(image, found.xyxy))
        if i >= 0:
            seconds.append(time.perf_counter() - start)
    return len(seconds) / sum(seconds)


def as_file(
    film: Film, frames: int, loop: Loop
) -> tuple[float, float, Score]:  # fmt: skip
    """Frames a second, drawn ones too, of the loop on frames one after the other."""
    score = Score()
    for i in range(int(FPS)):  # warm up
        loop.step(film.picture(i))
    bare, drawn = [], []
    for i in range(int(FPS), int(FPS) + frames):
        picture = film.picture(i)
        start = time.perf_counter()
        tick = loop.step(picture)
        bare.append(time.perf_counter() - start)
        _ = tick.drawn
        drawn.append(time.perf_counter() - start)
        score.add(tick.faces, film.truth[i % len(film.truth)])
    return frames / sum(bare), frames / sum(drawn), score


@dataclass
class Sample:
    """One second of the live loop."""

    at: float
    memory: float
    latency: float


def as_camera(
    film: Film, seconds: float, loop: Loop, say: bool = False
) -> tuple[list[float], list[Sample], Score, int, float, list[float]]:
    """Latencies of all frames shown, samples, score, frames dropped, looks/s, pauses."""
    score, latencies = Score(), []
    samples: list[Sample] = []
    recent: deque[float] = deque(maxlen=int(FPS))
    pauses: list[float] = []
    process = psutil.Process()
    source = LiveSource(lambda: Camera(film), "simulated camera", reopen=False)
    start = shown = time.monotonic()
    looks = 0
    minute = 0
    with source:
        for tick in loop.run(source, lambda: time.monotonic() - start > seconds):
            if not tick.fresh:
                continue
            _ = tick.drawn
            now = time.monotonic()
            latency = now - tick.picture.captured
            latencies.append(latency)
            recent.append(latency)
            pauses.append(now - shown)
            shown = now
            looks += len(tick.looks)
            score.add(tick.faces, film.truth[tick.picture.index % len(film.truth)])
            if not samples or now - samples[-1].at >= 1:
                memory = process.memory_info().rss / 2**20
                samples.append(Sample(now, memory, statistics.median(recent)))
                if say and (now - start) // 60 > minute:
                    minute = int((now - start) // 60)
                    print(f"| {minute} | {memory:.0f} | {1000 * samples[-1].latency:.1f} |")
    return latencies, samples, score, source.dropped, looks / seconds, pauses


def growth(samples: Sequence[Sample]) -> tuple[bool, str]:
    """Whether memory and latency stayed, and a line that says so.

    The first tenth does not count; of the rest the medians of its first and last quarter are
    compared.
    """
    counted = samples[len(samples) // 10 :]
    quarter = max(1, len(counted) // 4)

    def ends(values: list[float]) -> tuple[float, float]:
        return statistics.median(values[:quarter]), statistics.median(values[-quarter:])

    memory = ends([sample.memory for sample in counted])
    latency = ends([sample.latency for sample in counted])
    fine = (
        memory[1] <= memory[0] * (1 + MEMORY_GROWTH)
        and latency[1] <= latency[0] * (1 + LATENCY_GROWTH) + LATENCY_SLACK
    )
    word = "no growth" if fine else "GROWTH"
    return fine, (
        f"{word}: memory {memory[0]:.0f} -> {memory[1]:.0f} MB, latency "
        f"{1000 * latency[0]:.1f} -> {1000 * latency[1]:.1f} ms (first and last quarter)"
    )


def open_embedder(name: str, threads: int) -> tuple[Embedder, Thresholds]:
    """A network and its thresholds. Those of the random one name nobody."""
    if name == "random-inception":
        return Inception(), Thresholds(1.0, 1.0)
    from recognizer.embedders.load import load_embedder
    from recognizer.rule import default_thresholds

    embedder = load_embedder(name, threads=threads)
    return embedder, default_thresholds(embedder.fingerprint)


def summary(latencies: Sequence[float]) -> Iterator[str]:
    """Percentiles in milliseconds."""
    for p in (50, 95, 99):
        yield f"p{p} {1000 * float(np.percentile(latencies, p)):.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the table and the verdict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--detector", default="shipped", help="checkpoint or exported file")
    parser.add_argument(
        "--embedder", default="auto", help="auto, or random-inception for the naive loop's network"
    )
    parser.add_argument("--max-side", type=int, default=480, help="for our detector [480]")
    parser.add_argument("--every", type=int, default=3, help="of the file loop [3]")
    parser.add_argument("--threads", type=int, default=2, help="of naive and file [2]")
    parser.add_argument("--live-threads", type=int, default=1, help="of live [1]")
    parser.add_argument("--naive-frames", type=int, default=20)
    parser.add_argument("--frames", type=int, default=300, help="of the file loop [300]")
    parser.add_argument("--seconds", type=float, default=30, help="of the live loop [30]")
    parser.add_argument("--minutes", type=float, default=0, help="of the soak, in real time [0]")
    parser.add_argument("--lfw", type=Path, default=LFW, help=f"more faces [{LFW}]")
    options = parser.parse_args(argv)
    import torch

    def detector(threads: int) -> Detector:
        return load_detector(
            options.detector, max_side=options.max_side, score_threshold=0.3, threads=threads
        )

    print(f"making the film ({psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f})")
    people = cast(detector(options.threads), options.lfw)
    film = Film.make(people, 12.0, {})
    embedder, thresholds = open_embedder(options.embedder, options.threads)
    snapshot = enroll(people, embedder, thresholds)

    torch.set_num_threads(options.threads)
    slow = naive(film, Inception(), options.naive_frames)
    print(f"naive: {slow:.2f} frames/s")
    with Loop(detector(options.threads), embedder, snapshot, LoopOptions(options.every)) as loop:
        fast, drawn, score = as_file(film, options.frames, loop)
    print(
        f"file:  {fast:.2f} frames/s = {fast / slow:.1f} x naive ({drawn:.2f} drawn), detecting on "
        f"every {options.every}. frame; {score}"
    )
    fine = fast >= FASTER * slow and fast >= ENOUGH

    torch.set_num_threads(options.live_threads)
    live_embedder, _ = open_embedder(options.embedder, options.live_threads)
    with Loop(
        detector(options.live_threads), live_embedder, snapshot, worker=Background()
    ) as loop:  # fmt: skip
        latencies, _, score, dropped, looks, pauses = as_camera(film, options.seconds, loop)
        print(
            f"live:  {len(latencies) / options.seconds:.2f} frames/s shown, {dropped} dropped, "
            f"{looks:.1f} looks/s; glass to glass {', '.join(summary(latencies))} ms; pause "
            f"between frames {', '.join(summary(pauses))} ms; {score}"
        )
        fine &= len(latencies) / options.seconds >= ENOUGH
    if options.minutes:
        coming = {person.name: True for person in people}
        film = Film.make(people, 20.0, coming)  # everyone leaves and returns: new tracks
        print("\n| minute | resident, MB | latency, ms |\n|--:|--:|--:|")
        with Loop(
            detector(options.live_threads), live_embedder, snapshot, worker=Background()
        ) as loop:  # fmt: skip
            latencies, samples, score, dropped, looks, _ = as_camera(
                film, options.minutes * 60, loop, say=True
            )
        flat, line = growth(samples)
        fine &= flat
        print(
            f"\nsoak:  {options.minutes:g} minutes in real time, {len(latencies):,} frames, "
            f"{looks:.1f} looks/s; {line}; {score}; {threading.active_count()} threads"
        )
    print(
        "fine" if fine else f"NOT fine: wanted {FASTER:g} x naive, {ENOUGH:g} frames/s, no growth"
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
