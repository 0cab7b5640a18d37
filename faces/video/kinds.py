"""Whether a file is a film or a picture: its content decides, its name where that says nothing."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from faces.images.find import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".asf", ".3gp"}
    | {".ts", ".mts", ".m2ts", ".flv", ".ogv", ".vob", ".h264", ".264", ".hevc", ".265", ".gif"}
    | {".apng"}
)

_PACKET = (188, 192, 204)
"""Bytes from one packet of an MPEG transport stream to the next: cameras put four more before each,
broadcasts sixteen behind."""
_PACKETS = 5
"""So many tell a stream that begins within a packet, as recorders that cut by bytes leave it."""

_FILMS_OF_JPEG = (".mjpeg", ".mjpg")
"""JPEG files one after the other, without a container: only the name tells them from a photo."""

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_FILMS = (
    *(b"\x1aE\xdf\xa3", b"FLV\x01", b"OggS", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"YUV4MPEG2"),
    *(b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\0\0\x01\xb0"),  # MPEG program and video streams
)
_RAW = (b"\0\0\x01", b"\0\0\0\x01")
_RAW_FIRST = {
    *(0x67, 0x27, 0x47, 0x09),  # H.264: what may begin a stream (ITU-T H.264, table 7-1)
    *(0x40, 0x42, 0x46),  # H.265 (ITU-T H.265, table 7-1)
}
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""What old QuickTime films begin with after a length; newer ones have ``ftyp`` there."""

ANIMATED = ("GIF", "PNG", "WEBP")
"""Pillow's names of the formats that hold one picture or many."""


def is_film(path: Path) -> bool:
    """Whether a file is a film: moving pictures, animated GIF, PNG and WebP among them.

    What begins like neither film nor picture is a film if its suffix is that of one.
    """
    suffix = path.suffix.lower()
    known = _film_by_content(path)
    if known is not None:
        return known
    return suffix in VIDEO_SUFFIXES and suffix not in IMAGE_SUFFIXES


def is_animated(path: Path) -> bool:
    """Whether a GIF, PNG or WebP file holds more than one picture; False for anything else."""
    try:
        with Image.open(path, formats=ANIMATED) as image:
            return bool(getattr(image, "is_animated", False))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return False


def is_media(path: Path) -> bool:
    """Whether a file begins as a picture or a film does, whatever its name."""
    return _film_by_content(path) is not None


def is_picture(path: Path) -> bool:
    """Whether a file is a picture; what begins like neither is one if its suffix is that of one."""
    known = _film_by_content(path)
    return path.suffix.lower() in IMAGE_SUFFIXES if known is None else not known


def _film_by_content(path: Path) -> bool | None:
    """None: the content does not say."""
    try:
        if not path.is_file():  # a pipe gives nothing, for ever
            return None
        with path.open("rb") as file:
            head = file.read((_PACKETS + 1) * max(_PACKET))
    except OSError:
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return is_animated(path)
    if head.startswith(b"\xff\xd8\xff") and path.suffix.lower() in _FILMS_OF_JPEG:
        return True
    if head.startswith(_PICTURES):
        return is_animated(path)
    if head.startswith(_FILMS) or (head[:4] == b"RIFF" and head[8:11] == b"AVI"):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] not in _PICTURE_BRANDS
    if head[4:8] in QUICKTIME or _raw_stream(head) or _transport_stream(head):
        return True
    return None


def _raw_stream(head: bytes) -> bool:
    """H.264 or H.265 without any container."""
    return any(head.startswith(code) and head[len(code)] in _RAW_FIRST for code in _RAW)


def _transport_stream(head: bytes) -> bool:
    if min(head, default=9) > 8:  # a text, TypeScript for example, whose lines may be packets long
        return False
    if head[:377:188] == b"GGG" or head[4:389:192] == b"GGG":
        return True
    starts = [place for place in range(min(len(head), max(_PACKET))) if _is_packet(head, place)]
    return any(
        all(_is_packet(head, place) for place in range(first, first + _PACKETS * size, size))
        for size in _PACKET
        for first in starts
    )


def _is_packet(head: bytes, place: int) -> bool:
    """By its first byte and the two bits of the fourth that are never both 0 (ISO 13818-1)."""
    return head[place : place + 1] == b"G" and place + 3 < len(head) and head[place + 3] & 0x30 != 0
