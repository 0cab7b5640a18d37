"""Label Studio: JSON (all of a task) and JSON-MIN; https://labelstud.io/guide/export.html."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.parse import around, around_ellipse, numbers, read_json, rotated, whole
from detector.data.formats.source import Labels, Source
from faces.errors import UserError
from faces.filenames import folded, last_part, path_in
from faces.images.find import IMAGE_SUFFIXES
from faces.images.read import image_info


def is_label_studio(data: Any) -> bool:
    """Whether a JSON file is an export of Label Studio."""
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        return False
    full = isinstance(data[0].get("data"), dict)
    return full or _image_of(data[0]) is not None


def read_label_studio(source: Source) -> dict[str, list[LabeledImage]]:
    """The images of all exports by split, which is the image's or the file's folder or name."""
    splits: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for path in source.files(".json"):
        data = read_json(path)
        if not is_label_studio(data):
            source.count("JSON files that are not Label Studio's, passed over", path.name)
            continue
        for i, task in enumerate(data):
            where = f"{path}, [{i}]"
            image = _read(task, where, path.parent, source)
            if image is None:
                continue
            source.refuse_twice(image.path, where)
            split = source.split_of(image.path)
            splits[split if split != "train" else source.split_of(path)].append(image)
    return splits


def _read(task: Any, where: str, near: Path, source: Source) -> LabeledImage | None:
    if not isinstance(task, dict):
        raise UserError(f"{where}: is no task; export it again as JSON")
    data = task["data"] if isinstance(task.get("data"), dict) else task
    url = _image_of(data)
    if url is None:
        raise UserError(f"{where}: names no image; export a project with images")
    results = _results(task, where, source)
    if results is None:
        source.count("tasks without an annotation, left out", f"{last_part(url)} ({where})")
        return None
    image = source.find(url, near, where)
    if image is None:
        return None
    turns = [result.get("image_rotation") or 0 for result in results]
    # Versions differ in whether what was drawn then turns along.
    if any(degrees % 360 for degrees in numbers(turns, None, where, "image_rotation")):
        source.count(
            "images that were turned in Label Studio, left out (turn them back there, and export "
            "again)", f"{last_part(url)} ({where})",
        )  # fmt: skip
        return None
    size = (0, 0)
    labels = Labels(source, where)
    links = _links(results)
    for k, result in enumerate(results):
        place = f"{where}, result {k + 1}"
        if result.get("type") == "relation":
            continue
        given = whole(result.get("original_width")), whole(result.get("original_height"))
        if not all(given):
            info = image_info(image)
            given = info.width, info.height
        size = given
        _add(result, given, place, labels, links)
    return labels.image(image, size)


def _links(results: list[dict[str, Any]]) -> dict[str, str]:
    """The region that each region is tied to, as its child or by a relation."""
    links = {}
    for item in results:
        ends = str(item.get("from_id")), str(item.get("to_id"))
        if item.get("type") == "relation":
            links.update({ends[0]: ends[1], ends[1]: ends[0]})
        elif item.get("parentID") is not None:
            links[str(item.get("id"))] = str(item["parentID"])
    return links


def _results(task: dict[str, Any], where: str, source: Source) -> list[dict[str, Any]] | None:
    """The shapes of a task in the form of JSON-MIN; None when nobody has annotated it."""
    several = task.get("annotations", task.get("completions"))
    if isinstance(task.get("data"), dict):
        listed = several if isinstance(several, list) else []
        done = [x for x in listed if isinstance(x, dict) and not x.get("was_cancelled")]
        if not done:
            return None
        if len(done) > 1:
            source.count("tasks with several annotations, of which the last is taken", where)
        result = done[-1].get("result")
        items = [x for x in result if isinstance(x, dict)] if isinstance(result, list) else []
        found = []
        for item in items:
            value = item.get("value") if isinstance(item.get("value"), dict) else {}
            found.append({**item, **value} if isinstance(value, dict) else item)
        # A rectangle and its label can be two results with one id.
        return list(_merged(found))
    shapes = [
        value
        for value in task.values()
        if isinstance(value, list) and value and all(isinstance(x, dict) for x in value)
    ]
    if shapes:
        return [item for value in shapes for item in value]
    return [] if "annotation_id" in task or "annotator" in task else None


def _merged(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Shapes, each with what other results of its id say of it."""
    by_id: dict[str, dict[str, Any]] = {}
    for item in results:
        key = str(item.get("id", id(item)))
        by_id[key] = {**by_id.get(key, {}), **item, "type": _kind(by_id.get(key, {}), item)}
    yield from by_id.values()


def _kind(before: dict[str, Any], item: dict[str, Any]) -> object:
    kinds = [before.get("type"), item.get("type")]
    return next((kind for kind in kinds if "label" in str(kind)), kinds[1])


def _add(
    item: dict[str, Any],
    size: tuple[int, int],
    where: str,
    labels: Labels,
    links: dict[str, str],
) -> None:
    width, height = size
    name = _label(item)
    own = str(item["id"]) if "id" in item else None

    def values(*keys: str) -> list[float]:
        given = [item.get(key) for key in keys]
        return numbers(given, len(keys), where, " ".join(keys))

    if item.get("keypointlabels") or str(item.get("type", "")).startswith("keypoint"):
        x, y = values("x", "y")
        labels.add_points(name, [(x * width / 100, y * height / 100)], where, links.get(own or ""))
        return
    points = item.get("points")
    if isinstance(points, list) and points and item.get("closed") is not False:
        xy = [numbers(point, 2, where, "each of the points") for point in points]
        box = around([(x * width / 100, y * height / 100) for x, y in xy])
    elif all(key in item for key in _ELLIPSE):
        x, y, rx, ry = values(*_ELLIPSE)
        [degrees] = numbers([item.get("rotation") or 0], 1, where, "rotation")
        x, rx, y, ry = x * width / 100, rx * width / 100, y * height / 100, ry * height / 100
        box = around_ellipse((x, y), (rx, ry), degrees)
    elif all(key in item for key in ("x", "y", "width", "height")):
        x, y, w, h = values("x", "y", "width", "height")
        [degrees] = numbers([item.get("rotation") or 0], 1, where, "rotation")
        x, w, y, h = x * width / 100, w * width / 100, y * height / 100, h * height / 100
        box = rotated((x, y, x + w, y + h), degrees, (x, y))  # about its top left corner
    else:
        labels.source.count("results that are no boxes, passed over", where)
        return
    labels.add(box, name, _hard(item), group=own)


_ELLIPSE = ("x", "y", "radiusX", "radiusY")
_LABELS = (
    *("rectanglelabels", "polygonlabels", "keypointlabels", "labels", "ellipselabels", "choices"),
)


def _label(item: dict[str, Any]) -> str:
    for key in _LABELS:
        value = item.get(key)
        if isinstance(value, list) and value:
            return str(value[0])
    return ""


def _hard(item: dict[str, Any]) -> bool:
    meta = item.get("meta")
    texts = (item.get("choices"), meta.get("text") if isinstance(meta, dict) else None)
    words = [str(word) for several in texts if isinstance(several, list) for word in several]
    return any(folded(word.strip()) in ("difficult", "ignore", "crowd") for word in words)


def _image_of(data: dict[str, Any]) -> str | None:
    """The address of a task's image, under whatever key the project has it."""
    texts = [data.get("image"), *data.values()]
    for text in texts:
        if isinstance(text, str) and Path(path_in(text)).suffix.lower() in IMAGE_SUFFIXES:
            return text
    return None
