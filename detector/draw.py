"""Pictures for people: boxes on an image, and sheets of images side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TRUTH = (64, 200, 90)
FOUND = (255, 140, 0)
MISSED = (230, 50, 60)
"""Colours (RGB) that stay apart for the common kinds of colour blindness when thickness differs."""


def draw_boxes(
    image: NDArray[np.uint8],
    xyxy: NDArray[np.float32],
    colour: tuple[int, int, int] = FOUND,
    captions: Sequence[str] | None = None,
    width: int | None = None,
) -> NDArray[np.uint8]:
    """A copy of an RGB image (H, W, 3) with boxes (N, 4) drawn, and a caption above each.

    Lines are ``width`` pixels thick; by default about 1/300 of the longest side.
    """
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    longest = max(image.shape[:2])
    thickness = width or max(1, round(longest / 300))
    font = ImageFont.load_default(size=max(10, round(longest / 55)))
    for i, (x1, y1, x2, y2) in enumerate(np.asarray(xyxy, float).tolist()):
        pen.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=colour, width=thickness)
        if captions:
            left, top, right, bottom = pen.textbbox((0, 0), captions[i], font=font)
            height, pad = bottom - top, thickness
            y = y1 - height - 2 * pad if y1 > height + 2 * pad else y1
            pen.rectangle((x1, y, x1 + right - left + 2 * pad, y + height + 2 * pad), fill=colour)
            pen.text((x1 + pad - left, y + pad - top), captions[i], fill=(0, 0, 0), font=font)
    return np.asarray(picture)


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    columns: int = 3,
    cell: int = 420,
    titles: Sequence[str] | None = None,
) -> NDArray[np.uint8]:
    """RGB images of any size, each fitted into a cell of ``cell`` x ``cell`` pixels, in rows.

    Raises ValueError when there are no images.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one image")
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
