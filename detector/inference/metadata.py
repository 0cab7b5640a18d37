"""The description inside every exported detector: configuration, provenance, input, thresholds.

An ONNX file holds it as ``metadata_props``, TorchScript as the extra file ``faces.json``. Nothing
heavy is imported, so that an ONNX file can be opened without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.config import DataConfig, ModelConfig, TrainConfig, from_dict, to_dict
from detector.inference.resize import PAD_COLOR, Resize
from faces.errors import UserError

FORMAT = "faces-detector-export"
VERSION = 1
EXTRA_FILE = "faces.json"


@dataclass(frozen=True)
class Artifact:
    """The description."""

    config: TrainConfig  # the whole training configuration
    # versions, dates, number of images, as in the checkpoint
    provenance: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ("face",)  # what a box is
    # the lowest score (0..1) the file gives when it is told nothing else
    score_threshold: float = 0.005
    nms_threshold: float = 0.5  # the overlap (IoU, 0..1) of its non-maximum suppression, likewise
    # the record of its training pictures, see `detector.training_pictures`; "" for files that have
    # none
    pictures: str = ""
    # SHA-256 of the float32 ONNX file that an int8 file belongs to; "" for others
    int8_of: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Keys and values as text: `format` and `version` plain, the others JSON."""
        resize = inference_resize(self.config.model, self.config.data)
        how_to_feed = {
            "name": "images",
            "dtype": "uint8",
            "layout": "NHWC",
            "colours": "RGB",
            "normalization": "inside the file",
            "resize": asdict(resize),
            "resample": "bilinear with antialiasing (Pillow)",
            "pad": "right and bottom",
            "pad_colour": PAD_COLOR,
        }
        values = {
            "config": to_dict(self.config),
            "provenance": self.provenance,
            "classes": self.classes,
            "thresholds": {"score": self.score_threshold, "nms": self.nms_threshold},
            "input": how_to_feed,
        }
        texts = {key: json.dumps(value) for key, value in values.items()}
        if self.pictures:
            texts["pictures"] = self.pictures
        if self.int8_of:
            texts["int8_of"] = self.int8_of
        return {"format": FORMAT, "version": str(VERSION), **texts}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Path) -> Artifact:
        """The inverse of `to_metadata`. Raises UserError for a foreign file or another version."""
        if metadata.get("format") != FORMAT:
            raise UserError(
                f"{path} was not made by this program: `faces export` makes such files from a "
                "checkpoint of `faces train`"
            )
        if metadata.get("version") != str(VERSION):
            raise UserError(
                f"{path} has version {metadata.get('version')}, this program reads version "
                f"{VERSION}: export the checkpoint again"
            )
        try:
            thresholds = json.loads(metadata["thresholds"])
            return cls(
                from_dict(TrainConfig, json.loads(metadata["config"])),
                json.loads(metadata["provenance"]),
                tuple(json.loads(metadata["classes"])),
                float(thresholds["score"]),
                float(thresholds["nms"]),
                metadata.get("pictures", ""),
                metadata.get("int8_of", ""),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged or cut short ({error!r} in its description): export the "
                "checkpoint again"
            ) from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error


def inference_resize(model: ModelConfig, data: DataConfig, max_side: int | None = None) -> Resize:
    """How pictures are brought to size for a network: as it was validated, or with ``max_side``.

    Raises UserError for a ``max_side`` that the network cannot follow.
    """
    if model.arch == "reference":
        if max_side is not None:
            raise UserError(
                f"max_side cannot be chosen: a `reference` network sees every image as a square "
                f"of {data.image_size} pixels"
            )
        return Resize("square", data.image_size)
    return Resize("fit", data.max_side if max_side is None else max_side)


def per_image(
    count: int, image: NDArray[np.int64], *outputs: NDArray[np.float32]
) -> list[tuple[NDArray[np.float32], ...]]:
    """An exported file's other outputs (K, ...) for each of ``count`` images.

    ``image`` (K,) ascends: the outputs are sorted by image.
    """
    edges = np.searchsorted(image, np.arange(1, count))
    return list(zip(*(np.split(output, edges) for output in outputs), strict=True))
