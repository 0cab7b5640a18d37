"""A small detector that has learned nothing and finds many things, and the files made from it."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import torch

from detector.checkpoint import save_checkpoint
from detector.config import TrainConfig, to_dict
from detector.model import FaceRCNN, build_model
from detector.training_pictures import TrainingPictures
from tests.tiny import TINY_MODEL

CONFIG = TrainConfig(
    model=replace(TINY_MODEL, channels=16, head_width=32, score_calibration=0.8, temperature=0.8)
)
PICTURES = TrainingPictures(frozenset({b"aaaaaa", b"bbbbbb"}), frozenset({b"cccccc"}))
PROVENANCE = {"training_images": 7, "written": "2026-01-01T00:00:00+00:00"}


def talkative_model(config: TrainConfig = CONFIG) -> FaceRCNN:
    """Random weights, always the same, with outputs as spread out as those of a trained network.

    Without that, all scores would be nearly equal, and two runtimes would rightly choose otherwise.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(config.model, pretrained=False).eval()
        pixels = torch.randint(0, 256, (1, 3, 160, 160), dtype=torch.uint8)
    rpn, box = model.rpn.head, model.roi_heads.box_predictor
    for layer, spread in (
        (rpn.cls_logits, 1.5),
        (rpn.bbox_pred, 0.1),
        (box.cls_score, 1.5),
        (box.bbox_pred, 0.5),
    ):
        _spread(model, layer, pixels, spread)
    return model


@torch.no_grad()
def _spread(model: FaceRCNN, layer: torch.nn.Module, pixels: torch.Tensor, spread: float) -> None:
    """Scale a layer so that each output for a picture of noise has mean 0 and this deviation."""
    outputs: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    model(pixels)
    hook.remove()
    values = torch.cat([output.transpose(0, 1).flatten(1) for output in outputs], dim=1)
    factor = spread / values.std(dim=1)
    layer.weight *= factor.view(-1, *[1] * (layer.weight.ndim - 1))  # type: ignore[operator,union-attr]
    layer.bias.copy_((layer.bias - values.mean(dim=1)) * factor)  # type: ignore[operator,union-attr]


def write_checkpoint(path: Path, model: FaceRCNN, config: TrainConfig = CONFIG) -> Path:
    """A checkpoint as training writes it."""
    payload = {
        "config": to_dict(config),
        "weights": model.state_dict(),
        "history": [],
        "provenance": PROVENANCE,
        "pictures": PICTURES.to_text(),
    }
    save_checkpoint(path, payload)
    return path


@dataclass(frozen=True)
class SmallExport:
    """What `faces export` made of the small detector.

    Args:
        folder: holds small.pt and what was written beside it.
        output: what the command printed.
    """

    folder: Path
    output: str

    @property
    def checkpoint(self) -> Path:
        return self.folder / "small.pt"

    @property
    def onnx(self) -> Path:
        return self.folder / "small.onnx"

    @property
    def torchscript(self) -> Path:
        return self.folder / "small.torchscript"


def make_small_export(folder: Path) -> SmallExport:
    """Run `faces export` on the small detector."""
    from scripts.main import main

    checkpoint = write_checkpoint(folder / "small.pt", talkative_model())
    with redirect_stdout(StringIO()) as output:
        code = main(["export", str(checkpoint)])
    assert code == 0, output.getvalue()
    return SmallExport(folder, output.getvalue())
