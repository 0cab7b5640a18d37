"""The picture that people see: boxes, names, what is going on."""

from __future__ import annotations

import colorsys
import importlib.util
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from pipeline.types import Face, Note, Tick

Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

UNKNOWN_COLOR: Color = (225, 225, 225)
RIM: Color = (20, 20, 20)
BANNER: Color = (180, 40, 40)
GOLDEN = 0.618034
"""Steps of the golden ratio spread hues evenly, however many there are."""


def draw_tick(tick: Tick) -> NDArray[np.uint8]:
    """A copy of the tick's picture with its faces, notes, status and speed drawn: (H, W, 3)."""
    picture = Image.fromarray(tick.picture.image)
    pen = ImageDraw.Draw(picture)
    unit = max(1.0, max(picture.size) / 640)
    font = load_font(round(13 * unit))
    notes: dict[int | None, list[Note]] = {}
    for note in tick.notes:
        notes.setdefault(note.track, []).append(note)
    for face in tick.faces.faces:
        own = notes.get(face.track, []) if face.track is not None else []
        _draw_face(pen, face, own, font, unit)
    lines = [note.text for note in notes.get(None, [])]
    for i, text in enumerate(lines):
        _strip(pen, text, (4 * unit, 4 * unit + i * 20 * unit), UNKNOWN_COLOR, font, unit)
    if tick.status:
        _strip(pen, tick.status, (4 * unit, 4 * unit + len(lines) * 20 * unit), BANNER, font, unit)
    return np.asarray(picture)


def draw_faces(image: NDArray[np.uint8], faces: Iterable[Face]) -> NDArray[np.uint8]:
    """A copy of an RGB image (H, W, 3) with its faces and their names."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    unit = max(1.0, max(picture.size) / 640)
    font = load_font(round(13 * unit))
    for face in faces:
        _draw_face(pen, face, [], font, unit)
    return np.asarray(picture)


def draw_speed(image: NDArray[np.uint8], tick: Tick, camera: str = "") -> NDArray[np.uint8]:
    """A copy with camera, frames a second and latency written into the lower left corner."""
    picture = Image.fromarray(image)
    unit = max(1.0, max(picture.size) / 640)
    stats = tick.stats
    text = f"{camera}: " if camera else ""
    text += f"{stats.fps:.0f} fps · {1000 * stats.latency:.0f} ms · {stats.looks:.0f} looks/s"
    pen = ImageDraw.Draw(picture)
    place = (4 * unit, picture.height - 20 * unit)
    _strip(pen, text, place, UNKNOWN_COLOR, load_font(round(11 * unit)), unit)
    return np.asarray(picture)


def draw_message(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A copy with what is wrong written into the upper left corner."""
    picture = Image.fromarray(image)
    unit = max(1.0, max(picture.size) / 640)
    pen = ImageDraw.Draw(picture)
    _strip(pen, text, (4 * unit, 4 * unit), BANNER, load_font(round(13 * unit)), unit)
    return np.asarray(picture)


def caption(face: Face) -> str:
    """What is written above a face: its name and how sure that is; "..." before the first look at a
    track."""
    match = face.match
    if face.agreement is None and face.track is not None:
        return "..."
    if match.name is None:
        return "unknown"
    sure = match.confidence if match.source == "head" else match.similarity
    return match.name if sure is None else f"{match.name} {max(sure, 0.0):.0%}"


def color_of(name: str | None) -> Color:
    """The same bright color for the same name everywhere; near white for unknown people."""
    if name is None:
        return UNKNOWN_COLOR
    hue = (zlib.crc32(name.encode()) % 1000) * GOLDEN % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


@lru_cache(maxsize=16)
def load_font(size: int) -> Font:
    """A font for European scripts (DejaVu, which comes with matplotlib), else Pillow's own."""
    spec = importlib.util.find_spec("matplotlib")  # found, not imported
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size=size)


def _draw_face(
    pen: ImageDraw.ImageDraw, face: Face, notes: list[Note], font: Font, unit: float
) -> None:
    color = color_of(face.match.name)
    x1, y1, x2, y2 = (round(v) for v in face.box)
    line = max(1, round(2 * unit))
    # A dark rim keeps the line apart from skin and from the sky.
    for shade, out, width in ((RIM, line + 1, 1), (color, line, line)):
        box = (x1 - out, y1 - out, max(x2 - 1, x1) + out, max(y2 - 1, y1) + out)
        pen.rectangle(box, outline=shade, width=width)
    _strip(pen, caption(face), (x1 - line, y1 - line), color, font, unit, above=True)
    y = float(y2 + line)
    for note in notes:
        y = _strip(pen, note.text, (x1 - line, y), color, font, unit)
        if note.progress is not None:
            height = max(3, round(5 * unit))
            share = min(max(note.progress, 0.0), 1.0)
            pen.rectangle((x1 - line, y, x2 + line, y + height), fill=RIM)
            pen.rectangle((x1 - line, y, x1 + share * (x2 - x1) + line, y + height), fill=color)
            y += height


def _strip(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    color: Color,
    font: Font,
    unit: float,
    above: bool = False,
) -> float:
    """Text on a filled strip below ``corner`` (or above it, where there is room); its lower edge.

    The strip stays inside the picture.
    """
    left, _, right, _ = pen.textbbox((0, 0), text, font=font)
    pad = 2 * unit
    # The height of the font, not of this text, so that strips of one picture are alike.
    _, font_top, _, font_bottom = pen.textbbox((0, 0), "Ág", font=font)
    width, height = right - left + 2 * pad, font_bottom - font_top + 2 * pad
    x = max(0.0, min(corner[0], pen.im.size[0] - width))
    y = corner[1] - height if above and corner[1] >= height else corner[1]
    y = max(0.0, min(y, pen.im.size[1] - height))
    pen.rectangle((x, y, x + width, y + height), fill=color)
    ink = (0, 0, 0) if sum(color) > 330 else (255, 255, 255)
    pen.text((x + pad - left, y + pad - font_top), text, fill=ink, font=font)
    return y + height
