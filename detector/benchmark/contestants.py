"""The detectors that are compared, and how each is made."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from detector.inference.load import Speed, file_kind, load_detector
from detector.inference.mtcnn import MtcnnDetector
from detector.shipped import find_model
from detector.types import Detector
from faces.errors import UserError

Kind = Literal[
    "ours", "yunet", "scrfd", "ultra-light", "mtcnn", "torchvision", "reference", "backbone"
]

THRESHOLD = 0.5
"""Lowest score asked for while time is taken, as in everyday use."""

RUNTIMES = {"checkpoint": "PyTorch", "torchscript": "TorchScript", "onnx": "ONNX Runtime"}
FAST_RUNTIMES = {
    "float32": RUNTIMES["onnx"], "int8": "ONNX Runtime, int8", "bfloat16": "OpenVINO, bfloat16",
}  # fmt: skip
"""What runs a file at speed "fast", by what it computes in: known once it has been opened."""


@dataclass(frozen=True)
class Contestant:
    """One detector, with no weights loaded yet."""

    kind: Kind  # what it is
    name: str  # as it is called in tables; unique
    runtime: str  # what runs it
    path: Path | None = None  # its file, if it has one
    trained: bool = True  # whether it can find faces, and not only take its time
    note: str = ""  # what a reader must know of it
    speed: Speed = "normal"  # of a file of ours, see `detector.inference.load.load_detector`

    def build(self, threads: int, min_score: float) -> Callable[[], Detector]:
        """What makes it, in any process; see `open_contestant`."""
        return partial(open_contestant, self, threads, min_score)

    def file_bytes(self) -> int | None:
        """The size of its weights on the disk; None when there is no file."""
        if self.kind == "mtcnn":
            return sum(path.stat().st_size for path in _mtcnn_files())
        return self.path.stat().st_size if self.path is not None else None

    def parameters(self) -> int:
        """How many numbers were (or would have been) learned."""
        if self.path is None:
            return _count(_module(self))
        kind = file_kind(self.path)
        if kind == "onnx":
            return _onnx_parameters(self.path)
        if kind == "torchscript":
            import torch
            import torchvision  # noqa: F401  the file uses its operators

            return _count(torch.jit.load(str(self.path), map_location="cpu"))
        from detector.checkpoint import load_checkpoint, model_from_checkpoint

        return _count(model_from_checkpoint(load_checkpoint(self.path)))


def open_contestant(contestant: Contestant, threads: int, min_score: float) -> Detector:
    """Make a contestant on the CPU. It is given pictures of the size that is compared.

    Args:
        threads: CPU threads, whatever the runtime.
        min_score: faces below this score (0..1) are left out (MTCNN has thresholds of its own).

    Raises UserError for a file that cannot be opened.
    """
    from detector.benchmark import peers

    path = contestant.path
    if contestant.kind == "mtcnn":
        import torch

        torch.set_num_threads(threads)
        return MtcnnDetector()
    if contestant.kind == "torchvision":
        return peers.Torchvision(threads)
    if path is None:
        return _untrained_reference(threads, min_score)
    if contestant.kind in peers.OF_FILES:
        return peers.OF_FILES[contestant.kind](path, threads, min_score)
    detector = load_detector(
        path, score_threshold=min_score, device="cpu", threads=threads, speed=contestant.speed
    )
    if detector.resize.mode == "fit":
        # The pictures are already of the size that everyone gets.
        detector.resize = replace(detector.resize, side=0)
    return detector


def line_up(
    models: Sequence[Path],
    peers: Sequence[Path] = (),
    reference: Path | None = None,
    skip: Container[str] = (),
    speeds: Sequence[Speed] = ("normal",),
) -> list[Contestant]:
    """The contestants, ours first; only their files are looked at.

    Args:
        models: checkpoints, TorchScript and ONNX files of ours; "shipped" is the shipped one.
        peers: ONNX files of YuNet, SCRFD or Ultra-Light, told apart by their outputs.
        reference: a checkpoint of `reference`; without one it is built with random weights.
        skip: of "mtcnn", "torchvision" and "reference", those to leave out.
        speeds: at which ONNX files of ours run, one contestant for each; others have one speed.

    Raises UserError for a file that is missing or neither.
    """
    files = [find_model(path) for path in models]
    contestants = [contestant for path in files for contestant in _ours(path, speeds)]
    contestants += [_peer(path) for path in peers]
    if "mtcnn" not in skip:
        note = "facenet-pytorch's default settings, which leave out faces below 20 pixels"
        contestants.append(Contestant("mtcnn", "MTCNN", "PyTorch", note=note))
    if "torchvision" not in skip:
        name = "fasterrcnn_mobilenet_v3_large_320_fpn"
        note = "random weights; scales the shorter side to 320 pixels itself"
        contestants.append(Contestant("torchvision", name, "PyTorch", trained=False, note=note))
    if "reference" not in skip:
        contestants.append(_reference(reference))
    return _told_apart(contestants)


def _ours(path: Path, speeds: Sequence[Speed]) -> list[Contestant]:
    kind = file_kind(path)
    if kind != "onnx":
        return [Contestant("ours", path.name, RUNTIMES[kind], path)]
    runtimes = {"normal": RUNTIMES["onnx"], "fast": "the fastest here"}
    return [
        Contestant(
            "ours", f"{path.name}, fast" if speed == "fast" else path.name, runtimes[speed], path,
            speed=speed,
        )
        for speed in dict.fromkeys(speeds)
    ]  # fmt: skip


def backbone_contestant(path: Path) -> Contestant:
    """The floor, from a file of `detector.benchmark.peers.export_backbone`."""
    note = "no pyramid, no heads, no reading of the picture: the floor"
    name = "MobileNetV2 backbone alone"
    return Contestant("backbone", name, "ONNX Runtime", path, trained=False, note=note)


def _reference(path: Path | None) -> Contestant:
    if path is None:
        note = "random weights; squeezes every picture into 224x224"
        return Contestant("reference", "reference", "PyTorch", trained=False, note=note)
    note = "squeezes every picture into its own square"
    return Contestant("reference", "reference", RUNTIMES[file_kind(path)], path, note=note)


def _peer(path: Path) -> Contestant:
    if file_kind(path) != "onnx":
        raise UserError(f"peers: {path}: peers are ONNX files; give files of ours as MODEL")
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's own kinds of errors
        raise UserError(f"peers: {path}: damaged, or no ONNX file") from error
    outputs = {output.name for output in graph.output}
    if {"cls_8", "obj_8", "bbox_8"} <= outputs:
        return Contestant(
            "yunet", f"YuNet ({path.name})", "ONNX Runtime", path, note="BSD-3-Clause license"
        )
    widths = Counter(
        output.type.tensor_type.shape.dim[-1].dim_value
        for output in graph.output
        if output.type.tensor_type.shape.dim
    )
    if widths in ({1: 3, 4: 3}, {1: 3, 4: 3, 10: 3}):
        note = "weights for non-commercial research only"
        return Contestant("scrfd", f"SCRFD ({path.name})", "ONNX Runtime", path, note=note)
    if outputs == {"scores", "boxes"} and len(graph.input[0].type.tensor_type.shape.dim) == 4:
        sides = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][2:]
        note = f"MIT license; squeezes every picture into {sides[1]}x{sides[0]}"
        name = f"Ultra-Light ({path.name})"
        return Contestant("ultra-light", name, "ONNX Runtime", path, note=note)
    raise UserError(
        f"peers: {path}: neither YuNet (outputs cls_8, obj_8, bbox_8 ...) nor SCRFD (three each of "
        f"width 1, 4 and 10) nor Ultra-Light (scores, boxes), but {', '.join(sorted(outputs))}; "
        "give files of ours as MODEL"
    )


def _told_apart(contestants: list[Contestant]) -> list[Contestant]:
    """Files of the same name are called by their folder too, and by their number at the worst."""
    counts = Counter(contestant.name for contestant in contestants)
    named = []
    for contestant in contestants:
        path = contestant.path
        if counts[contestant.name] > 1 and path is not None:
            name = contestant.name.replace(path.name, f"{path.resolve().parent.name}/{path.name}")
            contestant = replace(contestant, name=name)
        named.append(contestant)
    seen: Counter[str] = Counter()
    for i, contestant in enumerate(named):
        seen[contestant.name] += 1
        if seen[contestant.name] > 1:
            named[i] = replace(contestant, name=f"{contestant.name} #{seen[contestant.name]}")
    return named


def _untrained_reference(threads: int, min_score: float) -> Detector:
    import torch

    from detector.inference.detect import FaceDetector
    from detector.inference.resize import Resize
    from detector.inference.torch_backend import TorchNetwork

    torch.set_num_threads(threads)
    network = TorchNetwork(_module_of_reference(), torch.device("cpu"))
    return FaceDetector(network, Resize("square", 224), min_score)


def _module(contestant: Contestant) -> Any:
    """The torch module of a contestant without a file."""
    from detector.benchmark import peers

    if contestant.kind == "mtcnn":
        return MtcnnDetector().model
    if contestant.kind == "torchvision":
        return peers.Torchvision(1).model
    return _module_of_reference()


def _module_of_reference() -> Any:
    import torch

    from detector.config import preset
    from detector.model import build_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(preset("reference").model, pretrained=False)


def _mtcnn_files() -> list[Path]:
    spec = importlib.util.find_spec("facenet_pytorch")  # found, not imported
    assert spec is not None
    assert spec.origin is not None
    return [Path(spec.origin).parent / "data" / f"{name}net.pt" for name in "pro"]


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _onnx_parameters(path: Path) -> int:
    """The numbers in the weights of an ONNX file; integers of 64 bits are shapes and positions."""
    import onnx

    kinds = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL}
    tensors = onnx.load(path).graph.initializer
    return sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type not in kinds)
