"""What the live pipeline gives: faces with names, frame by frame. Only NumPy is imported here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recognizer.types import UNKNOWN, Match, frozen

Box = tuple[float, float, float, float]
"""``x1 y1 x2 y2`` in pixels, exclusive ends."""


@dataclass(frozen=True, repr=False)
class Face:
    """One face of a photo or frame, and who it is.

    Args:
        box: in pixels of the frame, ``0 <= x1 < x2 <= width``.
        score: the detector's, 0..1, when the face was last detected.
        track: the same number on every frame while the face is followed; None where nothing is
            followed (photos).
        match: who it is; unknown until the face has been looked at.
        agreement: the share (0..1) of what was seen of this track that speaks for ``match``; None
            before the first look, and while it is not certain that it is the same face still.
        landmarks: float32 (5, 2), see `detector.types.Detection`; None where the detector has none.
        embedding: unit float32 (D,); None on the frames of a stream, which are named by several.

    Two faces are equal when everything but the arrays is.

    >>> from faces import Face
    >>> face = Face((10, 20, 50, 80), 0.98)
    >>> face
    Face(unknown, box [10 20 50 80], score 0.98)
    >>> print(face.name, face.similarity, face.landmarks)
    None None None
    """

    box: Box
    score: float
    track: int | None = None
    match: Match = UNKNOWN
    agreement: float | None = None
    landmarks: NDArray[np.float32] | None = field(default=None, compare=False)
    embedding: NDArray[np.float32] | None = field(default=None, compare=False)

    @property
    def name(self) -> str | None:
        """None when it is unknown."""
        return self.match.name

    @property
    def similarity(self) -> float | None:
        """Cosine (-1..1) with the nearest known person, named or not; None when nobody is known."""
        return self.match.similarity

    def __repr__(self) -> str:
        who = "unknown" if self.name is None else repr(self.name)
        if self.similarity is not None:
            who += f" {self.similarity:.2f}"
        track = "" if self.track is None else f", track {self.track}"
        box = " ".join(f"{value:.0f}" for value in self.box)
        return f"Face({who}, box [{box}], score {self.score:.2f}{track})"

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`; landmarks and embedding only where there are some."""
        match = self.match
        arrays: dict[str, Any] = {}
        if self.landmarks is not None:
            arrays["landmarks"] = [
                [round(v, 2) for v in point] for point in self.landmarks.tolist()
            ]
        if self.embedding is not None:
            arrays["embedding"] = self.embedding.tolist()
        return {
            "box": [round(v, 2) for v in self.box],
            "score": round(self.score, 6),
            "track": self.track,
            "name": match.name,
            "similarity": rounded(match.similarity),
            "confidence": rounded(match.confidence),
            "source": match.source,
            "nearest": match.nearest,
            "agreement": rounded(self.agreement),
            **arrays,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Face:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        x1, y1, x2, y2 = (float(v) for v in value["box"])
        match = Match(
            value["name"],
            value["similarity"],
            value["confidence"],
            value["source"],
            value["nearest"],
        )
        arrays = {
            key: frozen(np.array(value[key], np.float32), np.float32)
            for key in ("landmarks", "embedding")
            if key in value
        }
        return cls(
            (x1, y1, x2, y2), value["score"], value["track"], match, value["agreement"], **arrays
        )


@dataclass(frozen=True)
class FrameFaces:
    """All faces of one frame."""

    index: int  # of the frame, 0 for the first
    time: float  # seconds from the first frame
    image_size: tuple[int, int]  # (height, width) of the frame in pixels
    faces: tuple[Face, ...]  # in the order of their tracks
    version: int  # of the recognizer that named them
    # its name, where there are several; else None, and not in the JSON form
    camera: str | None = None

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    def __len__(self) -> int:
        return len(self.faces)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`."""
        height, width = self.image_size
        return {
            **({} if self.camera is None else {"camera": self.camera}),
            "frame": self.index,
            "time": round(self.time, 6),
            "width": width,
            "height": height,
            "version": self.version,
            "faces": [face.to_json() for face in self.faces],
        }

    def line(self) -> str:
        """`to_json` as one line of ASCII, without its end."""
        return json.dumps(self.to_json())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FrameFaces:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            value["frame"],
            value["time"],
            (value["height"], value["width"]),
            tuple(Face.from_json(face) for face in value["faces"]),
            value["version"],
            value.get("camera"),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """One frame of a source."""

    index: int  # 0 for the first; a live source counts those that nobody looked at as well
    time: float  # seconds from the first frame
    image: NDArray[np.uint8]  # RGB uint8 (H, W, 3), upright
    captured: float  # `time.monotonic` seconds when the frame was there
    name: str | None = None  # of the file, for a folder of pictures
    # seconds after ``captured`` for which it may wait for its names; those of a camera never do
    wait: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def __repr__(self) -> str:
        height, width = self.size
        name = "" if self.name is None else f"{self.name}, "
        return f"Picture({name}frame {self.index} at {self.time:.2f} s, {width}x{height})"


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face that the detector found, with what is needed to judge it as an example."""

    box: Box  # in pixels of the picture, as detected
    score: float  # the detector's, 0..1
    track: int | None  # see `Face`
    sharpness: float  # see `pipeline.live.naming.sharpness`
    quality: float  # 0..1, of size, sharpness and score together
    crossing: bool = False  # its box touches that of another face, so its crop may show both
    # uint8 (S, S, 3) as the embedder saw it; None when it was not embedded this time
    crop: NDArray[np.uint8] | None = None
    embedding: NDArray[np.float32] | None = None  # unit float32 (D,); None like ``crop``
    match: Match | None = None  # who it is by this one look alone; None like ``crop``
    landmarks: NDArray[np.float32] | None = None  # float32 (5, 2), see `Face`


@dataclass(frozen=True, eq=False)
class Look:
    """What one run of the detector found, and of which faces it made vectors."""

    picture: Picture
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True)
class Note:
    """Something to show on the picture besides the names."""

    text: str  # one short line
    track: int | None = None  # the face that it belongs to; None for the whole picture
    progress: float | None = None  # 0..1 draws a bar


@dataclass(frozen=True)
class Stats:
    """How the loop is doing, over its last two seconds."""

    fps: float = 0.0  # frames a second that came out
    looks: float = 0.0  # runs of the detector a second
    latency: float = 0.0  # seconds from a frame's capture until its names were known, the median
    dropped: int = 0  # frames of a live source that nobody looked at, in all


@dataclass(frozen=True, eq=False, repr=False)
class Tick:
    """One turn of the loop, for everything that shows, writes or reports."""

    picture: Picture  # the frame
    faces: FrameFaces  # who is on it
    # what the detector and the embedder finished since the last tick, oldest first. Their pictures
    # may be older than this one.
    looks: tuple[Look, ...] = ()
    notes: tuple[Note, ...] = ()  # to be shown
    status: str | None = None  # what is wrong with the source ("camera 0 is gone ..."), or None
    # False when there was no new frame: ``picture`` and ``faces`` are the last ones
    fresh: bool = True
    stats: Stats = field(default_factory=Stats)  # how fast it goes

    def __repr__(self) -> str:
        who = ", ".join(map(repr, self.faces)) or "nobody"
        return f"Tick({self.picture}: {who})"

    @property
    def image(self) -> NDArray[np.uint8]:
        """RGB uint8 (H, W, 3), upright."""
        return self.picture.image

    @property
    def camera(self) -> str | None:
        """Its name, where there are several."""
        return self.faces.camera

    @cached_property
    def drawn(self) -> NDArray[np.uint8]:
        """The picture with boxes, names, notes and status, drawn once for all who ask."""
        from pipeline.live.draw import draw_tick

        return draw_tick(self)


def rounded(value: float | None) -> float | None:
    """A share or cosine for JSON: to four digits."""
    return None if value is None else round(value, 4)


class Source(Protocol):
    """Where frames come from; see `pipeline.sources.open`."""

    @property
    def dropped(self) -> int:
        """Frames that were replaced by newer ones before anybody took them."""

    @property
    def status(self) -> str | None:
        """What is wrong just now, for people."""

    @property
    def ended(self) -> bool:
        """Whether there will be no frame any more."""

    def read(self, timeout: float) -> Picture | None:
        """The next frame; None when there is none within ``timeout`` seconds, or at the end.

        Raises what went wrong for good.
        """
