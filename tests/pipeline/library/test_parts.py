"""Parts and the manifest of a library: whole files that give back what was written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from faces.errors import UserError
from pipeline.library.parts import (
    Manifest,
    job_alone,
    no_writer,
    part_files,
    part_id,
    read_faces,
    read_manifest,
    read_part,
    read_rows,
    table_of,
    write_manifest,
    write_part,
)
from pipeline.library.schema import COLUMNS, path_on_disk, stored_path

D = 4
MANIFEST = Manifest("detector", "embedder", D, {"min_face": 20})


def row(path: str, face: int | None = None, **values: object) -> dict[str, object]:
    found = {
        "path": path, "size": 7, "modified": 1.5, "digest": "ab" * 32, "width": 40, "height": 30,
    }  # fmt: skip
    if face is not None:
        vector = np.zeros(D, np.float32)
        vector[face] = 1
        found |= {
            "face": f"{'ab' * 8}-{face}", "x1": 1.0, "y1": 2.0, "x2": 11.5, "y2": 12.0 + face,
            "score": 0.9, "embedding": vector, "quality": 0.5,
        }  # fmt: skip
    return found | values


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "lib"
    write_manifest(folder, MANIFEST)
    points = np.arange(10, dtype=np.float32)
    first = [
        row("/a.jpg", 0, points=points, taken=datetime(2024, 5, 1, 10)),
        row("/a.jpg", 1),
        row("/empty.jpg"),
        row("/bad.jpg", error="no image", width=None, height=None),
    ]
    write_part(folder, "1", table_of(first, D))
    write_part(folder, "2", table_of([row("/film.mp4", 2, seconds=3.5, quality=None)], D))
    return folder


def test_faces_come_back_as_they_were_written(library):
    faces = read_faces(library)
    assert len(faces) == 3
    assert faces.path.tolist() == ["/a.jpg", "/film.mp4"]
    assert faces.photo.tolist() == [0, 0, 1]
    assert faces.face.tolist() == [f"{'ab' * 8}-{n}" for n in range(3)]
    np.testing.assert_array_equal(faces.embedding, np.eye(3, D, dtype=np.float32))
    np.testing.assert_array_equal(faces.xyxy[1], np.float32([1, 2, 11.5, 13]))
    np.testing.assert_array_equal(faces.points[0], np.arange(10).reshape(5, 2))
    assert np.isnan(faces.points[1:]).all()
    assert faces.taken[0] == np.datetime64("2024-05-01T10:00:00")
    assert np.isnat(faces.taken[1])
    assert np.isnan(faces.seconds[:2]).all()
    assert faces.seconds[2] == 3.5
    assert np.isnan(faces.quality[2])
    assert faces.size.tolist() == [[40, 30], [40, 30]]
    with pytest.raises(ValueError, match="read-only"):
        faces.embedding[0] = 0


def test_a_library_without_faces_gives_empty_arrays(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    assert read_faces(tmp_path).embedding.shape == (0, D)
    write_part(tmp_path, "1", table_of([row("/empty.jpg")], D))
    faces = read_faces(tmp_path)
    assert (len(faces), faces.embedding.shape, faces.points.shape) == (0, (0, D), (0, 5, 2))


def test_a_part_says_what_its_columns_mean(library):
    schema = pq.read_schema(library / "parts" / "1.parquet")
    assert schema.names == list(COLUMNS)
    assert schema.metadata[b"faces.schema"] == b"1"
    for name, meaning in COLUMNS.items():
        assert schema.field(name).metadata[b"meaning"].decode() == meaning
    assert schema.field("embedding").type.list_size == D


def test_a_part_is_written_anew_with_fewer_rows_and_removed_with_none(library):
    path = library / "parts" / "1.parquet"
    rows = read_part(path)
    write_part(library, "1", rows.slice(2))
    assert read_part(path)["path"].to_pylist() == ["/empty.jpg", "/bad.jpg"]
    write_part(library, "1", rows.slice(0, 0))
    assert not path.exists()
    assert read_rows(library, ["path"])["path"].to_pylist() == ["/film.mp4"]


def test_a_part_that_index_drops_while_a_library_is_read_is_not_damaged(library, monkeypatch):
    there = part_files(library)
    monkeypatch.setattr(
        "pipeline.library.parts.part_files", lambda _: [*there, library / "parts" / "gone.parquet"]
    )
    assert len(read_faces(library)) == 3


def test_a_damaged_or_later_part_is_named(library):
    path = library / "parts" / "1.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"1\.parquet cannot be read"):
        read_faces(library)
    path.unlink()
    foreign = read_part(library / "parts" / "2.parquet").replace_schema_metadata({})
    pq.write_table(foreign, path)
    with pytest.raises(UserError, match="has version none"):
        read_faces(library)


def test_manifest_comes_back_and_its_faults_are_said(tmp_path):
    assert read_manifest(tmp_path) is None
    with pytest.raises(UserError, match="is no library of faces"):
        read_faces(tmp_path)
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    path = tmp_path / "library.json"
    text = path.read_text()
    path.write_text(text.replace('"schema": 1', '"schema": 2'))
    with pytest.raises(UserError, match="has version 2"):
        read_manifest(tmp_path)
    path.write_text(text[:-9])
    with pytest.raises(UserError, match="is damaged"):
        read_manifest(tmp_path)


def test_parts_without_their_manifest_are_not_taken_for_a_new_library(library):
    (library / "library.json").unlink()
    with pytest.raises(UserError, match=r"library\.json is missing"):
        read_manifest(library)


def test_only_jobs_of_one_division_write_at_the_same_time(library):
    def alone(*part: int) -> bool:
        with job_alone(library, part) if part else no_writer(library) as nobody_else:
            return nobody_else

    for part, others in (((1, 2), {(2, 2)}), ((1, 12), {(2, 12)}), ((), set())):
        with job_alone(library, part) if part else no_writer(library) as nobody_else:
            assert nobody_else
            tried = [(), (1, 2), (2, 2), (1, 3), (1, 12), (2, 12)]
            assert {one for one in tried if alone(*one)} == others
    assert alone()


def test_the_name_of_a_part_follows_from_its_paths():
    assert part_id(["/a", "/b"]) == part_id(["/a", "/b"]) != part_id(["/a/b"])
    assert part_id(["caf\udce9.jpg"]) != part_id(["cafe.jpg"])


@pytest.mark.parametrize("path", ["/ä/日本.jpg", "/caf\udce9.jpg", "s3://bucket/a b.jpg"])
def test_any_name_of_a_file_can_be_stored(tmp_path, path):
    write_manifest(tmp_path, MANIFEST)
    write_part(tmp_path, "1", table_of([row(stored_path(path), 0)], D))
    [back] = read_faces(tmp_path).path
    assert path_on_disk(back) == path
