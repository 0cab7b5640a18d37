"""Finding and reading images, and refusing what is none."""

from __future__ import annotations

import io
import logging
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from faces.errors import UserError
from faces.images.find import find_images
from faces.images.read import image_info, image_size, read_image, upright_boxes, write_upright

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")


def picture(height: int = 20, width: int = 30) -> Image.Image:
    """Smooth, and different at each corner, so that a wrong rotation shows in any format."""
    y, x = np.mgrid[:height, :width]
    channels = np.stack([x * 255 / width, y * 255 / height, (x + y) * 2], axis=-1)
    return Image.fromarray(channels.astype(np.uint8))


def save(path: Path, image: Image.Image, orientation: int = 1, kind: str | None = None) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, format=kind, exif=exif, **({"quality": 95} if kind != "TIFF" else {}))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", FORMATS)
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    path = save(tmp_path / "a", picture(), orientation, kind)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    image = read_image(path)

    assert image.dtype == np.uint8
    assert np.array_equal(image, expected)
    assert image_size(path) == image.shape[:2] == ((30, 20) if orientation >= 5 else (20, 30))
    assert image_info(path, decode=True).orientation == orientation
    assert image_info(path).stored == (20, 30)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("kind", ["EXIF", "XMP", "XMP that is packed"])
def test_a_png_may_say_after_its_pixels_how_it_is_turned(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    text = b'<x tiff:Orientation="6"/>'
    late = {
        "EXIF": chunk(b"eXIf", exif.tobytes()[6:]),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0en\0\0" + text),
        "XMP that is packed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text)),
    }[kind]
    file = io.BytesIO()
    picture().save(file, "PNG")
    png = file.getvalue()
    turned = io.BytesIO(png[:-12] + late + png[-12:])
    assert image_size(turned) == read_image(turned).shape[:2] == (30, 20)


def test_the_size_of_a_png_is_known_without_decoding_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some 20 kB of one are 200 MB decoded, and limits are checked by the header."""
    file = io.BytesIO()
    Image.new("1", (3000, 2000)).save(file, "PNG")

    def load(self: PngImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImageFile, "load", load)
    assert image_size(file) == (2000, 3000)
    file.truncate(60)  # as it is cut short in the middle of its pixels
    assert image_size(file) == (2000, 3000)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_the_pixels(orientation: int) -> None:
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[3:8, 5:16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "PNG", exif=exif)

    x1, y1, x2, y2 = upright_boxes([[5, 3, 16, 8]], orientation, (20, 30))[0].astype(int)

    white = read_image(file)[..., 0] == 255
    expected = np.zeros_like(white)
    expected[y1:y2, x1:x2] = True
    assert np.array_equal(white, expected)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4),
    st.integers(1, 8),
)
def test_turned_boxes_keep_their_sides(box: list[float], orientation: int) -> None:
    x1, y1, x2, y2 = upright_boxes([box], orientation, (480, 640))[0]
    sides = (box[2] - box[0], box[3] - box[1])
    assert (x2 - x1, y2 - y1) == pytest.approx(sides[::-1] if orientation >= 5 else sides)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (30, 20)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").shape == (20, 30, 3)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 0x80).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_costs_only_the_rotation(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_image(tmp_path / "a.jpg").shape == (20, 30, 3)
    assert image_info(tmp_path / "a.jpg").orientation == 1


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_off_image_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / "half.img"
    Image.fromarray(noise).save(path, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(UserError, match=r"half\.img"):
        read_image(path)
    with pytest.raises(UserError, match=r"half\.img"):
        image_info(path, decode=True)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0", b"<html>"])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fake.jpg"
    path.write_bytes(data)
    for read in (read_image, image_size, image_info):
        with pytest.raises(UserError, match=r"fake\.jpg"):
            read(path)


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match=r"a\.jpg: cannot read the image: the file is empty"):
        read_image(tmp_path / "a.jpg")


def test_postscript_never_reaches_ghostscript(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(UserError, match=r"a\.jpg"):
        image_size(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg: there is no such file"):
        read_image(tmp_path / "gone.jpg")


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [11_000, 100_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_from_its_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(UserError, match=r"bomb\.png"):
        read_image(path)
    with pytest.raises(UserError, match=r"bomb\.png"):
        image_info(path, decode=True)


def test_the_pixel_limit_can_be_set(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(UserError, match="30x20 pixels, more than the limit of 599"):
        read_image(tmp_path / "a.png", max_pixels=599)


@pytest.mark.parametrize("size", [(5, 40), (40, 5), (1, 1)])
def test_a_tiny_jpeg_is_whole(tmp_path: Path, size: tuple[int, int]) -> None:
    path = save(tmp_path / "a.jpg", picture(*size))
    info = image_info(path, decode=True)
    assert (info.height, info.width) == size


def test_an_open_file_is_read_as_well() -> None:
    file = io.BytesIO()
    picture().save(file, "PNG")
    assert np.array_equal(read_image(file), np.asarray(picture()))


def test_images_are_found_sorted_in_any_letter_case(tmp_path: Path) -> None:
    wanted = ["B.JPG", "a.jpeg", "sub/c.PnG", "sub/deep/d.tiff"]
    for name in [*wanted, "notes.txt", "e.xml", "._a.jpg", ".hidden/f.jpg", "noext"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == wanted


def test_folders_that_link_to_their_parents_end(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").touch()
    try:
        (tmp_path / "sub" / "up").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    assert find_images(tmp_path) == [tmp_path / "sub" / "a.jpg"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", FORMATS)
def test_an_upright_copy_needs_no_exif(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "a", picture(), 6, kind)
    write_upright(path, tmp_path / "b")
    assert image_info(tmp_path / "b").orientation == 1
    difference = read_image(tmp_path / "b").astype(int) - read_image(path).astype(int)
    assert abs(difference).max() <= 12  # JPEG and WebP lose a little


def test_nothing_in_a_folder_is_passed_over_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    picture().save(tmp_path / "a.jpg")
    picture().save(tmp_path / "nameless", "PNG")
    for name in ("b.heic", "c.AVIF", "raw.CR2", "d.psd", "notes.txt", "more.txt", "x.xml", "e.mov"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in find_images(tmp_path)] == ["a.jpg", "b.heic", "c.AVIF"]
    said = {record.levelname: [] for record in caplog.records}
    for record in caplog.records:
        said[record.levelname].append(record.getMessage())
    kinds, names = said["WARNING"]
    assert "2 pictures of a kind that is not read" in kinds
    assert "d.psd" in kinds
    assert "raw.CR2" in kinds
    assert "1 picture whose name does not end as a picture's" in names
    assert "nameless" in names
    assert said["INFO"] == [f"{tmp_path}: passed over 3 other files (.txt .mov)"]


def test_wanted_files_of_other_kinds_are_given_and_not_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "e.mov").touch()
    assert find_images(tmp_path, frozenset({".mov"})) == [tmp_path / "e.mov"]
    assert not caplog.records


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    """It would be waited for in vain, and a header that was read is gone."""
    os.mkfifo(tmp_path / "photo.jpg")
    for read in (read_image, image_size):
        with pytest.raises(UserError, match=r"photo\.jpg is a pipe or a device: save"):
            read(tmp_path / "photo.jpg")
