"""What a PNG file says after its pixels, read without decoding them."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import BinaryIO

_START = 8
"""Bytes of the signature, after which the chunks begin."""

_MOST_CHUNKS = 100_000
_LARGEST = 2**20
"""Bytes of a chunk that is read; EXIF has at most 64 kB in the files of cameras."""

_XMP = b"XML:com.adobe.xmp\0"


def late_metadata(file: BinaryIO) -> dict[str, bytes | str]:
    """The EXIF block and the XMP text of a PNG file, wherever they are, as Pillow calls them.

    Pillow decodes the whole picture to find what comes after the pixels. This goes from chunk to
    chunk instead, past what is in them. The file stays at its place. Of a damaged file it gives
    what comes before the damage.
    """
    before = file.tell()
    found: dict[str, bytes | str] = {}
    place = _START
    try:
        for _ in range(_MOST_CHUNKS):
            file.seek(place)
            head = file.read(8)
            if len(head) < 8 or head[4:] == b"IEND":
                break
            length = int.from_bytes(head[:4], "big")
            if head[4:] in (b"eXIf", b"iTXt") and length <= _LARGEST:
                data = file.read(length)
                if head[4:] == b"eXIf":
                    found["exif"] = b"Exif\0\0" + data
                elif data.startswith(_XMP):
                    packed, text = data[len(_XMP) :][:1], data[len(_XMP) + 2 :].split(b"\0", 2)[-1]
                    with suppress(zlib.error):
                        if packed == b"\1":
                            text = zlib.decompressobj().decompress(text, _LARGEST)
                        found["XML:com.adobe.xmp"] = text.decode("utf-8", "replace")
            place += 12 + length  # with the length, the name and the checksum
    finally:
        file.seek(before)
    return found
