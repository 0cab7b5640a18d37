"""The parts of a data set in one folder: what to train on, and what to validate on.

DIR/train/images, DIR/train/annotations, DIR/val/...    as `faces prepare` writes it
DIR/images/train, DIR/annotations/train, ...            sets first, then parts
DIR/train, DIR/valid with images and .xml together      as other tools export VOC
DIR/images, DIR/annotations                             one set, not divided
DIR with images and .xml together                       the same
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from detector.data.voc.folder import VocFolder, find_sets
from faces.errors import UserError
from faces.images.find import find_files

log = logging.getLogger(__name__)

_TRAIN = ("train", "training")
_VALID = ("val", "valid", "validation")
_TEST = ("test", "testing")
_XML = frozenset({".xml"})
_OTHERS = frozenset({".yaml", ".yml", ".json", ".jsonl"})


@dataclass(frozen=True)
class Parts:
    """What a folder holds.

    Args:
        train: what to train on; where ``valid`` is None it is all there is, not divided yet. None:
            the folder has only a validation part.
        valid: what to validate on.
    """

    train: VocFolder | None
    valid: VocFolder | None


def find_parts(folder: Path) -> Parts:
    """The parts of the data set in ``folder``. A part called test is left out, which is logged.

    Raises UserError when there is none, several sets that are no parts, or data in another format.
    """
    if not folder.exists():
        raise UserError(f"data {folder}: there is no such folder")
    if not folder.is_dir():
        raise UserError(f"data {folder} is a file: {_import_first(folder)}")
    if not find_files(folder, _XML):
        others = find_files(folder, _OTHERS)
        if others:
            raise UserError(
                f"data {folder} has no PASCAL VOC annotations (.xml), but {others[0].name}: "
                + _import_first(folder)
            )
        raise UserError(
            f"data {folder} has no PASCAL VOC annotations (.xml): expected train/images, "
            "train/annotations and the same in val, or images and annotations only; "
            + _import_first(folder)
        )
    named: dict[str, list[VocFolder]] = {"train": [], "val": [], "test": [], "": []}
    for found in _sets(folder):
        named[_part(found.name)].append(found)
    for name, several in named.items():
        if len(several) > 1:
            both = " and ".join(f"{found.images}" for found in several[:2])
            what = f"several parts to {'validate' if name == 'val' else name}" if name else "sets"
            raise UserError(f"data {folder} has {what}: {both}; give one of them")
    if named[""] and (named["train"] or named["val"]):
        raise UserError(
            f"data {folder} has the part {(named['train'] or named['val'])[0].name}, and "
            f"{named[''][0].images} beside it: move one of them away"
        )
    if named["test"]:
        log.info("%s is left out: it is for `faces evaluate`", named["test"][0].images)
    train, valid = (*named["train"], *named[""]), named["val"]
    if not train and not valid:
        raise UserError(f"data {folder} has only a part to test: {named['test'][0].images}")
    return Parts(train[0] if train else None, valid[0] if valid else None)


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


def _import_first(path: Path) -> str:
    return f"for data of other tools run `faces prepare import {path} --out data` first"
