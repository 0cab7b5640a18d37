"""Crops and scores without torch, and the networks with the published weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from faces.errors import UserError
from pipeline.liveness.attempt import LAST, Attempt, Sample
from pipeline.liveness.challenge import Challenge
from pipeline.liveness.crops import METADATA, SIZE
from pipeline.liveness.minifas import ARCHITECTURES, MiniFASNet, load_minifas
from pipeline.liveness.passive import PassiveLiveness, crop

NAMES = ("2.7_80x80_MiniFASNetV2.pth", "4_0_0_80x80_MiniFASNetV1SE.pth")
PUBLISHED_PARAMETERS = {"MiniFASNetV2": 0.435e6}  # its README; V1SE is not in the table


def gradient(height, width):
    """Red counts columns and green rows, so that a crop tells where it was taken."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, None]
    return image


@pytest.mark.parametrize(
    ("box", "scale", "left", "top", "right", "bottom"),
    [
        ([100, 80, 140, 120], 2.0, 80, 60, 160, 140),
        ([0, 0, 40, 40], 2.0, 0, 0, 80, 80),  # moved into the picture
        ([200, 160, 240, 200], 2.0, 159, 119, 239, 199),
        ([100, 80, 140, 120], 10.0, 20, 0, 219, 199),  # no larger than the picture
        ([100, 80, 140, 100], 2.0, 80, 70, 160, 110),  # squeezed
    ],
)
def test_the_crop_is_that_of_the_published_recipe(box, scale, left, top, right, bottom):
    face = crop(gradient(200, 240), np.array(box, np.float32), scale)
    assert face.shape == (SIZE, SIZE, 3)
    corners = [face[0, 0, 0], face[0, 0, 1], face[-1, -1, 0], face[-1, -1, 1]]
    np.testing.assert_allclose(corners, [left, top, right, bottom], atol=2)


def test_a_crop_of_80_pixels_keeps_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    face = crop(image, np.array([100.0, 100, 139.5, 139.5], np.float32), 2.0)
    np.testing.assert_array_equal(face, image[80:160, 80:160])


def test_faces_of_odd_places_and_sizes_have_crops():
    image = gradient(50, 60)
    for box in ([0, 0, 60, 50], [59, 49, 60, 50], [-10, -10, 5, 5], [20, 20, 20, 20]):
        assert crop(image, np.array(box, np.float32), 2.7).shape == (SIZE, SIZE, 3)


