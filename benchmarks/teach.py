"""What learning in the background costs the picture.

    python -m benchmarks.teach                     in a process (as `faces webcam` does it)
    python -m benchmarks.teach --thread            in a thread, for comparison
    python -m benchmarks.teach --people 50 --embedder random

A simulated camera (30 frames a second, four moving faces, see `benchmarks/live.py`) runs for some
seconds, and again while a head is fitted over and over. Exit code 0: the frames a second fall by
less than 20 %, and no frame takes longer than 3 times the median; 1: not so. Run it on a quiet
machine: it is the machine's cores that are shared out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.live import LFW, Camera, Film, Inception, cast, enroll
from detector.inference.load import load_detector
from pipeline.live.loop import Loop, LoopOptions
from pipeline.live.worker import Background
from pipeline.sources.live import LiveSource
from pipeline.teaching.fit_process import fit_apart, fit_here
from recognizer.gallery import Gallery
from recognizer.rule import Thresholds
from recognizer.training.fit import Stopped
from recognizer.types import Embedder, unit

FALL, LONGEST = 0.2, 3.0


def watch(loop: Loop, film: Film, seconds: float) -> tuple[float, list[float]]:
    """Frames a second, and the seconds from each drawn frame to the next."""
    gaps: list[float] = []
    with LiveSource(lambda: Camera(film), "camera") as source:
        end = time.monotonic() + seconds
        last = None
        for tick in loop.run(source, lambda: time.monotonic() > end):
            if not tick.fresh:
                continue
            _ = tick.drawn
            now = time.monotonic()
            if last is not None:
                gaps.append(now - last)
            last = now
    return len(gaps) / sum(gaps), gaps


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--people", type=int, default=20, help="each with 50 examples")
    parser.add_argument("--embedder", default="mini", help="random, or as of faces webcam")
    parser.add_argument("--thread", action="store_true", help="fit in a thread instead")
    arguments = parser.parse_args()
    embedder: Embedder
    if arguments.embedder == "random":
        embedder = Inception()
    else:
        from recognizer.embedders.load import load_embedder

        embedder = load_embedder(arguments.embedder, threads=1)
    detector = load_detector(Path("shipped"), score_threshold=0.5, max_side=480, threads=1)
    actors = cast(detector, LFW)
    film = Film.make(actors, 12.0, {})
    rng = np.random.default_rng(0)
    middles = unit(rng.normal(size=(arguments.people, embedder.dimension)))
    spread = 0.05 * rng.normal(size=(50 * len(middles), embedder.dimension))
    vectors = unit(np.repeat(middles, 50, axis=0) + spread)
    gallery = Gallery(
        embedder.fingerprint, tuple(f"Person {i // 50}" for i in range(len(vectors))), vectors
    )
    fit = fit_here if arguments.thread else fit_apart
    done, fits = threading.Event(), []

    def learn() -> None:
        while not done.is_set():
            start = time.monotonic()
            try:
                fit(gallery, None, done.is_set)
            except Stopped:
                return
            fits.append(time.monotonic() - start)

    people = enroll(actors, embedder, Thresholds())
    with Loop(detector, embedder, people, LoopOptions(), Background()) as loop:
        watch(loop, film, 3.0)  # warm up
        quiet, gaps = watch(loop, film, arguments.seconds)
        thread = threading.Thread(target=learn)
        thread.start()
        learning, busy = watch(loop, film, arguments.seconds)
        done.set()
        thread.join()
    fall = 1 - learning / quiet
    print(f"fitted {len(fits)} times", end="")
    print(f", {statistics.mean(fits):.2f} s each" if fits else "")
    for name, fps, times in (("quiet", quiet, gaps), ("learning", learning, busy)):
        middle = statistics.median(times)
        print(
            f"{name:9} {fps:5.1f} frames/s, median {1000 * middle:.0f} ms, longest "
            f"{1000 * max(times):.0f} ms ({max(times) / middle:.1f} times)"
        )
    longest = max(busy) / statistics.median(busy)
    fine = bool(fits) and fall < FALL and longest <= LONGEST
    print(f"falls by {fall:.1%}, longest frame {longest:.1f} medians: {'fine' if fine else 'BAD'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
