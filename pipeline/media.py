"""Faces of many images and of videos: decoding goes on while the detector works."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detector.inference.detect import batches_for
from detector.types import Detections, Detector
from faces.errors import UserError
from faces.images.read import image_size, read_image
from faces.inputs import Source
from faces.prefetch import PIXELS, read_ahead
from faces.video.film import Frame, VideoReader

T = TypeVar("T")


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
    detector: Detector, sources: Sequence[Source], batch_size: int | None = None
) -> Generator[Found | Failed]:
    """Find the faces of image files, in order; a broken file gives a `Failed` in its place.

    A few threads decode ahead. What is decoded, and what is in a batch (see `batches_for`), is
    bounded in pixels (`faces.prefetch.PIXELS`), whatever the number of files.
    """
    calls = ((partial(_decode, source), _pixels(source.path)) for source in sources)
    threads = min(4, os.cpu_count() or 1)
    most, lanes = batches_for(detector, batch_size)
    with closing(read_ahead(calls, threads=threads)) as decoded:

        def batches() -> Iterator[tuple[Callable[[], list[Found | Failed]], int]]:
            batch: list[tuple[Source, NDArray[np.uint8] | str]] = []
            held = 0
            for source, image in decoded:
                pixels = 0 if isinstance(image, str) else image.shape[0] * image.shape[1]
                if batch and (len(batch) == most or held + pixels > PIXELS):
                    yield partial(_detect, detector, batch), held
                    batch, held = [], 0
                batch.append((source, image))
                held += pixels
            yield partial(_detect, detector, batch), held

        with closing(_side_by_side(batches(), lanes)) as found:
            for results in found:
                yield from results


def detect_video(
    detector: Detector, video: VideoReader, batch_size: int | None = None
) -> Generator[tuple[Frame, Detections]]:
    """Find the faces of all frames that can be decoded, in order; see `VideoReader.check_end`."""
    first = video.read()
    if first is None:
        return
    pixels = first.image.shape[0] * first.image.shape[1]
    calls: Iterator[tuple[Callable[[], Frame | None], int]] = repeat((video.read, pixels))
    most, lanes = batches_for(detector, batch_size)
    with closing(read_ahead(calls, threads=1)) as frames:

        def batches() -> Iterator[tuple[Callable[[], list[tuple[Frame, Detections]]], int]]:
            batch = [first]
            for frame in frames:
                if frame is None or len(batch) == most:
                    yield partial(_detect_frames, detector, batch), len(batch) * pixels
                    batch = []
                if frame is None:
                    return
                batch.append(frame)

        with closing(_side_by_side(batches(), lanes)) as found:
            for results in found:
                yield from results


def _side_by_side(calls: Iterator[tuple[Callable[[], T], int]], lanes: int) -> Generator[T]:
    """The results of ``calls``, made here or, with several lanes, in as many threads."""
    if lanes > 1:
        return read_ahead(calls, threads=lanes)
    return (call() for call, _ in calls)


def _detect_frames(detector: Detector, batch: list[Frame]) -> list[tuple[Frame, Detections]]:
    return list(zip(batch, detector.detect_batch([f.image for f in batch]), strict=True))


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
) -> list[Found | Failed]:
    images = [image for _, image in batch if not isinstance(image, str)]
    found = iter(detector.detect_batch(images) if images else ())
    return [
        Failed(source, image) if isinstance(image, str) else Found(source, image, next(found))
        for source, image in batch
    ]
