"""Validation: the exact loss and AP50 on the validation pictures, in one pass over them.

Also the modes that training and validation need.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from tqdm import tqdm

from detector.config import OptimConfig
from detector.evaluation.curves import voc_curve
from detector.evaluation.matching import ImageFaces, match
from detector.model import FaceRCNN
from detector.stages import Targets
from detector.training.dataset import FaceIndex, ValidationBatches
from detector.training.distributed import World
from detector.training.start import settled
from detector.training.transforms import FACE
from detector.types import Detections
from faces.errors import UserError


def set_train_mode(model: FaceRCNN, optim: OptimConfig) -> None:
    """Training mode with the chosen batch-norm policy; frozen blocks never move a statistic."""
    model.train()
    for position, block in enumerate(model.backbone_blocks):
        if position < settled(optim.freeze) or settled(optim.batch_norm) != "all":
            _freeze_statistics(block)
    if optim.batch_norm == "frozen":
        _freeze_statistics(model)


def _freeze_statistics(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval()


def to_device(targets: Targets, device: torch.device) -> Targets:
    """The targets' tensors on ``device``."""
    return [{key: value.to(device) for key, value in target.items()} for target in targets]


@dataclass(frozen=True)
class Validation:
    """What the validation pictures say of the weights."""

    losses: dict[str, float]  # the mean of each loss over the images, and their sum as ``loss``
    # average precision (0..1) by PASCAL VOC's rules, see `average_precision`; None when it was not
    # asked for, or there is no face to find
    ap50: float | None


@dataclass
class _Share:
    """What one process found out about its part of the pictures."""

    losses: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)
    """The number of a group of pictures, how many they are, the mean of each loss over them."""
    found: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """Detections (N, 5) by picture: x1 y1 x2 y2 in its pixels, score."""
    stopped: bool = False
    error: str | None = None
    bad_input: bool = False
    """Whether ``error`` is about the input, not about the program."""


def validate(
    model: FaceRCNN,
    batches: ValidationBatches,
    device: torch.device,
    world: World | None = None,
    *,
    ap: bool = True,
    stop: Sequence[int] = (),
    progress: bool = False,
) -> Validation | None:
    """Validate ``model``, each process of ``world`` on its part of the pictures.

    Losses and detections come from one pass: pictures are decoded once and go through the backbone
    once. The result is the same on every process, and for any number of processes. The model, its
    modes and the random state are left as they were.

    Args:
        model: put into no mode by the caller; the processes take rank 0's batch-norm statistics.
        batches: the pictures.
        device: where the model is.
        world: the processes; None is this one alone. All of them must call this.
        ap: measure AP50 too.
        stop: as soon as something is in it, on any process, the work ends, with None as the result.
        progress: show a progress bar on stderr.

    What goes wrong on one process ends the call on all of them: UserError for a picture that cannot
    be read, naming it; RuntimeError on the others for all else.
    """
    world = world or World()
    world.share_buffers(model)
    mine, caught = _Share(), None
    try:
        with _exact(model, device):
            _evaluate(mine, model, batches, device, world, ap, stop, progress)
    except Exception as error:  # the others wait for this process, and must hear of it
        caught = error
        mine = _Share(error=str(error) or repr(error), bad_input=isinstance(error, UserError))
    shares = world.gather(mine)
    if caught is not None:
        raise caught
    for rank, share in enumerate(shares):
        if share.bad_input:
            raise UserError(share.error)
        if share.error is not None:
            raise RuntimeError(f"process {rank} failed while it validated: {share.error}")
    if any(share.stopped for share in shares):
        return None
    found = {i: boxes for share in shares for i, boxes in share.found.items()}
    return Validation(
        _mean_losses([row for share in shares for row in share.losses]),
        average_precision(batches.index, found) if ap else None,
    )


def average_precision(index: FaceIndex, found: dict[int, NDArray[np.float64]]) -> float | None:
    """AP50 as `faces evaluate` measures it: IoU 0.5, faces marked difficult ignored.

    Args:
        index: the annotated pictures.
        found: for each of them the detections (N, 5): x1 y1 x2 y2 in its pixels, score.

    None when there is no face to find.
    """
    truth = [
        ImageFaces(index.name(i), index.boxes(i).astype(np.float64), index.labels(i) != FACE)
        for i in sorted(found)
    ]
    return voc_curve(match(truth, {index.name(i): boxes for i, boxes in found.items()})).ap


