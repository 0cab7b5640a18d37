"""A step of training: its gradient, the optimizer and the learning rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from detector.checkpoint import load_checkpoint
from detector.config import OptimConfig, TrainConfig
from detector.model import build_model
from detector.training import train
from detector.training.distributed import World
from detector.training.optimizer import (
    lower_learning_rate,
    make_optimizer,
    set_learning_rate,
    warmup_steps,
)
from detector.training.train import Trainer, fit
from detector.training.validate import Validation
from tests.tiny import TINY_MODEL, tiny_config


def test_the_learning_rate_rises_falls_and_keeps_what_the_plateau_made_of_it() -> None:
    optim = OptimConfig(warmup_steps=4, cooldown=0.25, plateau_factor=0.5)
    optimizer = torch.optim.AdamW(
        [{"params": [torch.zeros(1)], "lr": lr, "full_lr": lr} for lr in (1.0, 0.25)]
    )
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)

    def rate(step: int) -> float:
        set_learning_rate(optimizer, optim, step, 40)
        one, other = (group["lr"] for group in optimizer.param_groups)
        assert other == pytest.approx(one / 4)
        return one

    assert [rate(step) for step in (0, 1, 3, 4, 30)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert [rate(step) for step in (31, 35, 39)] == pytest.approx([0.9, 0.5, 0.1])
    lower_learning_rate(scheduler, 1.0)  # the first is the best there is
    assert rate(30) == 1.0
    lower_learning_rate(scheduler, 2.0)  # no better: half of the full rate, not of the current one
    assert (rate(30), rate(35)) == (0.5, 0.25)
    set_learning_rate(optimizer, replace(optim, cooldown=0.0), 39, 40)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_a_short_run_spends_at_most_a_tenth_of_its_steps_on_the_warm_up() -> None:
    optim = OptimConfig()
    assert [warmup_steps(optim, steps) for steps in (9, 12, 500, 2000, 50_000)] == [
        *(0, 1, 50), optim.warmup_steps, optim.warmup_steps
    ]  # fmt: skip
    assert warmup_steps(replace(optim, warmup_steps=0), 2000) == 0
    optimizer = torch.optim.AdamW([{"params": [torch.zeros(1)], "lr": 1.0, "full_lr": 1.0}])
    set_learning_rate(optimizer, replace(optim, cooldown=0.0), 3, 20)
    assert optimizer.param_groups[0]["lr"] == 1.0


@pytest.mark.slow
def test_amsgrad_reaches_the_optimizer(data: Path, tmp_path: Path) -> None:
    fit(tiny_config(data, tmp_path / "run", epochs=1, amsgrad=True))
    state = load_checkpoint(tmp_path / "run" / "last.pt")["training"]["optimizer"]
    assert all("max_exp_avg_sq" in values for values in state["state"].values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("warm_up", "rates"),
    [(0, [3e-3, 3e-3, 1.5e-3, 7.5e-4]), (8, [3e-3, 3e-3, 3e-3, 1.5e-3])],  # 4 steps an epoch
)
def test_plateau_is_stepped_on_the_validation_loss_once_warm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_up: int, rates: list[float]
) -> None:
    flat = {"loss": 1.0, "loss_classifier": 1.0}
    monkeypatch.setattr(train, "validate", lambda *a, **k: Validation(dict(flat), 0.5))
    monkeypatch.setattr(train, "warmup_steps", lambda optim, steps: warm_up)
    result = fit(
        tiny_config(
            data,
            tmp_path / "run",
            epochs=4,
            plateau_patience=0,
            plateau_factor=0.5,
            cooldown=0.0,
        )
    )
    assert [line["lr"] for line in result.history] == pytest.approx(rates)


@pytest.mark.slow
def test_every_step_sets_the_learning_rate(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *rest: Any) -> None:
        set_learning_rate(optimizer, *rest)
        seen.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(train, "set_learning_rate", note)
    fit(tiny_config(data, tmp_path / "run", epochs=1, cooldown=0.5))
    assert seen == pytest.approx([3e-3, 3e-3, 3e-3, 1.5e-3])


def test_optimizer_groups() -> None:
    model = build_model(TINY_MODEL)
    config = TrainConfig(model=TINY_MODEL, optim=OptimConfig(backbone_lr=0.3))
    groups = make_optimizer(model, config).param_groups
    assert {(g["lr"], g["weight_decay"]) for g in groups} == {
        (1e-3, 1e-2), (1e-3, 0.0), (3e-4, 1e-2), (3e-4, 0.0)
    }  # fmt: skip
    assert all(p.ndim == 1 for g in groups if g["weight_decay"] == 0 for p in g["params"])
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


@pytest.mark.parametrize("arch", ["fpn", pytest.param("reference", marks=pytest.mark.slow)])
def test_accumulated_batches_give_the_gradient_of_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_reference: None, arch: Any
) -> None:
    """Although some of their pictures show no face, and others three."""

    def gradient(batch_size: int, accumulate: int) -> tuple[dict[str, float], Any]:
        config = tiny_config(
            data, tmp_path / f"{batch_size}", batch_size=batch_size, accumulate=accumulate,
            clip_norm=0.0, seed=4,
        )  # fmt: skip
        config = replace(config, model=replace(config.model, arch=arch), precision="float32")
        trainer = Trainer(config, World(), torch.device("cpu"))
        for part in (trainer.model.rpn, trainer.model.roi_heads):  # so that nothing is drawn
            part.fg_bg_sampler.batch_size_per_image = 10**9
            part.fg_bg_sampler.positive_fraction = 1.0
        monkeypatch.setattr(trainer.optimizer, "step", lambda: None)
        parts = list(trainer.data.loader)
        assert [len(images) for images, _, _ in parts] == [batch_size] * accumulate
        assert len({len(target["boxes"]) for _, targets, _ in parts for target in targets}) > 1
        losses = trainer.step(parts)
        return losses, {n: p.grad for n, p in trainer.model.named_parameters()}

    def without_statistics(model: Any, optim: Any) -> None:
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()

    monkeypatch.setattr(train, "set_train_mode", without_statistics)
    losses, whole = gradient(8, 1)
    for batch_size, accumulate in ((4, 2), (1, 8))[: 2 if arch == "fpn" else 1]:
        added, parts = gradient(batch_size, accumulate)
        assert added == pytest.approx(losses, rel=1e-5)
        for name, one in whole.items():
            torch.testing.assert_close(parts[name], one, atol=2e-5, rtol=1e-4)
