"""What the readers share: the folder that is read, its images by their listed names, its notes.

Label files are untrusted. Images are only ever taken from those that were found under the folder,
so a listed ``../../etc/passwd`` names nothing.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import Box
from detector.data.formats.points import LoosePoint, assign, place_of
from detector.data.voc.annotation import VocObject
from detector.data.voc.truth import is_ignored
from detector.data.voc.xml import ILLEGAL
from faces.errors import UserError
from faces.filenames import folded, last_part, nfc, original, readings
from faces.images.find import IMAGE_SUFFIXES, find_files, find_images

LABEL_SUFFIXES = frozenset({".json", ".xml", ".yaml", ".yml", ".txt", ".names"})

_SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_LAYOUT = {"images", "jpegimages"}
_BESIDE = ("annotations", "labels")
"""Folders of label files beside the one of the images."""
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_OWN_TAGS = {"name", "bndbox", "difficult", "landmarks", "part", "actions", "polygon"}

Points = Sequence[tuple[float, float] | None]


class Source:
    """A folder with images and label files, and what reading it has to tell.

    Args:
        path: the folder, or the one label file that shall be read.
        root: where images are looked for; by default the folder, or the file's own (the one above
            it, when that is called "annotations").
        out: where the data set will be written; images there are taken for want of others only.
    """

    def __init__(self, path: Path, root: Path | None = None, out: Path | None = None) -> None:
        # abspath takes ".." out as resolve() does, but does not follow links.
        self.path = path = Path(os.path.abspath(path))  # noqa: PTH100
        if root is None:
            root = path if path.is_dir() else path.parent
            if root != path and root.name.lower() in _BESIDE:
                root = root.parent
        self.root = root
        self.out = out and Path(os.path.abspath(out))  # noqa: PTH100
        found = find_images(self.root, LABEL_SUFFIXES)
        self.images = [x for x in found if x.suffix.lower() not in LABEL_SUFFIXES]
        self.used: set[Path] = set()
        self._labeled: dict[Path, str] = {}
        # By place; made when it is first asked for.
        self._texts: defaultdict[str, list[Path]] | None = None
        self.notes: list[str] = []
        self._counts: defaultdict[str, list[str]] = defaultdict(list)
        self._by_place = {self._place(image): image for image in self.images}
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        self._by_bare_name: defaultdict[str, list[Path]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[Path]] = defaultdict(list)
        for image in self.images:
            self._by_name[folded(image.name)].append(image)
            self._by_bare_name[folded(image.stem)].append(image)
            self._by_stem[_bare(self._place(image))].append(image)

    def files(self, *suffixes: str) -> list[Path]:
        """The label files with one of these suffixes: the given one, or all in the folder."""
        if not self.path.is_dir():
            return [self.path] if self.path.suffix.lower() in suffixes else []
        return find_files(self.path, frozenset(suffixes))

    def find(self, listed: str, near: Path, where: str, split: str | None = None) -> Path | None:
        """The image that a label file lists, or None, which is noted.

        Args:
            listed: the name as written, with folders of any system.
            near: the folder it is relative to, if it is.
            split: as `named_split` has it for the label file.

        For each of its `readings` in turn: the very place; the image of that name (in any letter
        case) whose folders agree with the listed ones most; of those the ones under ``near``, then
        the ones in a folder of the split, and then the one at the very place but for the folders
        that a layout adds. An image in the folder of another split is none of them, unless that
        folder is listed. A listed name without a picture's suffix, as CVAT gives the frames of a
        film, is that of an image with any. At last the one image at the place whose name differs in
        its suffix alone. UserError when several are left.
        """
        for reading in readings(nfc(listed)):
            exact, parts = _exact(reading, near)
            image = self._by_place.get(self._place(exact))
            if image is None:
                ends = [folded(part) for part in parts]
                name = folded(last_part(reading))
                same: Sequence[Path] = self._by_name.get(name, [])
                if name and not same and not name.endswith(tuple(IMAGE_SUFFIXES)):
                    same = self._by_stem.get(folded(self._place(exact)), [])
                    same = same or self._by_bare_name.get(name, [])
                same = self._closest(same, ends, near, split)
                if len(same) > 1:
                    raise UserError(
                        f"{where}: {listed!r} could be {same[0]} or {same[1]}; give the images "
                        "different names, or import each folder on its own"
                    )
                image = same[0] if same else None
            if image is None and len(same := self._by_stem.get(_bare(self._place(exact)), [])) == 1:
                image = same[0]
                self.count("images with another suffix than listed", f"{image.name} ({where})")
            if image is not None:
                self.used.add(image)
                return image
        self.count("listed images that are not there, left out", f"{listed} ({where})")
        return None

    def has(self, listed: str, near: Path) -> bool:
        """Whether the listed image is at its very place, or one of its name under ``near``, or the
        only one of its name, with no labels of its own beside it."""
        base = near.absolute()
        named = self._by_name.get(folded(last_part(listed)), [])
        alone = len(named) == 1 and not named[0].with_suffix(".json").exists()
        return (
            alone
            or any(image.is_relative_to(base) for image in named)
            or any(
                self._place(_exact(reading, near)[0]) in self._by_place
                for reading in readings(nfc(listed))
            )
        )

    def text_at(self, place: Path) -> Path | None:
        """The .txt file at a place, whatever the form of its name; None for none or several."""
        if place.is_file():
            return place
        if self._texts is None:
            folders = [self.root]
            if self.root.name.lower() == "images":  # its labels lie beside it
                folders += [x for x in self.root.parent.iterdir() if x.name.lower() == "labels"]
            self._texts = defaultdict(list)
            for folder in filter(Path.is_dir, folders):
                for path in find_files(folder, frozenset({".txt"})):
                    name = path.relative_to(self.root.parent).as_posix()
                    for key in {folded(name), original(name)}:
                        self._texts[key].append(path)
        name = place.relative_to(self.root.parent).as_posix()
        found = self._texts.get(folded(name)) or self._texts.get(original(name), [])
        return found[0] if len(found) == 1 else None

    def _closest(
        self, same: Sequence[Path], ends: Sequence[str], near: Path, split: str | None
    ) -> Sequence[Path]:
        if split is not None:
            same = [
                image
                for image in same
                if self.named_split(image) in (None, split) or self._is_listed(image, ends)
            ]
        if len(same) > 1 and self.out is not None:
            splits = [self.out / split / "images" for split in ("train", "val", "test")]
            same = [x for x in same if not any(x.is_relative_to(y) for y in splits)] or same
        if len(same) > 1:
            agree = [self._agreement(image, ends) for image in same]
            same = [x for x, many in zip(same, agree, strict=True) if many == max(agree)]
        base = near.absolute()
        if len(same) > 1:
            same = [image for image in same if image.is_relative_to(base)] or same
        if len(same) > 1:
            wanted = split or "train"
            same = [image for image in same if self.split_of(image) == wanted] or same
        if base != self.root and base.name.lower() in _BESIDE:
            base = base.parent
        if len(same) > 1 and base.is_relative_to(self.root):
            place = folded(_without_layout([*base.relative_to(self.root).parts, *ends]))
            names = [folded(self.name_of(_as_listed(image, ends))) for image in same]
            same = [x for x, name in zip(same, names, strict=True) if name == place] or same
        return same

    def _is_listed(self, image: Path, ends: Sequence[str]) -> bool:
        """Whether the folder that says an image's split is one of the listed ones."""
        folders = ends[len(ends) - self._agreement(image, ends) : -1]
        return self.named_split(image) in map(split_named, folders)

    def _agreement(self, image: Path, ends: Sequence[str]) -> int:
        """How many of an image's last folders and its name are the listed ones."""
        pairs = zip(reversed(_as_listed(image, ends).parts), reversed(ends), strict=False)
        return sum(1 for _ in takewhile(lambda pair: folded(pair[0]) == pair[1], pairs))

    def _place(self, image: Path) -> str:
        try:
            return nfc(image.relative_to(self.root).as_posix())
        except ValueError:
            return ""

    def split_of(self, path: Path, text: str = "") -> str:
        """Train, val or test, as ``text`` or the folders or name of a file say; else train."""
        return self.named_split(path, text) or "train"

    def named_split(self, path: Path, text: str = "") -> str | None:
        """The split that ``text`` or the folders or name of a file say, None for none."""
        if (split := split_named(text)) is not None:
            return split
        try:
            parts = path.absolute().relative_to(self.root).parts
        except ValueError:
            parts = path.parts[-1:]
        for part in parts[:-1]:
            if (split := split_named(part)) is not None:
                return split
        if path.suffix.lower() in (".json", ".xml", ".txt"):
            for word in re.split(r"[^a-z0-9]+", folded(path.stem)):
                if (split := split_named(word)) is not None:
                    return split
        return None

    def name_of(self, image: Path) -> str:
        """Where an image goes below ``images/``: its place here without what the layout adds."""
        return _without_layout(image.relative_to(self.root).parts)

    def refuse_twice(self, image: Path, where: str) -> None:
        """Raise UserError where ``where`` labels an image that was labeled before."""
        if image in self._labeled:
            raise UserError(
                f"{where}: {image.name} is also in {self._labeled[image]}; remove one, or give the "
                "one file that shall be read in place of the folder"
            )
        self._labeled[image] = where

    def count(self, what: str, which: str) -> None:
        """Remember something to be told at the end, with the first few names."""
        self._counts[what].append(which)

    def told(self) -> tuple[str, ...]:
        """All notes: what was counted, and images that nothing refers to."""
        notes = list(self.notes)
        unused = [x.relative_to(self.root).as_posix() for x in self.images if x not in self.used]
        counts = dict(self._counts)
        if unused:
            counts["images without labels, left out"] = unused
        for what, names in counts.items():
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            notes.append(f"{what}: {len(names):,} ({', '.join(names[:3])}{more})")
        return tuple(notes)


