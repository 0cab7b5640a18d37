"""The flags of `faces webcam`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated

import tyro

from faces.errors import UserError, require
from scripts.options.command_line import arg
from scripts.options.live import Networks, RawFrames
from scripts.options.webcam_cameras import Camera, several_cameras
from scripts.options.webcam_page import BROWSER, WebOptions


@dataclass(frozen=True)
class Options:
    """What to show and what to write."""

    sources: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="[[NAME=]CAMERA|URL|FILE|browser|-|CAMERAS.toml ...]"),
    ] = ("0",)
    """Index or (on Linux) part of the name of a camera, rtsp:// or http:// address, video file that
    plays at its own speed, `browser` for the cameras of browsers that open the page, or - for raw
    frames on the standard input. Several are shown side by side, each with its name
    (`door=rtsp://...`); a TOML file may hold them, with their addresses and settings."""
    page: WebOptions = field(default_factory=WebOptions)
    window: bool = True
    """Show the picture in a window; --no-window is for machines without a screen."""
    out: Annotated[Path | None, arg("none", aliases=["-o"], metavar="FILE.mp4")] = None
    """Record the picture as it is shown, in a file for each of several cameras. A camera gives no
    sound; that of a video file is copied where the program ffmpeg is installed."""
    json: Annotated[str | None, arg("none", metavar="FILE")] = None
    """Write a JSON line for each frame to this file; - prints them."""
    events: Annotated[str | None, arg("none", metavar="FILE")] = None
    """Write a JSON line to this file when a person arrives or leaves; - prints them."""
    webhook: Annotated[str | None, arg("none", metavar="URL")] = None
    """Send these lines to an address as well, with POST. The environment variable
    FACES_WEBHOOK_TOKEN, if set, is sent as a bearer token."""
    snapshots: Annotated[Path | None, arg("none; for the key s: snapshots", metavar="FOLDER")] = (
        None
    )
    """Save a picture into this folder whenever a person arrives."""
    arrive: float = 0.5
    """Seconds for which a name must hold before its person counts as seen."""
    leave: float = 3.0
    """Seconds without a person after which they have left."""
    every: int = 1
    """Detect on every Nth frame at most. Detection runs beside the picture, so 1 keeps that smooth,
    too; larger values save power."""
    mirror: bool = False
    """Exchange left and right, as in a mirror."""
    size: Annotated[str | None, arg("the camera's own", metavar="WxH")] = None
    """Width and height to ask the camera for."""
    fps: Annotated[float | None, arg("the camera's own")] = None
    """Frames a second to ask the camera for."""
    again: bool = False
    """Start a video file again at its end."""
    seconds: Annotated[float | None, arg("until you end it")] = None
    """End after this time."""
    raw: RawFrames = field(default_factory=RawFrames)
    teach: bool = True
    """Let clicks in the window teach names, which are kept in --gallery. The page always can."""
    keep_crops: bool = False
    """Keep the pictures of all faces that are taught, so that another embedder can use them later;
    otherwise only the one that was clicked."""
    remember_unknown: Annotated[str | None, arg("none are kept", metavar="TIME")] = None
    """Keep faces that nobody has a name for, or of which it is not sure, so that the page can ask
    who they are: 7d for seven days, 12h, 30m. They are in --gallery, are counted on the page, and
    are deleted after that time."""
    networks: Networks = field(default_factory=Networks)
    quiet: bool = False
    """Warnings only."""

    def __post_init__(self) -> None:
        out = self.out
        browser = self.source == BROWSER
        rules = [
            (bool(self.sources), "nothing to look at: name a camera"),
            (
                not (browser and self.out),
                f"--out needs a camera of this machine; {BROWSER} has no frame rate of its own",
            ),
            (out is None or out.suffix.lower() == ".mp4", f"--out {out} must end in .mp4"),
            (self.every >= 1, "--every must be at least 1"),
            (
                not self.json == self.events == "-",
                "--json - and --events - would mix on stdout: write one of them to a file",
            ),
            (self.arrive >= 0 and self.leave > 0, "--arrive and --leave must be positive"),
            (self.seconds is None or self.seconds > 0, "--seconds must be positive"),
            (self.fps is None or 0 < self.fps <= 1000, "--fps must be above 0 and at most 1000"),
        ]
        require(rules)
        self.kept  # noqa: B018 (raises for a time that is none)

    @property
    def kept(self) -> timedelta | None:
        """For how long unknown faces are kept; None keeps none. Raises UserError: no time."""
        text = self.remember_unknown
        if text is None:
            return None
        found = re.fullmatch(r"(\d{1,4})([dhm])", text.strip())
        if found is None or int(found[1]) == 0:
            raise UserError(
                f"--remember-unknown {text} is no time: write 7d for seven days, 12h or 30m"
            )
        unit = {"d": "days", "h": "hours", "m": "minutes"}[found[2]]
        return timedelta(**{unit: int(found[1])})

    @property
    def source(self) -> str:
        """Where there is one camera: which."""
        return self.sources[0] if self.sources else ""

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """Where there are several, or one with a name. Reads their file; raises UserError."""
        return several_cameras(self.sources)

    @property
    def writes(self) -> bool:
        """Whether there is any output besides the window."""
        return any((self.out, self.json, self.events, self.webhook, self.snapshots))
