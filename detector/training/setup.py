"""What a training run is made of: its pictures, and the network it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from detector.checkpoint import checkpoint_config, load_checkpoint
from detector.config import TrainConfig
from detector.inference.metadata import inference_resize
from detector.model import FaceRCNN, build_model
from detector.shipped import find_checkpoint
from detector.training.dataset import (
    FaceDataset,
    FaceIndex,
    ShuffledBatches,
    ValidationBatches,
    make_loader,
    mix,
)
from detector.training.distributed import World
from detector.training.start import inherit, settle
from detector.training.transforms import train_transform
from detector.training_pictures import TrainingPictures, pictures_of
from faces.errors import UserError

LARGE_EVERY = 6
"""Every 6th batch of `fpn` holds large crops: enough for portraits, which are easy to learn."""


@dataclass(frozen=True)
class TrainingData:
    """The pictures of a run.

    Args:
        train, valid: which pictures there are, and their boxes.
        batches: the order in which the training pictures are drawn.
        loader: what decodes, augments and batches them.
        valid_batches: the validation pictures, as inference sees them.
    """

    train: FaceIndex
    valid: FaceIndex
    batches: ShuffledBatches
    loader: DataLoader
    valid_batches: ValidationBatches


def open_data(config: TrainConfig, world: World, device: torch.device) -> TrainingData:
    """Read all annotations and prepare the loaders. Raises UserError for unusable data."""
    data, optim, arch = config.data, config.optim, config.model.arch
    for name in ("image_path", "train_ann_dir", "valid_path", "valid_ann_dir"):
        if getattr(data, name) is None:
            raise UserError(f"{name} is needed: see `faces train --help`")
    assert data.image_path is not None
    assert data.train_ann_dir is not None
    assert data.valid_path is not None
    assert data.valid_ann_dir is not None
    train = FaceIndex(data.image_path, data.train_ann_dir, data.classes, world.main)
    valid = FaceIndex(data.valid_path, data.valid_ann_dir, data.classes, world.main)
    batches = ShuffledBatches(
        # The published recipe of `reference` shows every picture once.
        train.faces if arch == "fpn" else np.ones_like(train.faces),
        optim.batch_size,
        optim.seed,
        world.rank,
        world.size,
        large_every=LARGE_EVERY if arch == "fpn" else 0,
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
    )


def start_network(
    config: TrainConfig, saved: Mapping[str, Any] | None, device: torch.device
) -> tuple[FaceRCNN, TrainConfig, TrainingPictures | None]:
    """The network with the weights that a run starts from.

    Args:
        config: of the run.
        saved: the checkpoint of the run to go on with; None begins anew.
        device: where the network goes.

    Returns the network, ``config`` with the settings that follow from the weights, and the pictures
    that they were trained on before (None: unknown). Raises UserError for ``config.init`` of
    another architecture, and for settings that those weights do not allow.
    """
    torch.manual_seed(mix(config.optim.seed))
    parent = saved
    if saved is None and config.init is not None:
        parent = load_checkpoint(find_checkpoint(config.init))
        config = replace(config, model=inherit(config.model, checkpoint_config(parent).model))
    model = build_model(config.model, pretrained=parent is None).to(device)
    pictures: TrainingPictures | None = TrainingPictures()
    if saved is not None:
        model.load_state_dict(saved["training"]["model"])
    elif parent is not None:
        _load_weights(model, parent["weights"], config.init)
    if parent is not None:
        pictures = pictures_of(parent.get("pictures", ""), parent.get("provenance", {}))
    optim = settle(config.optim, model, resumed=saved is not None)
    if device.type == "cpu":
        model.to(memory_format=torch.channels_last)
    for block in list(model.backbone_blocks)[: optim.freeze]:
        block.requires_grad_(False)
    return model, replace(config, optim=optim), pictures


def running_average(
    model: FaceRCNN, saved: Mapping[str, Any] | None, device: torch.device
) -> FaceRCNN:
    """A copy of the network that holds the running average of its weights."""
    average = build_model(model.config, pretrained=False).to(device)
    average.load_state_dict(saved["weights"] if saved else model.state_dict())
    return average


def _load_weights(model: FaceRCNN, weights: Mapping[str, Any], init: Path | None) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"init: {init} holds a network of another architecture than the one asked for: give "
            "the same arch, width, channels and head_width as it was trained with"
        ) from error
