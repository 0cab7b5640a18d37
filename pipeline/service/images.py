"""Images out of untrusted bytes: told by content, measured by header, then decoded."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.images.file import image_kind
from faces.images.read import image_info, read_image
from pipeline.service.errors import ServiceError
from pipeline.service.runtime.limits import Limits

# A progressive JPEG is decoded as often as it has scans: cameras and programs write about ten, an
# attacker thousands (libjpeg-turbo's advice, "Two Issues with the JPEG Standard", 2015).
MAX_SCANS = 32

_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
"""Of a JPEG: the end, or what has a length. Decoders pass over all else byte by byte."""

KINDS = ("jpeg", "png", "webp")
"""What callers may send; whoever runs a command may read more (`faces.images.file`)."""


def decode_base64(text: str, otherwise: str, image: int) -> bytes:
    """An image's bytes from base64 as programs write it.

    With or without line breaks and padding, with "+/" or the URL's "-_", and as a data URL (RFC
    2397), which browsers make of a canvas.

    Args:
        otherwise: message of the error when it is something else.
        image: its place in the request.

    Raises ServiceError ``invalid_request``.
    """
    refusal = ServiceError("invalid_request", otherwise, {"image": image})
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().rstrip().endswith(";base64"):
            raise refusal
        text = unquote(text)
    text = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise refusal from error


def check_image(data: bytes, limits: Limits, kinds: Sequence[str] = KINDS) -> int:
    """Look at the header only; returns how many pixels it promises.

    Raises ServiceError ``bad_image`` for anything but images of these kinds, whatever they are
    called, and ``too_large`` for too many bytes or pixels.
    """
    if len(data) > limits.max_bytes:
        raise ServiceError(
            "too_large",
            f"the image has {len(data)} bytes, more than the limit of {limits.max_bytes}",
            {"bytes": len(data), "limit": limits.max_bytes},
        )
    kind = image_kind(data)
    if kind not in kinds:
        other = f", but {kind}" if kind else ""
        wanted = ", ".join(kind.upper() for kind in kinds)
        raise ServiceError("bad_image", f"the bytes are no image in {wanted}{other}")
    try:
        info = image_info(io.BytesIO(data))
    except UserError as error:
        raise _bad(error) from error
    pixels = info.height * info.width
    if pixels == 0:
        raise ServiceError("bad_image", "the image is empty")
    if pixels > limits.max_pixels:
        raise ServiceError(
            "too_large",
            f"the image has {info.width}x{info.height} pixels, more than the limit of "
            f"{limits.max_pixels}",
            {"pixels": pixels, "limit": limits.max_pixels},
        )
    if kind == "jpeg" and _scans(data) > MAX_SCANS:
        raise ServiceError("too_large", f"the JPEG image has more than {MAX_SCANS} scans")
    return pixels


def decode_image(data: bytes, limits: Limits) -> NDArray[np.uint8]:
    """An image that `check_image` has let in -> RGB uint8 (H, W, 3), upright as EXIF says.

    Raises ServiceError ``bad_image`` when it is damaged, ``too_large`` when memory is short.
    """
    try:
        return read_image(io.BytesIO(data), limits.max_pixels)
    except UserError as error:
        raise _bad(error) from error
    except MemoryError as error:
        raise ServiceError("too_large", "the image does not fit into memory") from error


def _scans(data: bytes) -> int:
    """How many scans a JPEG picture has; it stops counting above `MAX_SCANS`.

    What a marker's length spans goes for nothing, as for decoders: comments, small pictures and
    tables may hold the bytes of any marker. So does what is behind the end: telephones put a film
    there.
    """
    scans, place = 0, 0
    while scans <= MAX_SCANS and (found := _MARKER.search(data, place)):
        place, kind = found.end(), data[found.end() - 1]
        if kind == 0xD9:  # end of the picture
            break
        scans += kind == 0xDA
        place += max(2, int.from_bytes(data[place : place + 2]))  # the length counts itself
    return scans


def _bad(error: UserError) -> ServiceError:
    # Pillow measures as well, with a limit of its own.
    if isinstance(error.__cause__, Image.DecompressionBombError):
        return ServiceError("too_large", "the image has far too many pixels")
    return ServiceError("bad_image", "the image is damaged or cut short")