def model_file(path, shape, metadata=None, classes=(0.0, 2.0, 0.0), probabilities=False):
    """A network that says the same of every face, plus its mean blue."""
    bias = np.array(classes, np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
        helper.make_node("Unsqueeze", ["z"], ["u"], axes=[1]),
        helper.make_node("Add", ["u", "bias"], ["logits"]),
    ]
    if probabilities:
        nodes.append(helper.make_node("Softmax", ["logits"], ["y"], axis=1))
    else:
        nodes.append(helper.make_node("Identity", ["logits"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("bias", TensorProto.FLOAT, bias.shape, bias),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("probabilities", [False, True])
def test_somebody_elses_conversion_is_read(tmp_path, batch, probabilities):
    path = model_file(tmp_path / "2.7_x.onnx", [batch, 3, SIZE, SIZE], probabilities=probabilities)
    passive = PassiveLiveness.open(path, threads=1)
    assert passive.scales == (2.7,)
    scores = passive.score(gradient(100, 100), np.array([[10, 10, 40, 50], [50, 50, 90, 90]]))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.exp(2) / (np.exp(2) + 2), atol=1e-5)


def test_several_files_give_their_mean(tmp_path):
    sure = model_file(tmp_path / "2.7_a.onnx", ["N", 3, SIZE, SIZE], classes=(0, 50, 0))
    unsure = model_file(tmp_path / "4.0_b.onnx", ["N", 3, SIZE, SIZE], classes=(50, 0, 0))
    passive = PassiveLiveness.open(sure, unsure, threads=1)
    assert passive.scales == (2.7, 4.0)
    np.testing.assert_allclose(passive.score(gradient(90, 90), np.array([[9, 9, 50, 50]])), 0.5)


def test_no_face_no_score(tmp_path):
    passive = PassiveLiveness.open(model_file(tmp_path / "4_x.onnx", ["N", 3, SIZE, SIZE]))
    assert passive.score(gradient(9, 9), np.zeros((0, 4), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("name", "shape", "metadata", "message"),
    [
        ("x.onnx", ["N", 3, SIZE, SIZE], None, "must begin with the scale"),
        ("99_x.onnx", ["N", 3, SIZE, SIZE], None, "must begin with the scale"),
        ("2.7_x.onnx", ["N", 3, 64, 64], None, "no liveness network"),
        ("2.7_x.onnx", ["N", SIZE, SIZE, 3], None, "no liveness network"),
        ("x.onnx", ["N", 3, SIZE, SIZE], {METADATA: "{"}, "damaged"),
        ("x.onnx", ["N", 3, SIZE, SIZE], {METADATA: '{"version": 2, "scales": [1]}'}, "newer"),
    ],
)
def test_other_onnx_files_are_refused(tmp_path, name, shape, metadata, message):
    with pytest.raises(UserError, match=message):
        PassiveLiveness.open(model_file(tmp_path / name, shape, metadata))


def test_other_files_are_refused(tmp_path):
    broken = tmp_path / "2.7_broken.onnx"
    broken.write_bytes(b"\x08 nothing")
    nothing = tmp_path / "2.7_nothing.pth"
    nothing.write_bytes(b"nothing")
    foreign = tmp_path / "2.7_foreign.pth"
    torch.save({"a": torch.zeros(1)}, foreign)
    unsafe = tmp_path / "2.7_unsafe.pth"
    torch.save({"a": Path("x")}, unsafe)
    nameless = tmp_path / "weights.pth"
    torch.save(MiniFASNet(ARCHITECTURES["MiniFASNetV2"]).state_dict(), nameless)
    for paths, message in [
        ([], "give a file"),
        ([tmp_path / "2.7_gone.onnx"], "no such file"),
        ([tmp_path / "2.7_gone.pth"], "no such file"),
        ([broken], "damaged"),
        ([nothing], "damaged"),
        ([foreign], "other weights"),
        ([unsafe], "damaged"),
        ([nameless], "must begin with the scale"),
    ]:
        with pytest.raises(UserError, match=message):
            PassiveLiveness.open(*paths)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_are_told_apart_by_their_content(tmp_path, name):
    torch.manual_seed(0)
    network = MiniFASNet(ARCHITECTURES[name]).eval()
    path = tmp_path / "3.5_mine.pth"
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, path)
    loaded, scale = load_minifas(path)
    example = torch.rand(2, 3, SIZE, SIZE) * 255
    assert scale == 3.5
    assert not loaded.training
    torch.testing.assert_close(loaded(example), network(example))


def test_an_attempt_has_the_median_of_the_last_scores():
    attempt = Attempt(Challenge.new())
    box = np.array([10, 10, 90, 90], np.float32)
    found = []
    for i, score in enumerate([0.9, 0.1, 0.2, None, *[0.8] * LAST]):
        attempt.look(float(i) / 30, Sample(None, box, liveness=score), (100, 100))
        found.append(attempt.liveness)
    assert found[:4] == pytest.approx([0.9, 0.5, 0.2, 0.2])
    assert found[-1] == 0.8
    assert len(attempt._scores) == LAST


# -- the published weights


@pytest.mark.data
def test_the_published_weights_load_and_look_at_a_photo(shared_data):
    """Scores of two photographs of people; they say nothing about attacks."""
    from faces.images.read import read_image
    from tests.pipeline.liveness.pixels import faces

    peers = [shared_data / "weights" / "peers" / name for name in NAMES]
    network, scale = load_minifas(peers[0])
    assert scale == 2.7
    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(PUBLISHED_PARAMETERS["MiniFASNetV2"], rel=0.01)
    passive = PassiveLiveness.open(*peers, threads=1)
    assert passive.scales == (2.7, 4.0)
    networks = [load_minifas(peer) for peer in peers]
    for path, box in faces().values():
        image = read_image(path)
        by_hand = 0.0
        for network, scale in networks:
            bgr = crop(image, box, scale)[..., ::-1].transpose(2, 0, 1).copy()
            with torch.inference_mode():
                logits = network(torch.from_numpy(bgr)[None].float())  # 0..255
            by_hand += float(logits.softmax(dim=1)[0, 1]) / 2
        score = passive.score(image, box[None])[0]
        assert score == pytest.approx(by_hand, abs=1e-5)
        assert score > 0.9
    black = np.zeros((400, 400, 3), np.uint8)
    assert passive.score(black, np.array([[150, 150, 250, 250]]))[0] < 0.1


@pytest.mark.data
@pytest.mark.slow
def test_the_exported_file_gives_the_same_without_torch(shared_data, tmp_path):
    from pipeline.liveness.export import export_liveness

    peers = [shared_data / "weights" / "peers" / name for name in NAMES]
    path = tmp_path / "liveness.onnx"
    assert export_liveness(peers, path) < 1e-4
    source = np.random.default_rng(0)
    image = source.integers(0, 256, (400, 500, 3)).astype(np.uint8)
    boxes = np.array([[10, 20, 90, 120], [200, 150, 260, 230], [400, 300, 480, 390]], np.float32)
    expected = PassiveLiveness.open(*peers, threads=1).score(image, boxes)
    np.testing.assert_allclose(
        PassiveLiveness.open(path, threads=1).score(image, boxes), expected, atol=1e-4
    )
    metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert json.loads(metadata[METADATA])["scales"] == [2.7, 4.0]
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from pipeline.liveness.passive import PassiveLiveness\n"
        "p = PassiveLiveness.open(Path(sys.argv[1]))\n"
        "p.score(np.zeros((99, 99, 3), np.uint8), np.array([[9, 9, 50, 50]]))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
