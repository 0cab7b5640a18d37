"""InceptionResnetV1 of facenet-pytorch (Szegedy et al., AAAI 2017; Schroff et al., CVPR 2015)."""

from __future__ import annotations

from pathlib import Path

import torch
from facenet_pytorch import InceptionResnetV1
from torch import Tensor, nn

from faces.errors import UserError
from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import weights_digest

DIMENSION = 512

RECIPE = CropRecipe(size=160, margin=14 / 146, kind="stretched")
"""How facenet-pytorch cuts the faces for its published LFW figures: MTCNN(image_size=160,
margin=14), which adds 14 of the final 160 pixels and brings the box to a square."""


class InceptionFaces(nn.Module):
    """Faces uint8 RGB (N, 160, 160, 3) -> unit vectors float32 (N, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = InceptionResnetV1(pretrained=None)

    def forward(self, faces: Tensor) -> Tensor:
        # `fixed_image_standardization` of facenet-pytorch
        return self.net((faces.permute(0, 3, 1, 2).float() - 127.5) / 128)


def identity_of(network: InceptionFaces) -> str:
    """Architecture and digest of the weights."""
    return f"inception-{weights_digest(network.net.state_dict())}"


def open_inception(path: Path) -> InceptionFaces:
    """Read a state dict of facenet-pytorch's class, with or without its classifier.

    Raises UserError for a file that is missing, damaged, of another network or never trained.
    """
    if not path.is_file():
        raise UserError(f"there are no weights {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that it cannot read
        raise UserError(
            f"{path} is no state dict of InceptionResnetV1, or it is damaged or cut short"
        ) from error
    network = InceptionFaces()
    try:
        found = {k: v for k, v in state.items() if not k.startswith("logits.")}
        network.net.load_state_dict(found)
    except (AttributeError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{path} is no state dict of InceptionResnetV1 as facenet-pytorch 2.5.3 has it: "
            f"{_shorten(error)}"
        ) from error
    if not network.net.last_bn.running_mean.any():
        raise UserError(f"{path} holds a network that was never trained: its faces mean nothing")
    return network.eval()


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 200 else text[:200] + " ..."