@contextmanager
def _exact(model: FaceRCNN, device: torch.device) -> Iterator[None]:
    """The mode in which torchvision gives losses that repeat exactly.

    It gives them only in training mode, where batch norm would move its statistics and dropout and
    the sampling of boxes would make every call differ. So batch norm and dropout stay in evaluation
    mode, and the random state, which `_evaluate` seeds, is put back.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm | _DropoutNd):
            module.eval()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def _evaluate(
    share: _Share,
    model: FaceRCNN,
    batches: ValidationBatches,
    device: torch.device,
    world: World,
    ap: bool,
    stop: Sequence[int],
    progress: bool,
) -> None:
    """Fill ``share`` with every ``world.size``-th group of pictures, from ``world.rank`` on."""
    numbers = range(world.rank, len(batches), world.size)
    with closing(batches.groups(numbers)) as loaded:
        bar = tqdm(
            zip(numbers, loaded, strict=True), total=len(numbers), desc="validating", unit="batch",
            leave=False, disable=not progress,
        )  # fmt: skip
        for number, (images, targets, indices) in bar:
            if stop:
                share.stopped = True
                return
            torch.manual_seed(0)  # for every group, so that one does not shift the next
            losses, faces = _losses_and_faces(
                model, images.to(device), to_device(targets, device), ap
            )
            values = {name: float(value) for name, value in losses.items()}
            share.losses.append((number, len(images), values))
            for i, face in zip(indices, faces, strict=False):  # no faces when ``ap`` is False
                share.found[i] = _in_pixels(batches, i, face)


def _losses_and_faces(
    model: FaceRCNN, images: Tensor, targets: Targets, ap: bool
) -> tuple[dict[str, Tensor], Targets]:
    """`FaceRCNN.forward` in training mode and, on the same maps, in evaluation mode.

    With batch norm in evaluation mode the maps of the backbone are the same in both.
    """
    pictures, _ = model.transform(images, targets)
    features = model.backbone(pictures.tensors)
    if isinstance(features, Tensor):
        features = OrderedDict([("0", features)])
    if model.only_points:
        weighted = model.roi_heads.points_losses(features, pictures.image_sizes, targets)
    else:
        proposals, losses = model.rpn(pictures, features, targets)
        _, of_heads = model.roi_heads(features, proposals, pictures.image_sizes, targets)
        weighted = model.eager_outputs({**of_heads, **losses}, [])
    assert isinstance(weighted, dict)
    if not ap:
        return weighted, []
    model.rpn.training = model.roi_heads.training = False
    try:
        proposals, _ = model.rpn(pictures, features)
        faces, _ = model.roi_heads(features, proposals, pictures.image_sizes)
    finally:
        model.rpn.training = model.roi_heads.training = True
    return weighted, faces


def _in_pixels(batches: ValidationBatches, i: int, face: dict[str, Tensor]) -> NDArray[np.float64]:
    """The detections of picture ``i``, (N, 5), in its own pixels; what is not finite is dropped."""
    boxes, scores = face["boxes"].cpu().numpy(), face["scores"].cpu().numpy()
    fine = np.isfinite(boxes).all(1) & np.isfinite(scores)
    height, width = batches.index.sizes[i].tolist()
    found = Detections.from_raw(boxes[fine] / batches.scale(i), scores[fine], (height, width))
    return np.column_stack((found.xyxy, found.score)).astype(np.float64)


def _mean_losses(rows: list[tuple[int, int, dict[str, float]]]) -> dict[str, float]:
    """The mean over all images, added up in the order of the groups: the same for any sharing."""
    sums: dict[str, float] = defaultdict(float)
    for _, count, losses in sorted(rows, key=lambda row: row[0]):
        for name, value in losses.items():
            sums[name] += value * count
    images = sum(count for _, count, _ in rows)
    means = {name: value / images for name, value in sums.items()}
    return {"loss": sum(means.values()), **means}
