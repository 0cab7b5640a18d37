"""What is rearranged or left out for a runtime gives what the network gives."""

from __future__ import annotations

import copy

import onnx
import pytest
import torch
from torchvision.models.mobilenetv2 import InvertedResidual

from detector.config import ModelConfig
from detector.export.dense import (
    BLOCK,
    GROUP,
    DenseLayers,
    InGroups,
    _without_batch_norm,
    unused_channels,
)
from detector.model import FaceRCNN, build_model
from detector.shipped import FOLDER, INT8, NETWORK
from tests.small_export import SmallExport


@pytest.mark.parametrize(
    ("given", "made", "stride", "ratio"),
    [(16, 24, 2, 6), (24, 24, 1, 6), (12, 12, 1, 6), (8, 16, 1, 3), (40, 24, 1, 1.5)],
)
def test_groups_add_up_to_the_block(given: int, made: int, stride: int, ratio: float) -> None:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(given)
        block = InvertedResidual(given, made, stride, ratio).eval()
        for module in block.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
                module.bias.uniform_(-1, 3)
        x = torch.randn(2, given, 12, 20) * 3
        wanted = block(x)
        groups = InGroups(_without_batch_norm(block))  # type: ignore[arg-type]
        torch.testing.assert_close(groups(x), wanted, rtol=1e-4, atol=1e-4)
    widths = [group[0].out_channels for group in groups.groups]  # type: ignore[index, union-attr]
    wide = round(given * ratio)
    assert sum(widths) == wide
    assert all(min(GROUP, wide) <= width < 2 * GROUP for width in widths)


def test_the_shipped_file_is_in_groups_and_its_int8_file_is_not() -> None:
    widest = {}
    for name in (NETWORK, NETWORK.replace(".onnx", INT8)):
        graph = onnx.load(FOLDER / name).graph
        first = ("dense.backbone.body.2.", "dense.backbone.body.3.")
        widest[name] = max(t.dims[0] for t in graph.initializer if t.name.startswith(first))
    assert list(widest.values()) == [48, 144]


def test_whole_quotients_are_one_step_and_not_eleven(small_export: SmallExport) -> None:
    operators = {node.op_type for node in onnx.load(small_export.onnx).graph.node}
    assert "Div" in operators
    assert not {"Sign", "Mod"} & operators


def widths(dense: DenseLayers) -> dict[int, int]:
    """The expanded channels of every block."""
    blocks = dict(dense.backbone.named_modules())
    convolutions = {number: blocks[f"body.{number}.conv.1.0"] for number in range(2, 18)}
    return {number: int(conv.out_channels) for number, conv in convolutions.items()}  # type: ignore[arg-type]


def network_with_dead_channels() -> tuple[FaceRCNN, dict[int, list[int]]]:
    """A small one, in whose last blocks some channels never get above zero."""
    model = build_model(
        ModelConfig(width=0.25, channels=16, head_width=16), pretrained=False
    ).eval()
    dead = {15: list(range(0, 240, 2)), 16: [7], 17: list(range(236))}
    for number, channels in dead.items():
        norm = model.backbone_blocks[number].conv[1][1]
        norm.bias.data[channels] = -1e4
    return model, dead


def test_channels_that_pictures_never_use_are_found_and_left_out_of_the_graph() -> None:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model, dead = network_with_dead_channels()
        pictures = [torch.randint(0, 256, (64, 96, 3), dtype=torch.uint8) for _ in range(3)]
        wanted = DenseLayers(copy.deepcopy(model), grouped=False)(pictures[0][None])
        unused = unused_channels(model, [picture.numpy() for picture in pictures])
        for number, channels in dead.items():
            key = f"backbone.body.{number}.conv.2.weight"
            assert set(channels) <= set(unused[key].nonzero().flatten().tolist())
        for key, zero in unused.items():
            model.get_parameter(key)[:, zero] = 0.0
        dense = DenseLayers(copy.deepcopy(model), grouped=False)
        for part, whole in zip(dense(pictures[0][None]), wanted, strict=True):
            torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-5)
        again = unused_channels(model, [pictures[0].numpy()])
    used = [240 - int(unused[f"backbone.body.{number}.conv.2.weight"].sum()) for number in dead]
    left = [widths(dense)[number] for number in dead]
    assert left == [-(-count // BLOCK) * BLOCK for count in used]
    assert left[0] <= 128
    assert left[2] == 16, "a vector is filled up"
    assert "backbone.body.15.conv.2.weight" not in again, "it has zeros there already"


def test_without_zeros_nothing_is_left_out() -> None:
    model = build_model(ModelConfig(width=0.25, channels=16, head_width=16), pretrained=False)
    dense = DenseLayers(copy.deepcopy(model).eval(), grouped=False)
    blocks = dict(model.backbone.named_modules())
    assert all(
        blocks[f"body.{number}.conv.1.0"].out_channels == width
        for number, width in widths(dense).items()
    )
