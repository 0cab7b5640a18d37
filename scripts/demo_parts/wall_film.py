"""A made film: a camera pans along three photographs on a wall, and it is known who is where.

For the demo: real faces that come into the picture, grow, lean and leave, without a person in
front of a camera and without a download.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from detector.data.portraits import (
    BYSTANDER_FACE,
    PORTRAIT_FACES,
    brick_wall,
    bystander,
    portraits,
)
from pipeline.types import Box

SIZE, FPS, SECONDS = (640, 360), 20.0, 8.0
"""Width and height of the picture, frames a second, length."""

_PHOTO = (225, 300)
_GAP, _BORDER, _MARGIN = 35, 9, 240
# In pixels of the wall: how far the camera sees at the ends and in the middle, and how far beside
# the outer photographs it begins and ends, so that each is alone then.
_NEAR, _FAR, _ASIDE = 430.0, 850.0, 60.0


@dataclass(frozen=True)
class _Hung:
    """A photograph: whose, and where the face is on the wall."""

    name: str
    face: Box


class WallFilm:
    """Eight seconds of two portraits and a bystander.

    Attributes:
        names: who is on the wall, from left to right; the bystander comes last.
        frames: how many there are, `FPS` a second.
    """

    def __init__(self) -> None:
        photos = portraits()
        # Which part of each photograph is hung, so that all faces are about equally large.
        parts: list[tuple[str, NDArray[np.uint8], tuple[int, int, int, int], Box]] = [
            ("Eileen Collins", photos["eileen_collins"], (90, 0, 360, 360),
             PORTRAIT_FACES["eileen_collins"]),
            ("Grace Hopper", photos["grace_hopper"], (40, 0, 490, 600),
             PORTRAIT_FACES["grace_hopper"]),
            ("The photographer", bystander(), (105, 30, 330, 330), BYSTANDER_FACE),
        ]  # fmt: skip
        width = len(parts) * (_PHOTO[0] + _GAP) - _GAP + 2 * _MARGIN
        wall = _bricks((width, _PHOTO[1] + 2 * _MARGIN))
        hung = []
        for i, (name, image, part, face) in enumerate(parts):
            corner = (_MARGIN + i * (_PHOTO[0] + _GAP), _MARGIN)
            hung.append(_Hung(name, _hang(wall, image, part, face, corner)))
        self._wall, self._hung = wall, hung
        self.names = tuple(photo.name for photo in hung)
        self.frames = round(SECONDS * FPS)

    def frame(self, index: int) -> tuple[NDArray[np.uint8], dict[str, Box]]:
        """RGB uint8 (H, W, 3), and the box of each face that lies in the picture for the most."""
        part = index / (self.frames - 1)
        # From the first photograph to the last, slowly at both ends.
        pan = 0.5 - 0.5 * math.cos(math.pi * part)
        first, last = (self._center(photo) for photo in (self._hung[0], self._hung[-1]))
        x, y = (a + pan * (b - a) for a, b in zip(first, last, strict=True))
        x += _ASIDE * (2 * pan - 1)
        x += 6 * math.sin(11 * part)  # a hand is never still
        y += 10 + 9 * math.sin(9 * part)
        scale = (_NEAR + (_FAR - _NEAR) * math.sin(math.pi * part) ** 2) / SIZE[0]
        lean = math.radians(3) * math.sin(7 * part)
        cos, sin = scale * math.cos(lean), scale * math.sin(lean)
        u, v = SIZE[0] / 2, SIZE[1] / 2
        picture = self._wall.transform(
            SIZE,
            Image.Transform.AFFINE,
            (cos, -sin, x - cos * u + sin * v, sin, cos, y - sin * u - cos * v),
            Image.Resampling.BICUBIC,
        )
        truth = {}
        for photo in self._hung:
            x1, y1, x2, y2 = photo.face
            corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) - (x, y)
            turned = corners @ np.array([[cos, -sin], [sin, cos]]) / scale**2 + (u, v)
            box = _inside(turned)
            if box is not None:
                truth[photo.name] = box
        return np.asarray(picture), truth

    @staticmethod
    def _center(photo: _Hung) -> tuple[float, float]:
        x1, y1, x2, y2 = photo.face
        return (x1 + x2) / 2, (y1 + y2) / 2


def _bricks(size: tuple[int, int]) -> Image.Image:
    """A wall of red bricks, wider than high, a little out of focus."""
    upright = np.rot90(brick_wall())  # the texture's rows of bricks run downwards
    part = (0, 0, upright.shape[1], upright.shape[1] * size[1] / size[0])
    gray = Image.fromarray(upright).resize(size, Image.Resampling.BICUBIC, part)
    light = np.asarray(gray.filter(ImageFilter.GaussianBlur(1.5)), np.float32) / 255
    # Bricks are redder where they are darker; the exponents were chosen by eye.
    rgb = np.stack([light**power for power in (0.8, 1.3, 1.5)], axis=-1)
    return Image.fromarray((230 * rgb).astype(np.uint8))


def _hang(
    wall: Image.Image,
    image: NDArray[np.uint8],
    part: tuple[int, int, int, int],
    face: Box,
    corner: tuple[int, int],
) -> Box:
    """Hang ``part`` of a photograph in a white border with a shadow; where its face is then."""
    x, y = corner
    width, height = _PHOTO
    framed = (x - _BORDER, y - _BORDER, x + width + _BORDER, y + height + _BORDER)
    shadow = Image.new("L", wall.size, 0)
    shadow.paste(150, (framed[0] + 5, framed[1] + 7, framed[2] + 7, framed[3] + 9))
    wall.paste((15, 10, 8), mask=shadow.filter(ImageFilter.GaussianBlur(6)))
    wall.paste((240, 238, 232), framed)
    photo = Image.fromarray(image).resize(_PHOTO, Image.Resampling.LANCZOS, part)
    wall.paste(photo, corner)
    left, top, right, bottom = part
    sx, sy = width / (right - left), height / (bottom - top)
    return (
        x + (face[0] - left) * sx,
        y + (face[1] - top) * sy,
        x + (face[2] - left) * sx,
        y + (face[3] - top) * sy,
    )


def _inside(corners: NDArray[np.float64]) -> Box | None:
    """The upright box around four corners, cut at the picture's edges; None if most is outside."""
    x1, y1 = corners.min(axis=0)
    x2, y2 = corners.max(axis=0)
    full = (x2 - x1) * (y2 - y1)
    x1, x2 = (float(np.clip(value, 0, SIZE[0])) for value in (x1, x2))
    y1, y2 = (float(np.clip(value, 0, SIZE[1])) for value in (y1, y2))
    return (x1, y1, x2, y2) if (x2 - x1) * (y2 - y1) > 0.7 * full else None
