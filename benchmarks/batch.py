"""Throughput of batches on two threads against one, with an exported ONNX file.

    python benchmarks/batch.py
    python benchmarks/batch.py model.onnx
    python benchmarks/batch.py model.onnx --image-path photos --batch 16

Two ways to use a second processor: ONNX Runtime's own threads within a batch, and as many Python
threads with an image each, which is what `faces detect` and `faces serve` do. They take turns;
compared are the ratios within a turn. Exit code 0: the better one reaches 1.6 times one thread; 1:
not so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from detector.benchmark.pictures import some_pictures
from detector.inference.load import file_kind, load_detector
from detector.shipped import FOLDER, NETWORK
from faces.errors import UserError

Images = Sequence[NDArray[np.uint8]]

PAUSE = 0.1
"""Seconds between contestants, in which the threads of the last one stop spinning."""


def contestants(
    model: Path, batch: int, threads: int, pool: ThreadPoolExecutor
) -> dict[str, Callable[[Images], object]]:
    """Ways to take a batch of images, by name; the first is one thread."""
    one = load_detector(model, device="cpu", threads=1, batch_size=batch)
    several = load_detector(model, device="cpu", threads=threads, batch_size=batch)

    def side_by_side(images: Images) -> object:
        return list(pool.map(several.detect, images))

    return {
        "one thread": one.detect_batch,
        f"{threads} threads of ONNX Runtime": several.detect_batch,
        f"{threads} Python threads, an image each": side_by_side,
    }


def contest(ways: dict[str, Callable[[Images], object]], images: Images, rounds: int) -> float:
    """Print images per second and ratios; returns the best median ratio to the first way."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in tqdm(range(rounds + 1), disable=None):
        for name, way in ways.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            way(images)
            if turn:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(ways))
    print("| way | images/s: median (min-max) | ratio |\n|---|--:|--:|")
    best = 0.0
    for name, laps in seconds.items():
        rates = [len(images) / lap for lap in laps]
        pairs = zip(seconds[first], laps, strict=True)
        ratio = statistics.median(alone / lap for alone, lap in pairs)
        middle = statistics.median(rates)
        print(f"| {name} | {middle:.2f} ({min(rates):.2f}-{max(rates):.2f}) | {ratio:.2f} |")
        if name != first:
            best = max(best, ratio)
    return best


def main(argv: Sequence[str] | None = None) -> int:
    """Run the contest and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    shipped = FOLDER / NETWORK
    parser.add_argument(
        "model", nargs="?", type=Path, default=shipped, help="an exported ONNX file [shipped]"
    )
    parser.add_argument("--image-path", type=Path, help="real photos [two portraits]")
    parser.add_argument("--batch", type=int, default=8, help="images at once [8]")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 448), metavar=("W", "H"))
    parser.add_argument("--rounds", type=int, default=10, help="[10]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--least", type=float, default=1.6, help="ratio to reach [1.6]")
    options = parser.parse_args(argv)
    if file_kind(options.model) != "onnx":
        raise UserError(f"{options.model}: give an ONNX file, made with `faces export`")
    pictures = some_pictures(options.image_path, options.batch)
    images = [
        np.asarray(Image.fromarray(pictures[i % len(pictures)]).resize(tuple(options.size)))
        for i in range(options.batch)
    ]
    with ThreadPoolExecutor(options.threads) as pool:
        ways = contestants(options.model, options.batch, options.threads, pool)
        best = contest(ways, images, options.rounds)
    fine = best >= options.least
    print(f"\nbest ratio {best:.2f}, {'at least' if fine else 'BELOW'} {options.least}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
