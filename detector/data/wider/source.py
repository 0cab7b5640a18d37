"""Where the parts of WIDER FACE lie on a disk: as folders, or inside the official zip files.

Zip files are untrusted. Only members that the truth lists are read, and they are written under the
truth's own, checked names, so a member called ``../../x`` has no effect; what a member may hold is
limited before it is read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, Protocol

from faces.errors import UserError
from faces.filenames import nfc
from faces.files import read_limited
from faces.folders import place_file, write_stream
from faces.images.find import find_images

Split = Literal["train", "val", "test"]
TruthFormat = Literal["auto", "text", "mat"]
Placement = Literal["link", "copy", "reference"]

_SPLIT_FOLDER = "wider_face_split"
_TRUTH_FILES: dict[tuple[str, str], str] = {
    ("train", "text"): "wider_face_train_bbx_gt.txt",
    ("train", "mat"): "wider_face_train.mat",
    ("val", "text"): "wider_face_val_bbx_gt.txt",
    ("val", "mat"): "wider_face_val.mat",
    ("test", "text"): "wider_face_test_filelist.txt",
}
MAX_TRUTH_BYTES = 200_000_000  # the largest official file has 11 MB
_MAX_IMAGE_BYTES = 100_000_000
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def find_root(source: Path) -> Path:
    """``source``, or the ``widerface`` folder in it, as torchvision names it."""
    if not source.is_dir():
        raise UserError(f"{source} is not a folder; give the one that holds WIDER_train and so on")
    return source / "widerface" if (source / "widerface").is_dir() else source


def splits_in(source: Path) -> list[Split]:
    """Those of train and val whose truth is under ``source``."""
    root = find_root(source)
    splits: tuple[Split, ...] = ("train", "val")
    return [split for split in splits if _find_truth(root, split, "auto") is not None]


def read_truth(root: Path, split: Split, format: TruthFormat) -> tuple[bytes, str]:
    """The bytes of a split's truth and the name to call it; UserError when there is none."""
    found = _find_truth(root, split, format)
    if found is None:
        names = " or ".join(_names(split, format))
        raise UserError(
            f"there is no {names} in {root / _SPLIT_FOLDER} (nor in {_SPLIT_FOLDER}.zip beside it)"
        )
    path, member = found
    if member is None:
        return read_limited(path, MAX_TRUTH_BYTES), str(path)
    with _zip(path) as archive, _member(archive, member, path, MAX_TRUTH_BYTES) as file:
        return file.read(), f"{path}:{member}"


def read_member(archive: Path, name: str) -> bytes:
    """A small member of a zip file, by the last part of its name; UserError when there is none."""
    with _zip(archive) as opened:
        found = _members(opened, name)
        if not found:
            raise UserError(f"{archive}: there is no {name} in it; download it again")
        with _member(opened, found[0], archive, MAX_TRUTH_BYTES) as file:
            return file.read()


class ImageStore(Protocol):
    """The images of one split."""

    sizes: dict[str, int]  # "EVENT/NAME.jpg" in NFC -> bytes

    def place(self, name: str, destination: Path) -> tuple[Path, str]:
        """Bring an image to ``destination`` unless it is there; (where it is now, how it came)."""


@contextmanager
def open_images(
    root: Path, split: Split, placement: Placement, overwrite: bool = False
) -> Iterator[ImageStore]:
    """The images of a split, from ``WIDER_{split}/images`` or ``WIDER_{split}.zip``.

    Without ``overwrite`` an image of another size where one shall be placed is a UserError.

    Raises UserError when there is neither, or when images in a zip file shall be referenced.
    """
    folder, archive = root / f"WIDER_{split}" / "images", root / f"WIDER_{split}.zip"
    if folder.is_dir():
        yield _FolderImages(folder, placement, overwrite)
    elif archive.is_file():
        if placement == "reference":
            raise UserError(
                f"the images in {archive} cannot be left where they are: training reads no zip "
                "files; have them copied, or unpack it"
            )
        with _zip(archive) as opened:
            yield _ZipImages(opened, archive, overwrite)
    else:
        raise UserError(f"there is neither {folder} nor {archive}; `faces prepare download` helps")


