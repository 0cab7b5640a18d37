"""The options of `faces library`: one dataclass for each sub-command."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from faces.errors import UserError
from scripts.options.command_line import arg, needed
from scripts.options.recognizer import DetectorOptions, EmbedderOptions

if TYPE_CHECKING:
    from pipeline.library.people import Library
    from recognizer.store.address import Place

log = logging.getLogger(__name__)

Words = tyro.conf.Positional[tuple[str, ...]]
WHO = needed("WHO [WHO ...]")


@dataclass(frozen=True)
class Of:
    """Which library."""

    library: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LIBRARY")]
    """The folder that `faces index` made."""


@dataclass(frozen=True)
class Asked(Of):
    """Which library, and by which people."""

    gallery: Annotated[
        str | None, arg("the one of last time", aliases=["-g"], metavar="FILE|ADDRESS|none")
    ] = None
    """The people who are known, as `faces enroll` keeps them: they get their names in the library.
    It is remembered, an address without its password; `none` forgets it."""


@dataclass(frozen=True)
class PeopleOf(Asked):
    """Who is in the photos: who was met most often first, with a number to name them by."""

    limit: int = 40
    """How many to show; 0 shows all."""
    all: bool = False
    """Also whoever was met once and has no name, and those who are ignored."""
    sheet: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write a picture of each into one image (.jpg or .png)."""
    json: bool = False
    """Print JSON with every face in place of the table."""


@dataclass(frozen=True)
class Name(Of):
    """Say who somebody is: a number of `people`, a face, or the name until now."""

    words: Annotated[Words, needed("WHO [WHO ...] NAME")] = ()
    """Numbers, names or faces, then the name that they get."""


@dataclass(frozen=True)
class Same(Of):
    """Say that two or more are one person."""

    words: Annotated[Words, WHO] = ()
    """Numbers, names or faces."""


@dataclass(frozen=True)
class Not(Of):
    """Say that faces are not somebody: `faces library not lib 3f2a91c04b7d11aa-0 Ann`."""

    words: Annotated[Words, needed("FACE [FACE ...] WHO")] = ()
    """Faces (or numbers), then the name or number of whom they are not."""


@dataclass(frozen=True)
class NotAFace(Of):
    """Say that these are no faces: they are left out of everything."""

    words: Annotated[Words, WHO] = ()
    """Faces or numbers."""


@dataclass(frozen=True)
class Ignore(Of):
    """Leave strangers out of the list, in photos to come, too."""

    words: Annotated[Words, WHO] = ()
    """Numbers or faces."""


@dataclass(frozen=True)
class Undo(Of):
    """Take a decision back."""

    number: int | None = None
    """Its number; the last one otherwise."""


@dataclass(frozen=True)
class Decisions(Of):
    """List what was decided, oldest first."""


@dataclass(frozen=True)
class Search(Asked):
    """Find photos and films: by a face, or by name, company and date."""

    photo: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="PHOTO")] = None
    """Whose face is searched for; of several the largest."""
    name: tuple[str, ...] = ()
    """Who must be there: names, or numbers of `people`."""
    company: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Who must be there, too."""
    begin: Annotated[str | None, tyro.conf.arg(name="from", metavar="DATE")] = None
    """Taken in or after this year, month or day, such as 2024, 2024-03 or 2024-03-31."""
    end: Annotated[str | None, tyro.conf.arg(name="to", metavar="DATE")] = None
    """Taken in or before this year, month or day."""
    similarity: Annotated[float | None, arg("as calibrated for the embedder")] = None
    """A photo's face must be more alike than this (cosine, -1 to 1)."""
    limit: int = 50
    """How many to show, best first; 0 shows all."""
    sheet: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the faces that were found into one image (.jpg or .png)."""
    json: bool = False
    """Print JSON in place of the table."""
    finding: DetectorOptions = field(default_factory=DetectorOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)


@dataclass(frozen=True)
class Export(Asked):
    """Hand over to other programs: folders of photos, a table, sidecars for photo managers."""

    folders: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Make a folder for each person, with links to their photos (copies where links are not
    allowed)."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write a line for each face."""
    xmp: Annotated[Literal["photo.jpg.xmp", "photo.xmp"] | None, tyro.conf.arg()] = None
    """Write sidecars with names and regions: `photo.jpg.xmp` for digiKam, darktable and Immich,
    `photo.xmp` for Adobe's programs. What is in a sidecar already stays."""
    xmp_folder: Annotated[Path | None, arg("beside the photos", metavar="FOLDER")] = None
    """Write the sidecars below this folder, not beside the photos."""
    name: tuple[str, ...] = ()
    """Only these people, in folders and table."""
    all: bool = False
    """Also people without a name, in folders and table."""
    copy: bool = False
    """Copies in place of links."""
    overwrite: bool = False
    """Replace folders and a table of an earlier export."""


@dataclass(frozen=True)
class Forget(Asked):
    """Forget people for good: faces, vectors and decisions leave the library, and a person of that
    name the gallery. Photos stay, and are not looked at again as long as they do not change."""

    words: Annotated[Words, WHO] = ()
    """Names, numbers or faces."""
    yes: Annotated[bool, tyro.conf.arg(aliases=["-y"])] = False
    """Do not ask first. Without a terminal nobody is asked."""


Command = (
    Annotated[PeopleOf, tyro.conf.subcommand("people")]
    | Name
    | Same
    | Not
    | NotAFace
    | Ignore
    | Undo
    | Decisions
    | Search
    | Export
    | Forget
)


def gallery_of(given: str | None, library: Library) -> Place | None:
    """The gallery that is given, or else the one of last time where it still is."""
    from recognizer.store.address import place
    from recognizer.store.people import Store

    if given == "none":
        library.decisions.remember("gallery", None)
        return None
    text = library.decisions.setting("gallery") if given is None else given
    if text is None:
        return None
    where = place(text)
    if isinstance(where, Path):
        where = where.expanduser().absolute()
    if Store.exists(where):
        return where
    if given is not None:
        raise UserError(f"there is no gallery {where}: make it with `faces enroll`")
    log.warning("the gallery %s is not there any more: its people have no names", where)
    return None
