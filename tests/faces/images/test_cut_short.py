"""Files that lack their end: used as far as they go, refused when too much is missing."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.images import decode
from faces.images.cut_short import MOST_MISSING, padded
from faces.images.read import image_info, image_size, read_image, write_upright

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"subsampling": 0}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("GIF", {}),
    ("PPM", {}),
    ("WEBP", {}),
    ("JPEG2000", {}),
]


def texture(height: int = 256, width: int = 320) -> NDArray[np.uint8]:
    """A picture with detail everywhere, so that a file's bytes are spread over its rows."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def encoded(kind: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(texture()).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
@pytest.mark.parametrize("bytes_lost", [2, 12, 200])
def test_a_file_without_its_last_bytes_is_used(
    tmp_path: Path, kind: str, options: dict[str, Any], bytes_lost: int
) -> None:
    data = encoded(kind, options)
    path = tmp_path / "photo"
    path.write_bytes(data[:-bytes_lost])

    found = read_image(path)

    whole = read_image(io.BytesIO(data))
    assert found.shape == whole.shape
    assert (np.abs(found.astype(int) - whole).max(axis=2) > 40).mean() < 0.03
    info = image_info(path, decode=True)
    assert (info.height, info.width) == image_size(path) == (256, 320)


def test_what_the_lost_bytes_were_is_guessed_more_than_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some files are decoded with zeros at their end, as many others only without."""

    def load(image: Image.Image) -> None:
        if image.fp.getvalue().endswith(bytes(12)):  # type: ignore[attr-defined]
            raise OSError("cannot decode")
        decode.load(image)

    monkeypatch.setattr("faces.images.file.load", load)
    cut = io.BytesIO(encoded("WEBP", {})[:-12])
    assert "is missing" in image_info(cut, decode=True).damage


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_a_jpeg_without_its_end_marker_loses_no_pixel(
    tmp_path: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded("JPEG", options)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data[:-2])
    for _ in range(2):
        assert np.array_equal(read_image(path), read_image(io.BytesIO(data)))
    assert "nothing of the picture is missing" in image_info(path, decode=True).damage
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1  # not once an epoch
    assert str(path) in warnings[0].getMessage()


@pytest.mark.parametrize(("kind", "options"), [k for k in KINDS if k[0] != "JPEG2000"], ids=str)
def test_what_is_missing_is_measured(kind: str, options: dict[str, Any]) -> None:
    data = encoded(kind, options)
    file = io.BytesIO(data[: len(data) * 85 // 100])
    damage = image_info(file, decode=True).damage
    if options.get("progressive"):  # all of it is there, less precisely
        assert "nothing" in damage
        return
    said = float(damage.partition("damaged, ")[2].partition("%")[0])
    # By rows or blocks, whose bytes differ.
    assert said == pytest.approx(15, abs=4)
    different = np.abs(read_image(file).astype(int) - read_image(io.BytesIO(data))).max(axis=2) > 40
    top, bottom = different[:180], different[76:]
    assert (bottom if kind == "BMP" else top).mean() < 0.03  # BMP files begin with the last row


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
@pytest.mark.parametrize("part", [0.02, 0.1, 0.5])
def test_a_file_without_most_of_its_picture_is_named(
    tmp_path: Path, kind: str, options: dict[str, Any], part: float
) -> None:
    data = encoded(kind, options)
    path = tmp_path / "half.img"
    path.write_bytes(data[: int(len(data) * part)])
    if options.get("progressive") and part == 0.5:
        return  # all of it has come once
    with pytest.raises(UserError, match=r"half\.img: "):
        read_image(path)
    with pytest.raises(UserError, match=r"half\.img: "):
        image_info(path, decode=True)


def test_the_rule_is_said_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    data = encoded("PNG", {})
    path.write_bytes(data[: len(data) // 2])
    told = r"\d\d\.\d% of the picture is missing \(at most 25% may be\)"
    with pytest.raises(UserError, match=told):
        read_image(path)
    assert MOST_MISSING == 0.25


def test_gray_that_was_meant_is_not_missing() -> None:
    """What is missing is drawn gray, but not all that is gray is missing."""
    pixels = texture().copy()
    pixels[100:] = 128
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    cut = io.BytesIO(file.getvalue()[:-2])
    assert "nothing of the picture is missing" in image_info(cut, decode=True).damage
    assert np.array_equal(read_image(cut), read_image(file))


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"optimize": True}], ids=str)
@pytest.mark.parametrize("filling", [b"\0", b" ", b"\xff"])
def test_what_a_full_disk_leaves_for_the_rest_of_a_jpeg_is_missing(
    options: dict[str, Any], filling: bytes
) -> None:
    data = encoded("JPEG", options)
    for part in (0.85, 0.5):
        length = int(len(data) * part)
        said = []
        for rest in (b"", filling * (len(data) - length)):
            try:
                said.append(image_info(io.BytesIO(data[:length] + rest), decode=True).damage)
            except UserError as error:
                said.append(str(error))
        assert said[0] == said[1]
        assert ("at most 25% may be" in said[0]) == (part == 0.5)


@pytest.mark.parametrize("size", [(8, 8), (17, 33), (40, 24)])
def test_tiny_jpegs_without_their_end_are_used(size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.fromarray(texture(256, 320)[: size[0], : size[1]]).save(file, "JPEG")
    whole = read_image(file)
    assert np.array_equal(read_image(io.BytesIO(file.getvalue()[:-2])), whole)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colors_are_cut_as_well(mode: str) -> None:
    file = io.BytesIO()
    Image.fromarray(texture()).convert(mode).save(file, "JPEG")
    whole = read_image(file)
    assert np.array_equal(read_image(io.BytesIO(file.getvalue()[:-2])), whole)


def test_a_cut_photo_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(texture()).save(file, "JPEG", exif=exif)
    cut = io.BytesIO(file.getvalue()[:-2])
    assert np.array_equal(read_image(cut), read_image(file))
    assert image_size(cut) == (320, 256)


def test_what_follows_a_jpeg_does_no_harm() -> None:
    data = encoded("JPEG", {})
    expected = read_image(io.BytesIO(data))
    for tail in (b"\0" * 1000, b"garbage", data):
        assert np.array_equal(read_image(io.BytesIO(data + tail)), expected)


def test_a_length_that_is_a_lie_costs_no_memory() -> None:
    data = bytearray(encoded("WEBP", {}))
    data[4:8] = (2**32 - 10).to_bytes(4, "little")
    longer = padded(bytes(data))
    assert longer is not None
    assert len(longer[0]) == len(data)
    with pytest.raises(UserError, match="is missing"):
        read_image(io.BytesIO(bytes(data)))


def test_limits_hold_for_cut_files_too() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(kind, {})[:-2]
        with pytest.raises(UserError, match="320x256 pixels, more than the limit of 9999"):
            read_image(io.BytesIO(data), max_pixels=9999)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_it_is_written_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    path.write_bytes(encoded(kind, {})[:-150])
    new = write_upright(path, tmp_path / f"new.{kind.lower()}")
    assert new.suffix == (".png" if kind == "GIF" else path.suffix)
    with Image.open(new) as image:
        image.load()
    difference = np.abs(read_image(new).astype(int) - read_image(path))
    assert difference.mean() < (6 if kind == "WEBP" else 2)  # its colors are at half resolution