def bytes_to_write(store: ImageStore, names: Iterable[str], images: Path) -> int:
    """The bytes that placing will put on the disk, without what is there already."""
    if isinstance(store, _FolderImages) and store.placement != "copy":
        return 0
    return sum(store.sizes[name] for name in names if not (images / name).exists())


class _FolderImages:
    def __init__(self, folder: Path, placement: Placement, overwrite: bool) -> None:
        self.folder = folder.resolve()
        self.placement = placement
        self.overwrite = overwrite
        paths = [path.relative_to(folder) for path in find_images(folder)]
        self.paths = {nfc(path.as_posix()): self.folder / path for path in paths}
        self.sizes = {name: path.stat().st_size for name, path in self.paths.items()}

    def place(self, name: str, destination: Path) -> tuple[Path, str]:
        source = self.paths[name]
        if self.placement == "reference":
            return source, "left in place"
        if _is_there(destination, self.sizes[name], self.overwrite):
            return destination, "already there"
        return destination, place_file(source, destination, link=self.placement == "link")


class _ZipImages:
    def __init__(self, archive: zipfile.ZipFile, path: Path, overwrite: bool) -> None:
        self.archive = archive
        self.path = path
        self.overwrite = overwrite
        self.members: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        for info in archive.infolist():
            _, found, name = f"/{info.filename}".partition("/images/")
            if found and name and not info.is_dir():
                self.members[nfc(name)] = info.filename
                self.sizes[nfc(name)] = info.file_size

    def place(self, name: str, destination: Path) -> tuple[Path, str]:
        if _is_there(destination, self.sizes[name], self.overwrite):
            return destination, "already there"
        with _member(self.archive, self.members[name], self.path, _MAX_IMAGE_BYTES) as file:
            write_stream(file, destination)
        return destination, "extracted"


def _find_truth(root: Path, split: Split, format: TruthFormat) -> tuple[Path, str | None] | None:
    """(file, None), or (zip file, member), of a split's truth."""
    archive = root / f"{_SPLIT_FOLDER}.zip"
    for name in _names(split, format):
        for path in (root / _SPLIT_FOLDER / name, root / name):
            if path.is_file():
                return path, None
        if archive.is_file():
            with _zip(archive) as opened:
                members = _members(opened, name)
            if members:
                return archive, members[0]
    return None


def _members(archive: zipfile.ZipFile, name: str) -> list[str]:
    return [x for x in archive.namelist() if x.rpartition("/")[2] == name]


def _names(split: Split, format: TruthFormat) -> list[str]:
    formats = ("text", "mat") if format == "auto" else (format,)
    return [_TRUTH_FILES[split, x] for x in formats if (split, x) in _TRUTH_FILES]


@contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, *_ZIP_ERRORS) as error:
        raise UserError(f"{path}: not a readable zip file ({error}); download it again") from error
    with archive:
        yield archive


@contextmanager
def _member(archive: zipfile.ZipFile, name: str, path: Path, limit: int) -> Iterator[IO[bytes]]:
    """A member opened for reading; zipfile never gives more than the size that is checked here."""
    size = archive.getinfo(name).file_size
    if size > limit:
        raise UserError(f"{path}: {name} would unpack to {size:,} bytes, more than {limit:,}")
    try:
        with archive.open(name) as file:
            yield file
    except _ZIP_ERRORS as error:
        raise UserError(f"{path}: {name} is damaged ({error}); download it again") from error


def _is_there(destination: Path, size: int, overwrite: bool) -> bool:
    """Whether a placed image can stay; a link that leads nowhere cannot."""
    if not destination.exists():
        return False
    if destination.stat().st_size == size:
        return True
    if destination.is_symlink() or overwrite:
        return False
    raise UserError(
        f"{destination} is another image than the one to be put there; choose another folder; "
        "overwrite=True replaces it"
    )
