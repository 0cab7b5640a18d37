"""One image file, opened and decoded: what may be read, within which limits, and what is wrong."""

from __future__ import annotations

import importlib
import io
import struct
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from faces.errors import UserError
from faces.files import refuse_pipe
from faces.images import cut_short
from faces.images.decode import all_bits, has_deep_colors, has_odd_numbers, load
from faces.images.pixels import rgb_of_array
from faces.images.png_chunks import late_metadata

MAX_PIXELS = 100_000_000  # 300 MB when decoded

# Only these decoders are tried. Pillow knows others that nobody needs here and that run outside
# programs (EPS starts Ghostscript). MPO files, as phones make them, are read as JPEG.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")

# Pictures that are not read, and that a folder may not hold without a word.
RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".kdc", ".mrw", ".nef", ".nrw", ".orf"}
    | {".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
# Packages that teach Pillow HEIC. The second one's wheels hold the encoder x265, which is GPL, so
# it is used where somebody has it but never asked for.
_HEIC_PACKAGES = ("pi_heif", "pillow_heif")

# What Pillow's decoders raise on broken files, besides OSError.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error, RuntimeError, Image.DecompressionBombError),
)

_ORIENTATION_TAG = 0x0112
_EXIF_BLOCK, _TAKEN_TAG = 0x8769, 0x9003


@dataclass(frozen=True)
class ImageFile:
    """An image whose header has been read; decoded where that was asked for."""

    picture: Image.Image
    kind: str
    profile: bytes | None
    height: int  # of the upright image
    width: int
    orientation: int
    turned: bool  # the picture is upright already
    damage: str = ""
    taken: datetime | None = None
    """When the photo was taken, by the camera's clock."""


