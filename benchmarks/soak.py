"""Whether memory stays flat: a model looks at thousands of images of random sizes.

    python benchmarks/soak.py
    python benchmarks/soak.py model.onnx
    python benchmarks/soak.py model.onnx --image-path photos --count 500

Prints the resident memory over time. Exit code 0: after the first images it stayed within 5 % of
its middle, and it never passed 600 MB; 1: it did not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from detector.benchmark.pictures import some_pictures
from detector.benchmark.timing import peak_memory
from detector.inference.load import load_detector
from detector.shipped import FOLDER, NETWORK

SIDES = (100, 1600)
"""Shortest and longest side of an image in pixels."""


def random_images(
    pictures: Sequence[NDArray[np.uint8]], count: int, seed: int = 0
) -> Iterator[NDArray[np.uint8]]:
    """``count`` of the pictures, squeezed into random sizes of all proportions."""
    random = np.random.default_rng(seed)
    for i in range(count):
        width, height = random.integers(*SIDES, 2, endpoint=True).tolist()
        yield np.asarray(Image.fromarray(pictures[i % len(pictures)]).resize((width, height)))


def verdict(
    resident: NDArray[np.float64], peak: float, warm_up: int, flat: float, limit: float
) -> tuple[bool, str]:
    """Whether memory is flat and small enough, and a line that says so.

    Args:
        resident: megabytes after each image.
        peak: the most megabytes that there ever were.
        warm_up: images that do not count for flatness.
        flat: share (0..1) of the middle that it may leave it by.
        limit: most megabytes.
    """
    counted = resident[warm_up:]
    middle = (counted.max() + counted.min()) / 2
    swing = (counted.max() - counted.min()) / 2 / middle
    fine = bool(swing <= flat and peak < limit)
    line = (
        f"{'flat' if swing <= flat else 'NOT flat'}: {counted.min():.0f}-{counted.max():.0f} MB "
        f"(+-{swing:.1%}, allowed {flat:.0%}) after the first {warm_up} images; "
        f"peak {peak:.0f} MB, {'under' if peak < limit else 'NOT under'} {limit:.0f}"
    )
    return fine, line


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print resident memory over time and the verdict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    shipped = FOLDER / NETWORK
    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        default=shipped,
        help="checkpoint, TorchScript or ONNX file [shipped]",
    )
    parser.add_argument("--image-path", type=Path, help="real photos [two portraits]")
    parser.add_argument("--count", type=int, default=2000, help="images [2000]")
    parser.add_argument("--warm-up", type=int, default=100, help="not counted [100]")
    parser.add_argument("--flat", type=float, default=0.05, help="allowed swing [0.05]")
    parser.add_argument("--limit", type=float, default=600, help="most megabytes [600]")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    if options.count <= options.warm_up:
        parser.error("--count must be larger than --warm-up")
    pictures = some_pictures(options.image_path, 20)
    detector = load_detector(options.model, device="cpu", threads=options.threads)
    process = psutil.Process()
    resident = np.zeros(options.count)
    faces, start = 0, time.monotonic()
    step = max(1, options.count // 20)
    print("| images | resident, MB | faces | seconds |\n|--:|--:|--:|--:|")
    images = random_images(pictures, options.count)
    for i, image in enumerate(tqdm(images, total=options.count, disable=None)):
        faces += len(detector.detect(image))
        del image  # ours, not the detector's
        resident[i] = process.memory_info().rss / 2**20
        if (i + 1) % step == 0:
            print(f"| {i + 1} | {resident[i]:.0f} | {faces} | {time.monotonic() - start:.0f} |")
    fine, line = verdict(
        resident, peak_memory() / 2**20, options.warm_up, options.flat, options.limit
    )
    print(f"\n{line}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
