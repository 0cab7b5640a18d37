"""A library of made people: vectors around a direction for each, without any photo being read."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import numpy as np

from pipeline.library.parts import Manifest, table_of, write_manifest, write_part
from recognizer.types import unit

D = 64
EMBEDDER = "made-64"


def vectors(person: int, count: int, likeness: float = 0.8, seed: int = 0) -> np.ndarray:
    """Unit vectors (count, D) whose cosine with the person's own direction is ``likeness``."""
    own = unit(np.random.default_rng(person).standard_normal(D))
    noise = np.random.default_rng((person, seed + 1)).standard_normal((count, D))
    noise -= (noise @ own)[:, None] * own
    return (likeness * own + np.sqrt(1 - likeness**2) * unit(noise)).astype(np.float32)


def digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def face_row(
    path: str, n: int, vector: np.ndarray, taken: datetime | None = None, **values: object
) -> dict[str, object]:
    """A face at the n-th place of a picture of 400 x 300."""
    content = str(values.pop("digest", digest(path)))
    x = 10.0 + 100 * n
    return {
        "path": path, "size": 7, "modified": 1.5, "digest": content, "width": 400, "height": 300,
        "taken": taken, "face": f"{content[:16]}-{n}", "x1": x, "y1": 20.0, "x2": x + 80,
        "y2": 120.0, "score": 0.9, "quality": 0.8, "embedding": vector,
    } | values  # fmt: skip


def make_library(folder: Path, rows: list[dict[str, object]], embedder: str = EMBEDDER) -> Path:
    """Two parts with these rows, as `faces index` writes them."""
    write_manifest(folder, Manifest("made", embedder, D, {}))
    for old in folder.glob("parts/*.parquet"):
        old.unlink()
    rows = sorted(map(_as_on_disk, rows), key=lambda row: str(row["path"]))
    half = len(rows) // 2
    while 0 < half < len(rows) and rows[half]["path"] == rows[half - 1]["path"]:
        half += 1
    write_part(folder, "one", table_of(rows[:half], D))
    write_part(folder, "two", table_of(rows[half:], D))
    return folder


def _as_on_disk(row: dict[str, object]) -> dict[str, object]:
    path = Path(str(row["path"]))
    if not path.exists():
        return row
    return row | {"size": path.stat().st_size, "modified": path.stat().st_mtime}


def two_people(at: str = "/photos") -> list[dict[str, object]]:
    """Person 1 in six photos a..f (2024-01 to 2024-06), person 2 in c..f and g; b has no date."""
    rows = []
    ones, twos = vectors(1, 6), vectors(2, 5)
    for i, letter in enumerate("abcdefg"):
        taken = datetime(2024, i + 1, 10, 12) if letter != "b" else None
        path, n = f"{at}/{letter}.jpg", 0
        if letter != "g":
            rows.append(face_row(path, n, ones[i], taken))
            n += 1
        if letter in "cdefg":
            rows.append(face_row(path, n, twos["cdefg".index(letter)], taken))
    return rows
