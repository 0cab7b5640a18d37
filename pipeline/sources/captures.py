"""Devices and streams that give pictures one after the other: cameras, URLs, pipes, played files.

Each blocks in ``read`` until there is a picture. `pipeline.sources.open` runs them in threads.
"""

from __future__ import annotations

import math
import os
import re
import socket
import time
from pathlib import Path
from typing import BinaryIO, Literal, Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError

Layout = Literal["rgb24", "bgr24", "gray"]
CHANNELS: dict[str, int] = {"rgb24": 3, "bgr24": 3, "gray": 1}

DEFAULT_FPS = 30.0
"""For a camera or stream that does not say its frame rate."""

TIMEOUT_MS = 10_000
"""How long a network stream may be silent before it counts as gone."""

PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322, "rtmp": 1935}
"""Of addresses that name none."""

DEVICES = Path("/sys/class/video4linux")


class Capture(Protocol):
    """Where a live source gets its pictures."""

    @property
    def fps(self) -> float:
        """Frames a second, as announced."""

    def read(self) -> NDArray[np.uint8] | None:
        """Wait for the next RGB uint8 (H, W, 3) picture; None when it is over or gone."""

    def close(self) -> None:
        """Let go of the device."""


class VideoCapture:
    """A camera or a network stream through OpenCV.

    Args:
        target: index, device file or URL.
        name: for messages, without secrets.
        size: (width, height) to ask the camera for.
        fps: frames a second to ask the camera for.

    Raises UserError when it cannot be opened.
    """

    def __init__(
        self,
        target: int | str,
        name: str,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
    ) -> None:
        import cv2

        if "OPENCV_LOG_LEVEL" not in os.environ:
            # Every backend that has no such camera complains by itself.
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        if isinstance(target, str) and "://" in target:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS]
            limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
            self._capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, limits)
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        else:
            self._capture = cv2.VideoCapture(target)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # old pictures are of no use
        if not self._capture.isOpened():
            self._capture.release()
            raise UserError(f"{name} cannot be opened: {_advice(target)}")
        if size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, fps)
        announced = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = announced if math.isfinite(announced) and announced > 0 else DEFAULT_FPS

    def read(self) -> NDArray[np.uint8] | None:
        """The next picture; None when the camera or stream is gone."""
        import cv2

        fine, bgr = self._capture.read()
        if not fine or bgr is None:
            return None
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """Let go of the device."""
        self._capture.release()


class RawFrames:
    """Pictures without any header from a pipe, such as ``ffmpeg -f rawvideo -pix_fmt rgb24 -``.

    Args:
        stream: binary, read to its end.
        size: (width, height) of every picture.
        fps: frames a second.
    """

    def __init__(
        self, stream: BinaryIO, size: tuple[int, int], fps: float, layout: Layout = "rgb24"
    ) -> None:
        self.fps = fps
        self.cut = 0  # bytes of a last picture that was not whole
        self._stream = stream
        self._shape = (size[1], size[0], CHANNELS[layout])
        self._layout = layout

    def read(self) -> NDArray[np.uint8] | None:
        """The next whole picture; None at the end of the pipe."""
        wanted = math.prod(self._shape)
        data = bytearray()
        while len(data) < wanted:
            part = self._stream.read(wanted - len(data))
            if not part:
                self.cut = self.cut or len(data)
                return None
            data += part
        pixels = np.frombuffer(data, np.uint8).reshape(self._shape)
        if self._layout == "gray":
            return np.repeat(pixels, 3, axis=2)
        return np.ascontiguousarray(pixels[..., ::-1]) if self._layout == "bgr24" else pixels

    def close(self) -> None:
        """Nothing: the pipe is closed by its owner."""


HOLD = 0.2
"""Seconds by which a picture of a played film may come late, to be shown with its names."""


class PlayedFile:
    """A video file that plays at its own speed, as if it were a camera.

    Args:
        again: begin again at its end instead of ending.

    Attributes:
        film: the film, unless it is played again and again.
        time: of the last picture, in seconds from the first.
        wait: see `pipeline.types.Picture`.
    """

    wait = HOLD

    def __init__(self, path: Path, again: bool = False) -> None:
        from faces.video.film import VideoReader

        self._path, self._again = path, again
        self._reader = VideoReader(path)
        self.film = None if again else self._reader
        self.fps = self._reader.fps
        self.time = 0.0
        self._before = 0.0  # seconds that were played in earlier rounds
        self._start: float | None = None

    def read(self) -> NDArray[np.uint8] | None:
        """The next picture, when its time has come; None after the last."""
        from faces.video.film import VideoReader

        frame = self._reader.read()
        if frame is None and self._again:
            self._before += self._reader.end
            self._reader.close()
            self._reader = VideoReader(self._path)
            frame = self._reader.read()
        if frame is None:
            return None
        if self._start is None:
            self._start = time.monotonic()
        self.time = self._before + frame.time
        time.sleep(max(0.0, self._start + self.time - time.monotonic()))
        return frame.image

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


