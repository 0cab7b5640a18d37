"""What `faces run` and `faces webcam` share: the networks' flags, opening what they name, and that
no output replaces what is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from faces.errors import UserError, require
from faces.text import counted
from scripts.options.command_line import arg
from scripts.options.recognizer import EmbedderOptions, GalleryOptions

if TYPE_CHECKING:
    from detector.types import Detector
    from recognizer.snapshot import Snapshot
    from recognizer.types import Embedder


@dataclass(frozen=True)
class Networks(EmbedderOptions, GalleryOptions):
    """What finds the faces, and what knows them."""

    detector: Annotated[str, tyro.conf.arg(aliases=["-m", "--model"], metavar="FILE|mtcnn")] = (
        "shipped"
    )
    """Checkpoint, TorchScript or ONNX file; `shipped` comes with the project; `mtcnn` is
    facenet-pytorch's."""
    max_side: Annotated[int | None, arg("480 for a camera, 640 for a file")] = None
    """Longest side in pixels to which frames are shrunk for the detector; 0 keeps their own size.
    Smaller is faster and finds fewer small faces."""
    min_face: int = 20
    """Faces narrower or lower than this many pixels of the frame are left out."""
    threshold: float = 0.5
    """Lowest score (0..1) with which a face is followed; faces already followed may score less."""
    device: str = "auto"
    """`auto` (CUDA, else CPU), `cpu`, `cuda`, `cuda:1`, `mps`, for the detector."""
    threads: Annotated[
        int | None, arg("half of the cores for a camera, else left to the runtimes")
    ] = None
    """CPU threads for each network."""

    def __post_init__(self) -> None:
        side = self.max_side
        rules = [
            (side is None or side == 0 or side >= 32, "--max-side must be 0 or at least 32"),
            (self.min_face >= 1, "--min-face must be at least 1"),
            (0 <= self.threshold <= 1, "--threshold must be between 0 and 1"),
            (self.threads is None or self.threads >= 1, "--threads must be at least 1"),
        ]
        require(rules)

    def open_detector(self, max_side: int | None, photos: bool = False) -> Detector:
        """What ``--detector`` names; ``max_side`` holds where the flag is not given.

        Unless it is for ``photos`` it also finds weaker faces, which continue tracks.
        """
        from pipeline.stream import WEAK

        side = max_side if self.max_side is None or photos else self.max_side
        weak = self.threshold if photos else max(0.05, self.threshold - WEAK)
        if self.detector == "mtcnn":
            from detector.inference.mtcnn import MtcnnDetector
            from detector.inference.torch_backend import pick_device, set_threads

            set_threads(self.threads)
            return MtcnnDetector(
                side or 1280, max(self.min_face, 20), weak, str(pick_device(self.device))
            )
        from detector.inference.load import load_detector

        return load_detector(
            self.detector,
            score_threshold=weak,
            max_side=side,
            device=self.device,
            threads=self.threads,
        )

    def open_people(self, embedder: Embedder, take_over: bool = False) -> Snapshot:
        """Who is in ``--gallery``; nobody where that file is missing, which is left so. See
        `GalleryOptions.open_store`."""
        if self.exists():
            with self.open_store(embedder, take_over) as store:
                return store.snapshot()
        from recognizer.gallery import Gallery
        from recognizer.snapshot import Snapshot

        return Snapshot(Gallery.empty(embedder.fingerprint, embedder.dimension))

    def who_is_known(self, snapshot: Snapshot) -> str:
        """One line about the gallery."""
        count = len(snapshot.gallery.people)
        if count:
            return f"{counted(count, 'person')} known from {self.gallery}"
        missing = "is missing" if not self.exists() else "is empty"
        return f"nobody is known: {self.gallery} {missing}; add people with `faces enroll`"


@dataclass(frozen=True)
class RawFrames:
    """Raw frames on the standard input."""

    stdin_size: Annotated[str | None, arg("none", metavar="WxH")] = None
    """Their width and height."""
    stdin_fps: Annotated[float | None, arg("none")] = None
    """Their frames a second."""
    stdin_format: Literal["rgb24", "bgr24", "gray"] = "rgb24"
    """How their pixels are stored."""

    def __post_init__(self) -> None:
        if self.stdin_fps is not None and not 0 < self.stdin_fps <= 1000:
            raise UserError("--stdin-fps must be above 0 and at most 1000")


def parse_size(text: str, flag: str) -> tuple[int, int]:
    """``640x480`` -> (640, 480). Raises UserError, naming the flag."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UserError(f"{flag} {text}: expected width x height in pixels, such as 640x480")
    return int(width), int(height)


def refuse_originals(source: str, outputs: Mapping[str, Path | str | None]) -> None:
    """Raise UserError when an output would replace the video itself.

    Args:
        source: as on the command line; only a file can be replaced.
        outputs: flag -> file; None (not asked for) and ``-`` (standard output) replace nothing.
    """
    if source == "-" or "://" in source:
        return
    original = Path(source).expanduser()
    for flag, target in outputs.items():
        if target is None or str(target) == "-":
            continue
        path = Path(target)
        # The same file may have other names: links, and upper case on Windows and macOS.
        if path.exists() and original.exists() and path.samefile(original):
            raise UserError(f"{flag} {path} would replace the video itself: give another name")
