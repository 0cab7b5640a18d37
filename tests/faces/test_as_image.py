"""Everything that people hand to a door of Python, and the formats and modes of their files."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.images.file import image_kind
from faces.images.read import as_image, as_images, image_info, read_image

# 48 x 32 pixels, red growing to the right, green downwards; turned by the container (irot).
HEIC = base64.b64decode("""
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAb5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA
AAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAAB4gABAAAAAAAAAGMAAgAAAAACRQABAAAAAAAAACQAAAA4aWluZgAAAAAA
AgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADd
aXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAq
QgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQAN
AAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBp
eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAABppcmVmAAAAAAAAAA5jZHNjAAIAAQABAAAAj21kYXQA
AABfKAGvE4D1M9YscAzP5Lcy6DJ5a3v9y6oViNaG5d66DN1KRDTneklm+ViE1Xd5iofJQjiSA8585xOw1QIJMsYWV6DM
c8MY2INbKFWM6TTQYl8PXKVHD+Z4yjS/BE+GP4AAAAAGRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=
""")


def gradient(height: int = 20, width: int = 30) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 8, y * 12, 255 - x * 8], axis=-1).astype(np.uint8)


RGB = gradient()
GRAY = RGB[..., 0]
AS_GRAY = np.repeat(GRAY[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RGB, RGB),
        (RGB[::-1, ::-1], RGB[::-1, ::-1]),
        (RGB[..., ::-1], RGB[..., ::-1]),
        (np.asfortranarray(RGB), RGB),
        (RGB[:, ::2], RGB[:, ::2]),
        (GRAY, AS_GRAY),
        (GRAY[..., None], AS_GRAY),
        (np.dstack([RGB, GRAY]), RGB),
        (RGB.astype(np.float32) / 255, RGB),
        (RGB.astype(np.float64), RGB),
        (RGB.astype(np.float16) / 255, RGB),
        (RGB / 255 * 1.02 - 0.01, None),
        (RGB.astype(np.int64), RGB),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB.astype(np.uint16), RGB),
        (RGB.astype(np.uint16) * 16, RGB),
        (RGB.astype(np.int32) * 257, RGB),
        (GRAY > 100, np.where(AS_GRAY > 100, 255, 0)),
        (RGB.tolist(), RGB),
        (GRAY.tolist(), AS_GRAY),
        (np.ma.masked_array(RGB), RGB),
        (GRAY.view(np.matrix), AS_GRAY),
        (np.floor(RGB / 20).astype(np.float32), np.floor(RGB / 20)),  # a dark frame
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else "list",
)
def test_arrays_of_every_usual_form_work(given: Any, expected: Any) -> None:
    found = as_image(given)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    if expected is None:  # resampling overshot
        assert np.abs(found.astype(int) - RGB).max() <= 8
    else:
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_an_image_that_needs_nothing_is_not_copied() -> None:
    assert np.shares_memory(as_image(RGB), RGB)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.moveaxis(RGB, -1, 0), r"channels first: give .np\.moveaxis"),
        (RGB[None], "detect_batch"),
        ([RGB, RGB], "detect_batch"),
        ([Path("a.jpg"), Path("b.jpg")], "detect_batch"),
        ([[1, 2], [3]], "rows of equal length|other things"),
        (np.zeros((0, 5, 3), np.uint8), "empty"),
        (np.zeros((5, 0)), "empty"),
        (np.zeros(7), r"RGB \(H, W, 3\)"),
        (np.zeros((9, 9, 2)), "one channel"),
        (np.full((4, 4, 3), np.nan), "48 values that are not finite"),
        (np.full((4, 4, 3), np.inf), "not finite"),
        (RGB / 127.5 - 1, "values from -1 to"),
        ((RGB / 255 - 0.485) / 0.229, "values from -2.1"),  # by ImageNet's mean and deviation
        (RGB / 255 * 4, "values from 0 to 4"),  # highlights above 1
        (RGB.astype(np.int16) - 100, "values from -100"),
        (RGB.astype(np.float64) * 1e9, "values from 0 to"),
        (np.full((4, 4), 70_000), "values from 70000"),
        (RGB.astype(complex), "numbers as pixels"),
        (RGB.astype(str), "numbers as pixels"),
        (None, "got NoneType"),
        (7, "got int"),
        ("http://example.org/a.jpg", "addresses are not fetched"),
        ("nowhere.jpg", "nowhere.jpg: there is no such file"),
        (Image.new("RGB", (0, 5)), "is empty"),
        (b"no image", "it is none"),
    ],
    ids=lambda value: None if isinstance(value, Image.Image) else str(value),
)
def test_what_is_no_image_is_told_what_is_wanted(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_image(given)


def test_a_torch_tensor_is_told_the_way() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(UserError, match=r"permute\(1, 2, 0\)"):
        as_image(torch.zeros(3, 8, 8))


def test_torch_is_not_imported_to_look_at_arrays() -> None:
    code = (
        "import sys, numpy as np; from faces.images.read import as_image;"
        "as_image(np.zeros((4, 4, 3), np.uint8)); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_of_every_kind_of_reference(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    with path.open("rb") as file:
        for given in (path, str(path), path.read_bytes(), file, Image.open(path)):
            assert np.array_equal(as_image(given), RGB)


def test_a_pillow_image_is_turned_and_may_be_cut_short(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path, exif=exif, quality=95)
    expected = read_image(path)
    assert expected.shape == (30, 20, 3)
    assert np.array_equal(as_image(Image.open(path)), expected)
    path.write_bytes(path.read_bytes()[:-2])
    assert np.array_equal(as_image(Image.open(path)), expected)
    with pytest.raises(UserError, match="more than the limit"):
        as_image(Image.open(path), max_pixels=100)


@pytest.mark.parametrize("one", ["a.jpg", Path("a.jpg"), RGB, GRAY, Image.fromarray(RGB), b"x"])
def test_one_image_is_not_taken_for_several(one: Any) -> None:
    with pytest.raises(UserError, match=r"\[image\]"):
        as_images(one)


@pytest.mark.parametrize("none", [None, 7, {"a": RGB}])
def test_what_is_no_list_of_images_is_named(none: Any) -> None:
    with pytest.raises(UserError, match="give a list"):
        as_images(none)


def test_several_images_may_come_one_by_one() -> None:
    assert len(as_images(image for image in [RGB, GRAY])) == 2


def test_several_images_of_different_kinds() -> None:
    found = as_images([RGB, Image.fromarray(RGB), GRAY])
    assert [image.shape for image in found] == [RGB.shape] * 3
    assert len(as_images(np.stack([RGB, RGB]))) == 2
    with pytest.raises(UserError, match="image 1: the image is empty"):
        as_images([RGB, np.zeros((0, 0, 3))])


def white(mode: str) -> Image.Image:
    """Half black, half white, in this mode."""
    half = np.zeros((20, 30), bool)
    half[:, 15:] = True
    if mode == "I":
        return Image.fromarray(half.astype(np.int32) * 65535)
    if mode == "F":
        return Image.fromarray(half.astype(np.float32))
    if mode == "I;16":
        return Image.fromarray(half.astype(np.uint16) * 65535)
    return Image.fromarray(np.repeat(half[..., None], 3, 2).astype(np.uint8) * 255).convert(mode)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16", "RGBX"]
)
def test_black_and_white_stay_so_in_every_mode(mode: str) -> None:
    found = as_image(white(mode))
    assert (found[:, :15] == 0).all()
    assert (found[:, 15:] == 255).all()


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_wide_grays_keep_their_steps_in_files(tmp_path: Path, mode: str) -> None:
    wide = {"I": GRAY.astype(np.int32) * 257, "I;16": GRAY.astype(np.uint16) * 257}
    Image.fromarray(wide.get(mode, GRAY.astype(np.float32) / 255)).save(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif"), AS_GRAY)


@pytest.mark.filterwarnings("error")
def test_a_transparent_palette_gives_its_colors(tmp_path: Path) -> None:
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / "a.png", transparency=bytes(range(16)))
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("AVIF", {"quality": 95}),
        ("GIF", {}),
        ("JPEG2000", {}),
        ("PPM", {}),
        ("BMP", {}),
        ("PNG", {"save_all": True, "append_images": [Image.new("RGB", (30, 20))]}),
        ("WEBP", {"save_all": True, "append_images": [Image.new("RGB", (30, 20))]}),
        ("GIF", {"save_all": True, "append_images": [Image.new("RGB", (30, 20))]}),
        ("MPO", {"save_all": True, "append_images": [Image.new("RGB", (30, 20))]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_other_formats_give_their_first_picture(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "photo"
    Image.fromarray(RGB).save(path, kind, **options)
    found = read_image(path)
    assert np.abs(found.astype(int) - RGB).mean() < 12
    assert image_info(path, decode=True).stored == (20, 30)
    assert image_kind(path.read_bytes()[:32]) is not None or kind == "PPM"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_photo_is_turned(tmp_path: Path, orientation: int) -> None:
    for name, kind in (("a.avif", "AVIF"), ("a.png", "PNG")):
        exif = Image.Exif()
        exif[0x0112] = orientation  # which writing AVIF takes away
        Image.fromarray(RGB).save(tmp_path / name, kind, exif=exif, quality=95)
    turned, expected = read_image(tmp_path / "a.avif"), read_image(tmp_path / "a.png")
    assert turned.shape == expected.shape
    assert np.abs(turned.astype(int) - expected).mean() < 12


def test_a_heic_photo_is_read_upright(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(HEIC)
    found = read_image(path).astype(int)
    info = image_info(path, decode=True)
    assert found.shape == (info.height, info.width, 3)
    assert {info.height, info.width} == {32, 48}
    assert np.ptp(found[..., 0]) > 150
    with pytest.raises(UserError, match="more than the limit"):
        read_image(path, max_pixels=99)
    path.write_bytes(HEIC[: len(HEIC) // 2])
    with pytest.raises(UserError, match=r"IMG_1\.HEIC"):
        read_image(path)


def test_without_its_package_a_heic_photo_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("pi_heif", "pillow_heif"):
        monkeypatch.setitem(sys.modules, package, None)  # what is not installed
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(HEIC)
    for read in (read_image, image_info):
        with pytest.raises(UserError, match=r"IMG_1\.HEIC: to read HEIC photos install pi-heif"):
            read(path)


def test_a_raw_file_is_not_taken_for_its_thumbnail(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "TIFF")
    (tmp_path / "a.NEF").write_bytes(file.getvalue())
    with pytest.raises(UserError, match="raw file is not read"):
        read_image(tmp_path / "a.NEF")
