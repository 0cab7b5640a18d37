"""Validation pictures with truth and detections drawn, to see what the network sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detector.draw import FOUND, TRUTH, contact_sheet, draw_boxes
from detector.inference.detect import FaceDetector
from detector.inference.resize import Resize
from detector.inference.torch_backend import TorchNetwork
from detector.model import FaceRCNN
from detector.training.dataset import FaceIndex
from detector.training.transforms import FACE
from faces.files import atomic_write
from faces.images.read import read_image


def draw_samples(
    model: FaceRCNN,
    device: torch.device,
    index: FaceIndex,
    resize: Resize,
    path: Path,
    count: int = 6,
) -> None:
    """Write a sheet of ``count`` images spread over ``index``, truth in green, found in orange.

    Found means with a score of 0.5 and more. The model is left in the mode it was in.
    """
    training = model.training
    detector = FaceDetector(TorchNetwork(model, device), resize, score_threshold=0.5)
    faces = np.array([(index.labels(i) == FACE).sum() for i in range(len(index))])
    readable = np.flatnonzero((faces >= 1) & (faces <= 20))
    chosen = readable if len(readable) >= count else np.arange(len(index))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int)]
    pictures, titles = [], []
    for i in chosen.tolist():
        image = read_image(index.path(i))
        found = detector.detect(image)
        truth = index.boxes(i)[index.labels(i) == FACE]
        thickness = max(2, round(max(image.shape[:2]) / 200))
        picture = draw_boxes(image, truth, TRUTH, width=thickness)
        captions = [f"{score:.2f}" for score in found.score]
        pictures.append(draw_boxes(picture, found.xyxy, FOUND, captions, max(1, thickness // 2)))
        titles.append(f"{len(truth)} true (green), {len(found)} found (orange)")
    model.train(training)
    with atomic_write(path) as file:
        Image.fromarray(contact_sheet(pictures, 3, 420, titles)).save(file, format="PNG")
