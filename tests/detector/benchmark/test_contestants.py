"""Who takes part: names, kinds, sizes, and files that nobody can use."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from detector.benchmark.contestants import (
    Contestant,
    backbone_contestant,
    line_up,
    open_contestant,
)
from faces.errors import UserError
from tests.detector.benchmark.fakes import (
    OUR_PARAMETERS,
    write_our_checkpoint,
    write_our_onnx,
    write_peer_onnx,
)

YUNET = ("cls_8", "obj_8", "bbox_8", "kps_8")
ULTRA_LIGHT = ("scores", "boxes")
SKIP = ("mtcnn", "torchvision", "reference")


def test_files_are_told_apart_by_what_they_hold(tmp_path):
    ours = [write_our_onnx(tmp_path / "odd.name"), write_our_checkpoint(tmp_path / "best.pt")]
    peers = [
        write_peer_onnx(tmp_path / "a.onnx", YUNET),
        write_peer_onnx(tmp_path / "b.onnx", ULTRA_LIGHT),
    ]
    found = [(c.kind, c.name, c.runtime, c.trained) for c in line_up(ours, peers)]
    assert found == [
        ("ours", "odd.name", "ONNX Runtime", True),
        ("ours", "best.pt", "PyTorch", True),
        ("yunet", "YuNet (a.onnx)", "ONNX Runtime", True),
        ("ultra-light", "Ultra-Light (b.onnx)", "ONNX Runtime", True),
        ("mtcnn", "MTCNN", "PyTorch", True),
        ("torchvision", "fasterrcnn_mobilenet_v3_large_320_fpn", "PyTorch", False),
        ("reference", "reference", "PyTorch", False),
    ]
    assert line_up([], peers, skip=SKIP)[1].note == "MIT license; squeezes every picture into 32x24"


@pytest.mark.parametrize("widths", [(1, 1, 1, 4, 4, 4, 10, 10, 10), (4, 1) * 3])
def test_scrfd_is_known_by_its_widths_whatever_its_outputs_are_called(tmp_path, widths):
    names = tuple(str(440 + i) for i in range(len(widths)))
    [scrfd] = line_up([], [write_peer_onnx(tmp_path / "a.onnx", names, widths)], skip=SKIP)
    assert (scrfd.kind, scrfd.name) == ("scrfd", "SCRFD (a.onnx)")
    assert scrfd.note == "weights for non-commercial research only"


def test_onnx_files_of_ours_take_part_once_for_each_speed(tmp_path):
    ours = [write_our_onnx(tmp_path / "a.onnx"), write_our_checkpoint(tmp_path / "a.pt")]
    peer = write_peer_onnx(tmp_path / "b.onnx", ULTRA_LIGHT)
    found = line_up(ours, [peer], skip=SKIP, speeds=("normal", "fast", "fast"))
    assert [(c.name, c.runtime, c.speed) for c in found] == [
        ("a.onnx", "ONNX Runtime", "normal"),
        ("a.onnx, fast", "the fastest here", "fast"),
        ("a.pt", "PyTorch", "normal"),
        ("Ultra-Light (b.onnx)", "ONNX Runtime", "normal"),
    ]
    twins = line_up([ours[0], ours[0]], skip=SKIP, speeds=("fast",))
    assert len({c.name for c in twins}) == 2


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
def test_the_fast_one_is_opened_fast(small_export, monkeypatch):
    monkeypatch.setattr("detector.inference.openvino_backend.has_bfloat16", lambda: True)
    monkeypatch.setattr("detector.inference.fast.time_share", lambda *networks: 0.5)
    [fast] = line_up([small_export.onnx], skip=SKIP, speeds=("fast",))
    detector = open_contestant(fast, 1, 0.5)
    assert type(detector.network).__name__ == "OpenVinoNetwork"


def test_the_shipped_detector_takes_part_by_its_name():
    [shipped] = line_up([Path("shipped")], skip=SKIP)
    assert (shipped.kind, shipped.runtime) == ("ours", "ONNX Runtime")
    assert shipped.path.is_file()


def test_a_trained_reference_is_one_that_finds_faces(tmp_path):
    path = write_our_checkpoint(tmp_path / "reference.pt")
    [reference] = line_up([], reference=path, skip=("mtcnn", "torchvision"))
    assert (reference.kind, reference.name, reference.path) == ("reference", "reference", path)
    assert reference.trained


def test_files_of_one_name_are_called_by_their_folder(tmp_path):
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paths.append(write_peer_onnx(tmp_path / folder / "yunet.onnx", YUNET))
    names = [c.name for c in line_up([], [*paths, paths[1]], skip=SKIP)]
    assert names == [
        "YuNet (one/yunet.onnx)",
        "YuNet (two/yunet.onnx)",
        "YuNet (two/yunet.onnx) #2",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (("masks",), r"neither YuNet .* nor Ultra-Light .*but masks; give files of ours as MODEL"),
        (b"\x08 no protobuf at all", "damaged, or no ONNX file"),
        (b"nothing known", "holds no detector"),
        ("checkpoint", "peers are ONNX files; give files of ours as MODEL"),
        (None, "there is no detector"),
    ],
    ids=["another network", "damaged", "foreign", "a checkpoint", "missing"],
)
def test_files_that_are_no_peers_are_refused(content, message, tmp_path):
    path = tmp_path / "peer.onnx"
    if isinstance(content, tuple):
        write_peer_onnx(path, content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_our_checkpoint(path)
    with pytest.raises(UserError, match=message) as caught:
        line_up([], [path], skip=SKIP)
    assert "peer.onnx" in str(caught.value)


def test_parameters_and_sizes_of_files(tmp_path):
    from detector.model import build_model
    from tests.tiny import TINY_MODEL

    onnx, checkpoint = line_up(
        [write_our_onnx(tmp_path / "a.onnx"), write_our_checkpoint(tmp_path / "a.pt")], skip=SKIP
    )
    assert onnx.parameters() == OUR_PARAMETERS
    assert onnx.file_bytes() == (tmp_path / "a.onnx").stat().st_size
    model = build_model(TINY_MODEL, pretrained=False)
    assert checkpoint.parameters() == sum(p.numel() for p in model.parameters())


def test_parameters_and_sizes_of_packages():
    mtcnn, torchvision = line_up([], skip=("reference",))
    assert mtcnn.parameters() == 495_850  # P-Net 6,632, R-Net 100,178, O-Net 389,040
    assert 1.9e6 < mtcnn.file_bytes() < 2.1e6
    # 19,386,354 with COCO's weights, as torchvision says: its predictor has 89 classes more, and
    # its batch norms, being frozen, have no parameters.
    assert torchvision.parameters() == 19_386_354 - 89 * 5 * 1025 + 24_400
    assert torchvision.file_bytes() is None


@pytest.mark.slow
def test_the_untrained_reference_is_the_published_recipe():
    [reference] = line_up([], skip=("mtcnn", "torchvision"))
    assert round(reference.parameters() / 1e6, 1) == 82.4
    assert reference.file_bytes() is None


def test_ours_sees_pictures_as_they_are_given(tmp_path):
    path = write_our_checkpoint(tmp_path / "best.pt")  # validated with 96 pixels
    detector = open_contestant(Contestant("ours", "best.pt", "PyTorch", path), 1, 0.02)
    assert detector.resize(np.zeros((200, 300, 3), np.uint8)).pixels.shape == (224, 320, 3)
    assert detector.score_threshold == 0.02


def test_the_backbone_is_no_detector():
    backbone = backbone_contestant(Path("backbone.onnx"))
    assert (backbone.kind, backbone.trained) == ("backbone", False)


@pytest.mark.slow
def test_a_torchscript_file_takes_part(tmp_path):
    from detector.export.publish import serialize
    from detector.inference.torch_backend import open_checkpoint

    path = tmp_path / "model.torchscript"
    path.write_bytes(
        serialize(*open_checkpoint(write_our_checkpoint(tmp_path / "best.pt")), "torchscript")
    )
    [contestant] = line_up([path], skip=SKIP)
    assert (contestant.kind, contestant.runtime) == ("ours", "TorchScript")
    # Batch norm is folded into the convolutions, so there are fewer than in the checkpoint.
    assert 40_000 < contestant.parameters() < line_up([tmp_path / "best.pt"])[0].parameters()
    detector = open_contestant(contestant, 1, 0.02)
    picture = np.zeros((200, 300, 3), np.uint8)
    assert detector.detect(picture).image_size == (200, 300)
