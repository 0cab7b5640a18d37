"""Blocks computed in groups of channels give what they give as a whole."""

from __future__ import annotations

import onnx
import pytest
import torch
from torchvision.models.mobilenetv2 import InvertedResidual

from detector.export.dense import GROUP, InGroups, _without_batch_norm
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