def read_file(
    path: Path | BinaryIO,
    decode: bool = False,
    max_pixels: int = MAX_PIXELS,
    draft: bool = False,
    least: int = 1,
) -> ImageFile:
    """Open an image, and with ``decode`` read all of it, as far as it is there.

    With ``draft`` its pixels are not needed in full, only whether they can be read: a JPEG is
    decoded at an eighth of its size, or more where a side would have fewer than ``least`` pixels.
    Whatever a decoder raises becomes a UserError that names the file.
    """
    name = name_of(path)
    if isinstance(path, Path):
        refuse_pipe(path)
    try:
        image, damage = _open(path)
        with image:
            if decode:
                limit_pixels(name, image, max_pixels)
            orientation, taken = orientation_of(image), _taken(image)
            width, height = image.size
            # Pillow turns TIFF files itself: their size when it opens them, their pixels later.
            tiff = image.format == "TIFF"
            if orientation >= 5 and not tiff:
                width, height = height, width
            if draft:  # makes JPEG three times faster, and still reads every byte
                image.draft("RGB", (max(least, width // 8), max(least, height // 8)))
            picture = image
            if decode:
                picture, damage = _decode(path, image, damage, tiff and orientation != 1)
            kind, profile = image.format or "", image.info.get("icc_profile")
            return ImageFile(
                picture, kind, profile, height, width, orientation, tiff, damage, taken
            )
    except FileNotFoundError as error:
        raise UserError(f"{name}: there is no such file") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: {_unknown(path)}") from error
    except BROKEN as error:
        raise UserError(f"{name}: cannot read the image: {error}") from error


def _open(path: Path | BinaryIO) -> tuple[Image.Image, str]:
    """The image, its header read, and what is wrong with the file (see `ImageInfo.damage`)."""
    if isinstance(path, Path) and path.suffix.lower() in RAW_SUFFIXES:
        raise UserError(f"{path}: a camera's raw file is not read: save it as JPEG")
    try:
        return Image.open(path, formats=_FORMATS), ""
    except (FileNotFoundError, Image.DecompressionBombError):
        raise
    except BROKEN:
        if isinstance(path, Path) and not path.is_file():
            raise
        kind = image_kind(_bytes(path, 32))
        if kind is None:  # a film, say, which is not read as a whole to find out
            raise
        data, heic = _bytes(path), kind == "heic"
        longer = cut_short.padded(data)
        if not heic and longer is None:
            raise
        if heic:
            _learn_heic(path)
        data, missing = longer or (data, 0.0)
        damage = cut_short.damage(missing) if longer else ""
        return Image.open(io.BytesIO(data), formats=("HEIF",) if heic else _FORMATS), damage


def _decode(
    path: Path | BinaryIO, image: Image.Image, damage: str, whole: bool
) -> tuple[Image.Image, str]:
    """The decoded image, as far as it is there unless only a ``whole`` one will do."""
    try:
        deep = has_deep_colors(image)
        load(image)
        return _bright(path, image) if deep else image, damage
    except BROKEN as error:
        if whole:
            raise
        data = _bytes(path)
        formats = ("HEIF",) if image.format == "HEIF" else _FORMATS
        for filling in cut_short.FILLINGS:
            longer = cut_short.padded(data, filling)
            if longer is None:
                picture, missing = cut_short.decode_partly(data, formats)
                return picture, cut_short.damage(missing)
            damage = cut_short.damage(longer[1])
            try:
                picture = Image.open(io.BytesIO(longer[0]), formats=formats)
                load(picture)
                return picture, damage
            except BROKEN:
                continue
        raise ValueError(_needs_end(image)) from error


def _bright(path: Path | BinaryIO, image: Image.Image) -> Image.Image:
    """An image with deep colors, of which 12 bits and fewer would be nearly black as they are."""
    if np.asarray(image)[..., :3].max() > 15:
        return image
    with Image.open(path, formats=(image.format or "",)) as same:
        return Image.fromarray(rgb_of_array(all_bits(image, same)))


def _needs_end(image: Image.Image) -> str:
    return f"the file is cut short, and this {image.format} cannot be decoded without its end"


def _learn_heic(path: Path | BinaryIO) -> None:
    """Teach Pillow HEIC. Raises UserError when no package for it is installed."""
    for package in _HEIC_PACKAGES:
        try:
            module = importlib.import_module(package)
        except ImportError:
            continue
        module.register_heif_opener(thumbnails=False)
        return
    raise UserError(
        f"{name_of(path)}: to read HEIC photos install pi-heif: pip install pi-heif (the extra "
        "`heic` of this project), or save them as JPEG"
    )


def _unknown(path: Path | BinaryIO) -> str:
    start = _bytes(path, 32)
    if not start:
        return "cannot read the image: the file is empty"
    kind = image_kind(start)
    if kind == "avif" and not features.check("avif"):
        return "this Pillow cannot read AVIF: pip install --upgrade pillow"
    if kind == "tiff" and has_odd_numbers(path):
        return "a TIFF with numbers of this kind is not read: save it with 8 or 16 bits"
    if kind is not None:
        return f"cannot read the image: it begins like {kind}, and is damaged or cut short"
    return "cannot read the image: it is none, or of a kind that is not read (save it as JPEG)"


def _bytes(path: Path | BinaryIO, count: int = -1) -> bytes:
    if isinstance(path, Path):
        with path.open("rb") as file:
            return file.read(count)
    path.seek(0)
    return path.read(count)


def limit_pixels(name: str, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UserError(
            f"{name}: the image has {width}x{height} pixels, more than the limit of "
            f"{max_pixels}; make it smaller"
        )


def orientation_of(image: Image.Image) -> int:
    try:
        value = _exif(image).get(_ORIENTATION_TAG, 1)
    except BROKEN:  # a photo is worth more than its damaged EXIF block
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _taken(image: Image.Image) -> datetime | None:
    try:
        text = _exif(image).get_ifd(_EXIF_BLOCK).get(_TAKEN_TAG, "")
        return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except BROKEN:  # among them ValueError: cameras whose clock was never set write zeros or spaces
        return None


def _exif(image: Image.Image) -> Image.Exif:
    """As ``image.getexif()`` has it, but never by decoding: a small PNG file can be gigabytes."""
    file = getattr(image, "fp", None)
    if image.format == "PNG" and "exif" not in image.info and file is not None:
        for name, value in late_metadata(file).items():
            image.info.setdefault(name, value)
    return Image.Image.getexif(image) if image.format == "PNG" else image.getexif()


def name_of(path: Path | BinaryIO) -> str:
    return str(path if isinstance(path, Path) else getattr(path, "name", "image"))


def image_kind(data: bytes) -> str | None:
    """What kind of image a file is, by its first bytes (32 will do); None when it is none.

    "jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic" or "jpeg2000".
    """
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, len(data[:32]), 4))}
        if brands & {b"avif", b"avis"}:
            return "avif"
        return "heic" if brands & _HEIC_BRANDS else None
    if data[:4] == b"RIFF":
        return "webp" if data[8:12] == b"WEBP" else None
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


_HEIC_BRANDS = {
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
}
_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"BM", "bmp"),
)
