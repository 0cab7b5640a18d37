from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from faces.errors import UserError
from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import (
    load_checkpoint,
    open_mini,
    save_checkpoint,
    weights_digest,
)
from recognizer.embedders.mini import MiniConfig, MiniResNet, PlacePool

TINY = MiniConfig(size=32, widths=(4, 8, 8, 16), depths=(1, 1, 1, 1), dimension=8)
RECIPE = CropRecipe(32, 0.1, "square")


def tiny(seed: int = 0) -> MiniResNet:
    torch.manual_seed(seed)
    network = MiniResNet(TINY)
    with torch.no_grad():
        for buffer in network.buffers():  # as after training
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer) * 0.2)
    return network.eval()


def faces(count: int, size: int = 32) -> torch.Tensor:
    values = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)
    return torch.from_numpy(values)


def test_the_shipped_shape_has_the_promised_size() -> None:
    network = MiniResNet()
    assert network.config == MiniConfig()
    assert 1e6 <= sum(p.numel() for p in network.parameters()) <= 3e6
    assert network(faces(2, 112)).shape == (2, 128)


@pytest.mark.parametrize("count", [1, 3])
def test_faces_become_unit_vectors(count: int) -> None:
    vectors = tiny()(faces(count))
    assert vectors.shape == (count, 8)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(count))


def test_a_face_gives_the_same_alone_and_in_a_batch() -> None:
    network, batch = tiny(), faces(4)
    with torch.inference_mode():
        together = network(batch)
        alone = torch.cat([network(face[None]) for face in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_block_changes_nothing_at_first() -> None:
    block = MiniResNet(TINY).stages[0][0].eval()
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(block(x), x)


def test_every_parameter_learns() -> None:
    network = tiny().train()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("norm2.weight"):
                value.fill_(0.5)
    network(faces(4)).square().cumsum(1).mean().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_pooling_is_an_average_at_first_and_then_knows_places() -> None:
    pool, x = PlacePool(3, 7), torch.rand(2, 3, 7, 7)
    torch.testing.assert_close(pool(x), x.mean(dim=(2, 3)))
    with torch.no_grad():
        pool.weight.zero_()
        pool.weight[1, 2, 3] = 1
    torch.testing.assert_close(pool(x)[:, 1], x[:, 1, 2, 3])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 100}, "a multiple of 16"),
        ({"size": 16}, "a multiple of 16"),
        ({"widths": (8, 8)}, "each of the four stages"),
        ({"widths": (8, 8, 8, 0)}, "at least 1"),
        ({"depths": (1, 0, 1, 1)}, "at least 1"),
        ({"dimension": 0}, "at least 1"),
    ],
)
def test_shapes_that_cannot_be(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MiniConfig(**values)


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_gives_the_network_back(tmp_path: Path, half: bool) -> None:
    network, path = tiny(), tmp_path / "a.pt"
    save_checkpoint(path, TINY, RECIPE, network.state_dict(), half=half)
    again, recipe = open_mini(path)
    assert (again.config, recipe) == (TINY, RECIPE)
    assert not again.training
    with torch.inference_mode():
        torch.testing.assert_close(
            again(faces(2)), network(faces(2)), atol=1e-2 if half else 1e-6, rtol=0
        )
    assert weights_digest(again.state_dict()) == weights_digest(network.state_dict())


def test_the_digest_tells_networks_apart() -> None:
    one, other = tiny(0), tiny(1)
    assert weights_digest(one.state_dict()) != weights_digest(other.state_dict())
    moved = {name: value.clone() for name, value in one.state_dict().items()}
    moved["stem.1.running_mean"][0] += 0.1  # statistics count as well
    assert weights_digest(moved) != weights_digest(one.state_dict())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no embedder"):
        load_checkpoint(tmp_path / "none.pt")
    damaged = tmp_path / "damaged.pt"
    save_checkpoint(damaged, TINY, RECIPE, tiny().state_dict())
    damaged.write_bytes(damaged.read_bytes()[:3000])
    with pytest.raises(UserError, match="damaged or cut short"):
        load_checkpoint(damaged)
    foreign = tmp_path / "foreign.pt"
    torch.save({"format": "faces-detector", "version": 1}, foreign)
    with pytest.raises(UserError, match="holds no embedder"):
        load_checkpoint(foreign)
    newer = tmp_path / "newer.pt"
    torch.save({"format": "faces-embedder", "version": 9}, newer)
    with pytest.raises(UserError, match="has version 9, this program reads version 1"):
        load_checkpoint(newer)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"format": "faces-embedder", "version": 1, "weights": Evil()}, path)
    with pytest.raises(UserError, match="is not a checkpoint"):
        load_checkpoint(path)
    assert not Evil.ran


class Evil:
    ran = False

    def __reduce__(self) -> tuple:
        return (setattr, (Evil, "ran", True))
