"""Bringing pictures to size and boxes back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.inference.resize import PAD_COLOR, Resize


@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    side=st.sampled_from([0, 64, 320, 640]),
    mode=st.sampled_from(["fit", "square"]),
)
def test_boxes_come_back_and_sizes_are_padded(
    height: int, width: int, side: int, mode: str
) -> None:
    resize = Resize(mode, side or (64 if mode == "square" else 0))  # type: ignore[arg-type]
    resized = resize(np.zeros((height, width, 3), np.uint8))
    rows, columns = resized.pixels.shape[:2]
    assert rows % 32 == columns % 32 == 0
    new_height, new_width = resize.target(height, width)
    if mode == "fit" and side:
        assert max(new_height, new_width) <= side
    whole = np.array([[0, 0, new_width, new_height]], np.float32)
    np.testing.assert_allclose(resized.boxes_back(whole), [[0, 0, width, height]], rtol=1e-4)


def test_small_pictures_are_not_enlarged_and_padding_is_the_mean_color() -> None:
    image = np.full((40, 50, 3), 7, np.uint8)
    resized = Resize("fit", 640)(image)
    assert resized.pixels.shape == (64, 64, 3)
    assert resized.scale == (1.0, 1.0)
    assert (resized.pixels[:40, :50] == 7).all()
    assert (resized.pixels[40:] == PAD_COLOR).all()
    assert (resized.pixels[:, 50:] == PAD_COLOR).all()


def test_proportions_are_kept_or_each_axis_has_its_own_factor() -> None:
    image = np.zeros((500, 1000, 3), np.uint8)
    assert Resize("fit", 640)(image).pixels.shape == (320, 640, 3)
    square = Resize("square", 224)(image)
    assert square.pixels.shape == (224, 224, 3)
    assert square.scale == (0.224, 0.448)


def test_the_callers_picture_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    before = image.copy()
    Resize("fit", 32)(image)
    Resize("fit", 0)(image)
    assert (image == before).all()
