"""Hiding faces in films: the flags of `faces run`, and the second pass with its progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from faces.errors import UserError
from scripts.options.command_line import progress

if TYPE_CHECKING:
    from pipeline.hiding.cover import Cover
    from pipeline.hiding.hider import Hider


@dataclass(frozen=True)
class HideOptions:
    """Whose faces are hidden in --out."""

    hide: Annotated[tuple[str, ...], tyro.conf.arg(metavar="unknown|known|everyone|NAME ...")] = ()
    """Blur these faces beyond recovery in --out, in place of drawing boxes: of people who are not
    known, of those who are, of everyone, or of the people named. Whoever is not told apart with
    certainty is hidden, too. No report is written unless --report asks for it."""
    show: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """People who are not hidden, whatever --hide says: `--hide everyone --show Ada`."""

    def __post_init__(self) -> None:
        if self.show and not self.hide:
            raise UserError("--show leaves people out of --hide: say with --hide who is hidden")

    def hider(self, people: Sequence[str], threshold: float) -> Hider | None:
        """What collects whom to hide; None when nobody is. Raises UserError for an unknown name."""
        if not self.hide:
            return None
        from pipeline.hiding.hider import Hider, Whom

        return Hider(Whom.of(self.hide, self.show, people), threshold)


def write_covered(film: Path, target: Path, cover: Cover, quiet: bool) -> None:
    """As `pipeline.hiding.cover.write_hidden`, with a progress bar."""
    from pipeline.hiding.cover import write_hidden

    with progress(None, "hiding", " frames", quiet, len(cover)) as bar:
        write_hidden(film, target, cover, bar.update)
