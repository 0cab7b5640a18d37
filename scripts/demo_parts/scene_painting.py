"""Paints one scene of `scripts.demo_parts.scenes`: people with real faces in front of a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

_SIDES = ((640, 480), (480, 640), (600, 400), (512, 512), (720, 480))
_HEIGHTS = (16.0, 150.0)
_FAR = (7.0, 10.0)  # the height of a face that is too far away to be sure of

# Half the width and height of a face in its crop, in crops: LFW's subset is cut to the chin and
# the hairline, a little background stays at the sides. Measured by eye on all 100.
_HALF_WIDTH, _HALF_HEIGHT = 0.42, 0.49

# Exponents for red, green and blue that turn a gray crop into skin: the lights stay light, the
# shadows turn red.
_SKIN = np.array([[0.72, 1.08, 1.40], [0.78, 1.05, 1.25], [0.70, 1.12, 1.60]])
_HAIR = np.array([[28, 24, 22], [60, 42, 30], [110, 80, 52], [120, 116, 112], [170, 140, 90]])


@dataclass(frozen=True)
class SceneFace:
    """One annotated face: what WIDER FACE writes in a line (its expression is always 'typical')."""

    box: tuple[int, int, int, int]  # x, y, width and height in whole pixels, inside the image
    blur: int  # 0 as sharp as the crop, 1 or 2 where it was enlarged or softened much
    illumination: int  # 1 where it was made very dark or very bright
    invalid: int  # 1 for a distant, unrecognizable face
    occlusion: int  # 0, 1 (1 to 30 % of it is hidden) or 2, counted after painting
    pose: int  # 1 where the head leans by more than 30 degrees

    def line(self) -> str:
        """The line of the official annotation format, with its trailing space."""
        values = (*self.box, self.blur, 0, self.illumination, self.invalid, self.occlusion)
        return " ".join(map(str, (*values, self.pose))) + " "


def paint_scene(
    rng: Generator, background: Image.Image, crops: Sequence[Image.Image]
) -> tuple[Image.Image, list[SceneFace]]:
    """One scene and its faces.

    Args:
        rng: every choice is drawn from it.
        background: a picture without faces.
        crops: square gray pictures of one face each, from hairline to chin.
    """
    picture = _view(rng, background, _SIDES[rng.integers(len(_SIDES))])
    owner = Image.new("I", picture.size)  # for each pixel the number of the face there; 0: none
    count = 0 if rng.random() < 1 / 12 else int(rng.integers(1, 10))
    places = list(_places(rng, *picture.size, count))
    if count and rng.random() < 1 / 8:
        x, y = rng.uniform(20, picture.width - 20), rng.uniform(20, picture.height / 2)
        places.append((x, y, rng.uniform(*_FAR)))
    painted: list[tuple[SceneFace, int]] = []
    for x, y, size in sorted(places, key=lambda place: place[2]):
        skin = _SKIN[rng.integers(len(_SKIN))]
        _paint_body(rng, picture, owner, (x, y), size, skin)
        # Seen from behind it is a head, and not a face.
        if size < _HEIGHTS[0] or rng.random() > 0.12:
            crop = crops[int(rng.integers(len(crops)))]
            painted.append(
                _paint_face(rng, picture, owner, (x, y), size, crop, skin, len(painted) + 1)
            )
    numbers = np.asarray(owner)
    faces = []
    for number, (face, pixels) in enumerate(painted, 1):
        seen = int((numbers == number).sum()) / pixels
        if seen >= 0.2:  # what is left of the others cannot be told from a patch of skin
            faces.append(replace(face, occlusion=int(seen < 0.99) + int(seen < 0.7)))
    return _photograph(rng, picture), faces


def _view(rng: Generator, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A random part of a background picture, enlarged to ``size``, out of focus and toned."""
    scale = min(picture.width / size[0], picture.height / size[1]) * rng.uniform(0.6, 1.0)
    w, h = size[0] * scale, size[1] * scale
    left, top = rng.uniform(0, picture.width - w), rng.uniform(0, picture.height - h)
    view = picture.resize(size, Image.Resampling.BICUBIC, (left, top, left + w, top + h))
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    view = view.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 3.0)))
    tone = rng.uniform(0.75, 1.1, 3) * rng.uniform(0.7, 1.1)
    return Image.fromarray((np.asarray(view) * tone).clip(0, 255).astype(np.uint8))


