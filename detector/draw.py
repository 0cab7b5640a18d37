"""Drawing: boxes on an image, and sheets of images side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from faces.images.read import as_image

if TYPE_CHECKING:
    from detector.types import Detections

T = TypeVar("T")

TRUTH = (64, 200, 90)
FOUND = (255, 140, 0)
MISSED = (230, 50, 60)
RIM = (20, 20, 20)
"""Colors (RGB) that stay apart for the common kinds of color blindness when thickness differs."""


def draw_boxes(
    image: NDArray[np.uint8],
    xyxy: NDArray[np.float32],
    color: tuple[int, int, int] = FOUND,
    captions: Sequence[str] | None = None,
    width: int | None = None,
) -> NDArray[np.uint8]:
    """A copy of an RGB image (H, W, 3) with boxes (N, 4) drawn, and a caption above each.

    Lines are ``width`` pixels thick; by default about 1/300 of the longest side.
    """
    image = as_image(image)
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    longest = max(image.shape[:2])
    thickness = width or max(1, round(longest / 300))
    font = ImageFont.load_default(size=max(10, round(longest / 55)))
    for i, (x1, y1, x2, y2) in enumerate(np.asarray(xyxy, float).tolist()):
        pen.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=color, width=thickness)
        if captions:
            _caption(pen, captions[i], (x1, y1), color, font, thickness)
    return np.asarray(picture)


def draw_detections(image: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
    """A copy of an RGB image (H, W, 3) with its detections, legible from one face to a crowd.

    Lines lie around a face, not on it, and are thinner around small ones. Scores are written above
    faces that are clearly wider than their caption; the others stay free of them.
    """
    image = as_image(image)
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    longest = max(image.shape[:2])
    unit = max(1.0, longest / 1000)  # a picture is looked at when it is about this large
    font = ImageFont.load_default(size=round(13 * unit))
    boxes = detections.xyxy.round().astype(int).tolist()
    lines = [
        round(max(1.0, min(3 * unit, (x2 - x1) / 14, (y2 - y1) / 14))) for x1, y1, x2, y2 in boxes
    ]
    for (x1, y1, x2, y2), line in zip(boxes, lines, strict=True):
        # A dark rim keeps the line apart from skin and from the sky.
        for color, out, width in ((RIM, line + 1, 1), (FOUND, line, line)):
            box = (x1 - out, y1 - out, max(x2 - 1, x1) + out, max(y2 - 1, y1) + out)
            pen.rectangle(box, outline=color, width=width)
    every = [] if detections.landmarks is None else detections.landmarks.tolist()
    for line, points in zip(lines[: len(every)], every, strict=True):
        for x, y in points:
            for color, radius in ((RIM, line + 1), (FOUND, line)):
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    for (x1, y1, x2, _), line, score in zip(boxes, lines, detections.score.tolist(), strict=True):
        text = f"{score:.2f}"
        if x2 - x1 > 2 * font.getlength(text):
            _caption(pen, text, (x1 - line, y1 - line), FOUND, font, round(2 * unit))
    return np.asarray(picture)


def anonymize(
    image: NDArray[np.uint8], xyxy: NDArray[np.float32], margin: float = 0.2
) -> NDArray[np.uint8]:
    """A copy of an RGB image (H, W, 3) in which no face in the boxes (N, 4) can be recognized.

    Each box, larger by ``margin`` of its sides in every direction, is averaged down to at most
    6 x 6 colors, each of at least 8 x 8 pixels, and blurred up again: what is left of it is these
    colors, and nothing can bring more back. The other pixels stay as they are.
    """
    image = as_image(image)
    picture = Image.fromarray(image)
    height, width = image.shape[:2]
    for x1, y1, x2, y2 in np.asarray(xyxy, float).tolist():
        dx, dy = margin * (x2 - x1), margin * (y2 - y1)
        left, right = max(0, math.floor(x1 - dx)), min(width, math.ceil(x2 + dx))
        top, bottom = max(0, math.floor(y1 - dy)), min(height, math.ceil(y2 + dy))
        region = picture.crop((left, top, right, bottom))
        cells = min(6, max(1, region.width // 8)), min(6, max(1, region.height // 8))
        blurred = region.resize(cells, Image.Resampling.BOX).resize(
            region.size, Image.Resampling.BICUBIC
        )
        picture.paste(blurred, (left, top))
    return np.asarray(picture)


def _caption(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    pad: int,
) -> None:
    """Black text on a filled strip above ``corner``, or below it at the picture's upper edge."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(corner[0], pen.im.size[0] - width))
    y = corner[1] - height if corner[1] > height else corner[1]
    pen.rectangle((x, y, x + width, y + height), fill=color)
    pen.text((x + pad - left, y + pad - top), text, fill=(0, 0, 0), font=font)


def evenly(items: Sequence[T], count: int) -> list[T]:
    """Up to ``count`` items, evenly over the list."""
    places = np.linspace(0, len(items) - 1, min(max(count, 0), len(items))).round().astype(int)
    return [items[i] for i in places.tolist()]


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    columns: int = 3,
    cell: int = 420,
    titles: Sequence[str] | None = None,
) -> NDArray[np.uint8]:
    """RGB images of any size, each fitted into a cell of ``cell`` x ``cell`` pixels, in rows."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    strip = 22 if titles else 0
    sheet = Image.new("RGB", (columns * cell, rows * (cell + strip)), (24, 24, 24))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for i, image in enumerate(images):
        picture = Image.fromarray(image)
        factor = (cell - 8) / max(picture.size)
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
        left, top = (i % columns) * cell, (i // columns) * (cell + strip)
        sheet.paste(picture, (left + (cell - size[0]) // 2, top + strip + (cell - size[1]) // 2))
        if titles:
            pen.text((left + 6, top + 4), titles[i], fill=(235, 235, 235), font=font)
    return np.asarray(sheet)
