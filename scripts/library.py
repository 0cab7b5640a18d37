"""`faces library`: who is in the photos of a library, and where."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.errors import UserError
from faces.text import counted, text_table
from scripts.main import run_program
from scripts.options.command_line import confirm, log_to_stderr, parse
from scripts.options.library import (
    Asked,
    Command,
    Decisions,
    Export,
    Forget,
    Ignore,
    Name,
    Not,
    NotAFace,
    PeopleOf,
    Same,
    Search,
    Undo,
    gallery_of,
)

if TYPE_CHECKING:
    from pipeline.library.people import Library, Meant
    from pipeline.library.search import Found
    from pipeline.library.who.everybody import People, Person
    from recognizer.snapshot import Snapshot

DESCRIPTION = """Who is in the photos and films that `faces index` has looked at. Faces are grouped
without knowing anybody; people of a gallery get their names; what you decide is kept for every
later run and can be undone."""

EXAMPLES = """\
faces library people lib
faces library people lib --gallery people.db --sheet people.jpg
faces library name lib 3 Ann
faces library same lib 4 Ann
faces library not lib 3f2a91c04b7d11aa-0 Ann
faces library not-a-face lib 3f2a91c04b7d11aa-1
faces library ignore lib 7
faces library decisions lib
faces library undo lib
faces library search lib photo.jpg --sheet found.jpg
faces library search lib --name Ann --with Bob --from 2024-01
faces library export lib --folders people --csv people.csv --xmp photo.jpg.xmp
faces library forget lib Bob"""

log = logging.getLogger(__name__)

ASIDE = ("now", "people")
"""In a library's cache/: a list that nobody sees leaves the numbers of the last one as they are."""


def main(argv: Sequence[str]) -> int:
    """Run `faces library`; returns the exit code."""
    options: Any = parse(Command, argv, "faces library", DESCRIPTION, EXAMPLES)
    log_to_stderr()
    from pipeline.library.people import Library

    actions: dict[type, Any] = {
        PeopleOf: people, Search: search, Export: export, Forget: forget,
        Undo: undo, Decisions: decided,
    }  # fmt: skip
    with Library(options.library) as library:
        return actions.get(type(options), decide)(options, library) or 0


def people(options: PeopleOf, library: Library) -> None:
    """List everybody."""
    from pipeline.library.search import as_row

    with _everybody(options, library) as found:
        shown = [
            person
            for person in found.everybody
            if options.all or (not person.ignored and (person.name or person.moments > 1))
        ]
        some = shown[: options.limit or None]
        if options.sheet:
            _sheet(options.sheet, found, [(p.picture, f"{p.number} {p.name or ''}") for p in some])
        if options.json:
            rows = [
                {
                    "number": person.number, "name": person.name,
                    "source": _source(person), "ignored": person.ignored,
                    "moments": person.moments, "photos": _photos(found, person),
                    "picture": as_row(found, person.picture),
                    "faces": [as_row(found, row) for row in person.rows.tolist()],
                }
                for person in some
            ]  # fmt: skip
            _print_json({"library": str(options.library), "people": rows})
            return
        table = [
            [
                str(p.number), p.name or "", _source(p), f"{p.moments:,}", f"{_photos(found, p):,}",
                str(found.faces.path[found.faces.photo[p.picture]]),
            ]
            for p in some
        ]  # fmt: skip
        lines = text_table(("", "name", "by", "moments", "photos", "picture"), table)
        if table:
            print("\n".join(lines))
        elif found.everybody:
            print("nobody was met twice; --all shows everybody")
        elif len(found.faces):
            print("no face is left: see `faces library decisions`")
        hidden = len(found.everybody) - len(some)
        if hidden:
            print(f"\n{hidden:,} more, most of them met once; --limit 0 --all shows all")


