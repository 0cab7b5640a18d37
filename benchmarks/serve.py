"""What `faces serve --http` withstands, and what it costs over calling the detector directly.

    python -m benchmarks.serve                      10 minutes of mixed load
    python -m benchmarks.serve --seconds 30 --only throughput latency
    python -m benchmarks.serve --detect-only --model model.onnx --image-path photos

Four measurements, each against its limit; exit code 0 when all hold, else 1:

throughput  detect at saturation, in parts of `detect_batch` called in this process (0.9 or more)
latency     p95 of a single caller, in ms above decoding and detecting here (15 or less)
turns       p95 of one caller beside a flood and slow senders: it waits for at most the batch
            that runs
mixed       32 clients, 5 % of the requests broken: no 5xx but 503; memory within 10 % after
            warm-up; every acknowledged enrollment is there after kill -9 and restart

Run it alone on the machine: it compares times of this process with those of another.
"""

from __future__ import annotations

import argparse
import http.client
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serve_callers import Client, Server, break_something, callers, flood
from detector.benchmark.pictures import some_pictures
from detector.inference.load import load_detector
from faces.images.find import find_images
from faces.images.read import read_image

CHECKS = ("throughput", "latency", "turns", "mixed")
BATCH = 4  # the server's default
BROKEN = 0.05


def quantile(times: Sequence[float], part: float) -> float:
    """Milliseconds."""
    return float(np.quantile(times, part) * 1000)


# -- the four measurements


def direct(
    photos: Sequence[bytes], options: argparse.Namespace
) -> tuple[float, list[float], list[float]]:
    """Images/s of `detect_batch`; seconds of decoding and detecting one image; and of a batch."""
    detector = load_detector(options.model, batch_size=BATCH, threads=options.threads)
    pictures = [read_image(BytesIO(photo)) for photo in photos]
    for picture in pictures[:BATCH]:
        detector.detect(picture)
    batches: list[float] = []
    count = 0
    until = time.monotonic() + options.seconds / 4
    while time.monotonic() < until or len(batches) < 3:
        start = time.monotonic()
        chosen = [pictures[(count + i) % len(pictures)] for i in range(BATCH)]
        detector.detect_batch(chosen)
        batches.append(time.monotonic() - start)
        count += BATCH
    singles: list[float] = []
    until = time.monotonic() + options.seconds / 4
    while time.monotonic() < until or len(singles) < 5:
        start = time.monotonic()
        detector.detect(read_image(BytesIO(photos[len(singles) % len(photos)])))
        singles.append(time.monotonic() - start)
    return count / sum(batches), singles, batches


def throughput(port: int, photos: Sequence[bytes], seconds: float) -> float:
    """Images/s that 16 callers get together."""
    done = Counter[int]()

    def work(number: int, stop: threading.Event) -> None:
        client = Client(port)
        i = number
        while not stop.is_set():
            status, _ = client.post("detect", [photos[i % len(photos)]])
            done[status] += 1
            i += 16

    with callers(16, work):
        time.sleep(seconds / 4)  # warm-up
        before, start = done[200], time.monotonic()
        time.sleep(seconds)
        count, spent = done[200] - before, time.monotonic() - start
    return count / spent


def latency(port: int, photos: Sequence[bytes], seconds: float) -> list[float]:
    """Seconds of each request of one caller."""
    client = Client(port)
    times: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(times) < 5:
        start = time.monotonic()
        status, _ = client.post("detect", [photos[len(times) % len(photos)]])
        if status == 200:
            times.append(time.monotonic() - start)
        else:
            time.sleep(0.05)
    return times


@dataclass
class Mixed:
    """What happened under mixed load."""

    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    memory: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)


def mixed(server: Server, photos: Sequence[bytes], faces: Sequence[bytes], seconds: float,
          clients: int, detect_only: bool) -> Mixed:  # fmt: skip
    """32 clients that detect, recognize, verify and enroll, and break things."""
    seen = Mixed()

    def work(number: int, stop: threading.Event) -> None:
        dice, client = random.Random(number), Client(server.port)
        i = 0
        while not stop.is_set():
            i += 1
            photo = dice.choice(photos)
            if dice.random() < BROKEN:
                status = break_something(server.port, client, photo, dice)
            elif detect_only or dice.random() < 0.5:
                status, _ = client.post("detect", [photo])
            elif dice.random() < 0.6:
                status, _ = client.post("recognize", [photo])
            elif dice.random() < 0.5:
                status, _ = client.post("verify", dice.sample(faces, 2), {"largest": "true"})
            else:
                name = f"Person {number}-{i}"
                fields = {"name": name, "largest": "true"}
                status, answer = client.post("enroll", [dice.choice(faces)], fields)
                if status == 200 and answer["added"]:
                    with seen.lock:
                        seen.acknowledged.add(name)
            if seen.over.is_set():
                return
            with seen.lock:
                seen.statuses[status] += 1
            if status == 503:
                time.sleep(0.5)

    with callers(clients, work):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(1.0, seconds / 30))
            seen.memory.append(server.megabytes())
        seen.over.set()
        server.kill()  # in the middle of everything
    return seen


def people(port: int) -> set[str]:
    """Everybody whom the server knows."""
    client, known, offset = Client(port), set[str](), 0
    while True:
        _, answer = client.ask("GET", f"/v1/people?offset={offset}")
        known |= {person["name"] for person in answer["people"]}
        offset += 1000
        if offset >= answer["total"]:
            return known


# -- putting it together


