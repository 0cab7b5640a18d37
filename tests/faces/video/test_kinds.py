"""Films and pictures are told apart by their content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.inputs import Source, expand_sources, plan_pictures
from faces.video import kinds
from faces.video.kinds import is_film, is_media, is_picture

TRANSPORT = (b"G" + bytes(187)) * 4
CAMERA_TRANSPORT = (bytes(4) + b"G" + bytes(187)) * 4
PACKET = b"G\x41\0\x10" + bytes(184)
FILMS = {
    "mp4": b"\0\0\0\x20ftypisom" + bytes(40),
    "old quicktime": b"\0\0\0\x08wide\0\0\0\x10mdat" + bytes(40),
    "avi": b"RIFF\0\0\0\0AVI LIST" + bytes(40),
    "matroska": b"\x1aE\xdf\xa3" + bytes(40),
    "flash": b"FLV\x01\x05" + bytes(40),
    "transport": TRANSPORT,
    "transport of a camera": CAMERA_TRANSPORT,
    "transport from within a packet": (PACKET * 7)[77:],
    "transport of a camera from within a packet": ((bytes(4) + PACKET) * 7)[77:],
    "transport of a broadcast": (PACKET + bytes(16)) * 7,
    "program": b"\0\0\x01\xba" + bytes(40),
    "ogg": b"OggS" + bytes(40),
    "windows media": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(40),
    "raw h264": b"\0\0\0\x01\x67" + bytes(40),
    "raw h265": b"\0\0\0\x01\x40" + bytes(40),
}
PICTURES = {
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(40),
    "bmp": b"BM" + bytes(40),
    "tiff": b"II*\0" + bytes(40),
    "heic": b"\0\0\0\x20ftypheic" + bytes(40),
    "avif": b"\0\0\0\x20ftypavif" + bytes(40),
}


@pytest.mark.parametrize("name", ["none", "a.jpg", "a.mp4", "a.txt"])
@pytest.mark.parametrize("kind", [*FILMS, *PICTURES])
def test_the_name_does_not_matter(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes((FILMS | PICTURES)[kind])
    assert (is_film(path), is_picture(path)) == (kind in FILMS, kind in PICTURES)
    assert is_media(path)


@pytest.mark.parametrize(
    ("name", "film", "picture"),
    [("a.mp4", True, False), ("a.ts", True, False), ("a.jpg", False, True), ("a", False, False)],
)
@pytest.mark.parametrize(
    "content",
    [b"", b"const x: number = 1;", b"GOOD " * 400, b"\0" + b"GATC" * 500],
)
def test_where_the_content_says_nothing_the_name_does(tmp_path, name, film, picture, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert (is_film(path), is_picture(path), is_media(path)) == (film, picture, False)


@pytest.mark.parametrize("suffix", ["mjpeg", "MJPG"])
def test_jpegs_one_after_the_other_are_a_film_by_their_name(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(PICTURES["jpeg"] * 2)
    assert (is_film(path), is_picture(path)) == (True, False)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_what_moves_is_a_film(tmp_path, suffix):
    images = [Image.fromarray(np.full((24, 32, 3), 60 * i, np.uint8)) for i in range(3)]
    images[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=images[1:])
    assert is_film(tmp_path / f"a.{suffix}")
    if suffix != "gif":
        images[0].save(tmp_path / f"b.{suffix}")
        assert is_picture(tmp_path / f"b.{suffix}")


def test_a_folder_gives_films_without_or_with_a_doubtful_suffix(tmp_path):
    contents = {
        "a.ts": TRANSPORT, "b": FILMS["mp4"], "c.flv": FILMS["flash"], "d.jpg": PICTURES["jpeg"],
        "code.ts": b"const x: number = 1;", "README": b"Read me", "e.txt": FILMS["mp4"],
        "f.jpg": FILMS["mp4"],
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for argument in (tmp_path, tmp_path / "*"):
        found = expand_sources([str(argument)])
        assert [(s.name, s.is_video) for s in found if s.name != "e.txt"] == [
            ("a.ts", True), ("b", True), ("c.flv", True), ("d.jpg", False), ("f.jpg", True),
        ]  # fmt: skip
    planned = plan_pictures(found, Path("out"))
    assert {source.name: path.name for source, path in planned.items()} == {
        "a.ts": "a.ts.mp4", "b": "b.mp4", "c.flv": "c.flv.mp4", "d.jpg": "d.jpg",
        "f.jpg": "f.jpg.mp4",
    }  # fmt: skip
    assert Source(tmp_path / "missing.mp4", "missing.mp4").is_video


def test_a_text_is_told_from_a_transport_stream_at_a_glance(tmp_path, monkeypatch):
    """Folders of TypeScript hold thousands of files with the suffix of such a stream."""
    places, is_packet = [], kinds._is_packet
    monkeypatch.setattr(kinds, "_is_packet", lambda *x: places.append(x) or is_packet(*x))
    path = tmp_path / "a.ts"
    path.write_text("import { Graph } from 'Google';\n" * 50)
    assert not is_media(path)
    assert not places
    path.write_bytes(bytes(2000))
    assert not is_media(path)
    assert len(places) < 300
