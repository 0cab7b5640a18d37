"""What a training run is made of: its pictures, and the network it starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from detector.checkpoint import checkpoint_config, load_checkpoint
from detector.config import FOUR_PATHS, DataConfig, TrainConfig
from detector.data.alike import alike_groups
from detector.data.division import Division, divide, picture_name
from detector.data.parts import Part, find_parts
from detector.inference.metadata import inference_resize
from detector.model import FaceRCNN, build_model
from detector.shipped import find_checkpoint
from detector.training.batches import ShuffledBatches, make_loader, mix
from detector.training.dataset import FaceDataset, FaceIndex, ValidationBatches
from detector.training.distributed import World, check_copies
from detector.training.start import inherit, settle
from detector.training.transforms import train_transform
from detector.training_pictures import TrainingPictures, pictures_of
from faces.errors import UserError

log = logging.getLogger(__name__)

POINTS = "roi_heads.points."
"""How the names of weights begin that find the five points."""

LARGE_EVERY = 4
"""Every 4th batch of `fpn` holds large crops: at every 6th, long runs unlearn faces of 400 pixels
and more (docs/experiments.md, 21 and 22)."""


@dataclass(frozen=True)
class TrainingData:
    """The pictures of a run."""

    # train, valid: which pictures there are, and their boxes
    train: FaceIndex
    valid: FaceIndex
    batches: ShuffledBatches  # the order in which the training pictures are drawn
    loader: DataLoader  # what decodes, augments and batches them
    valid_batches: ValidationBatches  # the validation pictures, as inference sees them
    # which pictures of one set are to validate on; None where they came in two
    division: Division | None = None


def open_data(
    config: TrainConfig,
    world: World,
    device: torch.device,
    division: Division | None = None,
    resumed: bool = False,
    learned: TrainingPictures | None = None,
) -> TrainingData:
    """Read all annotations and prepare the loaders.

    Args:
        config, world, device: of the run.
        division: that of the run to go on with, where one set was divided.
        resumed: whether the run has begun: then it keeps its division, or goes without.
        learned: pictures that its weights come with: where one set is divided, they are to train.

    Raises UserError for unusable data.
    """
    data, optim, arch = config.data, config.optim, config.model.arch
    train, valid, division = open_index(data, world, division, resumed, learned)
    if optim.only_points and train.has_points:
        train = train.with_points()  # no crop for a face that teaches nothing
    batches = ShuffledBatches(
        # The published recipe of `reference` shows every picture once.
        train.faces if arch == "fpn" else np.ones_like(train.faces),
        optim.images_a_step,
        optim.seed,
        world.rank,
        world.size,
        large_every=LARGE_EVERY if arch == "fpn" else 0,
        parts=optim.accumulate,
    )
    dataset = FaceDataset(
        train,
        train_transform(arch, data),
        data.cache_mb,
        train_transform(arch, data, large=True),
    )
    return TrainingData(
        train,
        valid,
        batches,
        make_loader(dataset, batches, data.num_workers, pin_memory=device.type == "cuda"),
        ValidationBatches(
            valid,
            inference_resize(config.model, data),
            batch_size=4,
            workers=data.num_workers,
            min_face=data.min_face,
        ),
        division,
    )


def open_index(
    data: DataConfig,
    world: World,
    division: Division | None = None,
    resumed: bool = False,
    learned: TrainingPictures | None = None,
) -> tuple[FaceIndex, FaceIndex, Division | None]:
    """The pictures to train and to validate on, and how one set was divided into them."""
    if data.data_dir is not None:
        parts = find_parts(data.data_dir)
        if parts.train is None:
            raise UserError(f"data={data.data_dir} has only a part to validate on")
        if resumed and (division is None) != (parts.valid is not None):
            raise UserError(
                f"data={data.data_dir} has {'no' if division is None else 'a'} part to validate "
                "on now, other than when the run began: bring it back as it was, or start a new "
                "run"
            )
        folders = [parts.train, parts.valid]
    else:
        for name in FOUR_PATHS:
            if getattr(data, name) is None:
                raise UserError(f"{name} is needed, or data=DIR: see `faces train --help`")
        folders = [
            Part(data.image_path, data.train_ann_dir),  # type: ignore[arg-type]
            Part(data.valid_path, data.valid_ann_dir),  # type: ignore[arg-type]
        ]
    train, *valid = (
        FaceIndex(folder.images, folder.annotations, data.classes, world.main)
        for folder in folders
        if folder is not None
    )
    check_copies({"training": train, "validation": valid[0]} if valid else {"": train}, world)
    if valid:
        return train, valid[0], None
    files = [(picture_name(path, train.image_dir), path) for path in train.paths()]

    def draw() -> Division:
        known = [] if learned is None else [learned.has(path) for _, path in files]
        faces = train.faces.tolist()
        return divide(files, faces, data.valid_share, data.split_seed, alike_groups, known)

    # Drawn by the first process for all, which so end together where it cannot be.
    division = division or world.share(draw)
    rows, kept = division.rows([name for name, _ in files], train.image_dir)
    return train.take(rows), train.take(kept), division


def read_parent(config: TrainConfig, saved: dict[str, Any] | None) -> dict[str, Any] | None:
    """The checkpoint whose weights a run starts from: ``saved``, that to go on with, or
    ``config.init``; None without either. Raises UserError where it cannot be read."""
    if saved is not None or config.init is None:
        return saved
    return load_checkpoint(find_checkpoint(config.init))


def learned_before(parent: dict[str, Any] | None) -> TrainingPictures | None:
    """The pictures that a checkpoint's weights were trained on; None: unknown."""
    if parent is None:
        return TrainingPictures()
    return pictures_of(parent.get("pictures", ""), parent.get("provenance", {}))


