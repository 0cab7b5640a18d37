"""`faces enroll`: remember people by photos of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from faces.errors import UserError
from faces.text import counted
from recognizer.quality import Gates
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, needed, parse, progress
from scripts.options.recognizer import DetectorOptions, EmbedderOptions, GalleryOptions

if TYPE_CHECKING:
    from pipeline.enroll.photos import Enroller, PhotoResult
    from recognizer.store.people import Store

logger = logging.getLogger(__name__)

DESCRIPTION = """Remember people by photos of them: each with exactly one face, large, sharp and
well lit. A photo that cannot be used is named with the reason and skipped; the exit code is then
1."""

EXAMPLES = """\
faces enroll "Anna Lind" anna1.jpg anna2.jpg
faces enroll Bob "holiday/bob*.jpg" --largest --keep-crops
faces enroll --from-folders family
faces enroll Anna passport1990.jpg --force
faces enroll Anna scans/anna --gallery team.db --min-size 32"""


@dataclass(frozen=True)
class Options:
    """Who, from which photos."""

    name: Annotated[tyro.conf.Positional[str | None], needed("NAME", " without --from-folders")] = (
        None
    )
    """The person on the photos; a person who is known already gets more samples."""
    photos: Annotated[
        tyro.conf.Positional[tuple[str, ...]], needed("PHOTO [PHOTO ...]", " with NAME")
    ] = ()
    """Images, folders (searched recursively), or patterns such as "photos/**/*.jpg". Three to ten
    different photos of a person are a good number."""
    from_folders: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Enroll everybody in this folder, which has a folder of photos per person, named like the
    person."""
    largest: bool = False
    """Of several faces on a photo take the largest instead of refusing the photo."""
    keep_crops: bool = False
    """Also store a small picture of each face, so that the people can be carried over to another
    embedder with `faces people reembed`. Without it only vectors are stored."""
    force: bool = False
    """Take photos that do not look like the other photos of the person, too."""
    store: GalleryOptions = field(default_factory=GalleryOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)
    finding: DetectorOptions = field(default_factory=DetectorOptions)
    gates: Gates = field(default_factory=Gates)
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        if self.from_folders is not None and self.name is not None:
            raise UserError("give NAME and photos, or --from-folders, not both")
        if self.from_folders is None and self.name is None:
            raise UserError("give a NAME and photos, or --from-folders DIR; see `faces enroll -h`")
        if self.name is not None and not self.photos:
            raise UserError(f"give photos of {self.name!r}: faces enroll {self.name!r} photo.jpg")


@dataclass
class Tally:
    """What the summary says."""

    people: list[str] = field(default_factory=list)
    photos: int = 0
    enrolled: int = 0
    duplicates: int = 0
    refused: int = 0
    nobody: list[str] = field(default_factory=list)


def main(argv: Sequence[str]) -> int:
    """Parse, enroll, print the summary; 0 fine, 1 some photos or people could not be enrolled."""
    options: Options = parse(Options, argv, "faces enroll", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    closed: list[str] = []
    people = photos_of(options, closed)  # first: mistakes are found before networks are loaded
    embedder = options.embedding.open_embedder()
    with options.store.open_store(embedder, take_over=True) as store:
        from pipeline.enroll.photos import Enroller

        enroller = Enroller(
            store,
            options.finding.open_detector(),
            embedder,
            options.gates,
            options.largest,
            options.keep_crops,
            options.force,
        )
        tally = enroll_all(enroller, people, options.quiet)
        print(summary(tally, store))
    return 1 if tally.refused or tally.nobody or closed else 0


def photos_of(options: Options, closed: list[str] | None = None) -> dict[str, list[Path]]:
    """The photos of each person, by clean names. Raises UserError for what is not there.

    ``closed`` gets the folders that cannot be read.
    """
    from faces.inputs import expand_sources
    from pipeline.enroll.photos import people_folders
    from recognizer.names import clean_name

    if options.from_folders is None:
        name = clean_name(options.name or "")
        sources = expand_sources(options.photos, None, closed)
        for source in sources:
            if source.is_video:
                raise UserError(f"{source.path} is a video: enroll people from photos")
        return {name: [source.path for source in sources]}
    people: dict[str, list[Path]] = {}
    for name, photos in people_folders(options.from_folders, closed).items():
        people.setdefault(clean_name(name), []).extend(photos)
    return people


def enroll_all(enroller: Enroller, people: dict[str, list[Path]], quiet: bool) -> Tally:
    """Everybody, with a progress bar over the photos."""
    from tqdm import tqdm

    tally = Tally()
    total = sum(map(len, people.values()))
    with progress(None, "photos", " photos", quiet, total) as bar:

        def report(result: PhotoResult) -> None:
            for sentence in result.refusals:
                remedy = "; --force takes it all the same" if result.another else ""
                tqdm.write(f"faces: {result.path}: {sentence}{remedy}", file=sys.stderr)
            if result.looks_like is not None:
                other, cosine = result.looks_like
                tqdm.write(
                    f"faces: {result.path}: warning: looks like {other!r}, who is enrolled already "
                    f"(similarity {cosine:.2f}); if both are one person: `faces people merge`",
                    file=sys.stderr,
                )

        for name, photos in people.items():
            results = enroller.enroll(name, photos, report, lambda path: bar.update())
            enrolled = sum(result.enrolled for result in results)
            duplicates = sum(result.duplicate for result in results)
            tally.photos += len(results)
            tally.enrolled += enrolled
            tally.duplicates += duplicates
            tally.refused += len(results) - enrolled - duplicates
            (tally.people if enrolled or duplicates else tally.nobody).append(name)
    return tally


def summary(tally: Tally, store: Store) -> str:
    """What was done and where it is."""
    from recognizer.store.read import outside_head

    who = tally.people[0] if len(tally.people) == 1 else counted(len(tally.people), "person")
    lines = [f"enrolled: {who}, {tally.enrolled:,} of {counted(tally.photos, 'photo')}"]
    if tally.duplicates:
        lines.append(f"left out: {counted(tally.duplicates, 'photo')}, nothing new (named above)")
    if tally.refused:
        lines.append(f"refused:  {counted(tally.refused, 'photo')} (named above)")
    if tally.nobody:
        shown = ", ".join(tally.nobody[:5]) + (", ..." if len(tally.nobody) > 5 else "")
        lines.append(f"not enrolled, as no photo could be used: {shown}")
    people = store.people()
    samples = sum(person.samples for person in people)
    lines.append(f"file:     {store.path} (people: {len(people):,}, samples: {samples:,})")
    if outside := outside_head(people):
        lines.append(f"head:     does not know {outside} yet: `faces fit` teaches it")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program("scripts.enroll")
