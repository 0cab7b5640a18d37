"""Training the network: it learns, resumes exactly, stops, and never publishes what is worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faces.errors import UserError
from faces.history import read_history
from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import open_mini, weights_digest
from recognizer.embedders.mini import MiniConfig, MiniResNet
from recognizer.training.fit import Stopped
from recognizer.training.fit_network import fit_network, new_network
from recognizer.training.fit_network_config import LabeledCrops, NetworkOptions

SIDE = 32
RECIPE = CropRecipe(SIDE, 0.0, "aligned")
QUICK = NetworkOptions(epochs=3, patience=3, batch_size=8, learning_rate=3e-3, masks=False)


def small(seed: int = 0) -> MiniResNet:
    torch.manual_seed(seed)
    return MiniResNet(MiniConfig(SIDE, (4, 6, 8, 8), (1, 1, 1, 1), 8))


def faces(people: int = 3, each: int = 6, strangers: int = 0) -> LabeledCrops:
    """Everybody has a color and a pattern of their own."""
    rng = np.random.default_rng(0)
    crops, names = [], []
    for i in range(people + bool(strangers)):
        base = rng.integers(40, 215, (4, 4, 3))
        for _ in range(each if i < people else strangers):
            noisy = base + rng.normal(0, 12, base.shape)
            crops.append(np.kron(noisy.clip(0, 255), np.ones((8, 8, 1))).astype(np.uint8))
            names.append(f"p{i}" if i < people else None)
    return LabeledCrops(np.stack(crops), tuple(names))


@pytest.mark.slow
def test_from_nothing_it_learns_a_closed_circle(tmp_path):
    torch.manual_seed(0)
    lines: list[dict] = []
    options = replace(QUICK, epochs=12, patience=12, phases=2)
    path = fit_network(
        small(), RECIPE, faces(), tmp_path, options, trained=False, progress=lines.append
    )
    assert path == tmp_path / "embedder.pt"
    assert {p.name for p in tmp_path.iterdir()} == {
        "embedder.pt", "last.pt", "history.jsonl", "loss.png",
    }  # fmt: skip
    history = read_history(tmp_path)
    assert [line["epoch"] for line in history] == list(range(1, 25))
    assert [line["phase"] for line in history] == [1] * 12 + [2] * 12
    assert history[0]["lr"] == 2 * history[-1]["lr"]
    assert min(line["valid"]["error"] for line in history) == 0
    assert history[11]["train"]["loss"] < history[0]["train"]["loss"] / 2
    network, recipe = open_mini(path)
    assert recipe == RECIPE
    with torch.inference_mode():
        vectors = network(torch.from_numpy(faces().crops)).numpy()
    own = vectors[:6] @ vectors[:6].T
    assert own.min() > (vectors[:6] @ vectors[6:].T).max()


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["last-block", "full"])
def test_a_trained_network_changes_as_deep_as_it_may(tmp_path, depth):
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    options = replace(QUICK, depth=depth, held_out=0.0)  # nobody held out: the last one is taken
    path = fit_network(network, RECIPE, faces(strangers=6), tmp_path, options)
    after = open_mini(path)[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("embedding.") for name in changed)
    assert any(name.startswith("stages.3.") for name in changed)
    assert any(name.startswith("stem.") for name in changed) == (depth == "full")
    assert any(name.startswith("stages.0.") for name in changed) == (depth == "full")
    assert not any("running" in name for name in changed)
    assert "drift" in read_history(tmp_path)[0]["train"]


def test_what_is_no_better_is_not_taken(tmp_path):
    network = small()
    digest = weights_digest(network.state_dict())
    options = replace(QUICK, learning_rate=0.5, keep=0, epochs=2)  # ruins it
    path = fit_network(network, RECIPE, faces(), tmp_path, options)
    assert weights_digest(open_mini(path)[0].state_dict()) == digest
    assert weights_digest(network.state_dict()) != digest


def run(folder: Path, stop_after: int | None = None, resume: bool = False) -> dict:
    steps = []

    def stop() -> bool:
        steps.append(1)
        return stop_after is not None and len(steps) == stop_after

    options = replace(QUICK, epochs=4, patience=4)
    path = fit_network(
        small(), RECIPE, faces(), folder, options, trained=False, resume=resume, stop=stop
    )
    return open_mini(path)[0].state_dict()


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "cut", stop_after=5)  # in the third epoch
    assert not (tmp_path / "cut" / "embedder.pt").exists()
    assert len(read_history(tmp_path / "cut")) == 2
    resumed = run(tmp_path / "cut", resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert read_history(tmp_path / "cut") == read_history(tmp_path / "whole")


@pytest.mark.slow
def test_another_run_is_not_resumed(tmp_path):
    fit_network(small(), RECIPE, faces(), tmp_path, QUICK)
    some = faces()
    others = LabeledCrops(some.crops[::-1].copy(), some.names)  # as many, but not theirs
    with pytest.raises(UserError, match="other photos, or people in another order"):
        fit_network(small(), RECIPE, others, tmp_path, QUICK, resume=True)
    with pytest.raises(UserError, match="3 classes and 18 photos"):
        fit_network(small(), RECIPE, faces(4), tmp_path, QUICK, resume=True)
    with pytest.raises(UserError, match="batch_size was 8 and is 4"):
        fit_network(small(), RECIPE, faces(), tmp_path, replace(QUICK, batch_size=4), resume=True)
    with pytest.raises(UserError, match="no embedder"):
        fit_network(small(), RECIPE, faces(), tmp_path / "none", QUICK, resume=True)


@pytest.mark.parametrize(
    ("some", "message"),
    [(faces(1), "got 1"), (faces(3, 1), "p0 has one")],
)
def test_too_few_people_or_photos_are_refused(tmp_path, some, message):
    with pytest.raises(UserError, match=message):
        fit_network(small(), RECIPE, some, tmp_path, QUICK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": 0}, {"epochs": 0}, {"batch_size": 1}, {"held_out": 1}, {"phases": 3}],
)
def test_wrong_options_name_the_flag(wrong):
    with pytest.raises(UserError, match=next(iter(wrong)) + ".* must"):
        NetworkOptions(**wrong)


def test_a_new_network_follows_from_the_seed_and_leaves_torch_s_own_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    a, b, c = new_network(seed=1), new_network(seed=1), new_network(seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert weights_digest(a.state_dict()) == weights_digest(b.state_dict())
    assert weights_digest(a.state_dict()) != weights_digest(c.state_dict())
