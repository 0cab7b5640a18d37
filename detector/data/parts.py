"""The parts of a data set in one folder: what to train on, and what to validate on.

DIR/train/images, DIR/train/annotations, DIR/val/...    as `faces prepare` writes it
DIR/images/train, DIR/annotations/train, ...            sets first, then parts
DIR/train, DIR/valid with images and .xml together      as other tools export VOC
DIR/images, DIR/annotations                             one set, not divided, or by the lists
                                                        of DIR/ImageSets/Main
DIR with images and .xml together                       the same

Or data.yaml, COCO's JSON or what else `faces prepare import` reads, as a file or a folder: then the
images stay where they are.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from detector.data.formats.load import Format, format_of, load_dataset
from detector.data.formats.readers.voc import image_sets
from detector.data.formats.source import LABEL_SUFFIXES
from detector.data.formats.write import to_voc
from detector.data.voc.folder import VocFolder, find_sets
from detector.data.voc.truth import LabelFile
from faces.errors import UserError
from faces.images.find import find_files, find_images

log = logging.getLogger(__name__)

_TRAIN = ("train", "training")
_VALID = ("val", "valid", "validation")
_TEST = ("test", "testing")
_XML = frozenset({".xml"})


@dataclass(frozen=True)
class Part:
    """Images and what is in them: the folder of VOC files, or what another tool's file says."""

    images: Path
    annotations: Path | LabelFile


@dataclass(frozen=True)
class Parts:
    """What a folder holds."""

    # what to train on; where ``valid`` is None it is all there is, not divided yet. None: the
    # folder has only a validation part.
    train: Part | None
    valid: Part | None  # what to validate on
    test: Part | None = None  # what to evaluate on at the end


def find_parts(folder: Path, *, tested: bool = False) -> Parts:
    """The parts of the data set in ``folder``, or in the file of another tool.

    Unless it is to be ``tested``, a part called test is of no use, which is logged, and alone it is
    refused. What reading passed over is logged. Raises UserError when there is no part, for several
    sets that are no parts, and as `load_dataset` does.
    """
    if not folder.exists():
        raise UserError(f"data={folder}: there is no such folder")
    xml = find_files(folder, _XML) if folder.is_dir() else []
    if not xml or format_of(xml[0]) == "cvat":
        return _labeled(folder, tested=tested)
    named: dict[str, list[VocFolder]] = {"train": [], "val": [], "test": [], "": []}
    for found in _sets(folder):
        named[_part(found.name)].append(found)
    for name, several in named.items():
        if len(several) > 1:
            both = " and ".join(f"{found.images}" for found in several[:2])
            what = f"several parts to {'validate' if name == 'val' else name}" if name else "sets"
            raise UserError(f"data={folder} has {what}: {both}; give one of them")
    if named[""] and (named["train"] or named["val"]):
        raise UserError(
            f"data={folder} has the part {(named['train'] or named['val'])[0].name}, and "
            f"{named[''][0].images} beside it: move one of them away"
        )
    if named[""]:
        lists, _ = image_sets(named[""][0], find_images(named[""][0].images))
        if "train" in lists.values():
            return _labeled(folder, "voc", tested=tested)
    whole = named["train"] or named[""]
    train, valid, test = (
        Part(found[0].images, found[0].annotations) if found else None
        for found in (whole, named["val"], named["test"])
    )
    return _told(Parts(train, valid, test), folder, tested)


def _told(parts: Parts, path: Path, tested: bool) -> Parts:
    """The parts, after what is to be said of the one to test."""
    if parts.test is not None and not tested:
        if parts.train is None and parts.valid is None:
            raise UserError(f"data={path} has only a part to test: `faces evaluate --part test`")
        log.info("the test part of %s is left out: `faces evaluate --part test` takes it", path)
    return parts


def _labeled(path: Path, format: Format | None = None, *, tested: bool) -> Parts:
    """The parts of a data set in another tool's format, by one reader with `prepare import`."""
    if path.is_dir() and not find_files(path, LABEL_SUFFIXES):
        raise UserError(
            f"data={path} has no annotations: expected train/images, train/annotations and the "
            "same in val, or images and annotations only, with PASCAL VOC files (.xml); or the "
            "labels of another tool"
        )
    try:
        dataset = load_dataset(path, scratch=None, format=format)
    except UserError as error:
        raise UserError(f"data={error}") from error
    for note in dataset.notes:
        log.warning("%s: %s", path, note)
    folders = {item.path.parent for items in dataset.splits.values() for item in items}
    here = os.path.abspath(path if path.is_dir() else path.parent)  # noqa: PTH100 (takes out "..")
    top = Path(os.path.commonpath([here, *folders]))
    parts = {
        split: Part(top, LabelFile(path, {x.path: to_voc(x, x.path.name) for x in items}))
        for split, items in dataset.splits.items()
    }
    return _told(Parts(parts.get("train"), parts.get("val"), parts.get("test")), path, tested)


def voc_sets(folder: Path) -> list[VocFolder]:
    """The sets of PASCAL VOC files in a folder, the parts of one as sets of their own.

    A part is called train, val or test, whatever word its folder has for it. Where some pictures or
    annotations lie in no part, the set is not divided. Raises UserError when there is no set.
    """
    found, whole = _sets(folder), find_sets(folder)
    if _files(found) < _files(whole):
        return whole
    named = [_part(one.name) or one.name for one in found]
    if len(set(named)) < len(named):
        return found
    return [replace(one, name=name) for one, name in zip(found, named, strict=True)]


def _files(sets: list[VocFolder]) -> set[Path]:
    return {
        path
        for one in sets
        for path in (*find_images(one.images), *find_files(one.annotations, _XML))
    }


def _sets(folder: Path) -> list[VocFolder]:
    found = find_sets(folder)
    if found == [VocFolder("", folder, folder)]:
        found = []
    seen = {Path(part.name).parts[:1] for part in found}
    for part in _subfolders(folder):  # those with images and .xml together
        if _part(part.name) and (part.name,) not in seen and find_files(part, _XML):
            found += [VocFolder(part.name, x.images, x.annotations) for x in find_sets(part)]
    if not found:
        return [VocFolder("", folder, folder)]
    if len(found) > 1 or found[0].name:
        return found
    [whole] = found
    parts = []
    for part in _subfolders(whole.images):
        if _part(part.name):
            own = whole.annotations / part.name
            annotations = own if own.is_dir() else whole.annotations
            parts.append(VocFolder(part.name, part, annotations))
    return parts or found


def _part(name: str) -> str:
    words = Path(name).parts[-1:]
    word = words[0].lower() if words else ""
    for part, names in (("train", _TRAIN), ("val", _VALID), ("test", _TEST)):
        if word in names:
            return part
    return ""


def _subfolders(folder: Path) -> list[Path]:
    return sorted(x for x in folder.iterdir() if x.is_dir() and not x.name.startswith("."))
