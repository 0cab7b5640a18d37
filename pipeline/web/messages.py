"""What the page and the server tell each other; the table in docs/live.md describes all of it.

Texts are JSON objects with a ``type``. Two messages are bytes: a frame of the browser's own camera,
and a frame that the server shows.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pipeline.teaching.background_fit import HeadState
from pipeline.teaching.progress import Teaching
from pipeline.types import FrameFaces, Stats
from recognizer.store.read import PersonInfo

NAME_LENGTH = 200
"""What a name may have before `recognizer.names.clean_name` looks at it."""

_NUMBER = struct.Struct(">I")

Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
Track = Annotated[int, Field(ge=0, le=2**53)]

Number = Annotated[int, Field(ge=0, le=2**53)]
Numbers = Annotated[list[Number], Field(min_length=1, max_length=5000)]


class _Ask(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Command(_Ask):
    id: Annotated[int, Field(ge=0, le=2**53)]
    """Stands in the reply."""


class Shown(_Ask):
    """A frame is on the screen: another one may be sent."""

    type: Literal["shown"]
    frame: Annotated[int, Field(ge=0, le=2**53)]
    camera: Name | None = None


class Camera(_Ask):
    """Use this browser's own camera, or stop using it."""

    type: Literal["camera"]
    on: bool


class Teach(_Command):
    """The face on ``track`` is ``name``; ``sure`` after AlreadyKnown was asked about."""

    type: Literal["teach"]
    track: Track
    name: Name
    sure: bool = False


class Choose(_Command):
    """The face on ``track`` was clicked: the next `Teach` of that track means it as it is now."""

    type: Literal["choose"]
    track: Track


class Correct(_Command):
    """The face on ``track`` has a wrong name and is ``name``."""

    type: Literal["correct"]
    track: Track
    name: Name


class Cancel(_Command):
    """End the teaching without a trace."""

    type: Literal["cancel"]


class Check(_Command):
    """Is the face on ``track`` that of a living person? Begins the challenge."""

    type: Literal["check"]
    track: Track


class StopCheck(_Command):
    """End the check, or take its verdict away."""

    type: Literal["unchecked"]


class Rename(_Command):
    """``old`` is called ``new``."""

    type: Literal["rename"]
    old: Name
    new: Name


class Merge(_Command):
    """``source`` was ``into`` all along."""

    type: Literal["merge"]
    source: Name
    into: Name


class Forget(_Command):
    """Forget ``name``."""

    type: Literal["forget"]
    name: Name


class Zones(_Command):
    """Faces of a camera count in these polygons only, and from this size on."""

    type: Literal["zones"]
    camera: Name
    zones: list[list[tuple[float, float]]]
    min_face: int


class Deny(_Command):
    """The face on ``track`` is not who it is called."""

    type: Literal["deny"]
    track: Track


class Undo(_Command):
    """Take back what was done last; ``act`` is its number as it was shown."""

    type: Literal["undo"]
    act: Number


class RemoveSamples(_Command):
    """These samples of ``name`` go."""

    type: Literal["remove"]
    name: Name
    ids: Numbers


class Split(_Command):
    """These samples of ``name`` are those of ``new``."""

    type: Literal["split"]
    name: Name
    ids: Numbers
    new: Name


class ChoosePicture(_Command):
    """The picture of this sample stands for ``name``."""

    type: Literal["picture"]
    name: Name
    sample: Number


class NameUnknown(_Command):
    """These unknown faces are ``name``; ``sure`` after AlreadyKnown was asked about."""

    type: Literal["name"]
    ids: Numbers
    name: Name
    sure: bool = False


class DenyUnknown(_Command):
    """These unknown faces are not ``name``."""

    type: Literal["not"]
    ids: Numbers
    name: Name


class Judge(_Command):
    """Ignore these unknown faces for ever, or: they are no faces."""

    type: Literal["judge"]
    ids: Numbers
    verdict: Literal["ignored", "not a face"]


class ClearUnknown(_Command):
    """Delete all unknown faces that are kept."""

    type: Literal["clear"]


class Enroll(_Command):
    """Photos that were looked at are of ``name``."""

    type: Literal["enroll"]
    name: Name
    photos: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=200)]
    sure: bool = False


DeskCommand = (
    Undo
    | RemoveSamples
    | Split
    | ChoosePicture
    | NameUnknown
    | DenyUnknown
    | Judge
    | ClearUnknown
    | Enroll
)
Command = (
    Choose
    | Teach
    | Correct
    | Deny
    | Cancel
    | Check
    | StopCheck
    | Rename
    | Merge
    | Forget
    | Zones
    | DeskCommand
)
Ask = Annotated[Shown | Camera | Command, Field(discriminator="type")]
_ASK: TypeAdapter[Ask] = TypeAdapter(Ask)


def parse_ask(text: str) -> Ask:
    """A text of the page. Raises ValueError for anything that is not one of the above."""
    return _ASK.validate_json(text)


def parse_frame(data: bytes) -> tuple[int, bytes]:
    """The page's number of a frame, and the frame as JPEG. Raises ValueError when cut short."""
    if len(data) <= _NUMBER.size:
        raise ValueError("a frame without a picture")
    return _NUMBER.unpack_from(data)[0], data[_NUMBER.size :]


def pack_frame(header: dict[str, Any], jpeg: bytes) -> bytes:
    """Length of the header (4 bytes, big-endian), the header as JSON, the picture."""
    text = json.dumps(header).encode()
    return _NUMBER.pack(len(text)) + text + jpeg


def frame_header(faces: FrameFaces) -> dict[str, Any]:
    """What is on a frame, see `FrameFaces.to_json`."""
    return {"type": "frame", **faces.to_json()}


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


def people(everyone: list[PersonInfo], status: dict[str, Any] | None = None) -> str:
    """The list of people; with what can be undone and how many unknown faces are kept."""
    listed = [asdict(person) for person in everyone]
    return json.dumps({"type": "people", "people": listed, **(status or {})})


def state(
    stats: Stats,
    status: str | None,
    teaching: Teaching | None,
    head: HeadState,
    camera: str,
    mine: bool,
    machine: bool,
    latency: float | None,
    check: dict[str, Any] | None,
    cameras: list[dict[str, Any]] | None = None,
) -> str:
    """How it goes; see docs/live.md for the fields."""
    several = {} if cameras is None else {"cameras": cameras}
    return json.dumps(
        {
            "type": "state",
            "fps": round(stats.fps, 1),
            "looks": round(stats.looks, 1),
            "named_ms": round(1000 * stats.latency),
            "shown_ms": None if latency is None else round(1000 * latency),
            "status": status,
            "camera": camera,
            "mine": mine,
            "machine": machine,
            "teaching": None if teaching is None else asdict(teaching),
            "head": asdict(head),
            "check": check,
            **several,
        }
    )
