"""Texts for people: numbers with their nouns, and tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

IRREGULAR = {"box": "boxes", "entry": "entries", "person": "people", "process": "processes"}


def counted(number: int, noun: str) -> str:
    """``"1 photo"``, ``"1,200 photos"``, ``"3 people"``: ``noun`` is in the singular."""
    return f"{number:,} {noun if number == 1 else IRREGULAR.get(noun, noun + 's')}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns of equal width: the first to the left, the others to the right.

    A header of empty texts is left out.
    """
    everything = [header, *rows] if any(header) else list(rows)
    widths = [max(len(row[i]) for row in everything) for i in range(len(header))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in everything
    ]
