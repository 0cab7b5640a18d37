"""Whether four cameras get their share of one detector, and whether one can spoil it for others.

    python -m benchmarks.cameras               two rounds of 30 seconds
    python -m benchmarks.cameras --slow 10     where others leave a tenth of two cores: see below

The cameras are MJPEG streams of this machine, 640x480, 15 frames a second, sent by a process of
their own: four people who move (see `benchmarks/live.py`), all of them known. The program is that
of `faces webcam a=http://... b=...` with its window, whose tiles are drawn as often as it does.

- even: four cameras that send as they should;
- odd: one as it should, one that sends as fast as it can, one that is silent for 4 of every 7
  seconds, one that is away for 5 of every 10.

Of each round it is also said how many of the cores the program had. On a machine that others use as
well, --slow N makes the same experiment N times slower: cameras that send N times fewer frames,
tiles that are drawn N times less often, and as many looks less that are wanted. It counts for two
cores if the program had no more than 2 / N.

Exit code 0: all four are looked at at least 3 times a second in the even round, and the good one in
the odd round, with no pause of a second; the one that was away is looked at again; 1: not so.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from multiprocessing import get_context
from typing import Any

import cv2
import psutil

from benchmarks.live import Film, cast, enroll, open_embedder
from detector.inference.load import load_detector
from pipeline.live.cameras import Cameras, SharedNetworks, Watched
from pipeline.live.loop import Loop, LoopOptions
from pipeline.live.worker import Background
from pipeline.sinks.window import TILES_SECONDS, Tiles
from pipeline.sources.live import LiveSource, Together
from pipeline.sources.open import SourceOptions, open_source

FPS = 15.0
ENOUGH, LONGEST = 3.0, 1.0
WARM_UP = 60.0
"""Seconds for all cameras to give a first picture, at most."""

EVEN = dict.fromkeys(("a", "b", "c", "d"), "steady")
ODD = {"good": "steady", "floods": "flood", "silent": "silent", "away": "away"}


def send(port: int, frames: Sequence[bytes], fps: float) -> None:
    """Serve the streams /steady, /flood, /silent and /away until the process is ended."""
    begun = time.monotonic()

    class Stream(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            kind = self.path.strip("/").partition("?")[0]
            start = time.monotonic()
            if kind == "away" and (start - begun) % 10 >= 5:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for i in count():
                    now = time.monotonic()
                    if kind == "away" and (now - begun) % 10 >= 5:
                        return
                    if kind == "silent" and (now - begun) % 7 >= 3:
                        time.sleep(4.0)
                    frame = frames[int((now - begun) * fps) % len(frames)]
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                    self.wfile.write(head % len(frame) + frame + b"\r\n")
                    if kind != "flood":
                        time.sleep(max(0.0, start + (i + 1) / fps - time.monotonic()))
            except OSError:  # the reader has gone
                return

    ThreadingHTTPServer(("127.0.0.1", port), Stream).serve_forever()


def watch(
    kinds: dict[str, str], port: int, seconds: float, slow: float, parts: Any
) -> dict[str, list[float]]:
    """Camera -> when it was looked at, in seconds from the first frame of all on."""
    detector, embedder, people = parts
    looked: dict[str, list[float]] = defaultdict(list)
    together, numbers = Together(), count(1)
    with ExitStack() as stack:
        networks = stack.enter_context(SharedNetworks(detector, embedder))
        watched = []
        for name, kind in kinds.items():
            url = f"http://127.0.0.1:{port}/{kind}"
            source = open_source(url, SourceOptions(live=True, name=name, together=together))
            assert isinstance(source, LiveSource)
            loop = Loop(
                networks.detector(name), networks.embedder(name), people,
                LoopOptions(camera=name), Background(), numbers,
            )  # fmt: skip
            watched.append(Watched(name, source, loop))
        cameras = stack.enter_context(Cameras(watched, together.news))
        tiles, shown, ticks = Tiles(watched), 0.0, 0
        until = time.monotonic() + WARM_UP
        for _ in cameras.run(lambda: time.monotonic() > until):
            if all(camera.last for camera in watched):
                break
        start, before = time.monotonic(), time.process_time()
        for tick in cameras.run(lambda: time.monotonic() > start + seconds):
            now = time.monotonic()
            looked[str(tick.camera)] += [now - start] * len(tick.looks)
            ticks += tick.fresh
            if now - shown > slow * TILES_SECONDS:
                tiles.draw()
                shown = now
        cost, looks = time.process_time() - before, sum(map(len, looked.values()))
        print(
            f"{cost / seconds:.2f} cores for {ticks / seconds:.1f} frames and "
            f"{looks / seconds:.1f} looks a second: {1000 * cost / max(looks, 1):.0f} ms a look"
        )
    return looked


def longest_pause(times: Sequence[float], seconds: float) -> float:
    """Seconds between two looks, at most."""
    marks = [0.0, *times, seconds]
    return max(b - a for a, b in pairwise(marks))


def main(argv: Sequence[str] | None = None) -> int:
    """Run both rounds, print the table and the verdict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30, help="of each round [30]")
    parser.add_argument("--max-side", type=int, default=480, help="for the detector [480]")
    parser.add_argument("--threads", type=int, default=1, help="of each network [1]")
    parser.add_argument("--slow", type=float, default=1, help="times slower [1]")
    options = parser.parse_args(argv)
    slow = options.slow
    detector = load_detector(
        max_side=options.max_side, score_threshold=0.3, threads=options.threads
    )
    embedder, thresholds = open_embedder("mini", options.threads)
    people = cast(detector, None)
    film = Film.make(people, 6.0, {})
    known = enroll(people, embedder, thresholds)
    frames = [cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in film.images[::2]]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sender = get_context("spawn").Process(target=send, args=(port, frames, FPS / slow), daemon=True)
    sender.start()
    print(f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}")
    fine = True
    try:
        for title, kinds in (("even", EVEN), ("odd", ODD)):
            print(f"\n{title}:")
            looked = watch(kinds, port, options.seconds, slow, (detector, embedder, known))
            print("\n| camera | looks a second | longest pause, s |\n|---|--:|--:|")
            for name, kind in kinds.items():
                times = looked[name]
                rate, pause = len(times) / options.seconds, longest_pause(times, options.seconds)
                print(f"| {name} ({kind}) | {rate:.2f} | {pause:.2f} |")
                if kind == "steady":
                    fine &= rate * slow >= ENOUGH and pause / slow < LONGEST
                elif kind == "away":
                    fine &= times[-1:] > [10.0]  # it was there again
    finally:
        sender.terminate()
        for thread in threading.enumerate():  # one that reads a camera while Python ends aborts it
            if thread is not threading.current_thread():
                thread.join(5)
    print(f"\nload {psutil.getloadavg()[0]:.1f}: " + ("fine" if fine else "NOT fine"))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
