"""`faces people`: list, rename, merge, remove, deny, undo, export, import and re-embed people."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from faces.errors import UserError
from faces.text import aligned, counted
from recognizer.names import clean_name
from scripts.main import run_program
from scripts.options.command_line import arg, confirm, log_to_stderr, needed, parse, progress
from scripts.options.recognizer import DetectorOptions, EmbedderOptions, GalleryOptions

if TYPE_CHECKING:
    from recognizer.store.people import Store

DESCRIPTION = """The people who are known. Without a sub-command they are listed. Programs that run
meanwhile see every change."""

EXAMPLES = """\
faces people
faces people list --json
faces people rename Ana Anna
faces people merge "Anna L." "Anna Lind"
faces people remove Bob
faces people deny Anna who-is-this.jpg
faces people undo --list
faces people undo
faces people export people.zip --gallery team.db
faces people export bob.zip Bob
faces people import people.zip
faces people reembed --embedder inception"""


@dataclass(frozen=True)
class List:
    """List everybody: samples, stored pictures, since when, whether the classifier head knows
    them."""

    json: bool = False
    """Print JSON in place of the table."""
    store: GalleryOptions = field(default_factory=GalleryOptions)


@dataclass(frozen=True)
class Rename:
    """Rename a person; the old name leaves the file (names of photo files stay)."""

    old: tyro.conf.Positional[str]
    """The name now."""
    new: tyro.conf.Positional[str]
    """The name from now on."""
    store: GalleryOptions = field(default_factory=GalleryOptions)


@dataclass(frozen=True)
class Merge:
    """Give all samples of one person to another: both names were one person."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Who goes."""
    into: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME-TO-KEEP")]
    """Who stays."""
    store: GalleryOptions = field(default_factory=GalleryOptions)


@dataclass(frozen=True)
class Remove:
    """Forget people: name, vectors, pictures and the classifier head's class leave the file."""

    names: Annotated[tyro.conf.Positional[tuple[str, ...]], needed("NAME [NAME ...]")] = ()
    """Who is to be forgotten."""
    yes: Annotated[bool, tyro.conf.arg(aliases=["-y"])] = False
    """Do not ask first. Without a terminal nobody is asked."""
    store: GalleryOptions = field(default_factory=GalleryOptions)


@dataclass(frozen=True)
class Export:
    """Write people to a portable file (a zip of JSON, a NumPy array and PNG pictures)."""

    file: tyro.conf.Positional[Path]
    """The file to write."""
    names: Annotated[
        tyro.conf.Positional[tuple[str, ...]], arg("everybody", metavar="[NAME ...]")
    ] = ()
    """Only these people."""
    overwrite: bool = False
    """Replace a file that is there."""
    store: GalleryOptions = field(default_factory=GalleryOptions)


@dataclass(frozen=True)
class Import:
    """Add the people of an exported file; those who are known by name get more samples."""

    file: tyro.conf.Positional[Path]
    """A file of `faces people export`, made with the same embedder."""
    force: bool = False
    """Take samples that do not look like the person of the same name here, too, and those that
    somebody of another name has here."""
    store: GalleryOptions = field(default_factory=GalleryOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)


@dataclass(frozen=True)
class Reembed:
    """Make all vectors again, with another embedder, from the pictures that were kept."""

    drop_missing: bool = False
    """Go on although some samples have no stored picture; they are lost."""
    store: GalleryOptions = field(default_factory=GalleryOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)


@dataclass(frozen=True)
class Deny:
    """Note that the faces on these photos are not this person, whoever they look like."""

    name: tyro.conf.Positional[str]
    """Who it is not."""
    photos: Annotated[tyro.conf.Positional[tuple[str, ...]], needed("PHOTO [PHOTO ...]")] = ()
    """Photos with one face each."""
    largest: bool = False
    """Of several faces on a photo take the largest instead of refusing the photo."""
    keep_crops: bool = False
    """Also store the pictures of the faces, so that another embedder can use them later."""
    store: GalleryOptions = field(default_factory=GalleryOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)
    finding: DetectorOptions = field(default_factory=DetectorOptions)