def _places(
    rng: Generator, width: int, height: int, count: int
) -> Iterator[tuple[float, float, float]]:
    """Centers and heights of up to ``count`` faces that leave each other room."""
    low, high = _HEIGHTS
    high = min(high, 420 / math.sqrt(count)) if count else high
    taken: list[tuple[float, float, float]] = []
    for _ in range(count):
        for _ in range(20):
            size = low * (high / low) ** rng.random()
            x = rng.uniform(0.55 * size, width - 0.55 * size)
            y = rng.uniform(0.6 * size, max(0.6 * size + 1, 0.8 * height - 0.5 * size))
            if all(
                abs(x - other[0]) > 0.55 * (size + other[2])
                or abs(y - other[1]) > 0.8 * (size + other[2])
                for other in taken
            ):
                taken.append((x, y, size))
                yield taken[-1]
                break


def _paint_body(
    rng: Generator, picture: Image.Image, owner: Image.Image, center: tuple[float, float],
    size: float, skin: np.ndarray,
) -> None:  # fmt: skip
    """Clothes, neck and hair of somebody whose face is ``size`` pixels high."""
    clothes = (rng.uniform(30, 200) + rng.uniform(-45, 45, 3)).clip(10, 230)
    hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.7, 1.2)
    for dy, half_width, half_height, color in (
        (2.6, rng.uniform(0.8, 1.0), 2.0, clothes),
        (0.42, 0.29, 0.45, 255 * (110 / 255) ** skin),
        (-0.13, rng.uniform(0.45, 0.52), rng.uniform(0.48, 0.56), hair),
    ):
        x, y, rx, ry = center[0], center[1] + dy * size, half_width * size, half_height * size
        box = (x - rx, y - ry, x + rx, y + ry)
        ImageDraw.Draw(picture).ellipse(box, tuple(color.clip(0, 255).astype(int).tolist()))
        ImageDraw.Draw(owner).ellipse(box, 0)


def _paint_face(
    rng: Generator, picture: Image.Image, owner: Image.Image, center: tuple[float, float],
    size: float, crop: Image.Image, skin: np.ndarray, number: int,
) -> tuple[SceneFace, int]:  # fmt: skip
    """Paint a crop as a face; returns what to annotate and how many pixels it covers."""
    far = size < _HEIGHTS[0]
    angle = (
        rng.uniform(32, 50) * rng.choice([-1, 1]) if rng.random() < 0.06 else rng.uniform(-12, 12)
    )
    soften = 0.15 if far else rng.uniform(0.03, 0.06) if rng.random() < 0.15 else 0.0
    extreme = not far and rng.random() < 0.08
    gain = rng.choice([0.35, 2.0]) if extreme else rng.uniform(0.8, 1.3)
    side = max(8, round(size / (2 * _HALF_HEIGHT)))
    if rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    crop = crop.resize((side, side), Image.Resampling.BICUBIC)
    # Half a pixel of the crop hides its steps when it is enlarged.
    blur = max(soften * size, 0.5 * (side / 25 - 1), 0)
    crop = crop.rotate(angle, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(blur))
    light = (np.asarray(crop, np.float32)[..., None] * gain / 255).clip(0, 1)
    colors = Image.fromarray((255 * light**skin).astype(np.uint8))
    mask = Image.new("1", (side, side))
    inset = (side * (0.5 - _HALF_WIDTH), side * (0.5 - _HALF_HEIGHT))
    ImageDraw.Draw(mask).ellipse((*inset, *(side - 1 - edge for edge in inset)), 1)
    mask = mask.rotate(angle)
    corner = (round(center[0] - side / 2), round(center[1] - side / 2))
    picture.paste(colors, corner, mask)
    owner.paste(number, (*corner, corner[0] + side, corner[1] + side), mask)
    left, top, right, bottom = mask.getbbox() or (0, 0, side, side)
    x1, y1 = max(0, corner[0] + left), max(0, corner[1] + top)
    x2, y2 = min(picture.width, corner[0] + right), min(picture.height, corner[1] + bottom)
    face = SceneFace(
        box=(x1, y1, x2 - x1, y2 - y1),
        blur=2 if far else min(2, int(side > 40) + int(side > 90) + int(soften > 0)),
        illumination=int(extreme),
        invalid=int(far),
        occlusion=0,
        pose=int(abs(angle) > 30),
    )
    return face, int((np.asarray(owner) == number).sum())


def _photograph(rng: Generator, picture: Image.Image) -> Image.Image:
    """Light from one side, a color cast, a lens and a noisy sensor over the whole picture."""
    ramp = np.linspace(rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.1), picture.width)
    lit = np.asarray(picture) * ramp[:, None] * rng.uniform(0.92, 1.08, 3)
    if rng.random() < 0.1:
        lit = np.repeat(lit.mean(axis=2, keepdims=True), 3, axis=2)
    soft = Image.fromarray(lit.clip(0, 255).astype(np.uint8))
    soft = soft.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.7)))
    noise = rng.normal(0, rng.uniform(1, 6), (picture.height, picture.width, 1))
    return Image.fromarray((np.asarray(soft) + noise).clip(0, 255).astype(np.uint8))
