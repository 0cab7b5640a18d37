"""Files that are cut short: how much of the picture is there, and that much of it.

The rule for all of the project: a picture of which at most a quarter is missing (`MOST_MISSING`) is
used, with a warning; of which more is missing is refused, and says so. What is missing is gray.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict

import numpy as np
from PIL import Image

from faces.images.decode import load
from faces.images.pixels import rgb_of_image

MOST_MISSING = 0.25
"""The largest part of a picture that may be missing."""

GRAY = 128

FILLINGS = (b"\0", b"\x55", b"\x80")
"""The bytes that `padded` may put at the end."""

# Bytes that are read as the next blocks of a JPEG, and never as a marker.
_NOISE = np.random.default_rng(0).integers(0, 255, 4096, np.uint8).tobytes()

_END = b"\xff\xd9"  # of a JPEG and of a JPEG 2000

_FILLING = 64
"""So many equal bytes at the end of a JPEG are no part of it."""

_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # neither a stuffed byte nor a restart

_DETAIL = frozenset(range(64))
"""The coefficients of a block."""


def damage(missing: float) -> str:
    """A sentence about a file of whose picture the part ``missing`` (0..1) is lost.

    Raises ValueError with such a sentence when that is too much.
    """
    if missing > MOST_MISSING:
        raise ValueError(
            f"the file is cut short or damaged, {missing:.1%} of the picture is missing (at most "
            f"{MOST_MISSING:.0%} may be)"
        )
    lost = f"{missing:.1%}" if missing >= 0.0005 else "nothing"
    return f"the file is cut short or damaged, {lost} of the picture is missing"


def padded(data: bytes, filling: bytes = b"\0") -> tuple[bytes, float] | None:
    """A WebP, AVIF, HEIC or JPEG 2000 file brought to its length, and the part (0..1) added.

    These formats say how long they are and are decoded whole or not at all: with zeros at the end
    most are decoded, of the others most with another of the `FILLINGS`. None for other files, and
    for those that are as long as they say.
    """
    length = _declared_length(data)
    if length is None or length <= len(data):
        return None
    missing = 1 - len(data) / length
    if missing > MOST_MISSING:  # the length may be a lie, and no memory is spent on it
        return data, missing
    end = _END if data[4:8] == b"jP  " else b""
    return (data + filling * (length - len(data)))[: length - len(end)] + end, missing


def decode_partly(data: bytes, formats: tuple[str, ...]) -> tuple[Image.Image, float]:
    """What there is of a picture that cannot be decoded whole.

    Args:
        data: the file.
        formats: Pillow's names of the decoders to try.

    Returns RGB as stored, not turned, and the part that is missing (0..1). May raise whatever a
    decoder raises.
    """
    with Image.open(io.BytesIO(data), formats=formats) as image:
        if image.format in ("JPEG", "MPO"):
            data = _without_filling(data)
            return _finished_jpeg(data), _missing_of_jpeg(data, image)
        if image.format == "GIF" and "transparency" in image.info:  # it is laid over a color
            raise OSError("image file is truncated")
        picture, absent = _decode_over_noise(image)
    if absent.any():
        pixels = np.array(picture)
        pixels[absent] = GRAY
        picture = Image.fromarray(pixels)
    return picture, float(absent.mean())


def _decode_over_noise(image: Image.Image) -> tuple[Image.Image, np.ndarray]:
    """RGB, and which rows the decoder did not write, bool (H,).

    It decodes into noise, the same in each row: a row that still is noise was not written.
    """
    width, height = image.size
    size = len(Image.new(image.mode, (width, 1)).tobytes())
    noise = np.random.default_rng(0).bytes(size)
    noise = Image.frombytes(image.mode, (width, 1), noise).tobytes()  # mode "1" has spare bits
    image.im = Image.frombytes(image.mode, image.size, noise * height).im
    try:
        load(image)
    except Exception:  # whatever it was, what counts is how far it came
        image.tile = []  # type: ignore[attr-defined]  # so that Pillow does not try again
    rows = np.frombuffer(image.tobytes(), np.uint8).reshape(height, size)
    absent = (rows == np.frombuffer(noise, np.uint8)).all(axis=1)
    return rgb_of_image(image), absent


def _without_filling(data: bytes) -> bytes:
    """A JPEG without the equal bytes, mostly zeros, that a full disk or half a download ends in.

    They would be decoded as blocks.
    """
    short = data.rstrip(data[-1:])
    return data if len(data) - len(short) < _FILLING else short


def _finished_jpeg(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data + _END), formats=("JPEG",)) as image:
            image.load()
            return rgb_of_image(image)
    except OSError:  # cut within the tables before another scan, which take the end for theirs
        tables = max(data.rfind(b"\xff\xc4"), data.rfind(b"\xff\xda"))
        with Image.open(io.BytesIO(data[: max(0, tables)] + _END), formats=("JPEG",)) as image:
            image.load()
            return rgb_of_image(image)


def _missing_of_jpeg(data: bytes, image: Image.Image) -> float:
    """The part of the picture (0..1) that is gray because the file ends before it."""
    if "progressive" in image.info:
        return _missing_of_progressive(data)
    block = 8 * max((layer[2] for layer in getattr(image, "layer", ())), default=2)
    return _missing_blocks(data, block)


def _missing_blocks(data: bytes, block: int) -> float:
    """The part (0..1) that changes when noise follows the data: what is there is decided by it."""
    data = data.rstrip(b"\xff")  # half a marker
    gray, noisy = (np.asarray(_finished_jpeg(part)) for part in (data, data + _NOISE))
    changed = (gray != noisy).any(axis=2)
    rows = np.flatnonzero(changed.any(axis=1))
    if not len(rows):
        return 0.0
    height, width = changed.shape
    # One more: colors at half the resolution are smoothed into the block before.
    top = min(height - 1, int(rows[0]) + 1) // block * block
    bottom = min(height, top + block)
    left = (int(np.flatnonzero(changed[top:bottom].any(axis=0))[0]) + 1) // block * block
    return 1 - (top * width + (bottom - top) * min(left, width)) / (height * width)


def _missing_of_progressive(data: bytes) -> float:
    """The part of a progressive JPEG (0..1) that is not there even imprecisely.

    Such a file sends the picture several times, ever finer (ITU-T T.81, annex G). All colors must
    have come, and every detail of the brightness once; what comes later makes it more precise.
    """
    known: defaultdict[int, set[int]] = defaultdict(set)  # component -> coefficients of its blocks
    components: list[int] = []
    cut: set[int] = set()  # what a scan brings of the brightness that the file ends in
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF or data[place + 1] == 0xFF:  # fill bytes may precede a marker
            place += 1
            continue
        marker = data[place + 1]
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == 0xC2 and len(body) > 5:
            components = list(body[6 : 6 + 3 * body[5] : 3])
        if marker != 0xDA or not body or len(body) < 4 + 2 * body[0]:
            continue
        count = body[0]
        first, last, bits = body[1 + 2 * count : 4 + 2 * count]
        sent = set(range(first, last + 1))
        named = set(body[1 : 1 + 2 * count : 2])
        end = _MARKER.search(data, place)
        if end is None:  # cut within this scan
            if components and components[0] in named and bits >> 4 == 0:
                cut = sent
            break
        if bits >> 4 == 0:  # the first time; later scans only refine
            for component in named:
                known[component] |= sent
        place = end.start()
    if not components or not all(0 in known[component] for component in components):
        return 1.0
    if known[components[0]] >= _DETAIL:
        return 0.0
    if known[components[0]] | cut >= _DETAIL:
        return _missing_blocks(data, 8)
    return 1.0


def _declared_length(data: bytes) -> int | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return int.from_bytes(data[4:8], "little") + 8
    if data[4:8] not in (b"ftyp", b"jP  "):
        return None
    place = 0
    while place + 8 <= len(data):  # boxes, one after the other (ISO/IEC 14496-12)
        size, header = int.from_bytes(data[place : place + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        if size < header:  # 0: to the end of the file, whatever its length
            return None
        place += size
    return place