@dataclass(frozen=True)
class Undo:
    """Take back what was done last, here, on the page or by the server; forgetting is for ever."""

    list: bool = False
    """Only show what can be undone, the newest first: up to fifty acts of the last day."""
    clear: bool = False
    """Give up what can be undone: former names and samples leave the file now."""
    store: GalleryOptions = field(default_factory=GalleryOptions)


Command = List | Rename | Merge | Remove | Deny | Undo | Export | Import | Reembed


def main(argv: Sequence[str]) -> int:
    """Run `faces people`; returns the exit code."""
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv = ["list", *argv]
    options: Command = parse(Command, argv, "faces people", DESCRIPTION, EXAMPLES, default=List())
    log_to_stderr()
    if isinstance(options, Import):
        return import_(options)
    with options.store.open_existing_store() as store:
        if isinstance(options, List):
            print(as_json(store) if options.json else table(store))
        elif isinstance(options, Rename):
            store.rename(options.old, options.new)
            print(f"{options.old!r} is now called {clean_name(options.new)!r}")
        elif isinstance(options, Merge):
            store.merge(options.source, options.into)
            print(f"{options.source!r} and {options.into!r} are one person now: {options.into!r}")
        elif isinstance(options, Remove):
            remove(options, store)
        elif isinstance(options, Deny):
            return deny(options, store)
        elif isinstance(options, Undo):
            undo(options, store)
        elif isinstance(options, Export):
            export(options, store)
        else:
            reembed(options, store)
    return 0


def table(store: Store) -> str:
    """A line for each person."""
    people = store.people()
    if not people:
        return f"{store.path}: nobody yet; enroll somebody with `faces enroll`"
    rows = [("name", "samples", "pictures", "since", "head")]
    rows += [
        (p.name, f"{p.samples:,}", f"{p.crops:,}", p.created[:10], "yes" if p.in_head else "no")
        for p in people
    ]
    samples = counted(sum(person.samples for person in people), "sample")
    return "\n".join(
        [aligned(rows), "", f"{store.path}: {counted(len(people), 'person')}, {samples}"]
    )


def as_json(store: Store) -> str:
    """The same for programs."""
    content = {
        "gallery": str(store.path),
        "version": store.version(),
        "contract": store.fingerprint,
        "dimension": store.dimension,
        "head": store.head_provenance(),
        "people": [dataclasses.asdict(person) for person in store.people()],
    }
    return json.dumps(content, ensure_ascii=False, indent=2)


def remove(options: Remove, store: Store) -> None:
    """All or none; asks on a terminal."""
    if not options.names:
        raise UserError("give the names of the people to forget; see `faces people`")
    known = {person.name for person in store.people()}
    names = [name if name in known else clean_name(name) for name in options.names]
    counts = {name: len(store.samples(name)) for name in names}  # refuses a wrong name
    what = ", ".join(f"{name!r} ({counted(count, 'sample')})" for name, count in counts.items())
    confirm(f"Forget {what} for good?", options.yes, "nobody was removed")
    for name in counts:
        store.remove(name)
        print(f"{name!r} is forgotten")


def deny(options: Deny, store: Store) -> int:
    """Every photo by itself; 1 when some could not be used."""
    from pipeline.gallery import Gallery

    if not options.photos:
        raise UserError(f"give photos of who is not {options.name!r}: faces people deny NAME PHOTO")
    store.samples(options.name)  # refuses a wrong name before networks are loaded
    embedder = options.embedding.open_embedder()
    if embedder.fingerprint != store.fingerprint:
        raise UserError(
            f"{store.path} holds vectors of another embedder ({store.fingerprint}): choose that one"
        )
    gallery = Gallery(store, embedder, options.finding.open_detector())
    failed = 0
    for photo in options.photos:
        try:
            gallery.deny(options.name, photo, largest=options.largest, keep_crop=options.keep_crops)
            print(f"{photo}: not {options.name}")
        except UserError as error:
            failed += 1
            print(f"faces: {error}", file=sys.stderr)
    return 1 if failed else 0


