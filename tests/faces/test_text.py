"""Numbers and nouns."""

from __future__ import annotations

from faces.text import counted


def test_one_is_singular_and_everything_else_plural() -> None:
    assert [counted(n, "photo") for n in (0, 1, 2, 1200)] == [
        *("0 photos", "1 photo", "2 photos", "1,200 photos")
    ]
    assert [counted(n, "person") for n in (1, 3)] == ["1 person", "3 people"]
    assert [counted(n, "box") for n in (1, 3)] == ["1 box", "3 boxes"]
    assert [counted(n, "entry") for n in (1, 3)] == ["1 entry", "3 entries"]
