"""Paints one scene of `scripts.demo_parts.scenes`: people with real faces in front of a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_SIDES = ((640, 480), (480, 640), (600, 400), (512, 512), (720, 480))
_HEIGHTS = (16.0, 150.0)

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


class _Canvas:
    """A picture being painted, and for each pixel the number of the face seen there (-1: none)."""

    def __init__(self, background: Image.Image) -> None:
        self.rgb: NDArray[np.float32] = np.array(background, np.float32)
        self.owner: NDArray[np.int16] = np.full(self.rgb.shape[:2], -1, np.int16)

    def ellipse(
        self,
        center: tuple[float, float],
        radii: tuple[float, float],
        color: NDArray,
        *,
        softness: float,
        square: bool = False,
        angle: float = 0.0,
        owner: int = -1,
        below: float = -math.inf,
    ) -> int:
        """Paint an ellipse with an edge ``softness`` pixels wide; returns the pixels it covers.

        ``color`` is (3,), or (S, S, 3) for a texture around the center. ``square`` fills the
        corners more. Only rows under ``below`` are painted.
        """
        height, width = self.owner.shape
        reach = max(radii) + softness
        x1, x2 = (min(max(round(center[0] + s * reach), 0), width) for s in (-1, 1))
        y1, y2 = (min(max(round(center[1] + s * reach), 0), height) for s in (-1, 1))
        ys, xs = np.mgrid[y1:y2, x1:x2].astype(np.float32)
        dx, dy = xs + 0.5 - center[0], ys + 0.5 - center[1]
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        along, across = dx * cos - dy * sin, dx * sin + dy * cos
        along, across = (along / radii[0]) ** 2, (across / radii[1]) ** 2
        distance = np.sqrt(np.sqrt(along**2 + across**2) if square else along + across)
        alpha = ((1 - distance) * min(radii) / softness + 0.5).clip(0, 1)
        alpha *= ys >= below
        if color.ndim == 3:
            half = color.shape[0] / 2
            columns = (dx + half).astype(int).clip(0, color.shape[1] - 1)
            rows = (dy + half).astype(int).clip(0, color.shape[0] - 1)
            color = color[rows, columns]
        region = self.rgb[y1:y2, x1:x2]
        region += alpha[..., None] * (color - region)
        covered = alpha > 0.5
        self.owner[y1:y2, x1:x2][covered] = owner
        return int(covered.sum())


def paint_scene(
    rng: Generator, background: Image.Image, crops: Sequence[Image.Image]
) -> tuple[Image.Image, list[SceneFace]]:
    """One scene and its faces.

    Args:
        rng: every choice is drawn from it.
        background: a picture without faces.
        crops: square gray pictures of one face each, from hairline to chin.
    """
    width, height = _SIDES[rng.integers(len(_SIDES))]
    canvas = _Canvas(_view(rng, background, (width, height)))
    count = 0 if rng.random() < 1 / 12 else int(rng.integers(1, 10))
    painted: list[tuple[SceneFace, int]] = []
    if count and rng.random() < 1 / 8:
        painted.append(_smear(rng, canvas, crops, 0))
    for x, y, size in sorted(_places(rng, width, height, count), key=lambda place: place[2]):
        away = rng.random() < 0.12  # seen from behind: a head is not yet a face
        person = _person(rng, canvas, crops, (x, y), size, None if away else len(painted))
        if person is not None:
            painted.append(person)
    faces = []
    for number, (face, pixels) in enumerate(painted):
        seen = int((canvas.owner == number).sum()) / pixels
        if seen >= 0.2:  # what is left of the others cannot be told from a patch of skin
            level = int(seen < 0.99) + int(seen < 0.7)
            faces.append(replace(face, occlusion=level))
    return _photograph(rng, canvas.rgb), faces


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


def _smear(
    rng: Generator, canvas: _Canvas, crops: Sequence[Image.Image], number: int
) -> tuple[SceneFace, int]:
    """Somebody too far away to be sure of: an 'invalid' face."""
    height, width = canvas.owner.shape
    size = rng.uniform(7, 10)
    x, y = rng.uniform(20, width - 20), rng.uniform(20, 0.5 * height)
    return _face(
        rng,
        canvas,
        crops,
        (x, y),
        size,
        number,
        skin=_SKIN[0],
        angle=0.0,
        soften=0.15,
        invalid=True,
    )


def _person(
    rng: Generator,
    canvas: _Canvas,
    crops: Sequence[Image.Image],
    center: tuple[float, float],
    size: float,
    number: int | None,
) -> tuple[SceneFace, int] | None:
    """Clothes, neck, hair and (unless ``number`` is None) a face ``size`` pixels high."""
    x, y = center
    edge = max(1.0, 0.03 * size)
    skin = _SKIN[rng.integers(len(_SKIN))]
    hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.7, 1.2)
    grayish = rng.uniform(30, 200) + rng.uniform(-45, 45, 3)
    clothes, trousers = grayish.clip(10, 230), rng.uniform(20, 110) + rng.uniform(-15, 15, 3)

    def part(dy: float, rx: float, ry: float, color: NDArray, square: bool = False) -> None:
        soft = 3 * edge if color is hair else edge
        radii = (rx * size, ry * size)
        folds = _folds(rng, round(2 * max(radii))) * color
        canvas.ellipse((x, y + dy * size), radii, folds, softness=soft, square=square)

    long_hair = rng.random() < 0.35
    if long_hair:
        part(0.15, 0.55, 0.75, hair)
    part(5.6, 0.55, 1.8, trousers, square=True)
    part(2.6, rng.uniform(0.8, 1.0), 2.0, clothes, square=True)
    part(0.42, 0.29, 0.45, _skin(np.full(1, 110.0), skin)[0])
    part(-0.13, rng.uniform(0.45, 0.52), rng.uniform(0.48, 0.56), hair)
    if number is None:
        return None
    leans = rng.random() < 0.06
    angle = rng.uniform(32, 50) * rng.choice([-1, 1]) if leans else rng.uniform(-12, 12)
    soften = rng.uniform(0.03, 0.06) if rng.random() < 0.15 else 0.0
    face = _face(rng, canvas, crops, center, size, number, skin=skin, angle=angle, soften=soften)
    if rng.random() < 0.08:  # a scarf over mouth and chin
        radii = (_HALF_WIDTH * size * 1.1, _HALF_HEIGHT * size * 1.15)
        line = y + rng.uniform(0.08, 0.25) * size
        canvas.ellipse(center, radii, clothes * 0.8, softness=edge, below=line)
    return face


def _face(
    rng: Generator,
    canvas: _Canvas,
    crops: Sequence[Image.Image],
    center: tuple[float, float],
    size: float,
    number: int,
    *,
    skin: NDArray,
    angle: float,
    soften: float,
    invalid: bool = False,
) -> tuple[SceneFace, int]:
    """Paint one of the crops as a face; returns what to annotate and the pixels it covers."""
    side = max(8, round(size / (2 * _HALF_HEIGHT)))
    crop = crops[int(rng.integers(len(crops)))]
    if rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    crop = crop.resize((side, side), Image.Resampling.BICUBIC)
    crop = crop.rotate(angle, Image.Resampling.BICUBIC)
    # Half a pixel of the crop hides its steps when it is enlarged.
    blur = max(soften * size, 0.5 * (side / 25 - 1))
    crop = crop.filter(ImageFilter.GaussianBlur(max(blur, 0)))
    extreme = not invalid and rng.random() < 0.08
    gain = rng.choice([0.35, 2.0]) if extreme else rng.uniform(0.8, 1.3)
    colors = _skin(np.asarray(crop, np.float32) * gain, skin)
    radii = (_HALF_WIDTH * side, _HALF_HEIGHT * side)
    edge = max(1.0, 0.08 * size)
    pixels = canvas.ellipse(center, radii, colors, softness=edge, angle=angle, owner=number)

    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    half_w = math.hypot(radii[0] * cos, radii[1] * sin)
    half_h = math.hypot(radii[0] * sin, radii[1] * cos)
    height, width = canvas.owner.shape
    x1, y1 = max(0, round(center[0] - half_w)), max(0, round(center[1] - half_h))
    x2, y2 = min(width, round(center[0] + half_w)), min(height, round(center[1] + half_h))
    face = SceneFace(
        box=(x1, y1, x2 - x1, y2 - y1),
        blur=2 if invalid else min(2, int(side > 40) + int(side > 90) + int(soften > 0)),
        illumination=int(extreme),
        invalid=int(invalid),
        occlusion=0,
        pose=int(abs(angle) > 30),
    )
    return face, pixels


def _folds(rng: Generator, side: int) -> NDArray[np.float32]:
    """Light and shade on cloth or hair, around 1: (side, side, 1)."""
    coarse = Image.fromarray(rng.uniform(0.65, 1.25, (7, 11)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))[..., None]


def _skin(gray: NDArray, exponents: NDArray) -> NDArray[np.float32]:
    """The colors (..., 3) of skin whose brightness is ``gray`` (...), 0..255."""
    return 255 * (gray[..., None] / 255).clip(0, 1).astype(np.float32) ** exponents


def _photograph(rng: Generator, rgb: NDArray[np.float32]) -> Image.Image:
    """Light from one side, a color cast, a lens and a noisy sensor over the whole picture."""
    height, width = rgb.shape[:2]
    ramp = np.linspace(rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.1), width)
    light = ramp[:, None] * rng.uniform(0.92, 1.08, 3)
    lit = (rgb * light).clip(0, 255)
    if rng.random() < 0.1:
        lit = np.repeat(lit.mean(axis=2, keepdims=True), 3, axis=2)
    soft = Image.fromarray(lit.astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(rng.uniform(0, 0.6))
    )
    noise = rng.normal(0, rng.uniform(1, 6), (height, width, 1))
    return Image.fromarray((np.asarray(soft) + noise).clip(0, 255).astype(np.uint8))
