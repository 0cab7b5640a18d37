"""The tables of `recognizer.store.people`, in the words of SQLite; `recognizer.store.postgres` puts
PostgreSQL's in their place."""

from __future__ import annotations

from collections.abc import Iterator

# Step i brings a file of version i to version i + 1, and a new file goes through all of them, so
# there is one description of the tables. Never change a step that was released: add another.
STEPS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE person (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created TEXT NOT NULL
    );
    CREATE TABLE sample (
        -- AUTOINCREMENT: a number that somebody noted never comes to mean another sample
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        person_id INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
        embedding BLOB NOT NULL,  -- float32, little-endian
        source TEXT NOT NULL,
        created TEXT NOT NULL
    );
    CREATE INDEX sample_person ON sample (person_id);
    """,
    """
    ALTER TABLE sample ADD COLUMN crop BLOB;  -- PNG, see recognizer.store.face_picture
    ALTER TABLE sample ADD COLUMN crop_box BLOB;  -- float32 of the face in it: x1 y1 x2 y2,
    -- and, where the detector found them, x y of its five points
    CREATE TABLE head_class (
        position INTEGER PRIMARY KEY,
        person_id INTEGER UNIQUE REFERENCES person (id) ON DELETE CASCADE,  -- NULL: unknown
        weight BLOB NOT NULL,
        bias REAL NOT NULL
    );
    """,
    """
    ALTER TABLE sample ADD COLUMN denies INTEGER NOT NULL DEFAULT 0;  -- 1: it is NOT this person
    ALTER TABLE person ADD COLUMN seen TEXT;  -- when last, in UTC, ISO 8601
    ALTER TABLE person ADD COLUMN picture INTEGER;  -- the sample that was chosen to stand for them
    CREATE TABLE unknown (
        -- faces that nobody has named, kept on request: see recognizer.store.unknown
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        look TEXT NOT NULL,  -- one pass before the camera: the same for the same person
        embedding BLOB NOT NULL,
        crop BLOB,
        crop_box BLOB,
        quality REAL NOT NULL,
        source TEXT NOT NULL,
        seen TEXT NOT NULL,
        until TEXT,  -- deleted after it, unless NULL
        guess INTEGER REFERENCES person (id) ON DELETE SET NULL,  -- who it may be
        verdict TEXT NOT NULL DEFAULT ''  -- 'ignored', 'not a face'
    );
    CREATE TABLE act (
        -- what a person did, to be undone: see recognizer.store.journal
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        what TEXT NOT NULL,
        created TEXT NOT NULL,
        more TEXT NOT NULL,
        head TEXT
    );
    CREATE TABLE undo_head (
        act INTEGER NOT NULL REFERENCES act (id) ON DELETE CASCADE,
        position INTEGER, person_id INTEGER, weight BLOB, bias REAL
    );
    CREATE TABLE undo_person (
        seq INTEGER PRIMARY KEY,
        act INTEGER NOT NULL REFERENCES act (id) ON DELETE CASCADE,
        op TEXT,
        id INTEGER, name TEXT, created TEXT, seen TEXT, picture INTEGER
    );
    CREATE TABLE undo_sample (
        seq INTEGER PRIMARY KEY,
        act INTEGER NOT NULL REFERENCES act (id) ON DELETE CASCADE,
        op TEXT,
        id INTEGER, person_id INTEGER, embedding BLOB, source TEXT, created TEXT, crop BLOB,
        crop_box BLOB, denies INTEGER
    );
    CREATE TABLE undo_unknown (
        seq INTEGER PRIMARY KEY,
        act INTEGER NOT NULL REFERENCES act (id) ON DELETE CASCADE,
        op TEXT,
        id INTEGER, look TEXT, embedding BLOB, crop BLOB, crop_box BLOB, quality REAL, source TEXT,
        seen TEXT, until TEXT, guess INTEGER, verdict TEXT
    );
    CREATE INDEX undo_head_act ON undo_head (act);
    CREATE INDEX undo_person_act ON undo_person (act);
    CREATE INDEX undo_sample_act ON undo_sample (act);
    CREATE INDEX undo_unknown_act ON undo_unknown (act);
    """,
    """
    CREATE TABLE touched (
        -- the version in which a person, 0 for the head, became what they are, or went: so that who
        -- holds an older one reads no more than that. A number is all that is left of who went.
        person INTEGER PRIMARY KEY,
        version INTEGER NOT NULL
    );
    CREATE INDEX touched_version ON touched (version);
    """,
)
SCHEMA = len(STEPS)

CHANGES = {
    "person": ("name", "picture"),
    "sample": ("person_id", "denies"),
    "unknown": ("verdict", "until", "guess"),
}
"""The tables that acts change, and the columns that change in a row which stays."""

WHOLE = {
    "person": ("id", "name", "created", "seen", "picture"),
    "sample": (
        "id", "person_id", "embedding", "source", "created", "crop", "crop_box", "denies",
    ),
    "unknown": (
        "id", "look", "embedding", "crop", "crop_box", "quality", "source", "seen", "until",
        "guess", "verdict",
    ),
}  # fmt: skip
"""All their columns."""


def noting_triggers() -> Iterator[tuple[str, str, str, str, dict[str, str]]]:
    """What `recognizer.store.journal` needs to know of changes: for each trigger its name, table,
    event, letter, and what of the row goes into the columns of the table ``undo_...``.

    Of a new row it is enough to know which one it is and whose.
    """
    for table, columns in WHOLE.items():
        changed = CHANGES[table]
        for op, event in (
            ("I", "INSERT"),
            ("U", f"UPDATE OF {', '.join(changed)}"),
            ("D", "DELETE"),
        ):
            row = "NEW" if op == "I" else "OLD"
            kept = [
                c for c in columns
                if op == "D" or c in ("id", "person_id") or (op == "U" and c in changed)
            ]  # fmt: skip
            values = {column: f"{row}.{column}" for column in kept}
            yield f"undo_{table}_{op.lower()}", table, event, op, values


NEXT = "(SELECT CAST(value AS BIGINT) + 1 FROM meta WHERE key = 'version')"
"""The version that a change makes, while it is being made."""


def touching_triggers() -> Iterator[tuple[str, str, str, str, str]]:
    """What keeps the table ``touched``: for each trigger its name, table, event, letter, and the
    number of whom it touches.

    New vectors for samples that stay mean another embedder: everybody starts again then.
    """
    for table, event, who in (
        ("sample", "INSERT", "NEW.person_id"),
        ("sample", "UPDATE OF person_id, denies", "OLD.person_id"),
        ("sample", "UPDATE OF person_id, denies", "NEW.person_id"),
        ("sample", "DELETE", "OLD.person_id"),
        ("person", "UPDATE OF name", "NEW.id"),
        ("head_class", "INSERT", "0"),
        ("head_class", "UPDATE OF person_id", "0"),
        ("head_class", "DELETE", "0"),
    ):
        op = event[0]
        yield f"touched_{table}_{op.lower()}{'_old' if 'OLD' in who else ''}", table, event, op, who
