"""Leave nothing of somebody in a library: faces, vectors, decisions, and what was made of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.errors import UserError
from pipeline.library.parts import no_writer, part_files, read_part, table_of, write_part
from pipeline.library.schema import COLUMNS
from pipeline.library.who.decisions import Decisions, FaceKey

logger = logging.getLogger(__name__)

_OF_A_FACE = tuple(COLUMNS)[tuple(COLUMNS).index("seconds") :]


def forget_faces(library: Path, names: Sequence[str], faces: Sequence[tuple[str, FaceKey]]) -> int:
    """Forget these faces, in all copies of their pictures; how many rows went.

    The parts that hold them are written again. A photo that has no other face stays, as one without
    a face, so that `faces index` does not look at it again as long as its file is the same.

    Args:
        library: the folder.
        names: whom decisions are about that go, too.
        faces: the name and the key of each.

    Raises UserError while `faces index` is at work, which could write them once more, and for a
    part that is damaged; and OSError when one cannot be written: what has
    been forgotten until then is, and the same call again forgets the rest.
    """
    with no_writer(library, 0.5) as alone:  # a page that shows it may try the locks for a moment
        if not alone:
            raise UserError(f"`faces index` is at work on {library}: wait until it has ended")
        return _forget(library, names, faces)


def _forget(library: Path, names: Sequence[str], faces: Sequence[tuple[str, FaceKey]]) -> int:
    # First what was made of the faces, and last the decisions, which say who they are: should this
    # be killed in the middle, the same command finds the same people.
    shutil.rmtree(library / "cache", ignore_errors=True)
    gone = pa.array([name for name, _ in faces], pa.string())
    count = 0
    for path in part_files(library):
        table = read_part(path)
        theirs = pc.fill_null(pc.is_in(table["face"], gone), False)
        if not pc.any(theirs).as_py():
            continue
        kept = table.filter(pc.invert(theirs))
        rest = set(kept["path"].to_pylist())
        alone: dict[str, dict] = {
            row["path"]: row
            for row in table.filter(theirs).drop_columns(list(_OF_A_FACE)).to_pylist()
            if row["path"] not in rest
        }
        dimension = table.schema.field("embedding").type.list_size
        count += len(table) - len(kept)
        whole = pa.concat_tables([kept, table_of(list(alone.values()), dimension)])
        write_part(library, path.stem, whole.sort_by("path"))
    with Decisions(library / "decisions.db") as decisions:
        everybody: list[str | None] = [*names] or [None]
        for name in everybody:
            decisions.forget(name, [key for _, key in faces])
    return count
