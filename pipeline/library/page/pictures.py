"""Pictures of a library: a face cut out of its photo or film, or the whole photo, made small."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.images.read import read_image, read_small
from pipeline.library.schema import LibraryFaces, on_disk


def picture_of(faces: LibraryFaces, row: int) -> NDArray[np.uint8]:
    """The face with what is around it, cut out of its photo or film: RGB uint8 (h, w, 3).

    Raises UserError when the file cannot be read (any more).
    """
    stored = str(faces.path[faces.photo[row]])
    image = _shown(faces, row)
    x1, y1, x2, y2 = faces.xyxy[row].tolist()
    rim = 0.4 * max(x2 - x1, y2 - y1)
    height, width = image.shape[:2]
    left, top = max(0, int(x1 - rim)), max(0, int(y1 - rim))
    part = image[top : min(height, int(y2 + rim) + 1), left : min(width, int(x2 + rim) + 1)]
    if not part.size:
        raise UserError(f"{stored}: it has changed since it was indexed: run `faces index` again")
    return part


def photo_of(faces: LibraryFaces, row: int, side: int) -> NDArray[np.uint8]:
    """The whole photo of a face, or the frame of its film, RGB uint8 (h, w, 3).

    A JPEG may come reduced, though not below ``side`` pixels. Raises UserError as `picture_of`.
    """
    return _shown(faces, row, side)


def small_jpeg(image: NDArray[np.uint8], side: int) -> bytes:
    """RGB uint8 (h, w, 3) as JPEG, at most ``side`` pixels wide and high."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=85)
    return file.getvalue()


def _shown(faces: LibraryFaces, row: int, least: int | None = None) -> NDArray[np.uint8]:
    seconds = float(faces.seconds[row])
    with on_disk(str(faces.path[faces.photo[row]])) as path:
        if seconds == seconds:
            return _frame(path, seconds)
        return read_image(path) if least is None else read_small(path, least)


def _frame(path: Path, seconds: float) -> NDArray[np.uint8]:
    from faces.video.film import VideoReader

    with VideoReader(path) as film:
        shown = None
        while (frame := film.read()) is not None and frame.time <= seconds + 1e-3:
            shown = frame
    if shown is None:
        raise UserError(f"{path}: there is no picture at {seconds:.1f} s: run `faces index` again")
    return shown.image
