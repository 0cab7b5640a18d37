"""YOLO: a line of fractions for each object; boxes, polygons, poses.

https://docs.ultralytics.com/datasets/detect/. ``data.yaml`` names the classes and, for each split,
a folder of images or a text file that lists them; the labels of ``images/a.jpg`` are in
``labels/a.txt``. Without ``data.yaml`` the classes are in ``classes.txt`` (labelImg, Label Studio)
or ``obj.names`` (Darknet, CVAT).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import numbers
from detector.data.formats.readers.yolo_lines import first_with_points, read_labels
from detector.data.formats.source import Source, split_named
from faces.errors import UserError
from faces.files import read_lines
from faces.images.find import IMAGE_SUFFIXES

NAMES = ("classes.txt", "obj.names", "classes.names", "predefined_classes.txt")
_MAX_YAML_BYTES = 1_000_000


def is_yolo_yaml(data: Any) -> bool:
    """Whether a YAML file describes a data set."""
    return isinstance(data, dict) and any(key in data for key in ("train", "val", "names"))


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, plain values only; UserError when it cannot be read."""
    text = "\n".join(read_lines(path, _MAX_YAML_BYTES))
    # Aliases can blow a small file up to any size, and no data.yaml needs them.
    try:
        if any(isinstance(x, yaml.AliasToken) for x in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise UserError(f"{path}: has YAML aliases (*name); write the values out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: not valid YAML; correct it") from error


def read_yolo(source: Source) -> tuple[Source, dict[str, list[LabeledImage]]]:
    """The images by split, and the source, which may be wider than the folder of ``data.yaml``."""
    found = [path for path in source.files(".yaml", ".yml") if is_yolo_yaml(read_yaml(path))]
    if len(found) > 1:
        raise UserError(
            f"{found[0]} and {found[1]} both describe a data set; give the one that shall be read "
            "in place of the folder"
        )
    if found and any(split_named(str(key)) for key in read_yaml(found[0])):
        return _from_yaml(found[0], source)
    # Supervision's data.yaml has nothing but the names of the classes.
    names = _names(read_yaml(found[0]).get("names"), found[0]) if found else _listed_names(source)
    return source, _without_yaml(source, names)


def _from_yaml(path: Path, source: Source) -> tuple[Source, dict[str, list[LabeledImage]]]:
    data = read_yaml(path)
    names = _names(data.get("names"), path)
    shape = data.get("kpt_shape")
    dims = [int(x) for x in numbers(shape, 2, str(path), "kpt_shape")] if shape else None
    parts: list[tuple[str, list[Path]]] = []
    for key, values in data.items():
        split = split_named(str(key))
        if values is None or split is None or (key != split and data.get(split)):
            continue
        several = values if isinstance(values, list) else [values]
        places = [_place(str(value), path, str(data.get("path") or ""), key) for value in several]
        parts.append((split, [place for place in places if place is not None]))
        for value, place in zip(several, places, strict=True):
            if place is None:
                source.count(f"parts of {path.name} that are not there", f"{key}: {value}")
    found = [place for _, several in parts for place in several]
    if not found:
        raise UserError(f"{path}: none of train, val and test is there; correct the paths in it")
    folders = [str(x if x.is_dir() else x.parent) for x in found]
    top = Path(os.path.commonpath([path.parent, *folders]))
    if top != source.root:
        inner, source = source, Source(path, top, source.out)
        source.notes, source._counts = inner.notes, inner._counts
    result = _by_part(parts, names, dims, source)
    if top != path.parent:  # what else lies beside the folder is none of the data set's
        inside = tuple(x if x.is_dir() else x.parent for x in found)
        source.images = [x for x in source.images if any(x.is_relative_to(y) for y in inside)]
    return source, result


def _by_part(
    parts: Sequence[tuple[str, Sequence[Path]]],
    names: dict[int, str],
    dims: list[int] | None,
    source: Source,
) -> dict[str, list[LabeledImage]]:
    """The images of each split's folders and lists, each in the first that it is in."""
    owner: dict[Path, str] = {}
    for split, several in parts:
        for image in [image for place in several for image in _images_in(place, source)]:
            if owner.setdefault(image, split) != split:
                source.count("images that are in two splits, kept in the first", image.name)
    return _read_all(owner, names, dims, source)


def _read_all(
    splits: Mapping[Path, str], names: dict[int, str], dims: list[int] | None, source: Source
) -> dict[str, list[LabeledImage]]:
    files = {image: label_file(image, source) for image in splits}
    if dims is None and (five := first_with_points(files.values())) is not None:
        dims = [5, 2]
        source.count("labels of a box and its five points, by their numbers, from", five)
    result: dict[str, list[LabeledImage]] = {}
    for image, split in splits.items():
        source.used.add(image)
        read = read_labels(image, files[image], names, dims, source)
        result.setdefault(split, []).append(read)
    return result


def _place(value: str, path: Path, base: str, key: str) -> Path | None:
    """The folder or list that ``data.yaml`` names, beside it or in the folder above; else None.

    Roboflow writes ``../train/images`` for what is beside the file, and absolute paths are those of
    another machine more often than not, so the value's last parts are tried too.
    """
    home = path.parent
    parts = [x for x in value.replace("\\", "/").split("/") if x not in ("", ".", "..")]
    tries = [home / base / value, home / value]
    tries += [home.joinpath(*parts[i:]) for i in range(len(parts))]
    for place in (Path(os.path.normpath(x)) for x in tries):
        try:
            if not place.exists():
                continue
        except (OSError, ValueError):  # too long a name, or a NUL
            continue
        if not place.is_relative_to(home.parent):
            raise UserError(
                f"{path}: {key} is {place}, outside of {home.parent}; only what is beside or below "
                "the folder of data.yaml is read: move data.yaml to the images"
            )
        return place
    return None


def _images_in(place: Path, source: Source) -> list[Path]:
    if place.is_dir():
        return [image for image in source.images if image.is_relative_to(place)]
    found = []
    for number, line in enumerate(read_lines(place), start=1):
        if line.strip():
            image = source.find(line.strip(), place.parent, f"{place}, line {number}")
            found += [] if image is None else [image]
    return found


def _names(value: Any, path: Path) -> dict[int, str]:
    if isinstance(value, list):
        return {i: str(name) for i, name in enumerate(value)}
    if isinstance(value, dict) and all(str(key).isdecimal() for key in value):
        return {int(key): str(name) for key, name in value.items()}
    raise UserError(f"{path}: names must list the classes, as `names: [face]`")


def _listed_names(source: Source) -> dict[int, str]:
    lists = [path for path in source.files(".txt", ".names") if path.name.lower() in NAMES]
    if not lists:
        raise UserError(
            f"{source.path}: has neither data.yaml nor classes.txt; write a data.yaml with "
            "`train: images` and `names: [face]`"
        )
    if len({tuple(read_lines(path)) for path in lists}) > 1:
        raise UserError(f"{lists[0]} and {lists[1]} differ; import their folders one by one")
    return {i: line.strip() for i, line in enumerate(read_lines(lists[0])) if line.strip()}


def _without_yaml(source: Source, names: dict[int, str]) -> dict[str, list[LabeledImage]]:
    if parts := _lists(source):
        return _by_part(parts, names, None, source)
    # Without data.yaml nothing says that an image without a file shows no object.
    labeled = [image for image in source.images if label_file(image, source) is not None]
    return _read_all({image: source.split_of(image) for image in labeled}, names, None, source)


def _lists(source: Source) -> list[tuple[str, list[Path]]]:
    """Darknet's lists of images, train.txt and valid.txt, by split."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in source.files(".txt"):
        split = split_named(path.stem)
        line = next(filter(str.strip, read_lines(path)), "") if split else ""
        if split and Path(line.strip()).suffix.lower() in IMAGE_SUFFIXES:
            found[split].append(path)
    return list(found.items())


def label_file(image: Path, source: Source) -> Path | None:
    """An image's labels: "images" in its path, the last one at best, becomes "labels"; or beside.

    Names are compared in one Unicode form and any letter case where they are not the same.
    """
    place = image.relative_to(source.root.parent).with_suffix(".txt")
    for i in range(len(place.parts) - 2, -1, -1):
        if place.parts[i].lower() == "images":
            parts = [*place.parts[:i], "labels", *place.parts[i + 1 :]]
            found = source.text_at(source.root.parent.joinpath(*parts))
            if found is not None:
                return found
    return source.text_at(source.root.parent / place)


def has_labels(source: Source) -> bool:
    """Whether there are images with a text file of labels."""
    return any(label_file(image, source) is not None for image in source.images)