class Labels:
    """The boxes of one image, as they are gathered."""

    def __init__(self, source: Source, where: str) -> None:
        self.source, self.where = source, where
        self.objects: list[VocObject] = []
        self.groups: list[Hashable] = []
        self.loose: list[LoosePoint] = []

    def add(
        self,
        box: Box,
        name: str,
        difficult: bool = False,
        landmarks: Points = (),
        attributes: Mapping[str, object] | None = None,
        group: Hashable = None,
    ) -> None:
        """Add a box in pixels; regions to be ignored, by their name, are difficult."""
        plain, hard = self._plain(attributes or {}), difficult or is_ignored(name)
        five = tuple(landmarks) if any(point is not None for point in landmarks) else ()
        name = ILLEGAL.sub("", name).strip()
        self.objects.append(VocObject(name, box, hard, plain, landmarks=five))
        self.groups.append(group)

    def add_points(
        self, name: str, points: Sequence[Sequence[float]], where: str, group: Hashable = None
    ) -> None:
        """Add one of the five points of a face, or all in their order, to go to its box later.

        Args:
            name: says which a single one is.
            points: x y in pixels.
            group: what is kept together has the same; None: the tool does not say.
        """
        place = place_of(name)
        if len(points) == 5:
            group = group if group is not None else ("five", where)
            found = list(enumerate(points))
        elif len(points) == 1 and place is not None:
            found = [(place, points[0])]
        else:
            self.source.count("points that are not the five of a face, passed over", where)
            return
        self.loose += [LoosePoint(k, (xy[0], xy[1]), group, where) for k, xy in found]

    def _plain(self, attributes: Mapping[str, object]) -> dict[str, str]:
        kept = {}
        for key, value in attributes.items():
            if value is None or not isinstance(value, str | int | float | bool):
                continue
            if not _TAG.fullmatch(key) or key.lower() in _OWN_TAGS or key.lower().startswith("xml"):
                self.source.count("attributes whose name cannot be kept", f"{key} ({self.where})")
                continue
            text = str(int(value)) if isinstance(value, bool) else str(value)
            kept[key] = ILLEGAL.sub("", text).strip()
        return kept

    def image(self, path: Path, size: tuple[int, int], name: str = "") -> LabeledImage:
        """The image with these boxes; ``size`` is (width, height) as the label file has it."""
        owned, left = assign(self.loose, [item.xyxy for item in self.objects], self.groups)
        for i, several in owned.items():
            five = list(self.objects[i].landmarks) or [None] * 5
            for point in several:
                five[point.place] = point.xy
            self.objects[i] = replace(self.objects[i], landmarks=tuple(five))
        for point in left:
            self.source.count("points of a face that belong to no box, left out", point.where)
        name = name or self.source.name_of(path)
        return LabeledImage(path, name, *size, tuple(self.objects))


def _exact(reading: str, near: Path) -> tuple[Path, list[str]]:
    """The very place of a listed image, and the folders and name that are listed."""
    parts = [x for x in reading.split("/") if x not in ("", ".")]
    return Path(os.path.normpath(near.absolute().joinpath(*parts))) if parts else near, parts


def _as_listed(image: Path, ends: Sequence[str]) -> Path:
    """Without its suffix where it is listed so."""
    return image.with_suffix("") if folded(image.stem) == ends[-1] else image


def _without_layout(parts: Sequence[str]) -> str:
    """Folders and name as a path, without the folders that a layout adds."""
    kept = [x for x in parts[:-1] if folded(x) not in _LAYOUT and split_named(x) is None]
    return "/".join([*kept, parts[-1]])


def _bare(place: str) -> str:
    """A place without its suffix, in any letter case."""
    return folded(os.path.splitext(place)[0])  # noqa: PTH122


def split_named(text: str) -> str | None:
    """The split that a word means: of "Training", "train" and "train2017" "train"."""
    return _SPLITS.get(folded(text).strip().rstrip("0123456789"))
