"""Augmentation of (image, target) pairs, with torchvision.transforms.v2.

A target is a dict of ``boxes`` (BoundingBoxes, XYXY), ``labels`` int64 (N,): 1 a face, -1 a face
to ignore, and ``points`` (N, 5, 2), NaN where a point is not known or no longer in the picture.
Randomness comes from torch's global generator, which the data set seeds for every sample.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from detector.config import DataConfig
from detector.inference.resize import PAD_COLOR
from detector.points import OTHER_SIDE
from faces.images.masks import draw_mask

FACE, IGNORED = 1, -1

MOST_ENLARGED = 1.25
"""How many times a crop enlarges a picture at most: in use pictures are only ever shrunk."""

LARGE_MOST_ENLARGED = 2.5
"""The same of large crops: few pictures have a face of hundreds of pixels."""

LEAST_COVERED = 10.0
"""Pixels of the shorter side of a face that may be hidden in part."""

WEAKEST_LIGHT = 0.1
"""How much is left of the weakest of red, green and blue in colored light."""

MOST_HAZE = 0.4
"""How much of the light is laid over the picture at most: a washed-out one has little contrast."""

LEAST_MASKED = 6.0
"""Pixels from the eyes to the mouth of a face that is worth a mask."""


class FaceCrop(v2.Transform):
    """A square crop that shows one face at a size drawn log-uniformly, so small ones are learned.

    With probability ``face_crops`` a size is drawn from ``face_sizes`` (geometric mean of the
    sides, pixels), up to what the picture's largest face reaches, and then one of the faces that
    reach it without being enlarged more than `MOST_ENLARGED` times. The crop holds that face at a
    random place. Otherwise, and for pictures without faces, the crop is up to 1.4 times the longest
    side, anywhere. The picture's longest side always fills at least 1 / 1.6 of the crop, for which
    a small picture may be enlarged more.

    With ``largest`` the face is always the largest, enlarged up to `LARGE_MOST_ENLARGED` times.
    """

    def __init__(
        self,
        size: int,
        face_sizes: tuple[float, float],
        face_crops: float,
        largest: bool = False,
    ) -> None:
        super().__init__()
        self.largest = largest
        self.size = size
        self.face_sizes = face_sizes
        self.face_crops = face_crops

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        height, width = image.shape[-2:]
        longest = max(height, width)
        faces = target["boxes"][target["labels"] == FACE].as_subclass(Tensor)
        choose, place_x, place_y, level, which = torch.rand(5).tolist()
        least = self.size / (1.6 * longest)
        most = LARGE_MOST_ENLARGED if self.largest else max(MOST_ENLARGED, least)
        most = min(most, LARGE_MOST_ENLARGED)
        if len(faces) and choose < self.face_crops:
            own = (faces[:, 2:] - faces[:, :2]).prod(dim=1).sqrt()
            low, high = self.face_sizes
            high = max(low, min(high, float(own.max()) * most))
            wanted = low * (high / low) ** level
            fit = (own >= min(wanted / most, float(own.max()))).nonzero().squeeze(1)
            chosen = int(own.argmax() if self.largest else fit[int(which * len(fit))])
            x1, y1, x2, y2 = faces[chosen].tolist()
            side = self.size / min(max(wanted / float(own[chosen]), least), most)
            left = (x1 + x2) / 2 - side * (0.15 + 0.7 * place_x)
            top = (y1 + y2) / 2 - side * (0.15 + 0.7 * place_y)
        else:
            shortest = max(0.25 * longest, self.size / most)
            side = shortest * max(1.4 * longest / shortest, 1.0) ** level
            left = (width - side) * place_x
            top = (height - side) * place_y
        # Padding teaches nothing: keep the crop inside the picture as far as it fits.
        left = min(max(left, min(0, width - side)), max(0, width - side))
        top = min(max(top, min(0, height - side)), max(0, height - side))
        left, top, side = round(left), round(top), round(side)
        return self._crop(image, left, top, side), self._boxes(target, left, top, side)

    def _crop(self, image: Tensor, left: int, top: int, side: int) -> Tensor:
        """The square, rescaled to ``size``; what lies outside the picture is the mean color."""
        height, width = image.shape[-2:]
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + side, width), min(top + side, height)
        scale = self.size / side
        a1, b1 = round((x1 - left) * scale), round((y1 - top) * scale)
        a2, b2 = round((x2 - left) * scale), round((y2 - top) * scale)
        canvas = torch.empty(3, self.size, self.size, dtype=torch.uint8)
        canvas[:] = torch.tensor(PAD_COLOR, dtype=torch.uint8).view(3, 1, 1)
        if x2 > x1 and y2 > y1 and a2 > a1 and b2 > b1:
            part = image[:, y1:y2, x1:x2].as_subclass(Tensor)
            canvas[:, b1:b2, a1:a2] = functional.resize(part, [b2 - b1, a2 - a1], antialias=True)
        return tv_tensors.Image(canvas)

    def _boxes(self, target: dict[str, Any], left: int, top: int, side: int) -> dict[str, Any]:
        """Boxes in the crop; a face less than half inside it becomes an ignored one."""
        boxes = target["boxes"].as_subclass(Tensor)
        scale = self.size / side
        moved = (boxes - torch.tensor([left, top, left, top])) * scale
        points = (target["points"] - torch.tensor([left, top])) * scale
        return _clipped(moved, target["labels"], points, self.size)


def _clipped(boxes: Tensor, labels: Tensor, points: Tensor, size: int) -> dict[str, Any]:
    """The target of a square of ``size`` pixels; less than half inside it means ignored."""
    inside = boxes.clamp(0, size)
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
    shown = (inside[:, 2:] - inside[:, :2]).clamp(min=0).prod(dim=1)
    seen = ((points >= 0) & (points <= size)).all(dim=2, keepdim=True)
    return {
        "boxes": tv_tensors.BoundingBoxes(inside, format="XYXY", canvas_size=(size, size)),
        "labels": torch.where(shown < 0.5 * area, IGNORED, labels),
        "points": torch.where(seen, points, math.nan),
    }


class Flip(v2.Transform):
    """Mirrors every second picture; left and right points change places."""

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        if torch.rand(1) >= 0.5:
            return image, target
        points = target["points"][:, OTHER_SIDE].clone()
        points[..., 0] = image.shape[-1] - points[..., 0]
        image, boxes = functional.horizontal_flip(image), target["boxes"]
        return image, {**target, "boxes": functional.horizontal_flip(boxes), "points": points}


class Masks(v2.Transform):
    """Draws masks over some faces whose five points are known, which stay where they are.

    Each with probability ``share``, if its eyes and mouth are `LEAST_MASKED` pixels apart.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        points = target["points"]
        lengths = (points[:, 3:].mean(dim=1) - points[:, :2].mean(dim=1)).norm(dim=1)
        fit = (lengths >= LEAST_MASKED) & points.isfinite().all(dim=2).all(dim=1)
        if not fit.any():
            return image, target
        chosen = fit & (torch.rand(len(points)) < self.share)
        picture = image.permute(1, 2, 0).as_subclass(Tensor).numpy().copy()  # (H, W, 3)
        for i in chosen.nonzero().squeeze(1).tolist():
            five = points[i].numpy()
            side = min(round(5 * float(lengths[i])), *picture.shape[:2])  # holds a scarf
            low = np.round(five.mean(axis=0) - side / 2).astype(int)
            left, top = low.clip(0, np.array(picture.shape[1::-1]) - side).tolist()
            part = picture[top : top + side, left : left + side]
            rng = np.random.default_rng(int(torch.randint(2**62, ())))
            part[:] = draw_mask(part, rng, five - (left, top))
        return tv_tensors.Image(torch.from_numpy(picture).permute(2, 0, 1)), target


