"""Pixels of every kind and range -> RGB uint8 (H, W, 3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from faces.errors import UserError
from faces.images.decode import numbers

# The values that mean white: 8, 12 and 16 bits, signed and unsigned 32 bits. The least one that no
# value exceeds is taken, so that 12 bits in a 16-bit file, or 8 in an array of ints, are not black.
_WHITE = (255, 4095, 65535, 2**31 - 1, 2**32 - 1)

# Resampling overshoots: what is beyond the range by less than this part of it is clipped.
_OVERSHOOT = 0.05

# Fractions up to this, but above 1, may be of either range: nearly black, or mostly white.
_DARKEST = 16.0


def rgb_of_image(image: Image.Image) -> Image.Image:
    """A Pillow image of any mode as RGB of 8 bits, as stored: nothing is turned.

    Transparency is dropped, integers and floats are brought to 0..255 as in `rgb_of_array`.
    Raises UserError for values whose range cannot be told.
    """
    mode = image.mode
    if mode == "RGB":
        return image
    if mode in ("I", "F") or mode.startswith("I;16"):  # convert("RGB") clips at 255
        array, zero_is_white = numbers(image)
        rgb = rgb_of_array(array)
        return Image.fromarray(255 - rgb if zero_is_white else rgb)
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert turned is not None  # it is None only where the image is changed in place
        return turned
    if mode in ("La", "RGBa"):  # colors multiplied by their alpha
        image = image.convert(mode.upper())
    elif mode in ("P", "PA"):  # straight to RGB, Pillow warns of transparent palettes
        image = image.convert("RGBA")
    return image.convert("RGB")


def rgb_of_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    """An array in any usual form as contiguous RGB uint8 (H, W, 3); see `faces.images.read`.

    Raises UserError for every other form, saying what is wanted.
    """
    pixels = _channels_last(array)
    if pixels.dtype != np.uint8:
        pixels = _eight_bits(pixels)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    # Negative strides, which OpenCV refuses, become ordinary ones.
    return np.ascontiguousarray(pixels[..., :3])


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 1), (H, W, 3) or (H, W, 4)."""
    shape = array.shape
    wanted = f"an image is RGB (H, W, 3), got the shape {shape}"
    if array.ndim not in (2, 3):
        several = ": of several images give a list to `detect_batch`" if array.ndim == 4 else ""
        raise UserError(f"{wanted}{several}")
    if array.size == 0:
        raise UserError(f"the image is empty: its shape is {shape}")
    if array.ndim == 2:
        return array[..., None]
    if shape[2] in (1, 3, 4):
        return array
    if shape[0] in (1, 3, 4):
        raise UserError(f"{wanted}, channels first: give `np.moveaxis(image, 0, -1)`")
    raise UserError(f"{wanted}: give one channel (gray), three (RGB) or four (RGBA)")


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Bool, integers and floats as 0..255."""
    kind = pixels.dtype.kind
    if kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if kind not in "uif":
        raise UserError(f"an image has numbers as pixels, got {pixels.dtype}")
    if kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(pixels)))):
        raise UserError(f"the image has {bad:,} values that are not finite (NaN or infinite)")
    low, high = float(pixels.min()), float(pixels.max())
    whites = (1, *_WHITE) if kind == "f" else _WHITE
    slack = _OVERSHOOT if kind == "f" else 0.0
    white = next((w for w in whites if high <= w * (1 + slack)), None)
    if white is None or not _believed(pixels, white, low, high, slack):
        raise UserError(
            f"the image has values from {low:g} to {high:g}: give 0 to 255, 0 to 65535 or, as "
            "floats, 0 to 1 (images that were normalized by a mean must be brought back first)"
        )
    if white == 255 and kind != "f":
        return pixels.astype(np.uint8)
    scaled = np.multiply(pixels, 255 / white, dtype=np.float32 if white < 2**24 else np.float64)
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _believed(pixels: NDArray[Any], white: float, low: float, high: float, slack: float) -> bool:
    """Whether values from ``low`` to ``high`` may be of the range 0 to ``white``.

    A range is not believed just because no value exceeds it: an image that was normalized by mean
    and deviation, -2 to 2.6, and one with highlights above 1, 0 to 4, would be read as all black.
    """
    if white > 65535:  # beyond 16 bits, only where it is used
        return low >= -slack * white and high >= white / 256
    if white == 1 or pixels.dtype.kind != "f":
        return low >= -slack * white
    if low < -slack * min(white, 2 * high):  # overshoot is a part of the steps that are there
        return False
    # Dark frames of 8 bits are whole numbers.
    return high > _DARKEST or bool((pixels == np.rint(pixels)).all())
