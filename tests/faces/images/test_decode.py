"""Numbers of every kind in a TIFF or PNG, as they were meant: turned, deep, dark, inverted."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.images.read import as_image, image_info, image_size, read_image, write_upright

Y, X = np.mgrid[:20, :30]
GRAY = (X * 4 + Y * 5).astype(np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=2)


def tiff(pixels: NDArray[Any], tags: dict[int, tuple[int, ...]]) -> bytes:
    """An uncompressed TIFF of one strip, or of one for each of the planes (3, H, W)."""
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    planes = pixels if pixels.shape[0] == 3 else pixels[None]
    height, width = planes.shape[1:3]
    size = planes[0].nbytes
    bits = 8 * pixels.itemsize
    found = {256: (width,), 257: (height,), 258: (bits,), 259: (1,), 262: (1,), 277: (1,)}
    found |= {278: (height,), 279: (size,) * len(planes)} | tags
    found[273] = tuple(1000 + size * i for i in range(len(planes)))
    entries, more = b"", b""
    for tag, values in sorted(found.items()):
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            place = 500 + len(more)
            more += packed
            packed = struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    start = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8)
    directory = start + struct.pack(f"{order}H", len(found)) + entries + bytes(4)
    return (directory.ljust(500, b"\0") + more).ljust(1000, b"\0") + planes.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "CMYK"])
def test_a_tiff_on_its_side_is_read_from_its_file_as_from_its_bytes(
    tmp_path: Path, mode: str, orientation: int
) -> None:
    image = Image.fromarray(RGB)
    if mode == "I;16":
        image = Image.fromarray(GRAY.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.tif"
    image.convert(mode).save(path, exif=exif)
    expected = read_image(io.BytesIO(path.read_bytes()))

    assert np.array_equal(read_image(path), expected)
    with Image.open(path) as opened:
        assert np.array_equal(as_image(opened), expected)
        assert opened.filename == str(path)
    assert image_size(path) == expected.shape[:2] == ((30, 20) if orientation >= 5 else (20, 30))
    assert image_info(path, decode=True).height == expected.shape[0]
    assert np.array_equal(read_image(write_upright(path, tmp_path / "new.tif")), expected)


@pytest.mark.parametrize("order", "<>")
def test_colors_of_16_bits_that_are_stored_apart(order: str) -> None:
    planes = np.moveaxis(RGB.astype(f"{order}u2") * 257, 2, 0).astype(f"{order}u2", order="C")
    file = tiff(planes, {262: (2,), 277: (3,), 258: (16, 16, 16), 284: (2,)})
    assert np.array_equal(read_image(io.BytesIO(file)), RGB)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png16(pixels: NDArray[Any]) -> bytes:
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("white", [255, 4095, 65535])
def test_twelve_bits_in_a_file_of_16_are_not_black(tmp_path: Path, white: int) -> None:
    pixels = np.rint(RGB / 255 * white).astype(np.uint16)
    pixels[0, 0] = white
    expected = read_image(io.BytesIO(tiff(pixels[..., 0], {})))[..., 0].astype(int)
    opaque = np.concatenate([pixels, pixels[..., :1]], axis=2)
    (tmp_path / "a.tif").write_bytes(tiff(pixels, {262: (2,), 277: (3,), 258: (16, 16, 16)}))
    for file in (io.BytesIO(png16(pixels)), io.BytesIO(png16(opaque)), tmp_path / "a.tif"):
        found = read_image(file)
        assert found.max() == 255
        assert abs(found[..., 0] - expected).max() <= 1
    for order in "<>":
        apart = np.moveaxis(pixels, 2, 0).astype(f"{order}u2", order="C")
        file = tiff(apart, {262: (2,), 277: (3,), 258: (16, 16, 16), 284: (2,)})
        assert (
            abs(read_image(io.BytesIO(file)) - read_image(tmp_path / "a.tif").astype(int)).max()
            <= 1
        )


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
def test_white_may_be_zero(dtype: str) -> None:
    white = 1.0 if dtype == "<f4" else 65535
    pixels = (GRAY / 255 * white).astype(dtype)
    sample = 3 if dtype == "<f4" else 1
    dark, bright = (
        read_image(io.BytesIO(tiff(pixels, {262: (zero,), 339: (sample,)}))).astype(int)
        for zero in (0, 1)
    )
    assert abs(bright[..., 0] - GRAY).max() <= 1
    assert np.array_equal(dark, 255 - bright)


def test_integers_of_32_bits_are_unsigned_where_the_file_says_so() -> None:
    pixels = GRAY.astype("<u4") * 0x01010101
    assert np.array_equal(read_image(io.BytesIO(tiff(pixels, {})))[..., 0], GRAY)
    signed = io.BytesIO(tiff(pixels, {339: (2,)}))
    with pytest.raises(UserError, match="values from -"):
        read_image(signed)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_tiff_of_another_kind_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(GRAY.astype("<f8"), {339: (3,)}))
    with pytest.raises(UserError, match=r"a\.tif: .* not read: save it with 8 or 16 bits"):
        read_image(path)
    with pytest.raises(UserError, match="not read: save it with 8 or 16 bits"):
        read_image(io.BytesIO(path.read_bytes()))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="damaged or cut short"):
        read_image(path)
