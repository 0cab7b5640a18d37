"""Vectors of photos, their cache, and who else makes some."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from recognizer.data.photos import Located, center_box, center_face, read_folders
from recognizer.evaluation.contestants import OnnxPeer, PixelBaseline
from recognizer.evaluation.embedding import embed_photos
from tests.fake_embedder import FakeEmbedder


class Counting(FakeEmbedder):
    """Counts what it embeds."""

    embedded = 0

    def embed(self, faces):
        self.embedded += len(faces)
        return super().embed(faces)


def face_unless_black(image):
    return Located(center_box(image)[: int(image.any())])


@pytest.fixture
def photos(tmp_path):
    random = np.random.default_rng(0)
    for name in ("Ann/1", "Ann/2", "Bob/1", "Cy/1"):
        path = tmp_path / "people" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(1, 255, (40, 40, 3), np.uint8)).save(path)
    Image.new("RGB", (40, 40)).save(tmp_path / "people" / "Bob" / "black.png")
    return read_folders(tmp_path / "people")


def embed(photos, embedder, cache, **more):
    contestants = {"ours": embedder, **more}
    return embed_photos(photos, embedder, contestants, face_unless_black, "test", cache)


def test_every_photo_by_every_contestant(photos, tmp_path):
    embedder = Counting()
    vectors, failed = embed(photos, embedder, None, pixels=PixelBaseline(8))
    assert failed.tolist() == [name == "Bob/black.png" for name in photos.names]
    assert vectors["ours"].shape == (5, 64)
    assert vectors["pixels"].shape == (5, 64)
    lengths = np.linalg.norm(vectors["ours"], axis=1)
    assert lengths == pytest.approx(np.where(failed, 0, 1))
    image = np.asarray(Image.open(photos.paths[0]))
    alone = embedder.embed(embedder.crop(image, center_box(image)))
    assert vectors["ours"][:1] == pytest.approx(alone, abs=1e-6)
    assert not list(tmp_path.glob("**/*.npz"))


def test_the_next_run_embeds_only_what_is_new(photos, tmp_path):
    embedder, cache = Counting(), tmp_path / "cache"
    first, failed = embed(photos, embedder, cache)
    assert embedder.embedded == 4
    again, failed_again = embed(photos, embedder, cache)
    assert embedder.embedded == 4  # not even the one without a face is looked at
    assert np.array_equal(first["ours"], again["ours"])
    assert np.array_equal(failed, failed_again)
    # Another picture under the old name is another picture.
    Image.new("RGB", (40, 40), (200, 0, 0)).save(photos.paths[0])
    changed, _ = embed(photos, embedder, cache)
    assert embedder.embedded == 5
    assert not np.array_equal(changed["ours"][0], first["ours"][0])
    # A new contestant joins without the old one working again.
    both, _ = embed(photos, embedder, cache, pixels=PixelBaseline(8))
    assert embedder.embedded == 5
    assert both["pixels"].any()


def test_another_network_or_another_box_has_a_cache_of_its_own(photos, tmp_path):
    embedder, other = Counting(), Counting(seed=1)
    embed(photos, embedder, tmp_path)
    embed(photos, other, tmp_path)
    assert other.embedded == 4
    embed_photos(photos, embedder, {"ours": embedder}, center_face, "another box", tmp_path)
    assert embedder.embedded == 4 + 5  # the black one has a box now


def test_a_damaged_cache_is_made_anew(photos, tmp_path, caplog):
    embedder = Counting()
    first, _ = embed(photos, embedder, tmp_path)
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        before = embedder.embedded
        with caplog.at_level(logging.WARNING):
            again, _ = embed(photos, embedder, tmp_path)
        assert embedder.embedded == before + 4
        assert "will be written again" in caplog.text
        assert np.array_equal(again["ours"], first["ours"])


def test_unreadable_photos_are_named_and_left_out_until_they_can_be_read(photos, tmp_path, caplog):
    embedder, cache = Counting(), tmp_path / "cache"
    _, before = embed(photos, embedder, None)
    whole = photos.paths[-1].read_bytes()
    photos.paths[-1].write_bytes(b"no image")
    photos.paths[0].unlink()
    vectors, failed = embed(photos, embedder, cache)
    assert set(np.flatnonzero(failed & ~before)) == {0, len(failed) - 1}
    assert not vectors["ours"][failed].any()
    for path in (photos.paths[0], photos.paths[-1]):
        assert path.name in caplog.text
    photos.paths[-1].write_bytes(whole)
    assert not embed(photos, embedder, cache)[1][-1]


def test_no_face_anywhere_is_refused(photos):
    def nowhere(image):
        return np.zeros((0, 4), np.float32)

    embedder = FakeEmbedder()
    with pytest.raises(UserError, match="no face was found in any photo"):
        embed_photos(photos, embedder, {"ours": embedder}, nowhere, "nowhere", None)


def test_the_baseline_is_the_correlation_of_pictures():
    random = np.random.default_rng(0)
    faces = np.repeat(random.integers(0, 256, (2, 32, 32, 1), np.uint8), 3, axis=3)
    vectors = PixelBaseline(32).embed(faces)
    expected = np.corrcoef(faces[0, ..., 0].ravel(), faces[1, ..., 0].ravel())[0, 1]
    assert float(vectors[0] @ vectors[1]) == pytest.approx(expected, abs=1e-5)
    plain = PixelBaseline(8).embed(np.full((1, 32, 32, 3), 90, np.uint8))
    assert np.linalg.norm(plain) == pytest.approx(1)  # no direction would be an error


def save_network(path, shape, rank=2):
    """An ONNX file that averages each of the three colors."""
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=int(rank == 4))
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_peer_sees_normalized_rgb_at_its_own_size(tmp_path, batch):
    peer = OnnxPeer(save_network(tmp_path / "peer.onnx", [batch, 3, 8, 8]))
    faces = np.zeros((3, 32, 32, 3), np.uint8)
    faces[0, ..., 0], faces[1, ..., 1] = 255, 255
    vectors = peer.embed(faces)
    black = np.array([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    red = black + np.array([1 / 0.229, 0, 0])
    assert vectors[2] == pytest.approx(black / np.linalg.norm(black), abs=1e-5)
    assert vectors[0] == pytest.approx(red / np.linalg.norm(red), abs=1e-5)
    assert peer.fingerprint.startswith("onnx-")


def test_peers_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="must take one input"):
        OnnxPeer(save_network(tmp_path / "gray.onnx", [1, 1, 8, 8]))
    with pytest.raises(UserError, match="must take one input"):
        OnnxPeer(save_network(tmp_path / "map.onnx", [1, 3, 8, 8], rank=4))
    with pytest.raises(UserError, match="cannot be read"):
        OnnxPeer(tmp_path / "missing.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match="damaged"):
        OnnxPeer(tmp_path / "bad.onnx")