def start_network(
    config: TrainConfig,
    saved: Mapping[str, Any] | None,
    parent: dict[str, Any] | None,
    device: torch.device,
    train: FaceIndex,
) -> tuple[FaceRCNN, TrainConfig]:
    """The network with the weights that a run starts from.

    Args:
        config: of the run.
        saved: the checkpoint of the run to go on with; None begins again.
        parent: from `read_parent`.
        device: where the network goes.
        train: what it will learn from. Without points in it, those of ``config.init`` are left out:
            they would get worse as the rest learns.

    Returns the network, and ``config`` with the settings that follow from the weights. Raises
    UserError for ``config.init`` of another architecture, and for settings that those weights or
    ``train`` do not allow.
    """
    torch.manual_seed(mix(config.optim.seed))
    asked = config.model.points or config.optim.only_points
    if saved is None and parent is not None:
        config = replace(config, model=inherit(config.model, checkpoint_config(parent).model))
    if config.model.points and not train.has_points:
        none = f"no face of {train.image_dir} has a point (<landmarks>) in its annotation"
        if asked:
            raise UserError(f"points: {none}: label them, with `faces prepare points` for example")
        log.warning("%s: the trained detector will find none (`faces prepare points`)", none)
        config = replace(config, model=replace(config.model, points=False))
    model = build_model(config.model, pretrained=parent is None).to(device)
    if saved is not None:
        model.load_state_dict(saved["training"]["model"])
    elif parent is not None:
        _load_weights(model, parent["weights"], config.init)
    optim = settle(config.optim, model, resumed=saved is not None)
    if device.type == "cpu":
        model.to(memory_format=torch.channels_last)
    for block in list(model.backbone_blocks)[: optim.freeze]:
        block.requires_grad_(False)
    if optim.only_points:
        model.requires_grad_(False)
        model.roi_heads.points.requires_grad_(True)
        model.only_points = True
    return model, replace(config, optim=optim)


def running_average(
    model: FaceRCNN, saved: Mapping[str, Any] | None, device: torch.device
) -> FaceRCNN:
    """A copy of the network that holds the running average of its weights."""
    average = build_model(model.config, pretrained=False).to(device)
    average.only_points = model.only_points
    average.load_state_dict(saved["weights"] if saved else model.state_dict())
    return average


def _load_weights(model: FaceRCNN, weights: Mapping[str, Any], init: Path | None) -> None:
    new = {k: v for k, v in model.state_dict().items() if k.startswith(POINTS)}
    if not new:
        weights = {k: v for k, v in weights.items() if not k.startswith(POINTS)}
    try:
        model.load_state_dict({**new, **weights})
    except RuntimeError as error:
        raise UserError(
            f"init: {init} holds a network of another architecture than the one asked for: give "
            "the same arch, width, channels and head_width as it was trained with"
        ) from error
