"""The demo's data set: its layout, its truth, and that it is always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.portraits import BYSTANDER_FACE, PORTRAIT_FACES, bystander, portraits
from detector.data.wider.lists import WiderImage, parse_text
from faces.errors import UserError
from scripts.demo_parts import scene_painting, scenes
from scripts.demo_parts.scene_painting import SceneFace, paint_scene
from scripts.demo_parts.scenes import make_scenes

TRAIN, VAL = 40, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "wider"
    make_scenes(out, train=TRAIN, val=VAL)
    return out


def truth(out: Path, split: str) -> list[WiderImage]:
    path = out / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
    return parse_text(path.read_bytes(), path.name)


def test_the_layout_is_the_official_one(made):
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    images = {
        f"WIDER_{split}/images/{image.name}"
        for split in ("train", "val")
        for image in truth(made, split)
    }
    assert len(images) == TRAIN + VAL
    assert files == images | {
        "wider_face_split/wider_face_train_bbx_gt.txt",
        "wider_face_split/wider_face_val_bbx_gt.txt",
    }
    assert "WIDER_train/images/0--Brick/0_Brick_Scene_0_0.jpg" in files
    names = [{image.name for image in truth(made, split)} for split in ("train", "val")]
    assert names[0].isdisjoint(names[1]), "by its name a detector knows that it has seen an image"


def test_every_box_lies_in_its_picture(made):
    for split in ("train", "val"):
        for image in truth(made, split):
            with Image.open(made / f"WIDER_{split}" / "images" / image.name) as picture:
                assert picture.format == "JPEG"
                assert picture.mode == "RGB"
                width, height = picture.size
            x1, y1, x2, y2 = image.xyxy().T
            assert (x1 >= 0).all()
            assert (y1 >= 0).all()
            assert (x2 <= width).all()
            assert (y2 <= height).all()
            assert (image.xywh[:, 2:] >= 5).all()


def test_the_scenes_have_what_a_first_walk_should_meet(made):
    images = truth(made, "train")
    labels = np.concatenate([image.labels for image in images])
    heights = np.concatenate([image.xywh[:, 3] for image in images])
    blur, expression, illumination, invalid, occlusion, pose = labels.T
    assert any(len(image) == 0 for image in images), "scenes without a face"
    assert max(len(image) for image in images) >= 5, "several faces in a scene"
    assert set(blur) == {0, 1, 2}
    assert set(illumination) == set(invalid) == set(pose) == {0, 1}
    assert set(occlusion) == {0, 1, 2}
    assert set(expression) == {0}
    assert all(image.invalid().sum() <= 1 for image in images)
    assert heights[invalid == 1].max() < heights[invalid == 0].min() * 1.1
    assert heights[invalid == 0].min() < 20
    assert 100 < heights.max() <= 160


def test_an_image_without_faces_is_written_as_the_authors_do(made):
    text = (made / "wider_face_split" / "wider_face_train_bbx_gt.txt").read_text(encoding="utf-8")
    assert ".jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n" in text
    assert text.endswith(" \n")
    assert "\r" not in text


def test_the_same_seed_gives_the_same_scenes_however_many(made, tmp_path):
    make_scenes(tmp_path / "few", train=3, val=1)
    for split, count in (("train", 3), ("val", 1)):
        few, many = truth(tmp_path / "few", split), truth(made, split)[:count]
        assert [image.name for image in few] == [image.name for image in many]
        for one, other in zip(few, many, strict=True):
            np.testing.assert_array_equal(one.xywh, other.xywh)
            np.testing.assert_array_equal(one.labels, other.labels)
            path = Path(f"WIDER_{split}", "images", one.name)
            assert (tmp_path / "few" / path).read_bytes() == (made / path).read_bytes()


def test_another_seed_gives_other_scenes(made, tmp_path):
    make_scenes(tmp_path / "other", seed=1, train=2, val=0)
    assert truth(tmp_path / "other", "val") == []
    other = truth(tmp_path / "other", "train")
    assert any(
        len(a) != len(b) or (a.xywh != b.xywh).any()
        for a, b in zip(other, truth(made, "train"), strict=False)
    )


def test_the_boxes_are_the_same_on_every_machine(made):
    """Two users who compare their demos must compare the same thing."""
    text = (made / "wider_face_split" / "wider_face_val_bbx_gt.txt").read_bytes()
    assert hashlib.sha256(text).hexdigest() == (
        "304262c40b8a4ed33a3d7bc193c743688f974a794022efbe8f5f5868395e6734"
    )


def test_no_face_is_in_both_splits(tmp_path, monkeypatch):
    used: dict[bool, set[bytes]] = {True: set(), False: set()}
    first: list[int] = []

    def spy(rng, background, crops: Sequence[Image.Image]):
        first.append(len(crops))
        used[len(crops) == 80] |= {crop.tobytes() for crop in crops}
        return Image.new("RGB", (8, 8)), []

    monkeypatch.setattr(scenes, "paint_scene", spy)
    make_scenes(tmp_path / "out", train=1, val=1)
    assert first == [80, 20]
    assert len(used[True]) == 80
    assert len(used[False]) == 20
    assert not used[True] & used[False]


# -- painting


def difference(seed: int) -> tuple[np.ndarray, list[SceneFace]]:
    """Where two scenes differ that differ only in the crops: (H, W), 0..1, the visible faces."""
    pictures = []
    for gray in (0, 255):
        background = Image.new("RGB", (300, 300), (90, 120, 150))
        crops = [Image.new("L", (25, 25), gray)] * 2
        image, faces = paint_scene(np.random.default_rng(seed), background, crops)
        pictures.append(np.asarray(image, np.float32))
    change = abs(pictures[1] - pictures[0]).max(axis=2)
    return change / max(change.max(), 1), faces


@pytest.mark.parametrize("seed", range(12))
def test_boxes_and_occlusion_say_what_is_seen(seed):
    change, faces = difference(seed)
    for face in faces:
        if face.invalid or face.illumination:
            continue  # too small, or too dark, to measure on the picture
        x, y, w, h = face.box
        ys, xs = np.mgrid[y : y + h, x : x + w]
        inside = ((xs + 0.5 - x - w / 2) / w) ** 2 + ((ys + 0.5 - y - h / 2) / h) ** 2 < 0.2
        seen = (change[y : y + h, x : x + w] > 0.15)[inside].mean()
        if face.pose == 0:
            low, high = [(0.93, 1.0), (0.6, 1.0), (0.0, 0.8)][face.occlusion]
            assert low <= seen <= high, face
        alone = not any(
            other is not face
            and abs(other.box[0] + other.box[2] / 2 - x - w / 2) < w + other.box[2]
            and abs(other.box[1] + other.box[3] / 2 - y - h / 2) < h + other.box[3]
            for other in faces
        )
        if alone and face.occlusion == 0:
            slack = 3 + 0.06 * h
            m = round(h / 2)
            around = change[max(0, y - m) : y + h + m, max(0, x - m) : x + w + m] > 0.3
            rows, columns = np.flatnonzero(around.any(axis=1)), np.flatnonzero(around.any(axis=0))
            measured = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            offset = np.array([max(0, x - m), max(0, y - m)] * 2)
            np.testing.assert_allclose(measured + offset, [x, y, x + w, y + h], atol=slack)


@pytest.mark.slow
def test_a_face_that_is_nearly_hidden_is_not_annotated(monkeypatch):
    """Two people in one spot: of the one behind nothing is left to see."""
    spots = [(100.0, 100.0, 40.0), (100.0, 100.0, 90.0)]
    monkeypatch.setattr(scene_painting, "_places", lambda *_: iter(spots))
    for seed in range(6):
        _, faces = difference(seed)
        assert sum(not face.invalid for face in faces) <= 1


# -- portraits


def test_the_portraits_are_whole_photographs_with_a_known_face():
    pictures = portraits()
    assert set(pictures) == set(PORTRAIT_FACES)
    for name, image in pictures.items():
        assert image.dtype == np.uint8
        height, width, channels = image.shape
        assert channels == 3
        x1, y1, x2, y2 = PORTRAIT_FACES[name]
        assert 0 < x1 < x2 < width
        assert 0 < y1 < y2 < height
        red, green, blue = image[y1:y2, x1:x2].reshape(-1, 3).mean(axis=0)
        assert red > green > blue, "skin"
    assert pictures["eileen_collins"].shape == (512, 512, 3)
    assert pictures["grace_hopper"].shape == (600, 512, 3)


def test_the_bystander_is_somebody_else():
    """Gray, and with the face where it is said to be: darker than the sky beside it."""
    image = bystander()
    assert image.shape == (512, 512, 3)
    assert image.dtype == np.uint8
    assert (image == image[..., :1]).all()
    x1, y1, x2, y2 = BYSTANDER_FACE
    assert 0 < x1 < x2 < 512
    assert 0 < y1 < y2 < 512
    assert image[y1:y2, x1:x2].mean() < image[y1:y2, :100].mean() - 30


# -- refusals


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(UserError, match="is there already: name a new folder"):
        make_scenes(tmp_path, train=1, val=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="is there already"):
        make_scenes(tmp_path / "out", train=1, val=1)


@pytest.mark.parametrize("error", [OSError("gone"), ModuleNotFoundError("pooch is missing")])
def test_a_package_without_its_pictures_is_named(tmp_path, monkeypatch, error):
    import skimage.data

    def gone():
        raise error

    monkeypatch.setattr(skimage.data, "lfw_subset", gone)
    monkeypatch.setattr(skimage.data, "astronaut", gone)
    with pytest.raises(UserError, match=r"comes with scikit-image .* install both packages again"):
        make_scenes(tmp_path / "out", train=1, val=1)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="install both packages again"):
        portraits()


def test_a_failure_leaves_no_half_of_a_data_set(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no more paint")

    monkeypatch.setattr(scenes, "paint_scene", broken)
    with pytest.raises(RuntimeError, match="no more paint"):
        make_scenes(tmp_path / "out", train=1, val=1)
    assert list(tmp_path.iterdir()) == []
