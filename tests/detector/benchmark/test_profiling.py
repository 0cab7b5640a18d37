"""Where an exported file spends its time."""

from __future__ import annotations

import numpy as np
import pytest

from detector.benchmark.profiling import (
    PARTS,
    Profile,
    node_times,
    parts_of,
    profile,
    profile_markdown,
)
from faces.errors import UserError
from tests.detector.benchmark.fakes import write_our_checkpoint, write_our_onnx


def test_every_node_of_a_file_is_given_to_its_part(tmp_path):
    path = write_our_onnx(tmp_path / "model.onnx")
    found = profile(path, [np.zeros((40, 60, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)])
    assert found.images == 2
    operators = {part: {op for p, op in found.parts if p == part} for part in PARTS}
    assert {"Cast", "Transpose"} <= operators["input"]
    assert any("Conv" in op for op in operators["backbone"])
    assert any("Conv" in op for op in operators["pyramid"])
    assert any("Conv" in op for op in operators["RPN convolutions"])
    assert "TopK" in operators["RPN proposals"]
    assert "RoiAlign" in operators["RoI"]
    assert any("Gemm" in op for op in operators["RoI"])
    assert all(seconds >= 0 for seconds in found.parts.values())
    assert sum(found.parts.values()) + found.runtime < found.total * 1.5
    assert [part for part, _ in found.parts] == sorted(
        (part for part, _ in found.parts), key=PARTS.index
    )


def test_nodes_that_the_optimizer_renamed_or_made_are_traced_back():
    from onnx import helper

    def graph(*nodes):
        return helper.make_graph(
            [helper.make_node(*n, name=name) for name, *n in nodes], "g", [], []
        )

    plain = graph(
        ("stem", "Conv", ["pixels", "dense.backbone.body.0.0.weight"], ["a"]),
        ("clip", "Clip", ["a"], ["b"]),
        ("lateral", "Conv", ["b", "dense.backbone.lateral.0.0.weight"], ["c"]),
        ("outputs", "Conv", ["c", "dense.outputs.weight"], ["d"]),
        ("slice", "Slice", ["d"], ["e"]),
        ("roi", "RoiAlign", ["c", "e"], ["f"]),
    )
    optimized = graph(
        # A blocked convolution is called after the tensor that it and its activation made.
        ("b_nchwc", "Conv", ["pixels", "reordered_1"], ["token_1"]),
        ("new", "ReorderOutput", ["token_1"], ["token_2"]),
        ("c_nchwc", "Conv", ["token_1", "reordered_2"], ["token_3"]),
        ("unblock", "ReorderOutput", ["token_3"], ["c"]),
        ("outputs", "Conv", ["c", "dense.outputs.weight"], ["d"]),
        ("slice/Fused", "Split", ["d"], ["token_4"]),
        ("roi", "RoiAlign", ["c", "token_4"], ["f"]),
    )
    part_of = parts_of(plain, optimized)
    assert {node.name: part_of(node.name) for node in optimized.node} == {
        "b_nchwc": "backbone",
        "new": "backbone",
        "c_nchwc": "pyramid",
        "unblock": "pyramid",
        "outputs": "RPN convolutions",
        "slice/Fused": "RPN proposals",
        "roi": "RoI",
    }
    assert part_of("stem") == "backbone"
    assert part_of("never seen") == "input"


def test_times_belong_to_the_run_that_they_are_in():
    def event(cat, name, start, length, **arguments):
        return {"cat": cat, "name": name, "ts": start, "dur": length, "args": arguments}

    events = [
        event("Session", "session_initialization", 0, 50),
        event("Node", "a_kernel_time", 101, 10, op_name="Conv"),
        event("Node", "a_fence_before", 100, 1, op_name="Conv"),
        event("Node", "a_kernel_time", 115, 5, op_name="Conv"),
        event("Session", "model_run", 100, 40),
        event("Node", "a_kernel_time", 201, 20, op_name="Conv"),
        event("Node", "b_kernel_time", 230, 3, op_name="Relu"),
        event("Session", "SequentialExecutor::Execute", 200, 49),
        event("Session", "model_run", 200, 50),
        {"cat": "Session", "name": "meta", "ph": "M"},
    ]
    first, second = node_times(events)
    assert first.seconds == pytest.approx(40e-6)
    assert first.nodes == {"a": ("Conv", pytest.approx(15e-6))}
    assert second.nodes == {"a": ("Conv", pytest.approx(20e-6)), "b": ("Relu", pytest.approx(3e-6))}


def test_only_onnx_files_are_profiled(tmp_path):
    path = write_our_checkpoint(tmp_path / "best.pt")
    with pytest.raises(UserError, match="only ONNX files can be profiled"):
        profile(path, [])


def test_the_tables_add_up_and_leave_nothing_out():
    parts = {("backbone", "Conv"): 0.036, ("RoI", "RoiAlign"): 0.02, ("RoI", "Add"): 0.0001,
             ("RoI", "Mul"): 0.0001}  # fmt: skip
    text = profile_markdown(Profile(parts, 0.003, 0.0008, 0.06, 7), "model.onnx")
    assert "Where `model.onnx` spends its time: medians over 7 images, 60.0 ms in all" in text
    assert "| backbone | 36.00 | 60.0% |" in text
    assert "| RoI | 20.20 | 33.7% |" in text
    assert "| RoI | 2 others | 0.20 | 0.3% |" in text
    assert "| ONNX Runtime between operators | 3.00 | 5.0% |" in text
    assert "| pyramid |" not in text  # a part without a node
