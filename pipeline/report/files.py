"""A report as files (JSON, timeline, thumbnails) and as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from faces.files import atomic_write_text
from faces.folders import atomic_folder
from faces.images.write import save_image
from pipeline.report.presence import Person, Report
from pipeline.report.timeline import clock, draw_timeline, how_sure
from pipeline.sinks.files import file_name


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
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

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
