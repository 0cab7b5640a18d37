from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.crop import CropRecipe
from recognizer.embedders.embedder import BATCH, FaceEmbedder
from recognizer.embedders.load import load_embedder
from recognizer.types import Embedder
from tests.recognizer.photos import ASTRONAUT_BOX, HOPPER_BOX, astronaut, hopper


@pytest.fixture(scope="module")
def mini() -> FaceEmbedder:
    return load_embedder("mini", threads=1)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield
    assert not (tmp_path / "torch").exists()  # mini needs nothing and leaves nothing


def colors(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network for tests: the mean of each channel, and 1."""
    means = faces.mean(axis=(1, 2), dtype=np.float32) / 255
    return np.concatenate([means, np.ones((len(faces), 1), np.float32)], axis=1)


def fake(network: object = colors) -> FaceEmbedder:
    return FaceEmbedder(network, CropRecipe(16, 0.0, "square"), "fake-01", 4)  # type: ignore[arg-type]


def test_it_is_an_embedder() -> None:
    embedder: Embedder = fake()
    assert embedder.fingerprint == "fake-01/crop1-square-16-0"
    assert (embedder.size, embedder.dimension) == (16, 4)
    faces = embedder.crop(astronaut(), ASTRONAUT_BOX)
    assert faces.shape == (1, 16, 16, 3)
    assert embedder.embed(faces).shape == (1, 4)


def test_a_flipped_vector_is_the_mean_of_both_mirror_images(mini: FaceEmbedder) -> None:
    crops = np.concatenate([mini.crop(astronaut(), ASTRONAUT_BOX), mini.crop(hopper(), HOPPER_BOX)])
    flipped = load_embedder("mini", threads=1, flip=True)
    assert flipped.fingerprint == mini.fingerprint
    both = mini.embed(crops) + mini.embed(np.ascontiguousarray(crops[:, :, ::-1]))
    found = flipped.embed(crops)
    np.testing.assert_allclose(found, both / np.linalg.norm(both, axis=1)[:, None], atol=1e-6)
    assert np.abs(found - mini.embed(crops)).max() > 0.01
    np.testing.assert_allclose(flipped.embed(crops[:, :, ::-1]), found, atol=1e-6)
    assert flipped.embed(crops[:0]).shape == (0, mini.dimension)


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1, 3 * BATCH - 1])
def test_any_number_of_faces(count: int) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    sizes = []

    def network(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        sizes.append(len(batch))
        return colors(batch)

    vectors = fake(network).embed(faces)
    assert vectors.shape == (count, 4)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert sum(sizes) == count
    assert max(sizes, default=0) <= BATCH


@pytest.mark.parametrize(
    "faces",
    [np.zeros((1, 15, 16, 3), np.uint8), np.zeros((1, 16, 16, 3)), np.zeros((16, 16, 3), np.uint8)],
)
def test_faces_of_another_kind_are_refused(faces: NDArray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        fake().embed(faces)


def test_a_network_that_gives_nan_is_noticed() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fake(lambda faces: np.full((len(faces), 4), np.nan, np.float32)).embed(
            np.zeros((1, 16, 16, 3), np.uint8)
        )


def test_auto_is_mini_where_nothing_was_downloaded(mini: FaceEmbedder) -> None:
    for name in ("auto", Path("auto"), Path("mini")):
        assert load_embedder(name, threads=1).fingerprint == mini.fingerprint
    assert mini.fingerprint.startswith("mini-")
    assert mini.fingerprint.endswith("/crop1-aligned-112-0.08")
    assert mini.dimension == 128


def test_distances_of_fixed_crops(mini: FaceEmbedder) -> None:
    """Golden: they change with the crop recipe, the landmarks, the weights and the runtime."""
    image = astronaut()
    small = np.ascontiguousarray(image[::2, ::2])
    dark = (image * 0.5).astype(np.uint8)
    views = [(image, ASTRONAUT_BOX), (image[:, ::-1], mirrored(ASTRONAUT_BOX, 512)),
             (small, ASTRONAUT_BOX / 2), (dark, ASTRONAUT_BOX), (hopper(), HOPPER_BOX)]  # fmt: skip
    faces = np.concatenate([mini.crop(np.ascontiguousarray(i), box) for i, box in views])
    vectors = mini.embed(faces)
    np.testing.assert_allclose(vectors @ vectors.T, GOLDEN, atol=0.02)


def mirrored(box: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    x1, y1, x2, y2 = box[0]
    return np.array([[width - x2, y1, width - x1, y2]], np.float32)


# Eileen Collins as she is, mirrored, at half size, at half the brightness; Grace Hopper.
GOLDEN = [
    [1.000, 0.946, 0.953, 0.953, 0.177],
    [0.946, 1.000, 0.901, 0.935, 0.174],
    [0.953, 0.901, 1.000, 0.921, 0.220],
    [0.953, 0.935, 0.921, 1.000, 0.201],
    [0.177, 0.174, 0.220, 0.201, 1.000],
]


def test_crops_come_with_the_points_that_turned_them(mini: FaceEmbedder) -> None:
    boxes = np.array([*ASTRONAUT_BOX, [0, 0, 30, 30]], np.float32)  # the second shows no face
    crops, points = mini.crop_with_points(astronaut(), boxes)
    np.testing.assert_array_equal(crops, mini.crop(astronaut(), boxes))
    [[x1, y1, x2, y2]] = ASTRONAUT_BOX
    assert ((points[0] > (x1, y1)) & (points[0] < (x2, y2))).all()
    assert points[0, 0, 0] < points[0, 1, 0], "the eye that is left in the picture comes first"
    assert np.isnan(points[1]).all()
    crops, points = fake().crop_with_points(astronaut(), boxes[:0])
    assert (crops.shape, points.shape) == ((0, 16, 16, 3), (0, 5, 2))


def test_one_person_is_nearer_than_another(mini: FaceEmbedder) -> None:
    shifted = ASTRONAUT_BOX + np.array([[-9, 6, 4, 10]], np.float32)
    one = mini.embed(mini.crop(astronaut(), np.concatenate([ASTRONAUT_BOX, shifted])))
    other = mini.embed(mini.crop(hopper(), HOPPER_BOX))
    assert one[0] @ one[1] > 0.9
    assert one[0] @ other[0] < 0.3


def test_the_shipped_pair_of_files_holds_one_network(mini: FaceEmbedder) -> None:
    from recognizer.shipped import shipped_file

    with_torch = load_embedder(shipped_file("mini.pt"))
    assert with_torch.fingerprint == mini.fingerprint
    faces = mini.crop(astronaut(), ASTRONAUT_BOX)
    np.testing.assert_allclose(with_torch.embed(faces), mini.embed(faces), atol=1e-4)


def test_what_is_shipped_is_small() -> None:
    from recognizer.shipped import FOLDER

    files = [FOLDER / "mini.onnx", FOLDER / "mini.pt"]
    assert sum(path.stat().st_size for path in files) <= 8 * 2**20


def test_recognizing_with_mini_does_not_import_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from recognizer.embedders.load import load_embedder\n"
        "e = load_embedder('mini', threads=1)\n"
        "image = np.zeros((200, 200, 3), np.uint8)\n"
        "faces = e.crop(image, np.array([[50, 50, 150, 150]], np.float32))\n"
        "assert e.embed(faces).shape == (1, 128)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GIF89a", "holds no embedder: give a checkpoint"),
        (b"", "holds no embedder"),
        (b"\x08\x07", "is damaged, cut short or no ONNX file"),
        (b"PK\x03\x04", "is not a checkpoint of this program, or it is damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_embedder(path)


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ({}, "holds no embedder"),
        ({"format": "faces-embedder", "version": "9"}, "has version 9, this program reads"),
    ],
)
def test_foreign_onnx_files_are_refused(
    tmp_path: Path, notes: dict[str, str], message: str
) -> None:
    shape = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])]
    out = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    opset = [onnx.helper.make_opsetid("", 18)]
    graph = onnx.helper.make_graph([node], "g", shape, out)
    proto = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.helper.set_model_props(proto, notes)
    path = tmp_path / "a.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match=message):
        load_embedder(path)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no embedder dlib: take one of auto, mini, incep"):
        load_embedder("dlib")
    with pytest.raises(UserError, match="are for the embedder inception, not for mini"):
        load_embedder("mini", tmp_path / "weights.pt")
    with pytest.raises(UserError, match="threads must be at least 1"):
        load_embedder("mini", threads=0)
