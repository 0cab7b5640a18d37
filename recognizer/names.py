"""What a person may be called."""

from __future__ import annotations

import unicodedata

from faces.errors import UserError

MAX_LENGTH = 100

# Persian, Hindi and emoji names need these two; every other invisible character could make two
# names look alike.
_JOINERS = "\u200c\u200d"


def clean_name(name: str) -> str:
    """A name as it is stored: NFC, trimmed, inner white space single.

    Raises UserError for an empty or overlong name (100 characters), one with control or invisible
    characters, and for "unknown", which is what strangers are called.
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    # str.split has taken tabs and line ends for white space, so the original is looked at.
    for character in name.strip():
        kind = unicodedata.category(character)
        if (kind[0] == "C" and character not in _JOINERS) or kind in ("Zl", "Zp"):
            raise UserError(
                f"the name {name!r} has the character U+{ord(character):04X}, which cannot be "
                "seen: leave it out"
            )
    if not plain.strip(_JOINERS):
        raise UserError("a person needs a name, this one is empty")
    if len(plain) > MAX_LENGTH:
        raise UserError(
            f"the name {plain[:20]!r}... has {len(plain)} characters, {MAX_LENGTH} are allowed"
        )
    if plain.casefold() == "unknown":
        raise UserError("nobody can be called 'unknown': that is what strangers are called")
    return plain
