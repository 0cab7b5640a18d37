"""YOLO: a line of fractions for each object; boxes, polygons, poses.

https://docs.ultralytics.com/datasets/detect/. ``data.yaml`` names the classes and, for each split,
a folder of images or a text file that lists them; the labels of ``images/a.jpg`` are in
``labels/a.txt``. Without ``data.yaml`` the classes are in ``classes.txt`` (labelImg, Label Studio)
or ``obj.names`` (Darknet, CVAT).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import around, numbers, read_limited, read_lines
from detector.data.formats.source import Labels, Points, Source
from faces.errors import UserError
from faces.images.read import image_info

NAMES = ("classes.txt", "obj.names", "classes.names", "predefined_classes.txt")
_MAX_YAML_BYTES = 1_000_000


def is_yolo_yaml(data: Any) -> bool:
    """Whether a YAML file describes a data set."""
    return isinstance(data, dict) and any(key in data for key in ("train", "val", "names"))


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, plain values only; UserError when it cannot be read."""
    text = read_limited(path, _MAX_YAML_BYTES)
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
    if found:
        return _from_yaml(found[0], source)
    return source, _without_yaml(source)


def _from_yaml(path: Path, source: Source) -> tuple[Source, dict[str, list[LabeledImage]]]:
    data = read_yaml(path)
    names = _names(data.get("names"), path)
    shape = data.get("kpt_shape")
    dims = [int(x) for x in numbers(shape, 2, str(path), "kpt_shape")] if shape else None
    parts: list[tuple[str, list[Path]]] = []
    for key, split in (("train", "train"), ("val", "val"), ("valid", "val"), ("test", "test")):
        values = data.get(key)
        if values is None or (key == "valid" and data.get("val")):
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
        inner, source = source, Source(path, top)
        source.notes, source._counts = inner.notes, inner._counts
    result: dict[str, list[LabeledImage]] = {}
    owner: dict[Path, str] = {}
    for split, several in parts:
        for image in [image for place in several for image in _images_in(place, source)]:
            if image in owner:
                if owner[image] != split:
                    source.count("images that are in two splits, kept in the first", image.name)
                continue
            owner[image] = split
            source.used.add(image)
            result.setdefault(split, []).append(_read(image, names, dims, source))
    if top != path.parent:  # what else lies beside the folder is none of the data set's
        inside = tuple(x if x.is_dir() else x.parent for x in found)
        source.images = [x for x in source.images if any(x.is_relative_to(y) for y in inside)]
    return source, result


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


def _without_yaml(source: Source) -> dict[str, list[LabeledImage]]:
    lists = [path for path in source.files(".txt", ".names") if path.name.lower() in NAMES]
    if not lists:
        raise UserError(
            f"{source.path}: has neither data.yaml nor classes.txt; write a data.yaml with "
            "`train: images` and `names: [face]`"
        )
    if len({tuple(read_lines(path)) for path in lists}) > 1:
        raise UserError(f"{lists[0]} and {lists[1]} differ; import their folders one by one")
    names = {i: line.strip() for i, line in enumerate(read_lines(lists[0])) if line.strip()}
    result: dict[str, list[LabeledImage]] = {}
    for image in source.images:
        # Without data.yaml nothing says that an image without a file shows no object.
        if label_file(image, source.root).is_file():
            source.used.add(image)
            split = source.split_of(image)
            result.setdefault(split, []).append(_read(image, names, None, source))
    return result


def label_file(image: Path, root: Path) -> Path:
    """Where an image's labels are: "images" in its path, the last one, becomes "labels"."""
    parts = list(image.relative_to(root.parent).parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].lower() == "images":
            parts[i] = "labels"
            swapped = root.parent.joinpath(*parts).with_suffix(".txt")
            return swapped if swapped.is_file() else image.with_suffix(".txt")
    return image.with_suffix(".txt")


def _read(
    image: Path, names: dict[int, str], dims: list[int] | None, source: Source
) -> LabeledImage:
    path = label_file(image, source.root)
    labels = Labels(source, str(path))
    try:
        info = image_info(image)
    except UserError:  # `prepare check` names it; its boxes cannot be in pixels
        source.count("unreadable images, their boxes left out", image.name)
        return labels.image(image, (0, 0))
    if not path.is_file():
        source.count("images without a label file, taken as showing no object", image.name)
        return labels.image(image, (info.width, info.height))
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            _add(line, f"{path}, line {number}", labels, names, dims, (info.width, info.height))
    return labels.image(image, (info.width, info.height))


def _add(
    line: str,
    where: str,
    labels: Labels,
    names: dict[int, str],
    dims: list[int] | None,
    size: tuple[int, int],
) -> None:
    values = numbers(line.split(), None, where, "a line")
    if values[0] not in names:
        raise UserError(f"{where}: there is no class {values[0]:g}; add it to the names")
    name, rest = names[int(values[0])], values[1:]
    width, height = size
    pose = dims is not None and len(rest) == 4 + dims[0] * dims[1]
    if not pose and len(rest) not in (4, 5) and (len(rest) < 6 or len(rest) % 2):
        raise UserError(
            f"{where}: has {len(values)} numbers; expected a class and 4 numbers of a box, the "
            "corners of a polygon, or (with kpt_shape in data.yaml) a box and its keypoints"
        )
    if any(not -1 <= x <= 2 for x in (rest[:4] if pose or len(rest) < 6 else rest)):
        raise UserError(
            f"{where}: the numbers must be fractions of the image, between 0 and 1; divide them by "
            "its width and height"
        )
    if not pose and len(rest) >= 6:
        if len(rest) == 14:
            what = (
                "lines of 14 numbers, read as polygons (where they are a box and its five points, "
                "write `kpt_shape: [5, 2]` into data.yaml)"
            )
            labels.source.count(what, where)
        xy = zip(rest[::2], rest[1::2], strict=True)
        labels.add(around([(x * width, y * height) for x, y in xy]), name)
        return
    x, y, w, h = rest[:4]
    box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    extra = {"score": rest[4]} if len(rest) == 5 else None
    labels.add(box, name, landmarks=_points(rest, dims, labels, where, size), attributes=extra)


def _points(
    rest: list[float], dims: list[int] | None, labels: Labels, where: str, size: tuple[int, int]
) -> Points:
    if dims is None or len(rest) <= 5:
        return ()
    if dims[0] != 5 or dims[1] not in (2, 3):
        labels.source.count("objects whose keypoints are not the five of a face, boxes kept", where)
        return ()
    points: list[tuple[float, float] | None] = []
    for k in range(4, len(rest), dims[1]):
        x, y = rest[k : k + 2]
        known = rest[k + 2] > 0 if dims[1] == 3 else (x, y) != (0, 0) and min(x, y) >= 0
        points.append((x * size[0], y * size[1]) if known else None)
    return points


def has_labels(source: Source) -> bool:
    """Whether there are images with a text file of labels."""
    return any(label_file(image, source.root).is_file() for image in source.images)
