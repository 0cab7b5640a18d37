"""How long `faces prepare wider` and `check` take on a data set of WIDER FACE's official size.

Makes 12,880 + 3,226 images with 159,424 + 39,708 faces in a temporary folder (made-up names and
boxes, flat pictures of 1024x768 pixels), converts it, checks it, and prints the times::

    python benchmarks/prepare.py
    python benchmarks/prepare.py 0.1        a tenth of it
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from detector.data.check import check_set
from detector.data.repair import repair
from detector.data.voc.folder import find_sets
from detector.data.wider.convert import convert

R = TypeVar("R")

IMAGES = {"train": 12_880, "val": 3_226}
FACES = {"train": 159_424, "val": 39_708}
EVENTS = 61
SIZE = (1024, 768)


def make_source(root: Path, fraction: float = 1.0) -> None:
    """Write ``wider_face_split`` and ``WIDER_{train,val}/images`` of the official size."""
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (8, 3))
    pictures = [root / f"{i}.jpg" for i in range(len(colors))]
    for picture, color in zip(pictures, colors.tolist(), strict=True):
        Image.new("RGB", SIZE, tuple(color)).save(picture)
    (root / "wider_face_split").mkdir()
    for split, images in IMAGES.items():
        images = round(images * fraction)
        # Most images have few faces and a handful have hundreds, as in the real set.
        weights = random.pareto(1.2, images) + 0.05
        counts = random.multinomial(round(FACES[split] * fraction), weights / weights.sum())
        lines = []
        for i, count in enumerate(counts.tolist()):
            event = f"{i % EVENTS}--Event_{i % EVENTS}"
            folder = root / f"WIDER_{split}" / "images" / event
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{i % EVENTS}_Event_{i % EVENTS}_{split}_{i}.jpg"
            os.link(pictures[i % len(pictures)], folder / name)
            rows = _rows(random, count) if count else ["0 0 0 0 0 0 0 0 0 0 "]
            lines += [f"{event}/{name}", str(count), *rows]
        target = root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rows(random: np.random.Generator, count: int) -> list[str]:
    side = np.exp(random.uniform(np.log(6), np.log(300), (count, 2))).astype(int)
    corner = (random.random((count, 2)) * (np.array(SIZE) - side)).astype(int)
    labels = random.integers(0, [3, 2, 2, 2, 3, 2], (count, 6))
    return [" ".join(map(str, row)) for row in np.hstack([corner, side, labels]).tolist()]


def timed(function: Callable[[], R]) -> tuple[float, R]:
    """Seconds and result of one call."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main(fraction: float = 1.0) -> None:
    """Print a table of times."""
    with tempfile.TemporaryDirectory(prefix="faces-prepare-") as name:
        source, out = Path(name) / "source", Path(name) / "out"
        source.mkdir()
        make_source(source, fraction)
        files = sum(round(count * fraction) for count in IMAGES.values())

        def both() -> None:
            for split in ("train", "val"):
                convert(source, out, split)

        converted, _ = timed(both)
        again, _ = timed(both)
        headers, _ = timed(lambda: [check_set(x, decode=False) for x in find_sets(out)])
        checked, reports = timed(lambda: [check_set(x) for x in find_sets(out)])
        repaired, _ = timed(lambda: repair(reports, Path(name) / "fixed", images="link"))
    rows = [
        ("prepare wider", converted),
        ("prepare wider, second time", again),
        ("prepare check --headers-only", headers),
        ("prepare check", checked),
        ("prepare check --fix, the repair alone", repaired),
    ]
    print(f"{files:,} images, {sum(FACES.values()) * fraction:,.0f} faces, {os.cpu_count()} cores")
    print(f"{'':38}  {'seconds':>8}  {'files/s':>8}")
    for title, seconds in rows:
        print(f"{title:38}  {seconds:8.1f}  {files / seconds:8,.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "fraction", nargs="?", type=float, default=1.0, help="of the official size (default: 1)"
    )
    main(parser.parse_args().fraction)
