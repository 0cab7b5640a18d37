"""Whose faces are hidden in a film."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from faces.errors import UserError
from recognizer.names import clean_name
from recognizer.types import Match

FAR = 0.6
"""A face without a name that is nearer to somebody who shall be hidden than this part of the
threshold of names may be them. Of 130 people of LFW (shipped embedder, three photos known) 1.5 % of
single looks at their own face are below it, 2 % of those at somebody else's above."""

WORDS = ("unknown", "known", "everyone")


@dataclass(frozen=True)
class Whom:
    """Whose faces are hidden."""

    unknown: bool = False  # those of people who are not known
    known: bool = False  # those of everybody who is known, but for ``shown``
    names: frozenset[str] = frozenset()  # those of these people
    # people whose faces are never hidden; once they are told apart with certainty
    shown: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hide: Iterable[str], show: Iterable[str], people: Sequence[str]) -> Whom:
        """What somebody typed: words of `WORDS` and names of ``people``.

        Raises UserError for a name that nobody has, and for a word that is somebody's name.
        """
        words = {text.casefold() for text in hide} & {*WORDS}
        for person in people:
            if person.casefold() in words:
                raise UserError(
                    f"somebody is called {person!r}, which means a kind of people here: call them "
                    "otherwise with `faces people rename`"
                )
        named = [clean_name(text) for text in hide if text.casefold() not in WORDS]
        shown = [clean_name(text) for text in show]
        for name in (*named, *shown):
            if name not in people:
                close = difflib.get_close_matches(name, people, n=1, cutoff=0.5)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise UserError(f"nobody is called {name!r} in the gallery{hint}")
        everyone = "everyone" in words
        return cls(
            everyone or "unknown" in words, everyone or "known" in words,
            frozenset(named), frozenset(shown),
        )  # fmt: skip

    def hides(self, name: str) -> bool:
        """Whether the face of somebody known is hidden."""
        return name not in self.shown and (self.known or name in self.names)

    def shows(self, match: Match, threshold: float) -> bool:
        """Whether a face that one look has taken for this may be shown.

        Args:
            match: who it is by this look.
            threshold: the cosine from which on a face has a name.
        """
        if match.name is not None:
            return not self.hides(match.name)
        if self.unknown:
            return False
        near = match.similarity is not None and match.similarity > FAR * threshold
        return not (near and match.nearest is not None and self.hides(match.nearest))