def decide(options: Name | Same | Not | NotAFace | Ignore, library: Library) -> None:
    """Keep what was decided."""
    import numpy as np

    from pipeline.library import decide as deciding

    words = list(options.words)
    last = words.pop() if isinstance(options, Name | Not) and words else ""
    if not words:
        raise UserError("say which faces are meant: see --help")
    meant = [library.find(word) for word in words]
    rows = np.concatenate([one.rows for one in meant])
    count = counted(len(library.keys(rows)), "face")
    if isinstance(options, Name):
        number, what = deciding.name(library, meant, last), f"is {last} now"
    elif isinstance(options, Same):
        number, what = deciding.same(library, meant), "is one person now"
    elif isinstance(options, Not):
        number, what = deciding.tell_apart(library, meant, _whom(library, last)), f"is not {last}"
    elif isinstance(options, NotAFace):
        number, what = deciding.not_faces(library, meant), "is left out"
    else:
        number, what = deciding.ignore(library, meant)[-1], "is ignored"
    what = what if count.startswith("1 ") else what.replace("is ", "are ", 1)
    print(f"{count} {what} (decision {number}; `faces library undo {options.library}`)")


def undo(options: Undo, library: Library) -> None:
    """Take a decision back."""
    print(f"taken back: {library.decisions.undo(options.number)}")


def decided(options: Decisions, library: Library) -> None:
    """List the decisions."""
    made = library.decisions.all()
    print("\n".join(map(str, made)) if made else f"nothing was decided in {options.library}")


def search(options: Search, library: Library) -> None:
    """Find photos and films."""
    from pipeline.library.search import as_row, date_of, search_face, search_names

    words = (*options.name, *options.company)
    begin = date_of(options.begin) if options.begin else None
    end = date_of(options.end, end=True) if options.end else None
    if not (options.photo or words or begin or end):
        raise UserError("say what to search for: a photo, --name, --from or --to")
    vector = _vector(options, library) if options.photo else None
    with _everybody(options, library, *ASIDE) as everybody:
        names = [library.find(word, everybody) for word in words]
        found: list[Found] = []
        if names or begin or end:
            found = search_names(everybody, names, begin, end)
        if vector is not None:
            allowed = {one.photo for one in found} if names or begin or end else None
            least = everybody.threshold if options.similarity is None else options.similarity
            alike = search_face(everybody.faces, vector, least, everybody.group < 0)
            found = [one for one in alike if allowed is None or one.photo in allowed]
        some = found[: options.limit or None]
        if options.sheet:
            titles = [_title(one, as_row(everybody, int(one.rows[0]))) for one in some]
            rows = [int(one.rows[0]) for one in some]
            _sheet(options.sheet, everybody, list(zip(rows, titles, strict=True)))
        results = [
            {"similarity": None if one.similarity is None else round(one.similarity, 4)}
            | as_row(everybody, int(one.rows[0]))
            for one in some
        ]
    if options.json:
        _print_json({"library": str(options.library), "found": len(found), "photos": results})
        return
    for row in results:
        cosine = "" if row["similarity"] is None else f"{row['similarity']:.2f}  "
        at = "" if row["seconds"] is None else f"  at {row['seconds']:.1f} s"
        who = f"  {row['name']}" if row["name"] else ""
        print(f"{cosine}{row['path']}{at}{who}")
    print(
        f"{counted(len(found), 'photo')} found"
        + (f", {len(some):,} shown: --limit 0" if len(some) < len(found) else ""),
        file=sys.stderr,
    )


def export(options: Export, library: Library) -> int:
    """Write what was asked for; 1 when something could not be written."""
    from pipeline.library.export.files import write_csv, write_folders, write_sidecars

    if not (options.folders or options.csv or options.xmp):
        raise UserError("say what to write: --folders, --csv or --xmp")
    failed: list[str] = []
    with _everybody(options, library, *ASIDE) as found:
        chosen = list(dict.fromkeys(found.named(name) for name in options.name)) or [
            person
            for person in found.everybody
            if not person.ignored and (person.name or options.all)
        ]
        if options.csv:
            if options.csv.exists() and not options.overwrite:
                raise UserError(f"{options.csv} is there already: another name, or --overwrite")
            lines = write_csv(found, chosen, options.csv)
            print(f"{options.csv}: {counted(lines, 'face')} of {counted(len(chosen), 'person')}")
        if options.folders:
            done = write_folders(
                found, chosen, options.folders, copy=options.copy, replace=options.overwrite
            )
            print(f"{options.folders}: {counted(len(chosen), 'person')}, {_told(done.done)}")
            failed += done.failed
        if options.xmp:
            done = write_sidecars(options.library, found, options.xmp, options.xmp_folder)
            print(f"sidecars: {_told(done.done)}")
            failed += done.failed
    for sentence in failed:
        print(f"faces: {sentence}", file=sys.stderr)
    return 1 if failed else 0