def find_camera(name: str) -> int | str:
    """What OpenCV opens for a camera given as index, device file or (on Linux) part of its name.

    Raises UserError, naming the cameras there are, when none or more than one fits.
    """
    if name.isdecimal():
        return int(name)
    if name.startswith("/dev/"):
        return name
    cameras = list_cameras()
    fitting = [index for index, title in cameras.items() if name.casefold() in title.casefold()]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{index} ({title})" for index, title in cameras.items()) or "none found"
    what = "there is no camera, file or folder" if not fitting else "more than one camera is called"
    raise UserError(f"{what} {name!r}. Cameras: {listed}. Give an index, a file or a URL")


def list_cameras() -> dict[int, str]:
    """Index -> name of each camera. Only Linux tells; elsewhere it is empty."""
    found: dict[int, str] = {}
    for folder in sorted(DEVICES.glob("video*")):
        number = folder.name.removeprefix("video")
        try:
            # One camera has several device files; the first gives pictures, others metadata.
            if number.isdecimal() and (folder / "index").read_text("ascii").strip() == "0":
                found[int(number)] = (folder / "name").read_text("utf-8", "replace").strip()
        except OSError:  # unplugged in between
            continue
    return found


def without_secrets(url: str) -> str:
    """A URL for messages and logs: scheme, host and port, ``/...`` for what follows.

    Paths hold secrets as queries do: the key of a stream, or /user=admin&password=... as many
    cameras want it. Raises UserError, without the text of the URL, when it cannot be understood.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        # Not "from error": its text shows what stands where the port belongs, which is a part of
        # the password when that has a slash.
        raise _misspelt() from None
    host = parts.hostname or ""
    rest = unquote(parts.path + parts.query + parts.fragment)
    if "@" in rest or not re.fullmatch(r"[\w.-]*|[0-9a-fA-F:.]+(%\w+)?", host):
        # In rtsp://user:12/34@host what looks like host, port and path is user and password.
        return f"{parts.scheme}://..."
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{'/...' if rest.strip('/') else ''}"


def wait_for_answer(url: str, name: str) -> None:
    """See that somebody answers at an address, before OpenCV opens it.

    It opens one stream or file after the other in a process: one whose host is away would keep
    those of all others from being opened for ``TIMEOUT_MS``. Addresses without a connection (UDP,
    say) are let through. Raises UserError, with ``name`` in place of the address.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if not parts.hostname or scheme not in PORTS:
        return
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    ask = {
        "http": f"GET {path} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n",
        "rtsp": "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    }.get(scheme)
    where = parts.hostname, parts.port or PORTS[scheme]
    try:
        with socket.create_connection(where, TIMEOUT_MS / 1000) as line:
            if ask is not None:
                line.sendall(ask.encode())
                if not line.recv(1):
                    raise OSError("it hung up")
    except OSError as error:
        raise UserError(f"{name} cannot be opened: {_advice(url)}") from error


def refuse_misspelt(what: str) -> None:
    """Raise UserError, without showing it, for what was meant as a URL and is none; messages show
    whatever else is no camera, file or folder."""
    meant = re.match(r"(rtsps?|rtmps?|rtp|srt|udp|tcp|mms|https?)(%3A|:)", what, re.IGNORECASE)
    if "://" not in what and ("@" in what or meant) and not Path(what).exists():
        raise _misspelt()


def _misspelt() -> UserError:
    return UserError(
        "the address of the stream cannot be understood: does it begin with a scheme such as "
        "rtsp://, and is its host or port misspelt? Special characters of a user or password must "
        "be percent-encoded: / as %2F, @ as %40, : as %3A, # as %23, ? as %3F, [ as %5B, ] as %5D, "
        "% as %25"
    )


def _advice(target: int | str) -> str:
    if isinstance(target, str) and "://" in target:
        return "check the address, the network, and that the stream is H.264, H.265 or MJPEG"
    cameras = list_cameras()
    if cameras:
        listed = ", ".join(f"{index} ({title})" for index, title in cameras.items())
        return f"is another program using it? Cameras: {listed}"
    return (
        "no camera was found. Plug one in, allow this program to use it, or give a video file or "
        "a URL instead"
    )
