"""`python -m scripts.shipping.embedder`: put trained networks into recognizer/weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse
from scripts.shipping.digests import write_digests

DESCRIPTION = """Put trained networks into recognizer/weights, in half precision, with their
digests."""

EXAMPLES = """\
python -m scripts.shipping.embedder --onet
python -m scripts.shipping.embedder --mini runs/mini/last.pt"""


@dataclass(frozen=True)
class Options:
    """What to ship."""

    onet: bool = False
    """Convert O-Net of the installed facenet-pytorch."""
    mini: Path | None = None
    """A checkpoint of `faces pretrain-embedder`."""


def main(argv: Sequence[str]) -> int:
    """Write the files and the list of digests."""
    options: Options = parse(
        Options, argv, "python -m scripts.shipping.embedder", DESCRIPTION, EXAMPLES
    )
    log_to_stderr()
    from faces.files import atomic_write
    from recognizer.shipped import FOLDER

    if options.onet:
        with atomic_write(FOLDER / "onet.onnx") as file:
            file.write(onet())
    if options.mini is not None:
        ship_mini(options.mini)
    for path in write_digests(FOLDER):
        print(f"{path} ({path.stat().st_size / 2**20:.1f} MB)")
    return 0


def ship_mini(checkpoint: Path) -> None:
    """Its weights in half precision: mini.onnx to run, mini.pt to fine-tune."""
    from recognizer.embedders.checkpoint import open_mini, save_checkpoint
    from recognizer.embedders.export import export_embedder, open_network
    from recognizer.shipped import FOLDER

    network, recipe = open_mini(checkpoint)
    small = FOLDER / "mini.pt"
    save_checkpoint(small, network.config, recipe, network.state_dict(), half=True)
    difference = export_embedder(open_network(small), FOLDER / "mini.onnx")
    print(f"largest difference between torch and ONNX Runtime: {difference:.1e}")


def onet() -> bytes:
    """facenet-pytorch's O-Net as ONNX, which takes uint8 and standardizes it itself."""
    import facenet_pytorch
    import torch
    from facenet_pytorch.models.mtcnn import ONet
    from torch import Tensor, nn

    from recognizer.embedders.export import export_onnx
    from recognizer.landmarks import INPUT

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ONet(pretrained=False)
            path = Path(facenet_pytorch.__file__).parent / "data" / "onet.pt"
            self.net.load_state_dict(torch.load(path, weights_only=True))

        def forward(self, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            shift, points, probability = self.net(
                (faces.permute(0, 3, 1, 2).float() - 127.5) * 0.0078125
            )
            return shift, points, probability[:, 1]

    origin = {"origin": "O-Net of facenet-pytorch 2.5.3, MIT license"}
    return export_onnx(Network(), INPUT, ("shift", "points", "probability"), origin)


if __name__ == "__main__":
    run_program("scripts.shipping.embedder")
