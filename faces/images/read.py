"""Reading images, with EXIF rotation applied and limits on untrusted files.

What an image may be is decided by its content. Files that are cut short follow the rule of
`faces.images.cut_short`.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from faces.errors import UserError
from faces.images.decode import load
from faces.images.file import (
    BROKEN,
    MAX_PIXELS,
    ImageFile,
    limit_pixels,
    name_of,
    orientation_of,
    read_file,
)
from faces.images.pixels import rgb_of_array, rgb_of_image

log = logging.getLogger(__name__)


# What write_upright writes in its own format; the others it writes as PNG.
_REWRITTEN = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}} | {
    kind: {} for kind in ("PNG", "BMP", "TIFF")
}

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


def read_image(path: Path | str | BinaryIO, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image into RGB uint8 (H, W, 3), upright as its EXIF orientation says.

    Args:
        path: a file, or an open binary file.
        max_pixels: larger images are refused from their header, before anything is decoded.

    Gray, palette, CMYK, 16-bit and float images become 8-bit RGB; transparency is dropped; of
    several frames the first is taken. A file that is cut short is used, with a warning, if no more
    is missing than `faces.images.cut_short` says. Raises UserError, naming the file, when it is
    missing, no image, too large, or lacks too much.

    >>> import faces
    >>> from PIL import Image
    >>> Image.new("L", (40, 30), 128).save("gray.png")
    >>> faces.read_image("gray.png").shape
    (30, 40, 3)
    """
    path = Path(path) if isinstance(path, str) else path
    return _decoded(path, read_file(path, decode=True, max_pixels=max_pixels))


def read_dated(path: Path) -> tuple[NDArray[np.uint8], datetime | None]:
    """As `read_image`, and when the photo was taken by its camera's clock, where EXIF says so."""
    found = read_file(path, decode=True)
    return _decoded(path, found), found.taken


def read_small(path: Path, least: int) -> NDArray[np.uint8]:
    """As `read_image`, for who needs no more than ``least`` pixels a side.

    A JPEG comes reduced, which is three times as fast; other images in full.
    """
    return _decoded(path, read_file(path, decode=True, draft=True, least=least))


def _decoded(path: Path | BinaryIO, found: ImageFile) -> NDArray[np.uint8]:
    if found.damage and isinstance(path, Path):
        _warn_once(str(path), found.damage)
    try:
        return _upright(found.picture, 1 if found.turned else found.orientation)
    except UserError as error:
        raise UserError(f"{name_of(path)}: {error}") from error
    except BROKEN as error:  # colors that cannot be converted
        raise UserError(f"{name_of(path)}: cannot read the image: {error}") from error


