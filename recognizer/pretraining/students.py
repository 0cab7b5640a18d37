"""Which network learns, what it begins with, and who teaches it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from faces.errors import UserError
from faces.files import file_digest
from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import open_mini
from recognizer.embedders.mini import MiniConfig, MiniResNet
from recognizer.pretraining.cache import Teach
from recognizer.pretraining.config import NetworkName
from recognizer.pretraining.teacher import Teacher
from recognizer.shipped import shipped_file

SHAPES = {
    "mini": MiniConfig(widths=(32, 64, 128, 256), depths=(0, 2, 3, 1)),
    "small": MiniConfig(widths=(64, 96, 192, 352), depths=(0, 2, 3, 1)),
}
"""`mini`: 1.9 million parameters. Its first stage has no block, which pays for a third one at 14 x
14 pixels: as fast as the shape of 0.2.0, which had it the other way round. `small`: 4.0 million,
less than half the speed."""

RECIPE = CropRecipe(112, margin=0.08, kind="aligned")


@dataclass(frozen=True)
class Start:
    """What a run begins with; goes through pickle, so that other processes can open the teacher."""

    network: NetworkName  # what learns
    init: Path | None  # a file that it begins with, see `init_file`; None begins with nothing
    teacher: Path | None  # an ONNX file; None: ``init`` teaches, so that what it knows is kept

    @property
    def identity(self) -> str:
        """Words for the teacher."""
        source = self.teacher or self.init
        assert source is not None
        return f"teacher {file_digest(source)[:16]}"


def init_file(network: NetworkName, name: str) -> Path:
    """The file that a name or a path stands for.

    Args:
        name: ``mini``, what comes with the package; ``vggface2`` or ``casia``, InceptionResnetV1's
            published weights, downloaded once; or a file of such weights.

    Raises UserError for a name that does not go with the network.
    """
    if network != "inception":
        return shipped_file("mini.pt") if name == "mini" else Path(name)
    from recognizer.embedders.inception_weights import CASIA_WEBFACE, VGGFACE2, fetch

    release = {"vggface2": VGGFACE2, "casia": CASIA_WEBFACE}.get(name)
    if release is None and not Path(name).is_file():
        raise UserError(
            f"--init {name}: there is no such file; give vggface2, casia, or a file of "
            "InceptionResnetV1's weights"
        )
    return Path(name) if release is None else fetch(release)


def open_student(start: Start, seed: int) -> tuple[nn.Module, CropRecipe]:
    """The network that learns, and how its crops are cut.

    Raises UserError when ``init`` cannot be read or is of another network, when the teacher gives
    vectors of another length, and when there is nothing to learn from at all.
    """
    if start.init is None and start.teacher is None:
        raise UserError(
            "who teaches? Give --teacher FILE, a larger network as ONNX, or --init, a network that "
            "knows faces already and learns your people"
        )
    torch.manual_seed(seed)
    if start.network == "inception":
        from recognizer.embedders.inception import RECIPE as STRETCHED
        from recognizer.embedders.inception import open_inception

        if start.init is None or start.teacher is not None:
            raise UserError(
                "--network inception is its own teacher: give --init vggface2, casia or a file, "
                "and no --teacher"
            )
        return open_inception(start.init), STRETCHED
    if start.init is not None:
        network, recipe = open_mini(start.init)
    else:
        network, recipe = MiniResNet(SHAPES[start.network]), RECIPE
        # Vectors of about unit length from the first step on, as the teacher's are.
        weight = network.embedding.weight
        nn.init.normal_(weight, std=weight.numel() ** -0.5)
    if start.teacher is not None:
        teacher, shape = Teacher(start.teacher, 1), network.config
        if (teacher.size, teacher.dimension) != (shape.size, shape.dimension):
            raise UserError(
                f"{start.teacher} takes {teacher.size} pixels and gives {teacher.dimension} "
                f"numbers, the network {shape.size} and {shape.dimension}: take another teacher"
            )
    return network, recipe


def open_teacher(start: Start) -> Teach:
    """Who says what vector a crop has. Raises UserError for a file that cannot be read."""
    if start.teacher is not None:
        return Teacher(start.teacher, 1)
    network, _ = open_student(start, 0)
    network = network.eval().requires_grad_(False)

    def teach(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return network(torch.from_numpy(crops)).float().numpy()

    return teach