class Covers(v2.Transform):
    """Hides a part of some faces behind a piece of the same picture, as hands and heads do.

    Each face of `LEAST_COVERED` pixels or more, with probability ``share``: an ellipse or rectangle
    of 0.4 to 1 of its sides, from a place without a face, is laid over its edge, so that about half
    of it at most is hidden. Its box and points stay, as annotators guess what is hidden. Where the
    place that was drawn has a face, nothing is laid.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        boxes = target["boxes"].as_subclass(Tensor)
        sides = boxes[:, 2:] - boxes[:, :2]
        fit = (target["labels"] == FACE) & (sides.amin(dim=1) >= LEAST_COVERED)
        chosen = (fit & (torch.rand(len(boxes)) < self.share)).nonzero().squeeze(1).tolist()
        if not chosen:
            return image, target
        before = image.as_subclass(Tensor)
        pixels = before.clone()
        room = torch.tensor(image.shape[:-3:-1])  # width, height
        for i in chosen:
            wide, high, from_x, from_y, turn, shape = torch.rand(6).tolist()
            size = (sides[i] * (0.4 + 0.6 * torch.tensor([wide, high]))).round().long()
            source = ((room - size + 1) * torch.tensor([from_x, from_y])).long()
            meets = (boxes[:, :2] < source + size).all(dim=1) & (boxes[:, 2:] > source).all(dim=1)
            if (size > room).any() or meets.any():
                continue
            # The center of the piece lies on the ellipse that fills the face's box.
            angle = torch.tensor(2 * math.pi * turn)
            edge = torch.stack((angle.cos(), angle.sin())) * sides[i] / 2
            center = (boxes[i, :2] + boxes[i, 2:]) / 2 + edge
            place = (center - size / 2).round().long()
            _lay(before, pixels, source.tolist(), place.tolist(), size.tolist(), shape < 0.5)
        return tv_tensors.Image(pixels), target


def _lay(
    before: Tensor,
    after: Tensor,
    source: list[int],
    place: list[int],
    size: list[int],
    round_: bool,
) -> None:
    """Copies the part of ``size`` (x, y) at ``source`` to ``place``: what is inside the picture."""
    (left, top), (w, h) = place, size
    height, width = after.shape[-2:]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + w, width), min(top + h, height)
    if x1 >= x2 or y1 >= y2:
        return
    x, y = torch.arange(x1, x2) - left, torch.arange(y1, y2) - top
    piece = before[:, source[1] + y[:, None], source[0] + x]
    shown = after[:, y1:y2, x1:x2]
    inside = ((2 * x + 1) / w - 1) ** 2 + (((2 * y + 1) / h - 1) ** 2)[:, None] <= 1
    shown[:] = torch.where(inside, piece, shown) if round_ else piece


class Tilt(v2.Transform):
    """Turns a square about its center by up to ``degrees`` and stretches it in one direction.

    With probability ``share``: the angle is uniform, the ratio of the axes log-uniform from
    1 / ``stretch`` to ``stretch``. A face is taken for the ellipse in its box, so that the box of
    the turned face does not grow with the corners that it does not fill. What was outside becomes
    the mean color.
    """

    def __init__(self, degrees: float, stretch: float, share: float) -> None:
        super().__init__()
        self.degrees = degrees
        self.stretch = stretch
        self.share = share

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        choose, turn, ratio = torch.rand(3).tolist()
        if choose >= self.share:
            return image, target
        angle = math.radians(self.degrees) * (2 * turn - 1)
        wide = self.stretch ** (ratio - 0.5)
        cos, sin = math.cos(angle), math.sin(angle)
        # Old places -> new ones, from the center; and the inverse, which is what sampling needs.
        forth = torch.tensor([[wide * cos, -wide * sin], [sin / wide, cos / wide]])
        back = torch.tensor([[cos / wide, sin * wide, 0.0], [-sin / wide, cos * wide, 0.0]])
        size = image.shape[-1]
        grid = torch.nn.functional.affine_grid(back[None], [1, 3, size, size], align_corners=False)
        pad = torch.tensor(PAD_COLOR, dtype=torch.float32).view(3, 1, 1)
        pixels = image.as_subclass(Tensor).float() - pad
        turned = torch.nn.functional.grid_sample(pixels[None], grid, align_corners=False)[0]
        turned = (turned + pad).round().clamp(0, 255).to(torch.uint8)

        boxes = target["boxes"].as_subclass(Tensor)
        center = (boxes[:, :2] + boxes[:, 2:] - size) / 2 @ forth.T + size / 2
        half = (((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (forth**2).T).sqrt()
        moved = torch.cat((center - half, center + half), dim=1)
        points = (target["points"] - size / 2) @ forth.T + size / 2
        return tv_tensors.Image(turned), _clipped(moved, target["labels"], points, size)


class ColoredLight(v2.Transform):
    """Shows a picture in the light of one color, as on a stage, in a club or through a filter.

    With probability ``share``: the colors fade by a share between none and all, red, green and blue
    are weakened to `WEAKEST_LIGHT` or more of what they were, the strongest of them not at all, and
    up to `MOST_HAZE` of the light itself is laid over the picture.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        choose, fade, haze, *light = torch.rand(6).tolist()
        if choose >= self.share:
            return image, target
        color = torch.tensor(light)
        color = (WEAKEST_LIGHT + (1 - WEAKEST_LIGHT) * color / color.max()).view(3, 1, 1)
        pixels = image.as_subclass(Tensor).float()
        pixels = pixels.lerp(pixels.mean(dim=0, keepdim=True), fade)
        pixels = pixels.lerp(torch.full_like(pixels, 255.0), haze * MOST_HAZE) * color
        return tv_tensors.Image(pixels.round().to(torch.uint8)), target


