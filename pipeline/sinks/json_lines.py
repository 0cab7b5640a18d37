"""Detections as JSON lines: one line for each image, or for each frame of a video.

``{"path": "a.jpg", "width": 640, "height": 480, "faces": [{"box": [x1, y1, x2, y2],
"score": 0.98}]}``; a frame also has ``"frame"``, counted from 0, and ``"time"`` in seconds. Boxes
are in pixels of the upright image, scores descend.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path

from detector.types import Detections
from faces.closing import Closing


def json_line(
    path: Path, detections: Detections, frame: int | None = None, time: float | None = None
) -> str:
    """One line without its end, in ASCII: odd bytes in a file's name become escapes."""
    line: dict[str, object] = {"path": path.as_posix()}
    found = detections.to_json()
    faces = found.pop("faces")
    line |= found
    if frame is not None and time is not None:
        line |= {"frame": frame, "time": round(time, 6)}
    return json.dumps(line | {"faces": faces})


class LineFile(Closing):
    """A new file that grows by whole lines, which can be read at once; a context manager.

    Every line is one write to the file, so a killed process leaves only complete ones. Raises
    OSError when the file cannot be written; what a full disk took of a line is cut off again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb", buffering=0)

    def write(self, line: str) -> None:
        """Append ``line`` and its end."""
        data = line.encode() + b"\n"
        start = self._file.tell()
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, "no space left for a whole line", str(self.path))
        except OSError:
            self._file.truncate(start)
            self._file.seek(start)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()