def forget(options: Forget, library: Library) -> None:
    """Forget people, once more asked for on a terminal."""
    from pipeline.library.forget import forget_faces

    if not options.words:
        raise UserError("say who is to be forgotten: names, numbers or faces")
    store = gallery_of(options.gallery, library)
    with _everybody(options, library, *ASIDE) as found:
        meant = [library.find(word, found) for word in options.words]
    faces = [
        (str(library.faces.face[row]), key)
        for one in meant
        for row in one.rows.tolist()
        for key in library.keys(one.rows[one.rows == row])
    ]
    names = sorted({one.name for one in meant if one.name})
    what = counted(len(set(faces)), "face")
    who = "; ".join(
        f"{one.name or word}, in {found.faces.path[found.faces.photo[one.rows[0]]]}"
        for word, one in zip(options.words, meant, strict=True)
    )
    confirm(f"Forget {what} for good ({who})?", options.yes, "nobody was forgotten")
    forget_faces(options.library, names, faces)
    print(f"{what} forgotten ({who})")
    if store is not None:
        from recognizer.store.people import Store

        with Store.open_existing(store) as gallery:
            for name in {person.name for person in gallery.people()} & set(names):
                gallery.remove(name)
                print(f"{name!r} is forgotten in {store}, too")


@contextmanager
def _everybody(options: Asked, library: Library, *lists: str) -> Iterator[People]:
    """Everybody, named by the gallery that is given or remembered; see `Library.people`."""
    from pipeline.library.people import identity_of

    path = gallery_of(options.gallery, library)
    snapshot: Snapshot | None = None
    identity = ""
    if path is not None:
        from recognizer.store.people import Store

        with Store.open_existing(path) as store:
            snapshot = store.snapshot()
        identity = identity_of(path, snapshot)
    found = library.people(snapshot, identity, lists or ("people",))
    if not len(found.faces):
        log.warning(
            "%s is empty, no face was found in it: look at photos with `faces index PHOTOS "
            "--library %s`", options.library, options.library,
        )  # fmt: skip
    if path is not None and options.gallery is not None:
        library.decisions.remember("gallery", str(path))
    yield found


def _whom(library: Library, word: str) -> Meant | str:
    """Whom faces are not: somebody of the list, or else a name, which nobody need have yet."""
    try:
        return library.find(word)
    except UserError:
        if word.isdecimal():
            raise
        return word


def _vector(options: Search, library: Library) -> Any:
    """Of the largest face of the photo."""
    from pipeline.analyzer import FaceAnalyzer
    from pipeline.library.search import largest_face

    analyzer = FaceAnalyzer(options.finding.detector, options.embedding.open_embedder())
    photo = options.photo
    vector, faces = largest_face(photo, analyzer, library.manifest, str(photo))
    if faces > 1:
        log.info("%s: %d faces; the largest is searched for", photo, faces)
    return vector


def _sheet(path: Path, found: People, cells: Sequence[tuple[int, str]]) -> None:
    from detector.draw import contact_sheet
    from faces.images.write import save_image
    from pipeline.library.page.pictures import picture_of

    pictures, titles = [], []
    for row, title in cells:
        try:
            pictures.append(picture_of(found.faces, row))
            titles.append(title)
        except UserError as error:
            log.warning("%s", error)
    if not pictures:
        raise UserError("there is nothing to draw")
    save_image(path, contact_sheet(pictures, 8, 168, titles))


def _title(one: Found, row: dict[str, Any]) -> str:
    alike = "" if one.similarity is None else f"{one.similarity:.2f} "
    return f"{alike}{Path(row['path']).name}"[:24]


def _photos(found: People, person: Person) -> int:
    return len(set(found.faces.photo[person.rows].tolist()))


def _source(person: Person) -> str:
    return "you" if person.decided else "gallery" if person.name else ""


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {how}" for how, n in sorted(counts.items())) or "nothing to write"


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    run_program("scripts.library")
