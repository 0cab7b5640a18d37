"""A report as files (JSON, a timeline, thumbnails) and as text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.files import atomic_write_text
from faces.folders import atomic_folder
from faces.images.write import save_image
from faces.text import counted
from pipeline.live.draw import color_of
from pipeline.report.presence import Person, Report
from pipeline.sinks.files import file_name
from pipeline.types import rounded

ROWS = 30
"""People on one picture, those who were there longest."""


def draw_timeline(report: Report) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage
    from matplotlib.ticker import FuncFormatter

    people = report.people[:ROWS]
    rows = max(len(people), 1)
    figure = Figure(figsize=(10, 1.2 + 0.62 * rows), dpi=110)
    canvas = FigureCanvasAgg(figure)
    # Room on the left for names and pictures, in inches whatever the number of rows.
    height = figure.get_figheight()
    axes = figure.add_axes((0.27, 0.6 / height, 0.70, 1 - 1.05 / height))
    for row, person in enumerate(people):
        color = tuple(v / 255 for v in color_of(person.name)) if person.known else (0.6,) * 3
        spans = [
            (begin, max(end - begin, report.duration / 400)) for begin, end in person.intervals
        ]
        axes.broken_barh(spans, (row - 0.3, 0.6), facecolors=[color], edgecolor=(0.2,) * 3, lw=0.5)
        told = ", ".join(filter(None, (clock(person.seconds), how_sure(person))))
        label = f"{_short(person.name)}\n{told}"
        axes.annotate(
            label, (0, row), xycoords=("axes fraction", "data"), xytext=(-58, 0),
            textcoords="offset points", ha="right", va="center", fontsize=9, parse_math=False,
        )  # fmt: skip
        if person.thumbnail is not None:
            picture = OffsetImage(person.thumbnail, zoom=34 / max(person.thumbnail.shape[:2]))
            axes.add_artist(
                AnnotationBbox(
                    picture, (0, row), xycoords=("axes fraction", "data"), xybox=(-30, 0),
                    boxcoords="offset points", frameon=False, annotation_clip=False,
                )
            )  # fmt: skip
    axes.set_xlim(0, max(report.duration, 0.1))
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    left_out = len(report.people) - len(people)
    title = f"{counted(len(report.people), 'person')} in {clock(report.duration)}"
    axes.set_title(title + (f" (the {ROWS} longest)" if left_out else ""), fontsize=11)
    if not people:
        axes.text(0.5, 0.5, "nobody was seen", transform=axes.transAxes, ha="center")
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def how_sure(person: Person) -> str:
    """Which part of the single looks at somebody known gave their name; empty for others.

    Never 100 % when one of them did not.
    """
    if not person.known or person.agreement is None:
        return ""
    return f"{math.floor(100 * person.agreement + 1e-9)}%"


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


def clock(seconds: float) -> str:
    """``1:02:03.4``, without what is zero on the left."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{tenths // 10:02d}.{tenths % 10}"


def write_report(report: Report, folder: Path, about: dict[str, Any]) -> None:
    """Write ``report.json``, ``timeline.png`` and ``thumbnails/``.

    Args:
        folder: a new one appears whole. In one that is there those three are replaced, and nothing
            else: it may be the current folder, or hold other outputs of the same run.
        about: what else belongs at the top of the JSON file (source, speed, settings).

    Raises OSError when it cannot be written.
    """
    folder = folder.resolve()  # "." and ".." are no names that a folder could take
    if folder.exists():
        _write_into(report, folder, about)
    else:
        with atomic_folder(folder) as new:
            _write_into(report, new, about)


def _write_into(report: Report, folder: Path, about: dict[str, Any]) -> None:
    people = []
    with atomic_folder(folder / "thumbnails") as thumbnails:
        for i, person in enumerate(report.people, start=1):
            name = None
            if person.thumbnail is not None:
                name = f"{i:02d}-{file_name(person.name)}.jpg"
                save_image(thumbnails / name, person.thumbnail)
                name = f"thumbnails/{name}"
            people.append(_row(person) | {"thumbnail": name})
    save_image(folder / "timeline.png", draw_timeline(report))
    top = {"frames": report.frames, "seconds": round(report.duration, 3)}
    value = about | top | {"brief_unknown_faces": report.brief, "people": people}
    text = json.dumps(value, indent=2, ensure_ascii=False)
    atomic_write_text(folder / "report.json", text + "\n")


def _row(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "known": person.known,
        "seconds": round(person.seconds, 3),
        "intervals": [[round(begin, 3), round(end, 3)] for begin, end in person.intervals],
        "frames": person.frames,
        "tracks": list(person.tracks),
        "similarity": rounded(person.similarity),
        "confidence": rounded(person.confidence),
        "agreement": rounded(person.agreement),
        "looks": person.looks,
    }


def table(report: Report) -> str:
    """The report for a terminal."""
    if not report.people:
        return "nobody was seen"
    width = max(12, *(len(person.name) for person in report.people))
    lines = [f"{'who':<{width}}  {'from':>8}  {'to':>8}  {'for':>8}  sure"]
    for person in report.people:
        begin, end = person.intervals[0][0], person.intervals[-1][1]
        told = how_sure(person)
        times = "  ".join(f"{clock(t):>8}" for t in (begin, end, person.seconds))
        lines.append(f"{person.name:<{width}}  {times}  {told}".rstrip())
    return "\n".join(lines)
