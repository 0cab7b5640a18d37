"""Pairs of images and annotations, samples that depend only on the seed, batches, validation."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from detector.config import DataConfig
from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
from detector.inference.resize import Resize
from detector.training import dataset
from detector.training.batches import ShuffledBatches, make_loader, mix
from detector.training.dataset import FaceDataset, FaceIndex, ValidationBatches, collate
from detector.training.transforms import train_transform
from faces.errors import UserError
from tests.tiny import make_voc

DATA = DataConfig(image_size=128, face_sizes=(16.0, 50.0))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return make_voc(tmp_path / "voc", 6)


def index_of(folder: Path) -> FaceIndex:
    return FaceIndex(folder / "images", folder / "annotations")


def annotate(
    folder: Path, name: str, *objects: VocObject, size: tuple[int, int] = (96, 80)
) -> None:
    annotation = VocAnnotation(f"{name}.png", size[0], size[1], objects)
    write_voc(folder / "annotations" / f"{name}.xml", annotation)


def test_images_without_faces_stay_in_as_negatives(voc: Path) -> None:
    index = index_of(voc)
    assert len(index) == 6
    assert index.boxes(1).shape == (0, 4)
    dataset = FaceDataset(index, train_transform("fpn", DATA))
    for i in range(6):  # the last one as well: nothing runs off the end
        image, target, which = dataset[i, 0, False]
        assert image.shape == (3, 128, 128)
        assert image.dtype == torch.uint8
        assert which == i
        assert target["boxes"].shape[1] == 4
    assert len(dataset[1, 0, False][1]["boxes"]) == 0


def test_boxes_belong_to_their_image(voc: Path) -> None:
    annotate(voc, "scene_03", VocObject("face", (1, 2, 30, 40)), VocObject("face", (5, 6, 70, 80)))
    index = index_of(voc)
    assert index.name(3) == "scene_03.png"
    assert index.boxes(3).tolist() == [[1, 2, 30, 40], [5, 6, 70, 80]]
    assert index.labels(3).tolist() == [1, 1]


def test_mirrored_and_flat_annotation_folders(tmp_path: Path) -> None:
    make_voc(tmp_path, 2)
    for part in ("images", "annotations"):
        (tmp_path / part / "event").mkdir()
        for path in list((tmp_path / part).glob("scene*")):
            path.rename(path.parent / "event" / path.name)
    assert index_of(tmp_path).name(0) == str(Path("event/scene_00.png"))
    for path in (tmp_path / "annotations" / "event").glob("*.xml"):
        path.rename(tmp_path / "annotations" / path.name)
    assert len(index_of(tmp_path)) == 2


def test_an_ambiguous_annotation_is_refused(voc: Path) -> None:
    for event in ("a", "b"):
        (voc / "images" / event).mkdir()
        bytes_ = (voc / "images" / "scene_00.png").read_bytes()
        (voc / "images" / event / "scene_00.png").write_bytes(bytes_)
    (voc / "images" / "scene_00.png").unlink()
    with pytest.raises(UserError, match=r"scene_00\.xml could belong to .* or "):
        index_of(voc)


def test_an_image_without_annotation_is_left_out_and_said(
    voc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (voc / "annotations" / "scene_02.xml").unlink()
    with caplog.at_level(logging.WARNING):
        assert len(index_of(voc)) == 5
    assert "1 of 6 images have no annotation" in caplog.text
    assert "scene_02" in caplog.text


def test_boxes_are_sorted_and_clipped_empty_ones_dropped_and_invalid_ones_ignored(
    voc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotate(
        voc, "scene_00",
        VocObject("face", (10, 10, 10, 30)),
        VocObject("face", (40, 30, 20, 50)),
        VocObject("face", (-5, -5, 30, 200)),
        VocObject("face", (50, 50, 70, 70), difficult=True),
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        index = index_of(voc)
    assert index.boxes(0).tolist() == [[20, 30, 40, 50], [0, 0, 30, 80], [50, 50, 70, 70]]
    assert index.labels(0).tolist() == [1, 1, -1]
    assert "1 box without area" in caplog.text
    whole = ValidationBatches(index, Resize("fit", 0), 1)
    target = next(t for _, [t], [i] in whole if i == 0)
    assert target["boxes"].tolist() == [[20, 30, 40, 50], [0, 0, 30, 80]]
    assert target["ignore"].tolist() == [[50, 50, 70, 70]]


def test_classes_choose_what_a_face_is(voc: Path) -> None:
    annotate(voc, "scene_00", VocObject("with_mask", (1, 1, 9, 9)), VocObject("dog", (1, 1, 8, 8)))
    index = FaceIndex(voc / "images", voc / "annotations", ("with_mask",))
    assert index.boxes(0).tolist() == [[1, 1, 9, 9]]


def test_a_size_that_disagrees_is_refused_with_the_remedy(voc: Path) -> None:
    annotate(voc, "scene_04", size=(80, 96))
    with pytest.raises(UserError, match=r"scene_04\.xml is for .* 80x96 .* 96x80.*check --fix"):
        index_of(voc)


def test_an_unreadable_image_is_named(voc: Path) -> None:
    (voc / "images" / "scene_05.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"scene_05\.png"):
        index_of(voc)


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_missing_and_empty_folders_are_named(voc: Path, part: str) -> None:
    (voc / part).rename(voc / "elsewhere")
    with pytest.raises(UserError, match=f"{part} .* does not exist"):
        index_of(voc)
    (voc / part).mkdir()
    with pytest.raises(UserError, match="there are no"):
        index_of(voc)


def test_no_pair_at_all_is_refused(voc: Path) -> None:
    for path in (voc / "annotations").glob("*.xml"):
        text = path.read_text(encoding="utf-8")  # it would be found by the name that it gives
        path.write_text(text.replace("scene_", "other_"), encoding="utf-8")
        path.rename(path.with_name("x" + path.name))
    with pytest.raises(UserError, match="has an annotation of the same name"):
        index_of(voc)


def test_a_sample_depends_on_index_and_seed_alone(voc: Path) -> None:
    index = index_of(voc)
    one, two = (FaceDataset(index, train_transform("fpn", DATA)) for _ in range(2))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    for i in range(6):
        _ = one[i, 99, False]
    a, b, other = one[0, 7, False], two[0, 7, False], two[0, 8, False]
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1]["boxes"], b[1]["boxes"])
    assert not torch.equal(a[0], other[0])
    assert torch.equal(before, torch.random.get_rng_state())


def batches_of(loader: DataLoader) -> list[tuple[bytes, list[int]]]:
    return [(images.numpy().tobytes(), indices) for images, _, indices in loader]


def alike(count: int) -> NDArray[np.int64]:
    """The faces of images that have one each."""
    return np.ones(count, np.int64)


@pytest.mark.slow
def test_the_same_batches_for_any_number_of_workers_and_epochs_that_differ(voc: Path) -> None:
    dataset = FaceDataset(index_of(voc), train_transform("fpn", DATA))
    results = []
    for workers in (0, 1, 3):
        batches = ShuffledBatches(alike(6), 2, seed=3)
        loader = make_loader(dataset, batches, workers)
        epochs = []
        for epoch in range(2):
            batches.epoch = epoch
            epochs.append(batches_of(loader))
        results.append(epochs)
    assert results[0] == results[1] == results[2]
    assert results[0][0] != results[0][1]


def test_batches_can_start_within_an_epoch_and_are_shared_by_processes() -> None:
    whole = ShuffledBatches(alike(23), 4, seed=1)
    whole.epoch = 5
    all_batches = list(whole)
    assert len(all_batches) == len(whole) == 5
    whole.start = 3
    assert list(whole) == all_batches[3:]
    parts = []
    for rank in range(2):
        part = ShuffledBatches(alike(23), 4, seed=1, rank=rank, world=2)
        part.epoch = 5
        parts.append(list(part))
    assert [a + b for a, b in zip(*parts, strict=True)] == all_batches
    seeds = [seed for batch in all_batches for _, seed, _ in batch]
    assert len(set(seeds)) == len(seeds)


def test_images_are_drawn_by_the_root_of_their_faces() -> None:
    faces = np.array([0] * 40 + [1] * 40 + [4] * 10 + [100] * 10)  # roots 1, 1, 2, 10: 200 in all
    batches = ShuffledBatches(faces, 10, seed=1)
    drawn = np.zeros((4, 100), int)
    for epoch in range(4):
        batches.epoch = epoch
        for keys in batches:
            for i, _, _ in keys:
                drawn[epoch, i] += 1
    assert drawn.sum(axis=1).tolist() == [100] * 4
    assert (drawn[:, 90:] == 5).all()
    assert (drawn[:, 80:90] == 1).all()
    assert drawn[:, :80].sum(axis=1).tolist() == [40] * 4
    assert drawn[:, :80].max() == 1
    assert len({row.tobytes() for row in drawn}) > 1


def test_images_of_one_face_are_drawn_once_each() -> None:
    for epoch in range(50):
        batches = ShuffledBatches(alike(60), 5, seed=2)
        batches.epoch = epoch
        assert sorted(i for keys in batches for i, _, _ in keys) == list(range(60))


def test_every_so_many_batches_are_few_large_crops(voc: Path) -> None:
    batches = ShuffledBatches(alike(64), 8, seed=1, large_every=3)
    plain = list(ShuffledBatches(alike(64), 8, seed=1))
    for number, (keys, usual) in enumerate(zip(batches, plain, strict=True)):
        large = number in (2, 5)
        assert keys == [(i, seed, large) for i, seed, _ in usual[: 2 if large else 8]]
    parts = [list(ShuffledBatches(alike(64), 8, 1, rank, 2, large_every=3)) for rank in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == list(batches)
    for few in (
        ShuffledBatches(alike(64), 2, 1, large_every=3),
        ShuffledBatches(alike(64), 4, 1, 0, 2, 3),
    ):
        assert not any(large for keys in few for _, _, large in keys)
    dataset = FaceDataset(
        index_of(voc), train_transform("fpn", DATA), 0, train_transform("fpn", DATA, large=True)
    )
    assert dataset[0, 5, False][0].shape == (3, 128, 128)
    assert dataset[0, 5, True][0].shape == (3, 256, 256)


def test_batches_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(UserError, match=r"batch_size 5 cannot be shared by 2"):
        ShuffledBatches(alike(100), 5, 0, world=2)
    with pytest.raises(UserError, match=r"3 training images, fewer than batch_size 4"):
        ShuffledBatches(alike(3), 4, 0)


def test_the_cache_is_bounded_and_used(tmp_path: Path) -> None:
    make_voc(tmp_path, 4, size=(512, 512))  # 0.75 MB each
    dataset = FaceDataset(index_of(tmp_path), train_transform("fpn", DATA), cache_mb=2)
    first = [dataset[i, 0, False][0] for i in range(4)]
    assert len(dataset._cache) == 2
    for path in (tmp_path / "images").glob("*.png"):
        Image.new("RGB", (512, 512)).save(path)
    again = [dataset[i, 0, False][0] for i in range(4)]
    assert [torch.equal(a, b) for a, b in zip(first, again, strict=True)] == [
        True, True, False, False
    ]  # fmt: skip


def test_validation_shows_every_image_as_inference_sees_it(tmp_path: Path) -> None:
    make_voc(tmp_path, 3, size=(80, 96))
    make_voc(tmp_path / "b", 2, size=(200, 100), seed=4)
    for part in ("images", "annotations"):
        for path in (tmp_path / "b" / part).iterdir():
            path.rename(tmp_path / part / f"b{path.name}")
    index = index_of(tmp_path)
    batches = ValidationBatches(index, Resize("fit", 100), batch_size=2, workers=2)
    seen = {}
    for images, targets, indices in batches:
        assert images.shape[2] % 32 == images.shape[3] % 32 == 0
        for image, target, i in zip(images, targets, indices, strict=True):
            seen[i] = (image, target)
    assert sorted(seen) == list(range(5))
    tall = next(i for i in range(5) if index.name(i) == "bscene_00.png")
    np.testing.assert_allclose(seen[tall][1]["boxes"].numpy(), index.boxes(tall) / 2, atol=0.01)
    assert [b[2] for b in batches] == [b[2] for b in batches]


def test_validation_ignores_the_faces_that_training_ignores(voc: Path) -> None:
    annotate(voc, "scene_00", VocObject("face", (1, 1, 5, 6)), VocObject("face", (9, 9, 40, 40)))
    batches = ValidationBatches(index_of(voc), Resize("fit", 0), 1, min_face=5.0)
    target = next(t for _, [t], [i] in batches if i == 0)
    assert target["boxes"].tolist() == [[9, 9, 40, 40]]
    assert target["ignore"].tolist() == [[1, 1, 5, 6]]


def test_collate_and_mix() -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    images, targets, indices = collate([(image, {}, 4), (image, {}, 2)])
    assert images.shape == (2, 3, 8, 8)
    assert indices == [4, 2]
    assert len(targets) == 2
    assert len({mix(a, b) for a in range(100) for b in range(100)}) == 10**4
    assert mix(1, 2) != mix(2, 1)
    assert 0 <= mix(2**63, -5) < 2**63


def test_a_picture_above_the_limit_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_voc(tmp_path, 2)
    monkeypatch.setattr(dataset, "MAX_PIXELS", 80 * 96 - 1)
    with pytest.raises(UserError, match=r"scene_0\d\.png has 96x80 pixels, more than the limit"):
        FaceIndex(folder / "images", folder / "annotations")
