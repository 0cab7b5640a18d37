"""Texts for people: numbers with their nouns, and tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

IRREGULAR = {"box": "boxes", "entry": "entries", "person": "people", "process": "processes"}


def counted(number: int, noun: str) -> str:
    """``"1 photo"``, ``"1,200 photos"``, ``"3 people"``: ``noun`` is in the singular."""
    return f"{number:,} {noun if number == 1 else IRREGULAR.get(noun, noun + 's')}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width below a header: words to the left, numbers to the right."""
    columns = []
    for column in zip(*rows, strict=True):
        width = max(map(len, column))
        numbers = any(text.replace(",", "").isdecimal() for text in column[1:])
        columns.append([text.rjust(width) if numbers else text.ljust(width) for text in column])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


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
