"""Faces a second of each embedder: runtimes, batch sizes, threads; and what cutting a face costs.

    python benchmarks/embed.py
    python benchmarks/embed.py --inception --batches 1 16 --rounds 5

The contestants take turns, so that a machine that slows down slows them all. InceptionResnetV1 is
timed with random weights unless --embedder-weights gives trained ones: time does not depend on
them. Torch with two threads suffers most from other busy processes; run it alone on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import TorchNetwork, open_mini
from recognizer.embedders.embedder import FaceEmbedder, Network, open_onnx_embedder
from recognizer.embedders.export import OpenNetwork, export_embedder
from recognizer.embedders.inception import DIMENSION, RECIPE, InceptionFaces, open_inception
from recognizer.embedders.load import load_embedder
from recognizer.shipped import shipped_file

Way = tuple[str, str, int]
"""Network, runtime, threads."""

PAUSE = 0.1
"""Seconds between contestants, in which the threads of the last one stop spinning."""


class Threaded:
    """A torch network that sets its number of threads before each call."""

    def __init__(self, network: Network, threads: int) -> None:
        self._network, self._threads = network, threads

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        torch.set_num_threads(self._threads)
        return self._network(faces)


def with_torch(network: TorchNetwork, recipe: CropRecipe, threads: int) -> FaceEmbedder:
    """An embedder that runs with torch on so many threads."""
    return FaceEmbedder(Threaded(network, threads), recipe, "timed", DIMENSION)


def contestants(options: argparse.Namespace, folder: Path) -> dict[Way, FaceEmbedder]:
    """(network, runtime, threads) -> embedder."""
    mini, recipe = open_mini(shipped_file("mini.pt"))
    parts = [("mini", TorchNetwork(mini), recipe, shipped_file("mini.onnx"))]
    if options.inception or options.embedder_weights:
        weights = options.embedder_weights
        module = open_inception(weights) if weights else InceptionFaces()
        path = folder / "inception.onnx"
        export_embedder(OpenNetwork(module, RECIPE, "timed", DIMENSION, path), path)
        parts.append(("inception", TorchNetwork(module), RECIPE, path))
    ways: dict[Way, FaceEmbedder] = {}
    for name, network, cut, path in parts:
        for threads in options.threads:
            ways[name, "ONNX Runtime", threads] = open_onnx_embedder(path, threads)
            ways[name, "torch", threads] = with_torch(network, cut, threads)
    return ways


def race(
    ways: dict[Way, FaceEmbedder], batches: Sequence[int], rounds: int
) -> dict[tuple[Way, int], list[float]]:
    """Faces a second in each round, by network, runtime, threads and batch size."""
    random = np.random.default_rng(0)
    rates: dict[tuple[Way, int], list[float]] = {}
    for turn in tqdm(range(rounds + 1), disable=None):
        for key, embedder in ways.items():
            for batch in batches:
                side = embedder.size
                faces = random.integers(0, 256, (batch, side, side, 3), np.uint8)
                time.sleep(PAUSE)
                embedder.embed(faces)  # the threads wake up
                start = time.perf_counter()
                embedder.embed(faces)
                seconds = time.perf_counter() - start
                if turn:  # the first warms up
                    rates.setdefault((key, batch), []).append(batch / seconds)
    return rates


def crop_milliseconds(rounds: int) -> float:
    """Median time to find the landmarks of one face and cut it, one thread."""
    embedder = load_embedder("mini", threads=1)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    box = np.array([[200, 100, 320, 250]], np.float32)
    laps = []
    for _ in range(rounds + 3):
        start = time.perf_counter()
        embedder.crop(image, box)
        laps.append((time.perf_counter() - start) * 1000)
    return statistics.median(laps[3:])


def main(argv: Sequence[str] | None = None) -> int:
    """Race, print a Markdown table and which runtime won."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--inception", action="store_true", help="also InceptionResnetV1")
    parser.add_argument("--embedder-weights", type=Path, help="its trained weights")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=10, help="[10]")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        ways = contestants(options, Path(folder))
        rates = race(ways, options.batches, options.rounds)
    print("| network | runtime | threads | batch | faces/s: median (min-max) |")
    print("|---|---|--:|--:|--:|")
    for (way, batch), values in rates.items():
        middle = statistics.median(values)
        spread = f"{min(values):.1f}-{max(values):.1f}"
        print(f"| {' | '.join(map(str, (*way, batch)))} | {middle:.1f} ({spread}) |")
    ratios = [
        statistics.median(
            a / b for a, b in zip(values, rates[(name, "torch", threads), batch], strict=True)
        )
        for ((name, runtime, threads), batch), values in rates.items()
        if runtime == "ONNX Runtime"
    ]
    print(f"\nONNX Runtime against torch: {min(ratios):.2f} to {max(ratios):.2f} times as fast")
    print(f"landmarks and crop of one face: {crop_milliseconds(options.rounds * 5):.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
