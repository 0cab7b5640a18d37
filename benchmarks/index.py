"""`faces index`: throughput against `detect` and `embed` alone, memory over many pictures, Ray.

    python benchmarks/index.py                     # throughput on all processors
    python benchmarks/index.py --memory 100000     # memory of all processes over so many pictures
    python benchmarks/index.py --ray               # the same pictures through Ray on this machine
    python benchmarks/index.py --image-path photos --jobs 8 --rounds 5

Throughput is compared with what `detect` and `embed` do alone: as many processes as the run has
read, detect and embed the same pictures at the same time and keep nothing. What the two networks do
on pictures that are decoded already is printed too. All take turns, so that they find the machine
equally busy. Exit code 0: the limits of the project hold (0.9 of `detect` and `embed` alone, memory
within 10 %, Ray costs less than 10 %); 1: not so.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from tqdm import tqdm

from detector.benchmark.pictures import some_pictures
from faces.errors import UserError
from pipeline.library.executors import Executor, Processes
from pipeline.library.index import Indexing
from pipeline.library.look import Looker, LookSettings
from pipeline.library.scan import scan

SETTINGS = LookSettings()
SIZES = ((480, 640), (768, 1024), (1080, 1440), (640, 427), (700, 933))

POOL = 1000
"""Pictures that are made; more files are these with another comment in them."""


def make_pictures(folder: Path, count: int, sources: Sequence[Any], large: int = 1) -> None:
    """Different JPEG files of several sizes, with the faces of ``sources`` in other places.

    Every ``large``-th is of full size, the others have a quarter of its width and height.
    """
    random = np.random.default_rng(0)
    pool: list[bytes] = []
    for i in tqdm(range(min(count, POOL)), desc="making pictures", disable=None):
        height, width = (side // (4 if i % large else 1) for side in SIZES[i % len(SIZES)])
        image = Image.fromarray(sources[i % len(sources)])
        scale = max(width / image.width, height / image.height)
        image = image.resize((round(image.width * scale) + 8, round(image.height * scale) + 8))
        x, y = random.integers(0, 8, 2).tolist()
        data = io.BytesIO()
        image.crop((x, y, x + width, y + height)).save(data, "JPEG", quality=90)
        pool.append(data.getvalue())
    for i in range(count):
        path = folder / f"{i // POOL:04}" / f"{i:07}.jpg"
        path.parent.mkdir(exist_ok=True)
        # A comment behind the first marker: no two files are the same, and most differ in size.
        comment = b"%d" % i + bytes(int(random.integers(0, 1000)))
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        jpeg = pool[i % len(pool)]
        path.write_bytes(jpeg[:2] + segment + jpeg[2:])


def looks(paths: Sequence[Path], ready: Any, go: Any, result: Any) -> None:
    """One process: detect and embed, nothing kept; puts seconds in ``result``, of reading first."""
    import cv2

    from faces.images.read import read_image

    cv2.setNumThreads(1)
    looker = Looker(SETTINGS)
    looker.detector.detect(read_image(paths[0]))
    ready.release()
    go.wait()
    start, reading = time.perf_counter(), 0.0
    for path in paths:
        began = time.perf_counter()
        image = read_image(path)
        reading += time.perf_counter() - began
        found = looker.detector.detect(image)
        looker.embedder.embed(looker.embedder.crop(image, found.xyxy))
    result.put((reading, time.perf_counter() - start))


def alone(paths: Sequence[Path], jobs: int) -> tuple[float, float]:
    """Pictures a second of ``jobs`` processes, a share of pictures each: networks, all of it."""
    context = get_context("spawn")
    ready, go, result = context.Semaphore(0), context.Event(), context.Queue()
    shares = [paths[i::jobs] for i in range(jobs)]
    processes = [context.Process(target=looks, args=(share, ready, go, result)) for share in shares]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    go.set()
    seconds = [result.get() for _ in processes]
    for process in processes:
        process.join()
    networks = max(total - reading for reading, total in seconds)
    return len(paths) / networks, len(paths) / max(total for _, total in seconds)


class Begun:
    """A executor whose workers are ready before the clock starts."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self._early: list[Any] = []
        self._ready = [executor.start_worker() for _ in range(workers)]
        while len(self._early) < workers:
            self._early += list(executor.messages())

    def start_worker(self) -> Any:
        return self._ready.pop() if self._ready else self._executor.start_worker()

    def messages(self) -> Any:
        early, self._early = self._early, []
        return iter(early) if early else self._executor.messages()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


