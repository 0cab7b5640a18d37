"""Checkpoints: what is in them, how they are written and read.

A checkpoint is a dict of tensors and plain values, read with ``weights_only=True``:

    format, version     what this file is
    config              the whole training configuration; the network is rebuilt from it
    weights             the state dict to use (the running average, when there is one)
    history             one dict an epoch
    provenance          versions, date, number of images
    pictures            which images it was trained on, see `detector.training_pictures`
    split               where one set was divided: which to train and to validate on, with bytes
    training            only in last.pt: everything that a resumed run needs
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from detector.config import TrainConfig, from_dict
from detector.model import FaceRCNN, build_model
from faces.errors import UserError
from faces.files import atomic_write
from faces.networks.torch import read_checkpoint

FORMAT = "faces-detector"
VERSION = 2  # 1: separable convolutions from stride 8 on, a head of one layer


def save_checkpoint(path: Path, payload: dict[str, Any]) -> None:
    """Write ``payload`` with format and version, whole or not at all.

    Raises UserError when the disk is full or the folder cannot be written; what was at ``path``
    stays.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **payload}, buffer)
    with saving(path), atomic_write(path) as file:
        file.write(buffer.getbuffer())


@contextmanager
def saving(path: Path) -> Iterator[Path]:
    """Around the writing of a run's file: a full disk is a UserError with the remedy."""
    try:
        yield path
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise UserError(
            f"cannot write {path}: {why}. What was there before is untouched; make room and go on "
            f"with `faces train --resume {path.parent}`"
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; tensors and plain values only, nothing is unpickled.

    Raises UserError with one clear line for a missing, damaged or foreign file.
    """
    return read_checkpoint(path, FORMAT, VERSION, "detector", "faces train")


def checkpoint_config(payload: dict[str, Any]) -> TrainConfig:
    """The configuration inside a checkpoint."""
    return from_dict(TrainConfig, payload["config"])


def model_from_checkpoint(payload: dict[str, Any]) -> FaceRCNN:
    """Rebuild the network with its weights, in evaluation mode, on the CPU.

    Raises UserError where they are not those of the network that the configuration describes.
    """
    model = build_model(checkpoint_config(payload).model, pretrained=False)
    try:
        model.load_state_dict(payload["weights"])
    except RuntimeError as error:
        raise UserError(
            "the checkpoint's weights are not those of the network that its configuration "
            "describes: it was made by another version of this project, or changed since. Train "
            "it again, or open it with the version in its `provenance`"
        ) from error
    return model.eval()
