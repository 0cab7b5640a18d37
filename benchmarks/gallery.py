"""A gallery that programs share: people taken in a second, and when other programs know a new one.

    python benchmarks/gallery.py --people 10000 100000
    python benchmarks/gallery.py --people 10000 --gallery postgresql:///people
    python benchmarks/gallery.py --people 1000000 --gallery big.db

So many made people (random unit vectors, a sample each) are put into an empty gallery in one
change, as `faces people import` does. Then another process, which holds the gallery as a server
does, is started, and people are enrolled here one after the other: the seconds are those from the
end of the enrollment to their recognition there, and of processor time what that took there. The
gallery must be empty, and is left full. Exit code 0: everybody was recognized within a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.store.journal import Doing
from recognizer.store.people import Store
from recognizer.store.write import Change, NewSample

FINGERPRINT, TURNS = "made", 7
LIMIT = 1.0  # seconds


def made(count: int, seed: int, dimension: int) -> NDArray[np.float32]:
    """Random unit vectors, float32 (N, D)."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill(address: str, count: int, dimension: int) -> None:
    """Print how long an empty gallery takes to be filled, and to be read."""
    vectors = made(count, 0, dimension)
    people = {f"P{i:07}": [NewSample(vector)] for i, vector in enumerate(vectors)}
    with Store.open(address, FINGERPRINT, dimension) as store:
        if store.people():
            raise UserError(f"{address} holds people: give an empty gallery")
        start, busy = time.perf_counter(), time.process_time()
        store.apply(Change(add=people, doing=Doing("made")))
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        rate = f"{count / seconds:,.0f} samples/s"
        print(f"{count:,} people: {seconds:.2f} s ({busy:.2f} s here), {rate}", flush=True)
        start, busy = time.perf_counter(), time.process_time()
        store.snapshot()
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        print(f"read whole: {seconds:.2f} s ({busy:.2f} s here)", flush=True)


def watch(address: str, dimension: int) -> None:
    """Hold the gallery as a server does, and print who is recognized, and when."""
    from pipeline.service.people import People

    people = People(Store.open(address, FINGERPRINT, dimension))
    newcomers = made(TURNS, 1, dimension)
    people.snapshot.identify(newcomers[:1])
    print("ready", flush=True)
    for turn, vector in enumerate(newcomers):
        seen = people.snapshot
        while people.snapshot.identify(vector[None])[0].name != f"N{turn}":
            while people.snapshot is seen:
                time.sleep(0.002)
            seen = people.snapshot
        print(time.monotonic(), time.process_time(), flush=True)
    people.close()


def told(address: str, dimension: int) -> bool:
    """Print how long after it was stored a newcomer is recognized elsewhere; whether in time."""
    command = [sys.executable, __file__, "--watch", "--gallery", address]
    command += ["--dimension", str(dimension)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other,
        Store.open(address, FINGERPRINT, dimension) as store,
    ):
        assert other.stdout is not None
        if other.stdout.readline() != "ready\n":
            raise UserError("the other process did not start")
        seconds, busy = [], [0.0]
        for turn, vector in enumerate(made(TURNS, 1, dimension)):
            time.sleep(0.3)  # it waits again
            store.add(f"N{turn}", vector[None])
            stored = time.monotonic()
            known, used = map(float, other.stdout.readline().split())
            seconds.append(known - stored)
            busy.append(used)
    print(
        f"known elsewhere after {statistics.median(seconds):.3f} s (median of {TURNS}), at most "
        f"{max(seconds):.3f} s; {statistics.median(np.diff(busy[1:])):.3f} s of its processor",
        flush=True,
    )
    return max(seconds) <= LIMIT


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each size; 0 when everybody was known in time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, nargs="+", default=[10_000])
    parser.add_argument("--gallery", help="an empty one (default: a file for each size)")
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.gallery and len(options.people) > 1:
        parser.error("one gallery takes one number of people")
    if options.watch:
        watch(options.gallery, options.dimension)
        return 0
    fine = True
    try:
        for count in options.people:
            with tempfile.TemporaryDirectory() as folder:
                address = options.gallery or str(Path(folder) / "people.db")
                fill(address, count, options.dimension)
                fine &= told(address, options.dimension)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
