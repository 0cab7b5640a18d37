"""PASCAL VOC in any layout: sets in folders, all in one folder, parts named by ImageSets/Main."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.source import Labels, Source, split_named
from detector.data.voc.annotation import read_voc
from detector.data.voc.folder import VocFolder, find_sets, pair
from faces.errors import UserError
from faces.filenames import folded, last_part
from faces.files import read_lines
from faces.images.find import IMAGE_SUFFIXES, find_images


def read_voc_sets(source: Source) -> dict[str, list[LabeledImage]]:
    """The images by split: ImageSets/Main/{train,val,test}.txt, else the folders' names."""
    if not source.path.is_dir():
        raise UserError(f"{source.path}: give the folder that holds the images and annotations")
    sets = find_sets(source.path)
    if len(sets) == 1 and sets[0].images == source.path:
        sets = [VocFolder("", source.path, source.path)]
    splits: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for folder in sets:
        lists = _image_sets(folder, source)
        pairing = pair(folder)
        for path in pairing.annotations:
            source.count("listed images that are not there, left out", f"the one of {path.name}")
        for path, several in pairing.ambiguous:
            names = " or ".join(image.name for image in several)
            source.count("annotations of more than one image, left out", f"{path.name} ({names})")
        for image, others in pairing.doubles:
            source.count(
                "images with several annotations, of which the first is taken",
                f"{image.name} ({', '.join(path.name for path in others)})",
            )
        for image, path in pairing.pairs:
            source.used.add(image)
            split = lists.get(folded(image.stem)) if lists else source.split_of(image)
            if split is None:
                source.count("images that no list of ImageSets/Main names, left out", image.name)
                continue
            splits[split].append(_read(path, image, source))
    return splits


def _read(path: Path, image: Path, source: Source) -> LabeledImage:
    annotation = read_voc(path)
    for flaw in annotation.flaws:
        source.count(f"annotations with the flaw '{flaw.kind}', written again", path.name)
    labels = Labels(source, str(path))
    for item in annotation.objects:
        name = item.name or "face"  # what a box without a name is taken for
        labels.add(item.xyxy, name, item.difficult, item.landmarks, item.attributes)
    return labels.image(image, (annotation.width, annotation.height))


def _image_sets(folder: VocFolder, source: Source) -> dict[str, str]:
    """The split of each stem that is listed; empty when there are no lists."""
    stems_there = {folded(image.stem) for image in find_images(folder.images)}
    for top in (folder.images.parent, folder.images):
        for place in (top / "ImageSets" / "Main", top / "ImageSets", top):
            lists = [(split_named(path.stem), path) for path in sorted(place.glob("*.txt"))]
            found = [(split, path) for split, path in lists if split is not None]
            stems = _stems(found, source)
            # What lies beside the images may be any text of that name.
            if stems and (place != top or stems.keys() & stems_there):
                return stems
    return {}


def _stems(lists: Sequence[tuple[str, Path]], source: Source) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split, path in lists:
        for number, line in enumerate(read_lines(path), start=1):
            words = line.split()
            if not words:
                continue
            # "a  1" of VOC's lists of a class, "images/a.jpg annotations/a.xml" of PaddleDetection.
            two = len(words) > 1 and (words[-1] in ("-1", "0", "1") or words[-1].endswith(".xml"))
            stem = folded(last_part(words[0] if two else line))
            suffix = Path(stem).suffix
            stem = stem.removesuffix(suffix) if suffix in IMAGE_SUFFIXES else stem
            if splits.setdefault(stem, split) != split:
                where = f"{stem} ({path}, line {number})"
                source.count("images that are in two splits, kept in the first", where)
    return splits