def encoded(pictures: Sequence[Any]) -> list[bytes]:
    """Pictures as JPEG."""
    from PIL import Image

    files = []
    for picture in pictures:
        file = BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def load_photos(path: Path | None, count: int) -> list[bytes]:
    """Files of a folder, evenly taken; without a folder a few public pictures."""
    if path is None:
        return encoded(some_pictures(None, count))
    files = find_images(path)
    return [file.read_bytes() for file in files[:: max(1, len(files) // count)][:count]]


def report(name: str, fine: bool, text: str) -> bool:
    """Print a line; returns ``fine``."""
    print(f"{name:<11} {'ok  ' if fine else 'FAIL'} {text}", flush=True)
    return fine


def main(arguments: Sequence[str]) -> int:
    """Measure, and compare with the limits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=600, help="of mixed load; others are shorter"
    )
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=CHECKS)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--model", default="shipped")
    parser.add_argument("--threads", type=int, default=None, help="of each model")
    parser.add_argument("--detect-only", action="store_true")
    parser.add_argument("--image-path", type=Path, default=None, help="pictures with any faces")
    parser.add_argument("--face-path", type=Path, default=None, help="portraits to enroll")
    options = parser.parse_args(arguments)
    photos = load_photos(options.image_path, 40)
    faces = load_photos(options.face_path or options.image_path, 200)
    flags = ["--model", str(options.model)]
    flags += ["--threads", str(options.threads)] if options.threads else []
    flags += ["--detect-only"] if options.detect_only else []
    fine = True
    short = argparse.Namespace(**{**vars(options), "seconds": min(options.seconds, 60.0)})
    with tempfile.TemporaryDirectory() as name:
        if set(options.only) - {"mixed"}:
            rate, singles, batches = direct(photos, short)
            print(
                f"direct           {rate:.2f} images/s; one image {quantile(singles, 0.5):.0f} ms, "
                f"p95 {quantile(singles, 0.95):.0f} ms; a batch of {BATCH} p95 "
                f"{quantile(batches, 0.95):.0f} ms",
                flush=True,
            )
            server = Server(Path(name), flags)
            fine &= compare(server, photos, short, rate, singles, batches)
            server.stop()
        if "mixed" in options.only:
            fine &= withstand(Path(name), flags, photos, faces, options)
    return 0 if fine else 1


def compare(server: Server, photos: Sequence[bytes], options: argparse.Namespace, rate: float,
            singles: Sequence[float], batches: Sequence[float]) -> bool:  # fmt: skip
    """Throughput, latency and turns."""
    fine, alone = True, latency(server.port, photos, options.seconds / 4)
    if "throughput" in options.only:
        served = throughput(server.port, photos, options.seconds / 2)
        fine &= report(
            "throughput", served >= 0.9 * rate,
            f"{served:.2f} images/s, {served / rate:.2f} of direct (0.90 or more)",
        )  # fmt: skip
    if "latency" in options.only:
        above = quantile(alone, 0.95) - quantile(singles, 0.95)
        fine &= report(
            "latency", above <= 15,
            f"p50 {quantile(alone, 0.5):.0f} ms, p95 {quantile(alone, 0.95):.0f} ms, "
            f"{above:+.1f} ms to direct (15 or less)",
        )  # fmt: skip
    if "turns" in options.only:
        with callers(12, lambda n, stop: flood(server.port, photos, n, stop)):
            time.sleep(2)
            before = detect_batches(server.port)
            beside = latency(server.port, photos, options.seconds / 4)
            after = detect_batches(server.port)
        batch = 1000 * (after[0] - before[0]) / max(1, after[1] - before[1])
        # It waits for the batch that runs, and then shares one with others.
        allowed = 2 * max(batch, quantile(batches, 0.95)) + quantile(alone, 0.95)
        fine &= report(
            "turns", quantile(beside, 0.95) <= allowed,
            f"p95 {quantile(beside, 0.95):.0f} ms beside a flood ({allowed:.0f} or less: alone, "
            f"the batch that runs and the one it shares; a batch takes {batch:.0f} ms then)",
        )  # fmt: skip
    return fine


def detect_batches(port: int) -> tuple[float, float]:
    """Seconds that the server's detector has worked so far, and its batches."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    start = "faces_stage_seconds_"
    values = {
        line.split("{")[0].removeprefix(start): float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith(start) and 'stage="detect"' in line
    }
    return values["sum"], values["count"]


def withstand(folder: Path, flags: Sequence[str], photos: Sequence[bytes], faces: Sequence[bytes],
              options: argparse.Namespace) -> bool:  # fmt: skip
    """Mixed load, kill -9, restart."""
    server = Server(folder, flags)
    seen = mixed(server, photos, faces, options.seconds, options.clients, options.detect_only)
    bad = {s: n for s, n in seen.statuses.items() if s >= 500 and s != 503}
    counts = ", ".join(f"{n} x {s or 'none'}" for s, n in sorted(seen.statuses.items()))
    fine = report("statuses", not bad, f"{counts} (no 5xx but 503)")
    counted = seen.memory[len(seen.memory) // 5 :]
    part = len(counted) // 5 + 1
    start, end = np.median(counted[:part]), np.median(counted[-part:])
    grown = end / start - 1
    fine &= report(
        "memory", bool(grown <= 0.1),
        f"{start:.0f} MB after warm-up, {end:.0f} MB at the end: {grown:+.1%} (10 % or less)",
    )  # fmt: skip
    if not options.detect_only:
        again = Server(folder, flags)
        lost = seen.acknowledged - people(again.port)
        again.stop()
        fine &= report(
            "enrollments", not lost and bool(seen.acknowledged),
            f"{len(seen.acknowledged)} acknowledged, {len(lost)} of them lost after kill -9",
        )  # fmt: skip
    return fine


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