def whole(paths: Path, jobs: int, make: Callable[[], Executor]) -> float:
    """Files a second of a run of `faces index` into a new library, its networks opened before."""
    with tempfile.TemporaryDirectory() as folder:
        executor = Begun(make(), jobs)
        try:
            start = time.perf_counter()
            found = scan([str(paths)])
            run = Indexing(Path(folder), Looker(SETTINGS).manifest, found)
            tally = run.run(executor, jobs)
            return tally.looked / (time.perf_counter() - start)
        finally:
            executor.close()


def throughput(folder: Path, jobs: int, rounds: int) -> bool:
    """Print the rates and their ratios; whether a run has at least 0.9 of detect and embed."""
    paths = sorted(folder.rglob("*.jpg"))
    manifest = Looker(SETTINGS).manifest
    rates: list[tuple[float, float, float]] = []
    for _ in tqdm(range(rounds), desc="rounds", disable=None):
        networks, looked = alone(paths, jobs)
        run = whole(folder, jobs, lambda: Processes(SETTINGS, manifest))
        rates.append((networks, looked, run))
    networks, looked, run = (statistics.median(column) for column in zip(*rates, strict=True))
    against_networks = statistics.median(run / networks for networks, _, run in rates)
    against_looks = statistics.median(run / looked for _, looked, run in rates)
    print(f"two networks alone, {jobs} processes:   {networks:.2f} pictures/s")
    print(f"read, detect, embed, {jobs} processes:  {looked:.2f} pictures/s")
    print(f"faces index --jobs {jobs}:              {run:.2f} pictures/s")
    print(f"medians of {rounds} rounds: {against_networks:.3f}, {against_looks:.3f}")
    return against_looks >= 0.9


def ray(folder: Path, jobs: int, rounds: int) -> bool:
    """Print the throughput of processes and of Ray; whether Ray costs less than 10 %."""
    from pipeline.library.ray_executor import RayExecutor

    manifest = Looker(SETTINGS).manifest
    ratios = []
    for _ in tqdm(range(rounds), desc="rounds", disable=None):
        own = whole(folder, jobs, lambda: Processes(SETTINGS, manifest))
        rays = whole(folder, jobs, lambda: RayExecutor(SETTINGS, manifest, None, jobs))
        ratios.append(rays / own)
        print(f"processes {own:.2f}, Ray {rays:.2f} pictures/s")
    ratio = statistics.median(ratios)
    print(f"Ray / processes, median of {rounds} rounds: {ratio:.3f}")
    return ratio >= 0.9


def memory(folder: Path, jobs: int) -> bool:
    """Print the memory of all processes, twenty times in a run; whether it stays."""
    manifest = Looker(SETTINGS).manifest
    executor = Processes(SETTINGS, manifest)
    samples: list[tuple[int, float, float]] = []
    print("| pictures | asking process, MB | largest worker, MB |\n|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as library:
        run = Indexing(Path(library), manifest, scan([str(folder)]))
        step, done = max(1, run.count // 20), 0
        bar = tqdm(total=run.count, disable=None)

        def note(count: int) -> None:
            nonlocal done
            bar.update(count)
            done += count
            if done // step > (done - count) // step:
                me = psutil.Process()
                workers = [
                    c.memory_info().rss for c in me.children() if "spawn" in str(c.cmdline())
                ]
                own, largest = me.memory_info().rss / 2**20, max(workers) / 2**20
                samples.append((done, own, largest))
                # At once: a run that is ended says something, too.
                print(f"| {done:,} | {own:.0f} | {largest:.0f} |", flush=True)

        try:
            run.run(executor, jobs, note)
        finally:
            executor.close()
            bar.close()
    half = len(samples) // 2
    early, late = samples[len(samples) // 4 : half], samples[half:]
    growth = [
        max(sample[i] for sample in late) / max(sample[i] for sample in early) for i in (1, 2)
    ]
    print(f"second half against second quarter: {growth[0]:.3f} and {growth[1]:.3f}")
    return max(growth) <= 1.1


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one thing; 0 when its limit holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-path", type=Path, help="photos with faces (default: made ones)")
    parser.add_argument("--pictures", type=int, default=200, help="how many are made")
    parser.add_argument("--jobs", type=int, default=psutil.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="PICTURES", help="measure memory instead")
    parser.add_argument("--ray", action="store_true", help="measure Ray instead")
    options = parser.parse_args(argv)
    try:
        sources = some_pictures(options.image_path, 20)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as made:
        # What grows grows with their number; so 100,000 need 1 GB of disk and half an hour.
        large = 49 if options.memory else 1
        make_pictures(Path(made), options.memory or options.pictures, sources, large)
        if options.memory:
            fine = memory(Path(made), options.jobs)
        elif options.ray:
            fine = ray(Path(made), options.jobs, options.rounds)
        else:
            fine = throughput(Path(made), options.jobs, options.rounds)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
