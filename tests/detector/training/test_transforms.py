"""Augmentation of (image, target) pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from detector.config import DataConfig
from detector.training.transforms import (
    WEAKEST_LIGHT,
    ColoredLight,
    Covers,
    FaceCrop,
    IgnoreSmall,
    Masks,
    Square,
    Tilt,
    train_transform,
)


def sample(
    boxes: list[list[float]], labels: list[int] | None = None, size: tuple[int, int] = (300, 400)
) -> tuple[tv_tensors.Image, dict]:
    """A gray picture whose boxes are filled with white."""
    pixels = torch.full((3, *size), 60, dtype=torch.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[:, int(y1) : int(y2), int(x1) : int(x2)] = 255
    target = {
        "boxes": tv_tensors.BoundingBoxes(
            torch.tensor(boxes).reshape(-1, 4), format="XYXY", canvas_size=size
        ),
        "labels": torch.tensor(labels if labels is not None else [1] * len(boxes)),
        "points": torch.full((len(boxes), 5, 2), torch.nan),
    }
    return tv_tensors.Image(pixels), target


def test_crops_keep_boxes_on_their_faces() -> None:
    crop = FaceCrop(160, (20.0, 80.0), 1.0)
    for seed in range(50):
        torch.manual_seed(seed)
        image, target = crop(*sample([[100, 80, 140, 130]]))
        assert image.shape == (3, 160, 160)
        [box] = target["boxes"].tolist()
        assert target["labels"].tolist() == [1]
        rows, columns = np.nonzero(np.asarray(image[0]) > 160)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(found, box, atol=1.5)


def sizes_in(crop: FaceCrop, boxes: list[list[float]], side: int, times: int) -> list[list[float]]:
    """The sizes of the faces, ignored ones apart, in so many crops of a square picture."""
    found = []
    for seed in range(times):
        torch.manual_seed(seed)
        _, target = crop(*sample(boxes, size=(side, side)))
        shown = target["boxes"].as_subclass(torch.Tensor)[target["labels"] == 1]
        found.append((shown[:, 2:] - shown[:, :2]).prod(dim=1).sqrt().tolist())
    return found


@pytest.mark.slow
def test_crops_rescale_a_face_over_the_whole_range_and_enlarge_it_little() -> None:
    crop = FaceCrop(320, (16.0, 128.0), 1.0)
    logs = np.log2([size for [size] in sizes_in(crop, [[300, 280, 380, 360]], 800, 300)])
    assert logs.min() > 3.95
    assert logs.max() < 6.7  # 100 pixels: 1.25 times its own 80
    assert np.histogram(logs, bins=[4, 4.9, 5.8, 6.7])[0].min() > 70


@pytest.mark.slow
def test_a_size_is_shown_by_a_face_that_reaches_it() -> None:
    crop = FaceCrop(320, (16.0, 128.0), 1.0)
    apart = [[20, 20, 40, 40], [1000, 1000, 1200, 1200]]
    sizes = sizes_in(crop, apart, 1280, 300)
    largest = [max(size) for size in sizes]
    assert 120 < max(largest) < 129
    assert sum(size > 64 for size in largest) > 70  # a third of the range
    # Below 25 pixels, 22 % of the range, half of the crops are of the small face.
    near = [min(size) for size in sizes if 15.5 < min(size) < 25.5]
    assert 15 < len(near) < 60
    # Where the largest reaches little, all sizes are up to that.
    sizes = sizes_in(crop, [[20, 20, 40, 40]], 800, 100)
    tiny, _ = np.histogram([size for [size] in sizes], bins=[15.5, 18.5, 21.5, 25.5])
    assert tiny.sum() == 100
    assert tiny.min() > 20


def test_a_small_picture_fills_the_crop() -> None:
    crop = FaceCrop(320, (16.0, 128.0), 1.0)
    widths = []
    for seed in range(20):
        torch.manual_seed(seed)
        image, _ = crop(*sample([[10, 10, 40, 40]], size=(90, 90)))
        widths.append(int((np.asarray(image[0]) != 124).any(axis=0).sum()))
    assert min(widths) >= 199


def test_large_crops_show_the_largest_face_larger_than_others_can() -> None:
    transform = train_transform("fpn", DataConfig(image_size=128), large=True)
    largest = []
    for seed in range(60):
        torch.manual_seed(seed)
        image, target = transform(*sample([[30, 30, 60, 60], [100, 80, 260, 260]]))
        assert image.shape == (3, 256, 256)
        boxes = target["boxes"][target["labels"] == 1].as_subclass(torch.Tensor)
        if len(boxes):
            largest.append(float((boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt().max()))
    assert len(largest) > 40
    assert min(largest) > 50
    assert sum(size > 128 for size in largest) > 15


def test_crops_without_faces_fall_anywhere_and_pad_with_the_mean_color() -> None:
    crop = FaceCrop(160, (20.0, 80.0), 1.0)
    shares = []
    for seed in range(40):
        torch.manual_seed(seed)
        image, target = crop(*sample([]))
        assert target["boxes"].shape == (0, 4)
        assert set(np.unique(np.asarray(image[0]))) <= {60, 124}
        shares.append(float((image[0] == 60).float().mean()))
    assert min(shares) > 0.35
    assert max(shares) == 1.0


def test_boxes_stay_tight_around_tilted_faces() -> None:
    tilt = Tilt(degrees=30.0, stretch=1.4, share=1.0)
    rows, columns = np.mgrid[0:200, 0:200] + 0.5
    face = ((columns - 120) / 20) ** 2 + ((rows - 90) / 35) ** 2 <= 1
    pixels = tv_tensors.Image(torch.from_numpy(np.where(face, 255, 60)).byte().expand(3, 200, 200))
    shapes = set()
    for seed in range(30):
        torch.manual_seed(seed)
        image, target = tilt(pixels, sample([[100, 55, 140, 125]], size=(200, 200))[1])
        [box] = target["boxes"].tolist()
        rows, columns = np.nonzero(np.asarray(image[0]) > 160)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(found, box, atol=1.5)
        assert target["labels"].tolist() == [1]
        shapes.add(round((box[2] - box[0]) / (box[3] - box[1]), 1))
    assert len(shapes) > 4


def test_a_tilt_leaves_the_others_alone_and_ignores_what_turns_out_of_sight() -> None:
    pixels, target = sample([[0, 0, 20, 20], [90, 90, 110, 110]], size=(200, 200))
    assert Tilt(30.0, 1.4, share=0.0)(pixels, target)[0] is pixels
    labels = []
    for seed in range(30):
        torch.manual_seed(seed)
        labels.append(Tilt(30.0, 1.4, share=1.0)(pixels, target)[1]["labels"].tolist())
    assert all(label[1] == 1 for label in labels)
    assert any(label[0] == -1 for label in labels)


def test_a_face_mostly_cut_off_becomes_an_ignored_one() -> None:
    crop = FaceCrop(100, (20.0, 80.0), 1.0)
    target = sample([[0, 0, 40, 40], [0, 0, 15, 40]])[1]
    moved = crop._boxes(target, left=10, top=0, side=100)
    assert moved["boxes"].tolist() == [[0, 0, 30, 40], [0, 0, 5, 40]]
    assert moved["labels"].tolist() == [1, -1]


def test_small_faces_are_ignored_and_ignored_ones_stay() -> None:
    _, target = IgnoreSmall(5.0)(*sample([[0, 0, 4, 6], [0, 0, 5, 5], [0, 0, 50, 50]], [1, 1, -1]))
    assert target["labels"].tolist() == [-1, 1, -1]


def test_square_scales_each_axis_by_its_own_factor() -> None:
    image, target = Square(200)(*sample([[100, 30, 200, 60]], size=(300, 400)))
    assert image.shape == (3, 200, 200)
    assert target["boxes"].tolist() == [[50, 20, 100, 40]]


@pytest.mark.parametrize("arch", ["fpn", "reference"])
def test_whole_pipelines_leave_sane_boxes(arch: str) -> None:
    transform = train_transform(arch, DataConfig(image_size=128))
    for seed in range(30):
        torch.manual_seed(seed)
        image, target = transform(*sample([[1, 1, 40, 60], [200, 100, 203, 103], [0, 0, 1, 300]]))
        boxes = target["boxes"]
        assert image.shape == (3, 128, 128)
        assert image.dtype == torch.uint8
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert boxes.min() >= 0 if len(boxes) else True
        assert boxes.max() <= 128 if len(boxes) else True
        assert len(boxes) == len(target["labels"])


def test_flips_move_the_boxes_too() -> None:
    transform = train_transform("fpn", DataConfig(image_size=128, face_sizes=(30.0, 60.0)))
    lefts = set()
    for seed in range(20):
        torch.manual_seed(seed)
        image, target = transform(*sample([[100, 100, 140, 150]]))
        [[x1, y1, x2, y2]] = target["boxes"].round().int().tolist()
        inside = image[:, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].float().mean()
        assert inside > image.float().mean() + 20
        lefts.add(x1)
    assert len(lefts) > 5


def masked(side: int, share: float, points: np.ndarray, seed: int = 0) -> np.ndarray:
    """What became of a gray square."""
    image = tv_tensors.Image(torch.full((3, side, side), 150, dtype=torch.uint8))
    torch.manual_seed(seed)
    target = {"points": torch.from_numpy(points.astype(np.float32))}
    after, same = Masks(share)(image, target)
    assert same is target
    assert (after.shape, after.dtype) == (image.shape, torch.uint8)
    assert bool((image == 150).all()), "the picture that was given stays as it is"
    return np.abs(after.permute(1, 2, 0).numpy().astype(int) - 150).max(axis=2) > 8


FIVE = np.array([[10, 12], [22, 12], [16, 18], [12, 26], [20, 26]])


@pytest.mark.parametrize("place", [(0, 0), (100, 40), (290, 285)])
@pytest.mark.parametrize("seed", range(5))
def test_a_mask_covers_the_mouth_and_leaves_the_eyes_wherever_the_face_is(place, seed):
    points = np.stack([FIVE + place, np.full((5, 2), np.nan)])
    where = masked(320, 1.0, points, seed)
    (x, y) = points[0, 3:].mean(axis=0).astype(int)
    assert where[y, x]
    assert not any(where[y, x] for x, y in points[0, :2].astype(int))
    x, y = np.nonzero(where)[::-1]
    assert np.hypot(x - place[0] - 16, y - place[1] - 18).max() < 60, "and nothing else"
    assert np.array_equal(where, masked(320, 1.0, points, seed))


def test_some_faces_get_masks_and_small_or_unknown_ones_none():
    faces = np.stack([FIVE + np.array([40 * x, 40 * y]) for x in range(8) for y in range(8)])
    mouths = faces[:, 3:].mean(axis=1).astype(int)
    shares = [masked(320, 0.15, faces, seed)[mouths[:, 1], mouths[:, 0]] for seed in range(8)]
    assert 0.08 < np.mean(shares) < 0.3
    assert not masked(320, 1.0, faces / 3).any()
    assert not masked(320, 1.0, np.full((3, 5, 2), np.nan)).any()
    without_nose = FIVE.astype(np.float32)
    without_nose[2] = np.nan
    assert not masked(320, 1.0, without_nose[None]).any()
    assert not masked(320, 1.0, np.zeros((0, 5, 2))).any()


def covered(boxes: list[list[float]], share: float, seed: int, labels: list[int] | None = None):
    """Which pixels are not as they were: faces are white on gray."""
    image, target = sample(boxes, labels)
    given = image.clone()
    torch.manual_seed(seed)
    after, same = Covers(share)(image, target)
    assert same is target
    assert (after.shape, after.dtype) == (image.shape, torch.uint8)
    assert bool((image == given).all()), "the picture that was given stays as it is"
    return (after != given).any(dim=0)


def test_a_part_of_a_face_is_hidden_and_nothing_else_changes() -> None:
    box = [100, 80, 140, 130]
    shares, sides = [], set()
    for seed in range(60):
        changed = covered([box], 1.0, seed)
        inside = changed[80:130, 100:140]
        assert int(inside.sum()) == int(changed.sum()), "gray is laid on gray elsewhere"
        shares.append(float(inside.float().mean()))
        if inside.any():
            y, x = inside.nonzero().float().mean(dim=0).tolist()
            sides.add((x > 20, y > 25))
    assert max(shares) < 0.62
    assert np.median(shares) > 0.1
    assert len(sides) == 4, "from every side"


def test_pieces_hold_no_face_and_small_or_ignored_faces_are_left_alone() -> None:
    assert not covered([[100, 80, 109, 89]], 1.0, 0).any(), "under 10 pixels"
    assert not covered([[100, 80, 140, 130]], 1.0, 0, [-1]).any()
    assert not covered([[100, 80, 140, 130]], 0.0, 0).any()
    everywhere = [[x, y, x + 38.0, y + 38.0] for x in range(0, 400, 40) for y in range(0, 280, 40)]
    assert not covered([*everywhere, [0, 0, 400, 300]], 1.0, 0).any(), "no place without a face"
    assert not covered([], 1.0, 0).any()


def test_a_face_over_the_edge_is_hidden_inside_the_picture() -> None:
    seen = [covered([[0, 0, 60, 60], [340, 240, 400, 300]], 1.0, seed) for seed in range(30)]
    assert any(changed[:60, :60].any() for changed in seen)
    assert any(changed[240:, 340:].any() for changed in seen)


def test_colored_light_keeps_the_order_of_light_and_dark_and_colors_all() -> None:
    ramp = torch.linspace(0, 255, 256).repeat(3, 8, 1).to(torch.uint8)
    lights = set()
    for seed in range(40):
        torch.manual_seed(seed)
        target: dict = {}
        after, same = ColoredLight(1.0)(tv_tensors.Image(ramp), target)
        assert same is target
        assert after.dtype == torch.uint8
        light = after[:, 0].int()
        assert bool((light.diff(dim=1) >= 0).all())
        white = light[:, -1] / 255
        assert white.max() == 1
        assert white.min() >= WEAKEST_LIGHT - 0.01
        assert (light[:, -1] - light[:, 0]).max() >= 0.59 * 255, "what is laid over it hides little"
        lights.add(int(white.argmax()))
    assert lights == {0, 1, 2}


def test_colored_light_fades_colors_and_leaves_most_pictures_alone() -> None:
    red = torch.zeros(3, 8, 8, dtype=torch.uint8)
    red[0] = 240
    torch.manual_seed(0)
    after = [ColoredLight(0.2)(tv_tensors.Image(red), {})[0] for _ in range(200)]
    changed = [picture for picture in after if not torch.equal(picture, red)]
    assert 20 < len(changed) < 65
    assert any(picture[1:].max() > 60 for picture in changed), "gray in the light of a color"


def test_training_shows_colored_light_and_hidden_faces() -> None:
    transform = train_transform("fpn", DataConfig(image_size=160, face_sizes=(40.0, 60.0)))
    colored, hidden = [], []
    for seed in range(200):
        torch.manual_seed(seed)
        image, target = transform(*sample([[100, 100, 140, 150]]))
        pixels = image.as_subclass(torch.Tensor).int()
        for x1, y1, x2, y2 in target["boxes"].tolist():
            inner = pixels[:, round((3 * y1 + y2) / 4) : round((y1 + 3 * y2) / 4)]
            inner = inner[:, :, round((3 * x1 + x2) / 4) : round((x1 + 3 * x2) / 4)]
            colored.append(int((inner.amax(dim=0) - inner.amin(dim=0)).max()) > 20)
            hidden.append(int(inner.sum(dim=0).max() - inner.sum(dim=0).min()) > 60)
    assert 0.1 < np.mean(colored) < 0.3
    assert 0.05 < np.mean(hidden) < 0.3
