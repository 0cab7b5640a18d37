"""Finding images and reading them, with EXIF rotation applied and limits on untrusted files."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from faces.errors import UserError
from faces.files import atomic_write

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"})

MAX_PIXELS = 100_000_000  # 300 MB when decoded

# Only these decoders are tried. Pillow knows others that nobody needs here and that run outside
# programs (EPS starts Ghostscript). MPO files, as phones make them, are read as JPEG.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")

# What Pillow's decoders raise on broken files, besides OSError.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)

_ORIENTATION_TAG = 0x0112
# EXIF orientation -> what makes the stored pixels upright (EXIF 2.32, table 4, tag 274).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path | BinaryIO, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image into RGB uint8 (H, W, 3), upright as its EXIF orientation says.

    Args:
        path: a file, or an open binary file.
        max_pixels: larger images are refused from their header, before anything is decoded.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped; of several
    frames the first is taken. Raises UserError, naming the file, when it is missing, no image,
    truncated or too large.
    """
    with _opened(path) as image:
        _limit_pixels(path, image, max_pixels)
        image.load()  # before the orientation: Pillow turns TIFF files itself while it decodes
        orientation = _orientation(image)
        if image.mode.startswith("I;16"):  # convert("RGB") would clip at 255 instead of scaling
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        upright = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
        if orientation in _UPRIGHT:
            upright = upright.transpose(_UPRIGHT[orientation])
        return np.array(upright)


@dataclass(frozen=True)
class ImageInfo:
    """What the header of an image says.

    Args:
        height, width: pixels of the upright image, as `read_image` gives it.
        orientation: the EXIF orientation 1..8; 1 is upright as stored.
    """

    height: int
    width: int
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) as stored, before the rotation."""
        turned = self.orientation >= 5
        return (self.width, self.height) if turned else (self.height, self.width)


def image_info(
    path: Path | BinaryIO, decode: bool = False, max_pixels: int = MAX_PIXELS
) -> ImageInfo:
    """Size and orientation of an image, from its header.

    Args:
        path: a file, or an open binary file.
        decode: also read all of its data, to find out whether it is whole.
        max_pixels: only with ``decode``; as for `read_image`.

    Raises UserError, naming the file, when it is missing, no image or (with ``decode``) broken.
    """
    with _opened(path) as image:
        width, height = image.size
        orientation = _orientation(image)
        # Pillow swaps the size of a turned TIFF file when it opens it.
        if image.format != "TIFF" and orientation >= 5:
            width, height = height, width
        if decode:
            _limit_pixels(path, image, max_pixels)
            # Makes JPEG three times faster, and still reads every byte.
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
        return ImageInfo(height, width, orientation)


def image_size(path: Path | BinaryIO) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, as `read_image` gives it; header only.

    Raises UserError, naming the file, when it is missing or no image. A file that is cut off after
    its header passes.
    """
    info = image_info(path)
    return info.height, info.width


def write_upright(source: Path, destination: Path) -> None:
    """Write an image as `read_image` gives it, in its own format and colour profile, without EXIF.

    JPEG and WebP are encoded again with quality 95. Raises UserError as `read_image` does.
    """
    with _opened(source) as image:
        kind, profile = image.format, image.info.get("icc_profile")
    kind = "JPEG" if kind == "MPO" else kind
    options: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if kind in ("JPEG", "WEBP"):
        options["quality"] = 95
    if kind == "JPEG":
        options["subsampling"] = 0  # colour at full resolution
    Image.fromarray(read_image(source)).save(destination, format=kind, **options)


def upright_boxes(
    xyxy: ArrayLike, orientation: int, stored: tuple[int, int]
) -> NDArray[np.float64]:
    """Boxes given in the stored pixels of an image, as float64 boxes of the upright image.

    Args:
        xyxy: (N, 4), x1 y1 x2 y2 with exclusive ends; empty and inverted boxes stay so.
        orientation: the EXIF orientation 1..8.
        stored: (height, width) as stored, before the rotation.
    """
    height, width = stored
    x1, y1, x2, y2 = np.asarray(xyxy, np.float64).reshape(-1, 4).T
    if orientation in (2, 3, 7, 8):  # right becomes left, before rows and columns are exchanged
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 6, 7):
        y1, y2 = height - y2, height - y1
    if orientation >= 5:
        x1, y1, x2, y2 = y1, x1, y2, x2
    return np.stack([x1, y1, x2, y2], axis=1)


def find_images(folder: Path) -> list[Path]:
    """All images under ``folder``, by suffix in any letter case, sorted, links followed.

    Hidden files and folders are left out (macOS puts ``._photo.jpg`` files that are no images into
    archives). Raises UserError when there is no such folder.
    """
    return find_files(folder, IMAGE_SUFFIXES)


def find_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """All files under ``folder`` with one of these lower-case suffixes; see `find_images`."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    found: list[str] = []
    seen: set[str] = set()  # folders can link to their own parents
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:  # noqa: PTH122
                found.append(os.path.join(parent, name))  # noqa: PTH118 (a Path each is 5x slower)
    return sorted(map(Path, found), key=lambda path: path.parts)


@contextmanager
def _opened(path: Path | BinaryIO) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{_name(path)}: there is no such file") from error
    except _BROKEN as error:
        raise UserError(f"{_name(path)}: cannot read the image: {error}") from error


def _limit_pixels(path: Path | BinaryIO, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UserError(
            f"{_name(path)}: the image has {width}x{height} pixels, more than the limit of "
            f"{max_pixels}; make it smaller"
        )


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _BROKEN:  # a photo is worth more than its damaged EXIF block
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _name(path: Path | BinaryIO) -> str:
    return str(path if isinstance(path, Path) else getattr(path, "name", "image"))


# Suffix -> Pillow's format and how it is written.
_WRITTEN: dict[str, tuple[str, dict[str, object]]] = {
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
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
    OSError when it cannot be written.
    """
    kind, options = _WRITTEN[path.suffix.lower()]
    with atomic_write(path) as file:
        Image.fromarray(image).save(file, format=kind, **options)
