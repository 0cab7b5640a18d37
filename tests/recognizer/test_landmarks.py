from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.errors import UserError
from recognizer import shipped
from recognizer.crop import TEMPLATE, CropRecipe
from recognizer.landmarks import LandmarkNet, upright
from tests.recognizer.photos import ASTRONAUT_BOX, HOPPER_BOX, astronaut, hopper

ASTRONAUT = [[204, 101], [247, 103], [226, 128], [204, 139], [245, 141]]
HOPPER = [[221, 192], [310, 187], [267, 238], [233, 279], [304, 276]]
"""Marked by eye, to a few pixels."""


@pytest.fixture(scope="module")
def net() -> LandmarkNet:
    return LandmarkNet(threads=1)


def test_points_of_real_faces(net: LandmarkNet) -> None:
    points, trusted = net(astronaut(), ASTRONAUT_BOX)
    assert trusted.tolist() == [True]
    np.testing.assert_allclose(points[0], ASTRONAUT, atol=6)
    points, trusted = net(hopper(), HOPPER_BOX)
    assert trusted.tolist() == [True]
    np.testing.assert_allclose(points[0], HOPPER, atol=6)


def test_several_boxes_at_once_give_what_each_gives_alone(net: LandmarkNet) -> None:
    image = astronaut()
    boxes = np.concatenate([ASTRONAUT_BOX, ASTRONAUT_BOX + 8, [[300, 300, 340, 350]]])
    together, trusted = net(image, boxes.astype(np.float32))
    for i, box in enumerate(boxes):
        alone, sure = net(image, box[None].astype(np.float32))
        np.testing.assert_allclose(together[i], alone[0], atol=1e-2)
        assert trusted[i] == sure[0]


def test_an_inexact_box_is_corrected_by_the_second_look(net: LandmarkNet) -> None:
    image = astronaut()
    points, _ = net(image, ASTRONAUT_BOX)
    loose = ASTRONAUT_BOX + np.array([[-12, -10, 20, 16]], np.float32)
    again, trusted = net(image, loose)
    assert trusted.all()
    np.testing.assert_allclose(again, points, atol=5)


def test_the_shipped_file_gives_what_facenet_pytorch_gives(net: LandmarkNet) -> None:
    torch = pytest.importorskip("torch")
    import facenet_pytorch
    from facenet_pytorch.models.mtcnn import ONet

    reference = ONet(pretrained=False)
    weights = Path(facenet_pytorch.__file__).parent / "data" / "onet.pt"
    reference.load_state_dict(torch.load(weights, weights_only=True))
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    x = torch.from_numpy(faces).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        shift, points, probability = reference((x - 127.5) * 0.0078125)
    ours = net._session.run(None, {"faces": faces})
    np.testing.assert_allclose(ours[0], shift, atol=2e-3)
    np.testing.assert_allclose(ours[1], points, atol=2e-3)
    np.testing.assert_allclose(ours[2], probability[:, 1], atol=2e-3)


def test_what_is_no_face_is_not_trusted(net: LandmarkNet) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    for image in (noise, np.zeros((200, 200, 3), np.uint8)):
        points, trusted = net(image, np.array([[20, 20, 150, 160]], np.float32))
        assert points.shape == (1, 5, 2)
        assert not trusted.any()


def test_no_boxes(net: LandmarkNet) -> None:
    points, trusted = net(astronaut(), np.zeros((0, 4), np.float32))
    assert (points.shape, trusted.shape) == ((0, 5, 2), (0,))


def test_an_aligned_crop_hardly_depends_on_how_the_head_is_tilted(net: LandmarkNet) -> None:
    recipe, image = CropRecipe(112, 0.08, "aligned"), astronaut()
    straight = recipe(image, ASTRONAUT_BOX, net)[0]
    turn = cv2.getRotationMatrix2D((225, 134), 15, 1.0)
    tilted = recipe(np.asarray(cv2.warpAffine(image, turn, (512, 512))), ASTRONAUT_BOX, net)[0]
    apart = np.abs(tilted.astype(int) - straight)[20:100, 25:87].mean()
    plain = CropRecipe(112, 0.08, "square")
    unaligned = np.abs(
        plain(np.asarray(cv2.warpAffine(image, turn, (512, 512))), ASTRONAUT_BOX)[0].astype(int)
        - plain(image, ASTRONAUT_BOX)[0]
    )[20:100, 25:87].mean()
    assert apart < 0.5 * unaligned


def test_faces_upside_down_or_mirrored_are_known() -> None:
    mirrored = TEMPLATE[[1, 0, 2, 4, 3]]
    upside_down = np.stack([112 - TEMPLATE[:, 0], 112 - TEMPLATE[:, 1]], axis=1)
    assert upright(np.stack([TEMPLATE, mirrored, upside_down])).tolist() == [True, False, False]


def test_shipped_files_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"onet\.onnx cannot be read: install the project again"):
        shipped.shipped_file("onet.onnx")
    (tmp_path / "onet.onnx").write_bytes(b"other")
    (tmp_path / "SHA256SUMS").write_text("00  onet.onnx\n", encoding="ascii")
    with pytest.raises(UserError, match="is damaged"):
        shipped.shipped_file("onet.onnx")
