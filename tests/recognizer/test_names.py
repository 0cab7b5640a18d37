"""What a person may be called."""

from __future__ import annotations

import pytest

from faces.errors import UserError
from recognizer.names import clean_name


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Anna", "Anna"),
        ("  Anna   Lind\n", "Anna Lind"),
        ("Zoe\u0301", "Zo\u00e9"),
        ("李小龍", "李小龍"),
        ("سارا\u200cجان", "سارا\u200cجان"),
        ('O\'Neil-Çelik, Jr. / "Bo"; DROP TABLE', 'O\'Neil-Çelik, Jr. / "Bo"; DROP TABLE'),
        ("-rf", "-rf"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("👩\u200d❤\ufe0f\u200d👨", "👩\u200d❤\ufe0f\u200d👨"),
        ("葛\U000e0100城", "葛\U000e0100城"),
        ("ജോൺ മോഹന്\u200d", "ജോൺ മോഹന്\u200d"),  # the sign takes the vowel away, the joiner the rest
        ("జాన్\u200c", "జాన్\u200c"),
        ("Room 1\ufe0f\u20e3", "Room 1\ufe0f\u20e3"),
        ("Stop\u203c\ufe0f", "Stop\u203c\ufe0f"),
        ("x" * 100, "x" * 100),
        ("Unknown Soldier 1", "Unknown Soldier 1"),
    ],
)
def test_names_that_can_be(name, clean):
    assert clean_name(name) == clean
    assert clean_name(clean) == clean


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("Anna\tLind", r"U\+0009"),
        ("  \n ", "empty"),
        ("\u200d", r"U\+200D"),
        ("Ann\u200d", r"U\+200D"),  # does nothing there
        ("Ann \u200cLind", r"U\+200C"),
        ("\u3164", r"U\+3164"),
        ("\u2800", r"U\+2800"),
        ("Ann\u115f", r"U\+115F"),
        ("Ann\u034f", r"U\+034F"),
        ("Ann\ufe0f", r"U\+FE0F"),
        ("An\x00na", r"U\+0000"),
        ("An\tna\x1b[31m", r"U\+"),
        ("Anna\u202e", r"U\+202E"),  # would turn the writing direction of what follows
        ("An\u200bna", r"U\+200B"),  # would look like another person's name
        ("a\u2028b", r"U\+2028"),
        ("\ud800", r"U\+D800"),
        ("x" * 101, "101 characters"),
        ("Unknown", "strangers"),
        ("unknown  12", "'unknown 12': that is what strangers"),
    ],
)
def test_names_that_cannot_be(name, reason):
    with pytest.raises(UserError, match=reason):
        clean_name(name)


def test_a_name_that_was_allowed_once_can_be_kept():
    assert clean_name(" unknown  12", kept=True) == "unknown 12"
    with pytest.raises(UserError, match="strangers"):
        clean_name("Unknown", kept=True)