class Square(v2.Transform):
    """`reference`: squeeze the whole picture into a square, each axis by its own factor."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        scale = self.size / torch.tensor([image.shape[-1], image.shape[-2]])
        target = {**target, "points": target["points"] * scale}
        return v2.Resize((self.size, self.size), antialias=True)(image, target)


class IgnoreSmall(v2.Transform):
    """Faces under ``min_face`` pixels (geometric mean of the sides) become ignored ones."""

    def __init__(self, min_face: float) -> None:
        super().__init__()
        self.min_face = min_face

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        sides = target["boxes"].as_subclass(Tensor)
        area = (sides[:, 2:] - sides[:, :2]).clamp(min=0).prod(dim=1)
        labels = torch.where(area < self.min_face**2, IGNORED, target["labels"])
        return image, {**target, "labels": labels}


def _of_boxes(sample: tuple[Tensor, dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """What goes with the boxes that go."""
    return sample[1]["labels"], sample[1]["points"]


def train_transform(arch: str, data: DataConfig, large: bool = False) -> v2.Transform:
    """Crop or squeeze, then flip, hide, tilt, color, blur; boxes without area go, small ones are
    ignored.

    `reference` is only squeezed, as the published recipe has it. ``large`` (`fpn`) are crops of
    twice the size with faces from half of ``image_size`` up, which the others cannot show whole: a
    portrait that fills the picture.
    """
    if arch == "reference":
        return v2.Compose(
            [
                Square(data.image_size),
                v2.SanitizeBoundingBoxes(labels_getter=_of_boxes),
                IgnoreSmall(data.min_face),
            ]
        )
    size = data.image_size
    crop = (
        FaceCrop(2 * size, (size / 2, 2.2 * size), 1.0, largest=True)
        if large
        else FaceCrop(size, data.face_sizes, data.face_crops)
    )
    return v2.Compose(
        [
            crop,
            Flip(),
            Masks(share=0.15),
            Covers(share=0.2),
            Tilt(degrees=20.0, stretch=1.25, share=0.5),
            v2.RandomApply([v2.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5)], p=0.8),
            ColoredLight(share=0.2),
            v2.RandomGrayscale(p=0.1),
            v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], p=0.1),
            v2.SanitizeBoundingBoxes(labels_getter=_of_boxes),
            IgnoreSmall(data.min_face),
        ]
    )
