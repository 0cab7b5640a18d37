"""PASCAL VOC in any layout: sets in folders, all in one folder, parts named by ImageSets/Main."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from detector.data.formats.dataset import LabeledImage
from detector.data.formats.source import Labels, Source, split_named
from detector.data.voc.annotation import read_voc
from detector.data.voc.folder import VocFolder, find_sets, pair
from faces.errors import UserError
from faces.filenames import folded, last_part
from faces.files import read_lines
from faces.images.find import IMAGE_SUFFIXES


def read_voc_sets(source: Source) -> dict[str, list[LabeledImage]]:
    """The images by split: ImageSets/Main/{train,val,test}.txt, else the folders' names."""
    if not source.path.is_dir():
        raise UserError(f"{source.path}: give the folder that holds the images and annotations")
    sets = find_sets(source.path)
    if len(sets) == 1 and sets[0].images == source.path:
        sets = [VocFolder("", source.path, source.path)]
    splits: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for folder in sets:
        pairing = pair(folder)
        lists, twice = image_sets(folder, [image for image, _ in pairing.pairs])
        for where in twice:
            source.count("images that are in two splits, kept in the first", where)
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
            split = lists.get(image) if lists else source.split_of(image)
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


TRAINVAL = "trainval"


def image_sets(folder: VocFolder, images: Sequence[Path]) -> tuple[dict[Path, str], list[str]]:
    """The split of each image that a list names, and what is in two of them; empty without lists.

    A list has an image by its place below the images, with or without suffix and folders above it,
    or by its bare name: that of all images called so. Where there are only lists of classes, such
    as VoTT's face_train.txt, an image is where the list of any class has it.
    """
    places: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        whole = _bare(image.relative_to(folder.images).as_posix())
        for name in {whole, last_part(whole)}:
            places[name].append(image)
    for top in (folder.images.parent, folder.images):
        for place in (top / "ImageSets" / "Main", top / "ImageSets", top):
            named = {path: path.stem for path in sorted(place.glob("*.txt"))}
            of_classes = {
                path: stem.rpartition("_")[2]
                for path, stem in named.items()
                if "_" in stem and place.name == "Main" and _is_of_class(path)
            }
            for lists in (named, of_classes):
                splits, twice = _splits(lists, places)
                if splits:
                    return splits, twice
    return {}, []


def _splits(
    lists: Mapping[Path, str], places: Mapping[str, Sequence[Path]]
) -> tuple[dict[Path, str], list[str]]:
    """The split of each image, and what is in two, of lists with the word that says which it is."""
    splits: dict[Path, str] = {}
    twice: list[str] = []
    for path in sorted(lists, key=lambda path: lists[path] == TRAINVAL):
        split = split_named(lists[path])
        if lists[path] == TRAINVAL:  # what no other list has is to train on
            for line in read_lines(path):
                for image in _listed(line, places):
                    splits.setdefault(image, "train")
        for number, line in enumerate(read_lines(path) if split else (), start=1):
            for image in _listed(line, places):
                if splits.setdefault(image, str(split)) != split:
                    twice.append(f"{image.stem} ({path}, line {number})")
    return splits, twice


def _is_of_class(path: Path) -> bool:
    """Whether each line ends as in VOC's lists of a class: 1, 0 (difficult) or -1."""
    return all(line.split()[-1] in ("1", "0", "-1") for line in read_lines(path) if line.strip())


def _listed(line: str, places: Mapping[str, Sequence[Path]]) -> Sequence[Path]:
    """The images that a line names: "a", "sub/a.jpg", "a  1" of VOC's lists of a class, or
    "images/a.jpg annotations/a.xml" of PaddleDetection."""
    words = line.split()
    texts = [line.strip()]
    if len(words) > 1 and words[-1] in ("-1", "0", "1"):
        texts.append(line.rsplit(maxsplit=1)[0].strip())
    elif len(words) > 1 and words[-1].endswith(".xml"):
        texts.append(words[0])
    for text in texts:
        parts = _bare(text).split("/")
        for i in range(len(parts)):
            if found := places.get("/".join(parts[i:])):
                return found
    return ()


def _bare(name: str) -> str:
    """A name as it is compared, with the slashes of any system and without an image's suffix."""
    text = folded(name.replace("\\", "/"))
    suffix = Path(text).suffix
    return text.removesuffix(suffix) if suffix in IMAGE_SUFFIXES else text
