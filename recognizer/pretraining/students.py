"""Which network learns, what it begins with, and who teaches it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from faces.errors import UserError
from faces.files import file_digest
from faces.networks.onnx_session import onnxruntime
from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import open_mini
from recognizer.embedders.mini import MiniConfig, MiniResNet
from recognizer.pretraining.cache import Teach
from recognizer.pretraining.config import NetworkName
from recognizer.shipped import shipped_file
from recognizer.types import unit

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


MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
SPREAD = np.array([0.229, 0.224, 0.225], np.float32) * 255
"""Of ImageNet, with which the teacher was trained."""


class Teacher:
    """MobileFaceNet as ONNX: aligned RGB faces -> unit vectors."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Open the file, with its fixed batch of 1 made free.

        Raises UserError when it cannot be read or is no such network.
        """
        try:
            proto = onnx.load(path)
            [image], [vector] = proto.graph.input, proto.graph.output
            sizes = [d.dim_value for d in image.type.tensor_type.shape.dim]
            self.dimension = int(vector.type.tensor_type.shape.dim[1].dim_value)
            self.size = int(sizes[2])
            _free_batch(proto, self.dimension)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = threads or 0
            self._session = onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # protobuf and ONNX Runtime have many kinds
            raise UserError(f"the teacher {path} cannot be opened as ONNX: {error}") from error
        if sizes[1:] != [3, self.size, self.size] or not self.dimension:
            raise UserError(f"the teacher {path} takes {sizes}, expected (N, 3, S, S)")
        self._input = image.name

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 (N, size, size, 3) -> unit vectors float32 (N, dimension)."""
        x = np.ascontiguousarray(((faces - MEAN) / SPREAD).transpose(0, 3, 1, 2))
        return unit(self._session.run(None, {self._input: x})[0])


def _free_batch(proto: onnx.ModelProto, dimension: int) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    for node in proto.graph.node:  # the target of the last Reshape was written for a batch of 1
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.t.data_type == onnx.TensorProto.INT64:
                values = numpy_helper.to_array(attribute.t)
                if values.tolist() in ([1, -1], [1, dimension]):
                    attribute.t.CopyFrom(numpy_helper.from_array(np.array([-1, dimension])))
