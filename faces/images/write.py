"""Writing image files whole or not at all, and which formats can be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.files import atomic_write

# Suffix -> Pillow's format and how it is written; what can be read and is not here is written in
# another format.
SAVED_AS: dict[str, tuple[str, dict[str, object]]] = {
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".jpe": ("JPEG", {"quality": 92}),
    ".jfif": ("JPEG", {"quality": 92}),
    ".png": ("PNG", {"compress_level": 3}),  # half the time of the default, 5 % more bytes
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"quality": 90}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image (H, W, 3) whole or not at all, in the format of the suffix.

    Nothing of the original file's metadata goes into it: no place, no camera, no thumbnail. Raises
    UserError for a suffix that is none of `SAVED_AS`, OSError when it cannot be written.
    """
    if path.suffix.lower() not in SAVED_AS:
        raise UserError(f"{path}: a picture is written as one of {' '.join(SAVED_AS)}")
    kind, options = SAVED_AS[path.suffix.lower()]
    with atomic_write(path) as file:
        Image.fromarray(image).save(file, format=kind, **options)
