"""What the server tells the page; the table in docs/live.md describes all of it.

Texts are JSON objects with a ``type``. Two messages are bytes: a frame of the browser's own camera,
and a frame that the server shows. `pipeline.web.commands` has what the page asks for.
"""

from __future__ import annotations

import json
import struct
from typing import Any

NAME_LENGTH = 200
"""What a name may have before `recognizer.names.clean_name` looks at it."""

_NUMBER = struct.Struct(">I")


def parse_frame(data: bytes) -> tuple[int, bytes]:
    """The page's number of a frame, and the frame as JPEG. Raises ValueError when cut short."""
    if len(data) <= _NUMBER.size:
        raise ValueError("a frame without a picture")
    return _NUMBER.unpack_from(data)[0], data[_NUMBER.size :]


def pack_frame(header: dict[str, Any], jpeg: bytes) -> bytes:
    """Length of the header (4 bytes, big-endian), the header as JSON, the picture."""
    text = json.dumps(header).encode()
    return _NUMBER.pack(len(text)) + text + jpeg


def reply(
    id: int,
    error: str | None = None,
    known: tuple[str, float] | None = None,
    photos: dict[str, str] | None = None,
) -> str:
    """The answer to a command: done, or why not, or who the face looks like already.

    ``photos``: why some of those could not be used, by their numbers.
    """
    answer: dict[str, Any] = {"type": "reply", "id": id, "ok": error is None, "error": error}
    if known is not None:
        answer["known"] = {"name": known[0], "similarity": round(known[1], 4)}
    if photos is not None:
        answer["photos"] = photos
    return json.dumps(answer)
