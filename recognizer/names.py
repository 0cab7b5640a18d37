"""What a person may be called."""

from __future__ import annotations

import re
import unicodedata

from faces.errors import UserError

MAX_LENGTH = 100

# Persian, Hindi and emoji names need these two inside of a word, Malayalam and Telugu ones after
# the sign that takes a vowel away; every other invisible character could make two names look alike.
_JOINERS = "\u200c\u200d"
_VIRAMA = 9
"""That sign's combining class (Unicode Standard Annex 44)."""

# These choose among the forms of the symbol, or of the letter without upper and lower case, before
# them, as emoji and Japanese names do.
_SELECTORS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")

# Have an emoji form, and are no symbols by their category.
_SYMBOLS = "0123456789#*\u203c\u2049\u2139\u3030\u303d"

_STRANGER = re.compile(r"unknown( \d+)?")

# Not in the categories of what is invisible, but nothing is to be seen of them.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"


def tidy(name: str) -> str:
    """A name as `clean_name` writes it, whether or not somebody can be called so."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def clean_name(name: str, *, kept: bool = False) -> str:
    """A name as it is stored: NFC, trimmed, inner white space single.

    Args:
        kept: somebody has it already: "unknown 1" was allowed once.

    Raises UserError for an empty or overlong name (100 characters), one with control or invisible
    characters, and for "unknown" and "unknown 1", which is what strangers are called.
    """
    plain = tidy(name)
    # str.split has taken tabs and line ends for white space, so the original is looked at.
    text = name.strip()
    for before, character, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if _is_unseen(character) and not _belongs(before, character, after):
            raise UserError(
                f"the name {name!r} has the character U+{ord(character):04X}, which cannot be "
                "seen there: leave it out"
            )
    if not plain:
        raise UserError("a person needs a name, this one is empty")
    if len(plain) > MAX_LENGTH:
        raise UserError(
            f"the name {plain[:20]!r}... has {len(plain)} characters, {MAX_LENGTH} are allowed"
        )
    if (plain.casefold() == "unknown") if kept else _STRANGER.fullmatch(plain.casefold()):
        raise UserError(f"nobody can be called {plain!r}: that is what strangers are called")
    return plain


def _is_unseen(character: str) -> bool:
    kind = unicodedata.category(character)
    blank = character in _BLANK or _SELECTORS.match(character) is not None
    return kind[0] == "C" or kind in ("Zl", "Zp") or blank


def _belongs(before: str, character: str, after: str) -> bool:
    """Whether an invisible character does something to its neighbors that can be seen."""
    if character in _JOINERS:
        bare = before.isspace() or (after.isspace() and unicodedata.combining(before) != _VIRAMA)
        return not bare
    kind = unicodedata.category(before)
    symbol = kind[0] == "S" or kind == "Lo" or before in _SYMBOLS
    return _SELECTORS.match(character) is not None and symbol
