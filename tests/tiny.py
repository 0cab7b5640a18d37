"""A data set and a network small enough to train in seconds, for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detector.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
from detector.points import MEAN_FACE

TINY_MODEL = ModelConfig(
    backbone_weights="none",
    width=0.1,
    channels=8,
    head_width=8,
    anchors=((12.0,), (24.0,), (48.0,), (96.0,), (128.0,)),
)


def make_voc(folder: Path, count: int = 8, seed: int = 0, size: tuple[int, int] = (80, 96)) -> Path:
    """``folder``/images and ``folder``/annotations: bright ellipses on noise; image 1 has none."""
    random = np.random.default_rng(seed)
    height, width = size
    for i in range(count):
        pixels = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
        objects = []
        for _ in range(0 if i == 1 else 1 + i % 3):
            w = int(random.integers(14, 30))
            h = int(w * 1.25)
            x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
            rows, columns = np.mgrid[0:h, 0:w]
            inside = ((rows - h / 2) / (h / 2)) ** 2 + ((columns - w / 2) / (w / 2)) ** 2 <= 1
            pixels[y : y + h, x : x + w][inside] = (230, 190, 160)
            objects.append(VocObject("face", (x, y, x + w, y + h)))
        name = f"scene_{i:02d}"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        write_voc(
            folder / "annotations" / f"{name}.xml",
            VocAnnotation(f"{name}.png", width, height, tuple(objects)),
        )
    return folder


def make_faces(folder: Path, count: int = 12, seed: int = 0, side: int = 96) -> Path:
    """``folder``/images and ``folder``/annotations: an ellipse each, with points that are marked.

    The head looks to a random side: its points, which are drawn as dark spots, lie more to the left
    or right of the box than on average. Every fourth face has no points in its annotation.
    """
    random = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = random.integers(0, 60, (side, side, 3), dtype=np.uint8)
        w = int(random.integers(36, 56))
        h = int(w * 1.25)
        x, y = int(random.integers(0, side - w)), int(random.integers(0, side - h))
        rows, columns = np.mgrid[0:h, 0:w]
        inside = ((rows - h / 2) / (h / 2)) ** 2 + ((columns - w / 2) / (w / 2)) ** 2 <= 1
        pixels[y : y + h, x : x + w][inside] = (230, 190, 160)
        turn, nod = random.uniform(-0.15, 0.15, 2)
        middle = np.array([x + w * (0.5 + turn), y + h * (0.5 + nod)])
        points = middle + np.array(MEAN_FACE) * [w, h]
        for px, py in points.round().astype(int).tolist():
            pixels[max(0, py - 2) : py + 3, max(0, px - 2) : px + 3] = (30, 10, 10)
        marked = tuple((float(px), float(py)) for px, py in points) if i % 4 else ()
        face = VocObject("face", (x, y, x + w, y + h), landmarks=marked)
        Image.fromarray(pixels).save(folder / "images" / f"face_{i:02d}.png")
        write_voc(
            folder / "annotations" / f"face_{i:02d}.xml",
            VocAnnotation(f"face_{i:02d}.png", side, side, (face,)),
        )
    return folder


def tiny_config(folder: Path, run: Path, **optim: Any) -> TrainConfig:
    """A run of two epochs of four steps over `make_voc` folders train and val under ``folder``."""
    base = OptimConfig(epochs=2, batch_size=2, learning_rate=3e-3)
    return TrainConfig(
        run=run,
        device="cpu",
        threads=1,
        data=DataConfig(
            image_path=folder / "train" / "images",
            train_ann_dir=folder / "train" / "annotations",
            valid_path=folder / "val" / "images",
            valid_ann_dir=folder / "val" / "annotations",
            image_size=128,
            max_side=96,
            face_sizes=(16.0, 50.0),
            num_workers=0,
        ),
        model=TINY_MODEL,
        optim=replace(base, **optim),
    )


def make_data(folder: Path) -> Path:
    """Training and validation folders for `tiny_config`."""
    make_voc(folder / "train", 8, seed=0)
    make_voc(folder / "val", 3, seed=1)
    return folder
