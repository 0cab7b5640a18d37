"""Decoding by Pillow, with what it alone gets wrong without a word."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

_BITS, _WHITE_IS, _PLANES, _SAMPLE = 258, 262, 284, 339  # tags of TIFF 6.0
_COLORS = ("RGB;16", "RGBA;16", "RGBX;16", "R;16")
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def load(image: Image.Image) -> None:
    """As ``image.load()``, and raises what that does.

    Pillow maps a file into memory where it can, and takes the width of a TIFF that its orientation
    lays on its side for the height; without a file name it does not map. Of a TIFF that stores each
    color apart it takes 16 bits for 8.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        image.load()
        return
    image.tile = _tiles(image)
    name, image.filename = image.filename, ""
    try:
        image.load()
    finally:
        image.filename = name


def _tiles(image: Image.Image) -> list[Any]:
    """The tiles of an image that is not decoded yet, with the bits that each really has."""
    tiles: list[Any] = list(getattr(image, "tile", ()))
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return tiles
    if image.tag_v2.get(_PLANES) != 2 or 16 not in image.tag_v2.get(_BITS, ()):
        return tiles
    kind = ";16B" if image.tag_v2.prefix == b"MM" else ";16L"
    return [
        tile._replace(args=(tile.args[0] + kind, *tile.args[1:]))
        if tile.codec_name == "raw" and len(tile.args[0]) == 1
        else tile
        for tile in tiles
    ]


def has_deep_colors(image: Image.Image) -> bool:
    """Whether an image, not decoded yet, has colors of 16 bits, of which Pillow gives 8."""
    return any(_raw_mode(tile).startswith(_COLORS) for tile in _tiles(image))


def all_bits(image: Image.Image, same: Image.Image) -> NDArray[np.uint16]:
    """RGB (H, W, 3) of an image with deep colors.

    Args:
        image: decoded.
        same: opened again; it is decoded here.
    """
    tiles = []
    for tile in _tiles(same):
        mode = _raw_mode(tile)
        mode = mode[:-1] + _OTHER_BYTE[mode[-1]]
        args = mode if isinstance(tile.args, str) else (mode, *tile.args[1:])
        tiles.append(tile._replace(args=args))
    same.tile = tiles  # type: ignore[attr-defined]
    load(same)
    high, low = (np.asarray(x)[..., :3].astype(np.uint16) for x in (image, same))
    return high * 256 + low


def _raw_mode(tile: Any) -> str:
    mode = tile.args if isinstance(tile.args, str) else next(iter(tile.args or ()), "")
    return mode if isinstance(mode, str) else ""


def numbers(image: Image.Image) -> tuple[NDArray[Any], bool]:
    """The numbers of a gray image of more than 8 bits, (H, W), and whether 0 means white."""
    array = np.asarray(image)
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return array, False
    tags = image.tag_v2
    if image.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLE, (1,)) == (1,):
        array = array.view(np.uint32)  # Pillow has no mode for them
    return array, tags.get(_WHITE_IS) == 0


def has_odd_numbers(file: Path | BinaryIO) -> bool:
    """Whether a file is a TIFF whose pixels Pillow has no mode for, 64-bit floats for example."""
    if not isinstance(file, Path):
        file.seek(0)
    try:
        with TiffImagePlugin.TiffImageFile(file):
            return False
    except Exception as error:  # it is refused whatever it was
        return "pixel mode" in str(error)
