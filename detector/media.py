"""Faces of many images and of videos: decoding goes on while the detector works."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.errors import UserError
from common.files import atomic_write
from common.images import image_size, read_image
from detector.ahead import PIXELS, read_ahead
from detector.sources import Source
from detector.types import Detections, Detector
from detector.video import Frame, VideoReader

# Suffix -> Pillow's format and how it is written.
_FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".jfif": ("JPEG", {"quality": 92}),
    ".png": ("PNG", {"compress_level": 3}),  # half the time of the default, 5 % more bytes
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"quality": 90}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}


@dataclass(frozen=True, eq=False)
class Found:
    """The faces of one image."""

    source: Source
    image: NDArray[np.uint8]
    detections: Detections


@dataclass(frozen=True)
class Failed:
    """An image that cannot be read; the reason names the file."""

    source: Source
    reason: str


def detect_images(
    detector: Detector, sources: Sequence[Source], batch_size: int = 8
) -> Generator[Found | Failed]:
    """Find the faces of image files, in order; a broken file gives a `Failed` in its place.

    A few threads decode ahead. What is decoded, and what is in a batch of at most ``batch_size``
    images, is bounded in pixels (`detector.ahead.PIXELS`), whatever the number of files.
    """
    calls = ((partial(_decode, source), _pixels(source.path)) for source in sources)
    threads = min(4, os.cpu_count() or 1)
    with closing(read_ahead(calls, threads=threads)) as decoded:
        batch: list[tuple[Source, NDArray[np.uint8] | str]] = []
        held = 0
        for source, image in decoded:
            pixels = 0 if isinstance(image, str) else image.shape[0] * image.shape[1]
            if batch and (len(batch) == batch_size or held + pixels > PIXELS):
                yield from _detect(detector, batch)
                batch, held = [], 0
            batch.append((source, image))
            held += pixels
        yield from _detect(detector, batch)


def detect_video(
    detector: Detector, video: VideoReader, batch_size: int = 8
) -> Generator[tuple[Frame, Detections]]:
    """Find the faces of all frames that can be decoded, in order; see `VideoReader.check_end`."""
    first = video.read()
    if first is None:
        return
    pixels = first.image.shape[0] * first.image.shape[1]
    calls: Iterator[tuple[Callable[[], Frame | None], int]] = repeat((video.read, pixels))
    batch = [first]
    with closing(read_ahead(calls, threads=1)) as frames:
        for frame in frames:
            if frame is None or len(batch) == batch_size:
                found = detector.detect_batch([frame.image for frame in batch])
                yield from zip(batch, found, strict=True)
                batch = []
            if frame is None:
                return
            batch.append(frame)


class Linger:
    """Keeps boxes for some frames more, so that a face missed in one frame of a video stays hidden.

    Args:
        frames: how many frames a box stays, its own included.
    """

    def __init__(self, frames: int) -> None:
        self._recent: deque[NDArray[np.float32]] = deque(maxlen=max(1, frames))

    def __call__(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """The boxes (N, 4) of this frame and those of the frames just before it."""
        self._recent.append(xyxy)
        return np.concatenate(self._recent)


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image (H, W, 3) whole or not at all, in the format of the suffix.

    Nothing of the original file's metadata goes into it: no place, no camera, no thumbnail. Raises
    OSError when it cannot be written.
    """
    kind, options = _FORMATS[path.suffix.lower()]
    with atomic_write(path) as file:
        Image.fromarray(image).save(file, format=kind, **options)


def _pixels(path: Path) -> int:
    try:
        height, width = image_size(path)
    except UserError:  # said when the image is decoded
        return 0
    return height * width


def _decode(source: Source) -> tuple[Source, NDArray[np.uint8] | str]:
    """The image, or why it cannot be read."""
    try:
        return source, read_image(source.path)
    except UserError as error:
        return source, str(error)


def _detect(
    detector: Detector, batch: Sequence[tuple[Source, NDArray[np.uint8] | str]]
) -> Iterator[Found | Failed]:
    images = [image for _, image in batch if not isinstance(image, str)]
    found = iter(detector.detect_batch(images) if images else ())
    for source, image in batch:
        if isinstance(image, str):
            yield Failed(source, image)
        else:
            yield Found(source, image, next(found))
