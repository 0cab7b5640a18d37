"""The demo's film: making it, and comparing what `faces run` found in it with the truth."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FILM, TRUTH = "film.mp4", "truth.jsonl"
LINES, NAMED, REPORT, STRIP = "faces.jsonl", "named.mp4", "report", "filmstrip.jpg"
SAME = 0.5
"""Intersection over union from which a box is that of a face."""


@dataclass(frozen=True)
class Seen:
    """What became of one person of the film."""

    name: str  # theirs
    known: bool  # whether they were enrolled
    frames: int = 0  # on which they can be seen
    found: int = 0  # of these, with a box around the face
    named: int = 0  # of these, under their own name
    wrong: int = 0  # of these, under anybody else's

    @property
    def fine(self) -> bool:
        """Found, and named if known, on most frames, and never taken for somebody else."""
        most = self.named if self.known else self.found
        return 2 * most > self.frames and not self.wrong

    def __str__(self) -> str:
        def on(frames: int) -> str:
            return f"on {frames} of {self.frames} frames"

        if self.known:
            mistaken = f", under another's on {self.wrong}" if self.wrong else ""
            verdict = "was named" if self.fine else "was NOT named as should be"
            return f"{self.name} {verdict}: {on(self.named)}{mistaken}."
        if self.wrong:
            verdict = f"did NOT stay unknown (given a name {on(self.wrong)})"
        elif not self.fine:
            verdict = f"was NOT found (only {on(self.found)})"
        else:
            verdict = f"stayed unknown (found {on(self.found)})"
        return f"{self.name}, whom nobody introduced, {verdict}."


def make_film(folder: Path) -> None:
    """Write `FILM` and, a line for each frame, who is where in it (`TRUTH`)."""
    from faces.video.film import VideoWriter
    from pipeline.sinks.files import LineFile
    from scripts.demo_parts.wall_film import FPS, WallFilm

    film = WallFilm()
    with VideoWriter(folder / FILM, FPS) as video, LineFile(folder / TRUTH) as truth:
        for index in range(film.frames):
            image, faces = film.frame(index)
            video.write(image)
            boxes = {name: [round(v, 1) for v in box] for name, box in faces.items()}
            truth.write(json.dumps({"frame": index, "faces": boxes}))


def compare(folder: Path, enrolled: Iterable[str]) -> list[Seen]:
    """Compare `LINES` with `TRUTH`, for all who were enrolled, then for all others in the film."""
    from faces.boxes import iou

    seen = {name: Seen(name, known=True) for name in enrolled}
    for truth, frame in zip(_read(folder / TRUTH), _read(folder / LINES), strict=True):
        for name, box in truth["faces"].items():
            old = seen.get(name) or Seen(name, known=False)
            names = [face["name"] for face in frame["faces"] if iou(face["box"], box) >= SAME]
            seen[name] = replace(
                old,
                frames=old.frames + 1,
                found=old.found + bool(names),
                named=old.named + (name in names),
                wrong=old.wrong + bool(set(names) - {name, None}),
            )
    return list(seen.values())


def draw_strip(folder: Path) -> Path:
    """Four frames of `NAMED`, and the timeline of `REPORT` below them, as one picture, `STRIP`."""
    import numpy as np
    from PIL import Image

    from faces.images.read import read_image
    from faces.images.write import save_image
    from faces.video.film import VideoReader

    with VideoReader(folder / NAMED) as video:
        frames = [frame.image for frame in iter(video.read, None)]
    chosen = [frames[round((i + 0.5) / 4 * (len(frames) - 1))] for i in range(4)]
    timeline = Image.fromarray(read_image(folder / REPORT / "timeline.png"))
    gap, width = 6, timeline.width
    size = ((width - gap) // 2, round((width - gap) / 2 * chosen[0].shape[0] / chosen[0].shape[1]))
    sheet = Image.new("RGB", (width, 2 * (size[1] + gap) + timeline.height), "white")
    for i, image in enumerate(chosen):
        place = ((i % 2) * (size[0] + gap), (i // 2) * (size[1] + gap))
        sheet.paste(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), place)
    sheet.paste(timeline, (0, 2 * (size[1] + gap)))
    save_image(folder / STRIP, np.asarray(sheet))
    return folder / STRIP


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
