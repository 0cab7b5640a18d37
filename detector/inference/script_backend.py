"""An exported TorchScript file as a `detector.inference.detect.Network`."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detector.inference.metadata import EXTRA_FILE, Artifact, per_image
from faces.errors import UserError


class ScriptNetwork:
    """Runs a scripted `detector.export.graph.FaceGraph`; a `detector.inference.detect.Network`.

    Args:
        score_threshold: boxes below it are not even given (0..1).
        nms_threshold: overlap (IoU) above which the better of two boxes stays; None takes the
            file's own.
    """

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        device: torch.device,
        score_threshold: float,
        nms_threshold: float | None = None,
    ) -> None:
        self.module = module.to(device)
        self.device = device
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], ...]]:
        images = torch.from_numpy(np.require(batch, requirements="W")).to(self.device)
        found = self.module(images, self.score_threshold, self.nms_threshold)
        boxes, scores, image, *points = (output.cpu().numpy() for output in found)
        return per_image(len(batch), image, boxes, scores, *points)


def open_script(path: Path) -> tuple[torch.jit.ScriptModule, Artifact]:
    """A TorchScript file on the CPU, and what it says of itself.

    The description is read first: a foreign file is refused before any of it is run. Raises
    UserError for a damaged or foreign file.
    """
    import torchvision  # noqa: F401  the file uses torchvision's operators nms and roi_align

    artifact = Artifact.from_metadata(read_extra_file(path), path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that TorchScript is deprecated
            module = torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise UserError(f"{path} is damaged or cut short: copy it again or export again") from error
    return module, artifact


def read_extra_file(path: Path) -> dict[str, str]:
    """The description inside a TorchScript archive; empty when there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.partition("/")[2] == f"extra/{EXTRA_FILE}":
                    values = json.loads(archive.read(name))
                    return values if isinstance(values, dict) else {}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged or cut short: copy it again or export again") from error
    return {}