def undo(options: Undo, store: Store) -> None:
    """One act back, or what they are."""
    if options.list:
        for act in store.acts():
            print(f"{act.created}  {act.what}")
    elif options.clear:
        count = len(store.acts())
        store.forget_acts()
        print(f"{counted(count, 'act')} cannot be undone any more")
    else:
        print(f"undone: {store.undo().what}")


def export(options: Export, store: Store) -> None:
    """Write the file and say what is in it."""
    from recognizer.store.transfer import export_people, refuse_gallery

    refuse_gallery(options.file)  # before --overwrite is proposed
    if options.file.exists() and not options.overwrite:
        raise UserError(f"{options.file} is there already: take another name, or --overwrite")
    moved = export_people(store, options.file, options.names)
    print(
        f"{options.file}: {counted(moved.people, 'person')}, {counted(moved.samples, 'sample')}, "
        f"{counted(moved.crops, 'picture')}; whoever has the file can recognize these people"
    )
    if moved.denied:
        print(f"with {counted(moved.denied, 'face')} that somebody has said are not these people")


def import_(options: Import) -> int:
    """Into the file of people, which is made when it is missing."""
    from recognizer.store.read import outside_head
    from recognizer.store.transfer import fingerprint_of, import_people

    fingerprint = fingerprint_of(options.file)  # first: else a mistake leaves an empty gallery
    store = None
    if options.store.exists():  # its fingerprint decides; no network is needed
        store = options.store.open_existing_store()
        if store.fingerprint != fingerprint and not store.people():
            store.close()
            store = None
    if store is None:
        embedder = options.embedding.open_embedder()
        if embedder.fingerprint != fingerprint:
            raise UserError(
                f"{options.file} holds vectors of another embedder ({fingerprint}; this one is "
                f"{embedder.fingerprint}): choose that one with --embedder"
            )
        store = options.store.open_store(embedder, take_over=True)
    with store:
        moved = import_people(store, options.file, options.force)
        outside = outside_head(store.people())
    known = f"; {moved.skipped:,} were there already" if moved.skipped else ""
    what = f"{counted(moved.samples, 'sample')} of {counted(moved.people, 'person')} added"
    print(f"{options.store.gallery}: {what}{known}")
    if moved.denied:
        print(f"{counted(moved.denied, 'face')} that are not these people are known now")
    if moved.refused:
        print(f"left out: {counted(moved.refused, 'sample')} (see above)")
    if outside:
        print(f"the classifier head does not know {outside} yet: `faces fit` teaches it")
    return 1 if moved.refused else 0


def reembed(options: Reembed, store: Store) -> None:
    """Replace the vectors and say what was lost."""
    from recognizer.store.reembed import reembed as embed_again

    embedder = options.embedding.open_embedder()
    had_head = store.head_provenance() is not None
    total = sum(person.crops for person in store.people())
    with progress(None, "samples", " samples", total=total) as bar:
        done = embed_again(store, embedder, drop_missing=options.drop_missing, progress=bar.update)
    print(f"{store.path}: {counted(done.samples, 'sample')} of {embedder.fingerprint} now")
    if done.lost_samples:
        print(f"lost, without a picture: {counted(done.lost_samples, 'sample')}")
    if done.lost_people:
        print(f"forgotten: {', '.join(done.lost_people)}")
    if done.lost_unknown:
        print(f"lost, unknown or to be ignored: {counted(done.lost_unknown, 'face')} of the review")
    if had_head:
        print("the classifier head belonged to the old embedder: run `faces fit` again")


if __name__ == "__main__":
    run_program("scripts.people")
