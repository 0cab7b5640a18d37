"""Which parts of the network learn: it depends on the weights that a run starts from.

A block that is frozen, and a batch norm whose statistics stay, must have learned before: from
ImageNet, or in the run whose checkpoint `--init` names. Whether they have is read from the network
itself, not from the flags: a file of weights, or the checkpoint of an earlier release, can hold a
backbone that never saw a picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from detector.config import ModelConfig, OptimConfig
from detector.model import FaceRCNN
from faces.errors import UserError

T = TypeVar("T")

INHERITED = ("anchors", "anchor_ratio", "objectness", "score_calibration", "temperature", "points")
"""Fields of `ModelConfig` which say what the weights' numbers mean, and what they find."""

ONLY_POINTS: dict[str, Any] = {"batch_norm": "frozen", "best": "loss", "ap_every": 0}
"""The fields of `OptimConfig` that follow from ``only_points``: the boxes stay as they are, and
with them AP50."""


def settled(value: T | None) -> T:
    """A setting that `settle` has chosen; raises ValueError where it was not called."""
    if value is None:
        raise ValueError(
            "freeze, batch_norm and backbone_lr are chosen by detector.training.start.settle"
        )
    return value


def settle(optim: OptimConfig, model: FaceRCNN, *, resumed: bool = False) -> OptimConfig:
    """``optim`` with what was left open chosen by the weights that ``model`` starts from.

    A trained backbone keeps its first four blocks and its statistics, and learns slower than what
    is new; an untrained one learns whole, statistics included. Raises UserError for settings under
    which an untrained part would never learn; for ``resumed`` runs only where nothing can come of
    them.
    """
    scratch = _blank(model.backbone_blocks)
    new_heads = _blank(model)
    if optim.only_points:
        if not model.config.points or new_heads:
            raise UserError(
                "only_points needs points, and a trained detector to add them to: give init"
            )
        optim = replace(optim, **ONLY_POINTS)
    chosen = replace(
        optim,
        freeze=(0 if scratch else 4) if optim.freeze is None else optim.freeze,
        batch_norm=optim.batch_norm or ("all" if scratch else "heads"),
        backbone_lr=(1.0 if scratch else 0.3) if optim.backbone_lr is None else optim.backbone_lr,
    )
    wrong = []
    if chosen.freeze:
        wrong.append(f"freeze {chosen.freeze} would keep its first blocks random")
    if chosen.batch_norm != "all":
        wrong.append(
            f"batch_norm {chosen.batch_norm} would keep its batch norms without statistics"
        )
    if not chosen.backbone_lr:
        wrong.append("backbone_lr 0 would keep it random")
    if scratch and wrong:
        raise UserError(
            f"the backbone has no trained weights, and {', and '.join(wrong)}, so that the network "
            "could not tell pictures apart: leave that out, and all of it learns; or start from "
            "weights, with backbone_weights or init (a run that was begun so cannot be mended: "
            "begin another)"
        )
    if new_heads and chosen.batch_norm == "frozen" and not resumed:
        raise UserError(
            "batch_norm frozen: the pyramid and heads are new, their batch norms would stay "
            "without statistics for ever; take heads or all, or start from a trained detector with "
            "init"
        )
    return chosen


def inherit(config: ModelConfig, parent: ModelConfig) -> ModelConfig:
    """``config`` for a run that starts from a checkpoint with the configuration ``parent``.

    What a weight's numbers mean comes with the weights, the score calibration too: before its first
    step the child answers as its parent does. What was set otherwise stays.
    """
    default = ModelConfig()
    open_ = [name for name in INHERITED if getattr(config, name) == getattr(default, name)]
    # A child learns the scores of proposals anew, on its scale: none is left out that its parent
    # looked at, and none that a network from scratch looks at.
    least = min(config.min_objectness, parent.min_objectness)
    own = {name: getattr(parent, name) for name in open_}
    return replace(config, min_objectness=least, **own)


def left_open(config: Any, name: str) -> bool:
    """Whether a field has the value that means "as the weights want it", or others decide it."""
    if isinstance(config, ModelConfig) and name in INHERITED:
        return bool(getattr(config, name) == getattr(ModelConfig(), name))
    if isinstance(config, OptimConfig) and config.only_points and name in ONLY_POINTS:
        return True
    return getattr(config, name) is None


def _blank(module: nn.Module) -> bool:
    """Whether a batch norm in it has the statistics it was made with: it never saw a picture."""
    return any(
        isinstance(norm, _BatchNorm)
        and norm.running_mean is not None
        and norm.running_var is not None
        and not norm.running_mean.any()
        and bool((norm.running_var == 1).all())
        for norm in module.modules()
    )
