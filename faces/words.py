"""Numbers and nouns in sentences for people."""

from __future__ import annotations

IRREGULAR = {"box": "boxes", "entry": "entries", "person": "people", "process": "processes"}


def counted(number: int, noun: str) -> str:
    """``"1 photo"``, ``"1,200 photos"``, ``"3 people"``: ``noun`` is in the singular."""
    return f"{number:,} {noun if number == 1 else IRREGULAR.get(noun, noun + 's')}"