def as_image(image: Any, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Whatever shows a picture as RGB uint8 (H, W, 3): what all doors of Python take.

    Args:
        image: a path (str or Path), the bytes of an image file or an open one, a Pillow image of
            any mode (turned upright as its EXIF says), or an array or nested list: gray (H, W) or
            (H, W, 1), RGB (H, W, 3), RGBA (H, W, 4, whose alpha is dropped), of bool, of integers
            up to 255, 4095 (12 bits), 65535 or 32 bits, or of floats up to 1 or these. Colors must
            be in the order red, green, blue: OpenCV's blue, green, red cannot be told from it.
        max_pixels: as for `read_image`; arrays are in memory already and are not limited.

    RGB uint8 arrays are not copied. Raises UserError, saying what is wanted, for everything else:
    channels first, torch tensors, several images, empty ones, NaN, negative values.
    """
    if isinstance(image, np.ndarray):
        return rgb_of_array(np.asarray(image))  # np.matrix has rules of its own
    if isinstance(image, str | os.PathLike):
        if "://" in str(image):
            raise UserError(f"{image}: addresses are not fetched; give a file")
        return read_image(Path(image), max_pixels)
    if isinstance(image, bytes | bytearray | memoryview):
        return read_image(io.BytesIO(image), max_pixels)
    if isinstance(image, Image.Image):
        return _of_pillow(image, max_pixels)
    kind = type(image)
    if kind.__module__.partition(".")[0] == "torch":  # without importing it
        raise UserError(
            "got a torch tensor: give an array (H, W, 3), of a tensor (3, H, W) "
            "`tensor.permute(1, 2, 0).cpu().numpy()`"
        )
    if isinstance(image, list | tuple):
        try:
            array = np.asarray(image)
        except ValueError as error:
            raise UserError("an image as a list needs rows of equal length") from error
        if array.dtype.kind not in "buif":
            raise UserError(
                "got a list of other things than numbers: give one image, or several to "
                "`detect_batch`"
            )
        return rgb_of_array(array)
    if hasattr(image, "read"):
        return read_image(image, max_pixels)
    if hasattr(image, "__array__"):
        return rgb_of_array(np.asarray(image))
    raise UserError(
        f"got {kind.__name__}: an image is a path, a Pillow image or an array RGB (H, W, 3)"
    )


def as_images(images: Any, ready: type | tuple[()] = ()) -> list[Any]:
    """A list or another iterable, or an array (N, H, W, 3), of what `as_image` takes.

    What is of the type ``ready`` is given back as it is. Raises UserError, naming the place of the
    image, as `as_image` does; and when it is one image alone, whose rows would be taken for images.
    """
    single = isinstance(images, str | bytes | bytearray | os.PathLike | Image.Image)
    if single or getattr(images, "ndim", 4) != 4 or hasattr(images, "read"):
        raise UserError("got one image where several are expected: give a list, [image]")
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise UserError(f"got {type(images).__name__} where images are expected: give a list")
    found = []
    for i, image in enumerate(images):
        try:
            found.append(image if isinstance(image, ready) else as_image(image))
        except UserError as error:
            raise UserError(f"image {i}: {error}") from error
    return found


@dataclass(frozen=True)
class ImageInfo:
    """What the header of an image says.

    Args:
        height, width: pixels of the upright image, as `read_image` gives it.
        orientation: the EXIF orientation 1..8; 1 is upright as stored.
        damage: a sentence when the file is cut short and can be used all the same; "" for a whole
            one. Most such files are only found when they are decoded.
    """

    height: int
    width: int
    orientation: int = 1
    damage: str = ""

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
    found = read_file(path, decode, max_pixels, draft=decode)
    return ImageInfo(found.height, found.width, found.orientation, found.damage)


def image_size(path: Path | BinaryIO) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, as `read_image` gives it; header only.

    Raises UserError, naming the file, when it is missing or no image. A file that is cut off after
    its header passes.
    """
    info = image_info(path)
    return info.height, info.width


def write_upright(source: Path, destination: Path) -> Path:
    """Write an image as `read_image` gives it, in its own format and color profile, without EXIF.

    It is whole even where the source is cut short. JPEG and WebP are encoded again with quality 95;
    what cannot be written without loss otherwise (GIF, HEIC, AVIF) becomes a PNG file. Returns the
    file, whose suffix then is .png. Raises UserError as `read_image` does.
    """
    header = read_file(source)
    kind, profile = "JPEG" if header.kind == "MPO" else header.kind, header.profile
    if kind not in _REWRITTEN:
        kind, destination = "PNG", destination.with_suffix(".png")
    options: dict[str, Any] = {**_REWRITTEN[kind]}
    if profile:
        options["icc_profile"] = profile
    Image.fromarray(read_image(source)).save(destination, format=kind, **options)
    return destination


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


def _upright(picture: Image.Image, orientation: int) -> NDArray[np.uint8]:
    rgb = rgb_of_image(picture)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    return np.array(rgb)


def _of_pillow(image: Image.Image, max_pixels: int) -> NDArray[np.uint8]:
    """RGB, upright, of an image that somebody else opened."""
    name = getattr(image, "filename", "") or "the image"
    if not (image.width and image.height):
        raise UserError(f"{name} is empty: {image.width}x{image.height} pixels")
    limit_pixels(name, image, max_pixels)
    try:
        load(image)
    except BROKEN as error:
        file = getattr(image, "fp", None)  # still there, as it is not read to its end
        if file is None:
            raise UserError(f"{name}: cannot read the image: {error}") from error
        return read_image(file, max_pixels)
    return _upright(image, orientation_of(image))  # after loading, which turns TIFF files


@lru_cache(maxsize=100_000)  # a training reads its pictures again and again
def _warn_once(name: str, damage: str) -> None:
    log.warning("%s: %s; it is used (`faces prepare check --fix` writes it whole)", name, damage)
