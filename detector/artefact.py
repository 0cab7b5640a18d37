"""What a trained detector says of itself: the same words inside a checkpoint and every export.

Nothing heavy is imported, so that an ONNX file can be opened without torch.
"""

from __future__ import annotations

from detector.config import DataConfig, ModelConfig
from detector.errors import UserError
from detector.resize import Resize


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
