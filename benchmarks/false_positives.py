"""How often a detector sees a face where there is none.

    python benchmarks/false_positives.py --wider ../shared/data/widerface
    python benchmarks/false_positives.py --wider data/widerface --model model.onnx --sheet found.png

Pictures without faces are made from the validation pictures: of each, the largest part that keeps
clear of every annotated face (the invalid ones too) by the face's own size, if it is at least 200
pixels wide and high. WIDER FACE leaves some faces unmarked: look at the sheet of false positives
before you believe the figure. Exit code 0: under 0.1 false positives a picture at the default
threshold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from detector import load_detector
from detector.data.submission import image_name
from detector.draw import contact_sheet, draw_detections
from detector.evaluation import wider
from detector.types import Detections
from faces.files import atomic_write
from faces.images.find import find_images
from faces.images.read import read_image

CELL = 8
"""Pixels: parts are looked for on a grid this fine."""
BAR = 0.1


def empty_part(
    height: int, width: int, faces: NDArray[np.float64]
) -> tuple[int, int, int, int] | None:
    """The largest rectangle x1 y1 x2 y2 clear of all ``faces`` (N, 4); None if there is none.

    For each row of the grid the free cells above it make a histogram, whose largest rectangle a
    stack finds in one pass.
    """
    rows, columns = height // CELL, width // CELL
    taken = np.zeros((rows, columns), bool)
    for x1, y1, x2, y2 in faces:
        margin = max(x2 - x1, y2 - y1)
        left, top = (int(max(0, v - margin) // CELL) for v in (x1, y1))
        right, bottom = (int(-(-(v + margin) // CELL)) for v in (x2, y2))
        taken[top:bottom, left:right] = True
    best, area = None, 0
    depth = np.zeros(columns + 1, int)  # the last one ends every rectangle
    for row in range(rows):
        depth[:-1] = np.where(taken[row], 0, depth[:-1] + 1)
        stack: list[int] = []
        for column in range(columns + 1):
            while stack and depth[stack[-1]] >= depth[column]:
                tall = int(depth[stack.pop()])
                left = stack[-1] + 1 if stack else 0
                if tall * (column - left) > area:
                    area = tall * (column - left)
                    best = (left, row + 1 - tall, column, row + 1)
            stack.append(column)
    return None if best is None else tuple(v * CELL for v in best)  # type: ignore[return-value]


def parts_without_faces(folder: Path, least: int) -> list[tuple[str, NDArray[np.uint8]]]:
    """Name and pixels of every part of WIDER FACE's validation pictures that is large enough."""
    files = {
        image_name(path, folder / "WIDER_val" / "images"): path
        for path in find_images(folder / "WIDER_val" / "images")
    }
    truth = wider.restrict(wider.read_ground_truth(wider.find_ground_truth(folder)), files)
    parts = []
    for image in tqdm(truth, desc="looking for parts without faces", unit="image", disable=None):
        pixels = read_image(files[image.name])
        height, width = pixels.shape[:2]
        part = empty_part(height, width, image.xyxy)
        if part is not None and min(part[2] - part[0], part[3] - part[1]) >= least:
            x1, y1, x2, y2 = part
            parts.append((image.name, np.ascontiguousarray(pixels[y1:y2, x1:x2])))
    return parts


def main(argv: Sequence[str] | None = None) -> int:
    """Cut, detect, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wider", type=Path, required=True, help="folder with WIDER_val and truth")
    parser.add_argument("--model", default="shipped")
    parser.add_argument("--max-side", type=int, default=640)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--least", type=int, default=200, help="side of a part in pixels, at least")
    parser.add_argument("--sheet", type=Path, help="draw parts with false positives here (.png)")
    options = parser.parse_args(argv)

    default = load_detector(options.model).score_threshold
    detector = load_detector(
        options.model, max_side=options.max_side, threads=options.threads, score_threshold=0.05
    )
    parts = parts_without_faces(options.wider, options.least)
    found = [
        (name, pixels, detector.detect(pixels))
        for name, pixels in tqdm(parts, desc="detecting", unit="part", disable=None)
    ]
    scores = np.concatenate([faces.score for _, _, faces in found])
    print(f"{len(parts)} parts of at least {options.least} px a side, longest side", end=" ")
    print(f"{options.max_side} px, {options.model}")
    print("score   false positives a part")
    for threshold in sorted({default, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95}):
        mark = "  (default)" if threshold == default else ""
        print(f"{threshold:.2f}    {(scores >= threshold).sum() / len(parts):.3f}{mark}")
    alarms = [(name, pixels, f.above(default)) for name, pixels, f in found]
    seen = [item for item in alarms if len(item[2])]
    if options.sheet is not None and seen:
        draw_sheet(options.sheet, seen)
    return int(sum(len(faces) for _, _, faces in alarms) / len(parts) >= BAR)


def draw_sheet(path: Path, alarms: list[tuple[str, NDArray[np.uint8], Detections]]) -> None:
    """The parts with their false positives, the surest first."""
    alarms = sorted(alarms, key=lambda item: -float(item[2].score[0]))[:30]
    sheet = contact_sheet([draw_detections(pixels, faces) for _, pixels, faces in alarms], 6, 260)
    with atomic_write(path) as file:
        Image.fromarray(sheet).save(file, "PNG")


if __name__ == "__main__":
    sys.exit(main())
