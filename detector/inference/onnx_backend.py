"""An exported ONNX file as a `detector.inference.detect.Network`: no torch, no onnx imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.inference.metadata import Artifact, per_image
from faces.networks.onnx_session import SharedSession, open_session


class OnnxNetwork:
    """Runs an exported file with ONNX Runtime; a `detector.inference.detect.Network`.

    Args:
        session: of a file that `Artifact.from_metadata` knows.
        score_threshold: boxes below it are not even given (0..1).
        nms_threshold: overlap (IoU) above which the better of two boxes stays; None takes the
            file's own.
    """

    def __init__(
        self,
        session: SharedSession,
        score_threshold: float,
        nms_threshold: float | None = None,
    ) -> None:
        self.session = session
        self.lanes = session.lanes
        self.found = [name for name in session.outputs if name != "image"]
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold

    def __call__(self, batch: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], ...]]:
        feed = {"images": batch, "score_threshold": np.array(self.score_threshold, np.float32)}
        if self.nms_threshold is not None:
            feed["nms_threshold"] = np.array(self.nms_threshold, np.float32)
        image, *found = self.session.run(["image", *self.found], feed)
        return per_image(len(batch), image, *found)


def open_onnx(
    path: Path, device: str = "auto", providers: Sequence[str] | None = None,
    threads: int | None = None,
) -> tuple[SharedSession, Artifact]:  # fmt: skip
    """A session for an exported file, and what the file says of itself.

    Raises UserError for a damaged or foreign file and for a device or provider that is absent.
    """
    content = path.read_bytes()  # once: the file may be another when a second session is opened
    session = SharedSession(lambda n: open_session(path, device, providers, n, content), threads)
    return session, Artifact.from_metadata(session.get_modelmeta().custom_metadata_map, path)
