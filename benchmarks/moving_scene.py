"""A made film of real faces that move over a real photograph, with the truth about every frame.

For the demo, the tests and the benchmarks of the live loop: nobody has to stand before a camera,
and it is known where every face is and whose it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from detector.data.portraits import PORTRAIT_FACES, portraits
from pipeline.types import Box

AROUND = 0.55
"""How much of a portrait is cut out around a face, in widths and heights of it on each side."""

VISIBLE = 0.7
"""Part of a face that must be in the picture, and not behind somebody else, for it to be there."""


@dataclass(frozen=True, eq=False)
class Actor:
    """Somebody to move about."""

    name: str  # theirs
    pixels: NDArray[np.uint8]  # RGB uint8 (h, w, 3): the face and what is around it
    box: Box  # the face within it

    @property
    def width(self) -> float:
        """Of the face, in pixels."""
        return self.box[2] - self.box[0]


def cut_actor(name: str, image: NDArray[np.uint8], box: Sequence[float]) -> Actor:
    """Cut a face (box in pixels of the photo) with its surroundings out of an RGB photo."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    dx, dy = AROUND * (x2 - x1), AROUND * (y2 - y1)
    left, top = max(0, round(x1 - dx)), max(0, round(y1 - dy))
    right, bottom = min(width, round(x2 + dx)), min(height, round(y2 + dy))
    pixels = image[top:bottom, left:right].copy()
    return Actor(name, pixels, (x1 - left, y1 - top, x2 - left, y2 - top))


def portrait_actors() -> list[Actor]:
    """Eileen Collins and Grace Hopper; see `detector.data.portraits.portraits`."""
    return [cut_actor(name, image, PORTRAIT_FACES[name]) for name, image in portraits().items()]


def mirrored(actor: Actor, name: str) -> Actor:
    """The same picture the other way round, and a little darker."""
    width = actor.pixels.shape[1]
    x1, y1, x2, y2 = actor.box
    pixels = (actor.pixels[:, ::-1] * 0.8).astype(np.uint8)
    return Actor(name, pixels, (width - x2, y1, width - x1, y2))


def photo_background(size: tuple[int, int] = (480, 640)) -> NDArray[np.uint8]:
    """A photograph without people (scikit-image's coffee), RGB uint8 of ``size`` = (h, w)."""
    import skimage.data

    height, width = size
    picture = Image.fromarray(skimage.data.coffee())
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


class MovingScene:
    """A film that begins again every ``period`` seconds without a jump.

    Args:
        actors: at most as many as fit; each moves on a closed path of its own.
        background: RGB uint8 (H, W, 3).
        period: seconds.
        face: width of the faces in pixels: (smallest, largest); they come nearer and go away.
        leave: of each actor, whether the path leads out of the picture for a while.
        seed: of the paths.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        background: NDArray[np.uint8],
        period: float = 12.0,
        face: tuple[float, float] = (56.0, 84.0),
        leave: Mapping[str, bool] | None = None,
        seed: int = 0,
    ) -> None:
        self.actors = tuple(actors)
        self.background = background
        self.period, self.face = period, face
        self._leave = dict(leave or {})
        random = np.random.default_rng(seed)
        self._phases = random.uniform(0, 2 * math.pi, (len(actors), 3))
        self._masks: dict[tuple[int, int], Image.Image] = {}

    def frame(self, time: float) -> tuple[NDArray[np.uint8], dict[str, Box]]:
        """The picture at ``time`` seconds, and where each face is that can be seen for the most.

        Those who come later in ``actors`` pass in front of the others.
        """
        picture = Image.fromarray(self.background)
        truth: dict[str, Box] = {}
        for i, actor in enumerate(self.actors):
            x, y, width = self._place(i, actor, time)
            scale = width / actor.width
            size = (round(actor.pixels.shape[1] * scale), round(actor.pixels.shape[0] * scale))
            patch = Image.fromarray(actor.pixels).resize(size, Image.Resampling.BILINEAR)
            face_x, face_y = (actor.box[0] + actor.box[2]) / 2, (actor.box[1] + actor.box[3]) / 2
            left, top = round(x - face_x * scale), round(y - face_y * scale)
            picture.paste(patch, (left, top), self._mask(size))
            front = (left, top, left + size[0], top + size[1])
            truth = {name: box for name, box in truth.items() if not _behind(box, front)}
            box = self._inside(actor, left, top, scale)
            if box is not None:
                truth[actor.name] = box
        return np.asarray(picture), truth

    def _place(self, i: int, actor: Actor, time: float) -> tuple[float, float, float]:
        """Center of the face and its width."""
        height, width = self.background.shape[:2]
        turn = 2 * math.pi * time / self.period
        a, b, c = self._phases[i]
        middle = (i + 0.5) / len(self.actors)
        swing = 0.9 if self._leave.get(actor.name) else 0.5 / len(self.actors)
        x = width * (middle + swing * math.sin(turn + a) * 0.6)
        y = height * (0.5 + 0.22 * math.sin(2 * turn + b))
        near = 0.5 + 0.5 * math.sin(turn + c)
        return x, y, self.face[0] + near * (self.face[1] - self.face[0])

    def _inside(self, actor: Actor, left: int, top: int, scale: float) -> Box | None:
        height, width = self.background.shape[:2]
        x1, y1, x2, y2 = (v * scale for v in actor.box)
        full = (x2 - x1) * (y2 - y1)
        box = (
            max(left + x1, 0.0),
            max(top + y1, 0.0),
            min(left + x2, float(width)),
            min(top + y2, float(height)),
        )
        seen = max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
        return box if seen > VISIBLE * full else None

    def _mask(self, size: tuple[int, int]) -> Image.Image:
        """Soft edges, so that a patch does not end in a line."""
        if size not in self._masks:
            if len(self._masks) > 500:
                self._masks.clear()
            mask = Image.new("L", size, 0)
            border = max(2, min(size) // 12)
            mask.paste(255, (border, border, size[0] - border, size[1] - border))
            self._masks[size] = mask.filter(ImageFilter.GaussianBlur(border / 2))
        return self._masks[size]


def _behind(box: Box, front: Box) -> bool:
    """Whether too much of a face is hidden by what is pasted at ``front``."""
    width = min(box[2], front[2]) - max(box[0], front[0])
    height = min(box[3], front[3]) - max(box[1], front[1])
    hidden = max(width, 0.0) * max(height, 0.0)
    return hidden > (1 - VISIBLE) * (box[2] - box[0]) * (box[3] - box[1])
