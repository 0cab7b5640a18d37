"""`faces prepare`: bring in WIDER FACE and other tools' data, check, repair and export it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from faces.errors import UserError
from faces.text import aligned
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse, progress

if TYPE_CHECKING:
    from detector.data.check import SetReport
    from detector.data.formats.dataset import Dataset
    from detector.data.repair import Repairs
    from detector.data.voc.folder import VocFolder
    from detector.data.wider.convert import SplitSummary

EXAMPLES = """
faces prepare download --out data
faces prepare download --out data --mirror https://example.org/wider
faces prepare wider data --out data/wider
faces prepare wider data --out data/wider --splits val --truth mat --images copy
faces prepare import roboflow-export --out data/mine
faces prepare import labels/instances_train.json --out data/mine --classes face head
faces prepare check data/wider
faces prepare check photos --fix photos-repaired
faces prepare check --image-dir photos --annotation-dir labels/voc
faces prepare points data/wider --out data/wider-points --yunet yunet_n_dynamic.onnx
faces prepare export data/wider --format coco --out data/wider-coco
faces prepare export --image-dir photos --annotation-dir xml --format yolo --out data/yolo
faces prepare export data/mine --format yolo-pose --out data/pose
"""


@dataclass(frozen=True)
class Wider:
    """Convert WIDER FACE to images and PASCAL VOC annotations, without losing a label."""

    source: tyro.conf.Positional[Path]
    """The folder that holds wider_face_split, WIDER_train and WIDER_val, as folders or as the
    official zip files; or the folder that `faces prepare download` wrote to."""
    out: Path
    """Where to put train/images, train/annotations, val/images and val/annotations."""
    splits: tuple[Literal["train", "val", "test"], ...] = ()
    """Which parts; by default train and val, if they are there. Of test only the images are
    placed, since its truth is not published."""
    truth: Literal["auto", "text", "mat"] = "auto"
    """Read the official text files or the MATLAB files, which hold the same; auto prefers text."""
    images: Literal["link", "copy", "reference"] = "link"
    """What to do with the images: link them (symbolic links, or hard links where those are not
    allowed), copy them, or leave them where they are and write annotations alone. Images in a zip
    file are always extracted."""
    overwrite: bool = False
    """Replace annotations and images in --out that were made from something else."""
    quiet: bool = False
    """Log only warnings."""


@dataclass(frozen=True)
class Download:
    """Download the zip files of WIDER FACE (about 2 GB), continuing what was cut off."""

    out: Path
    """The files go to the folder widerface in this one, where torchvision looks for them too. With
    `val` comes eval_tools.zip, which has the lists of faces that `faces evaluate --wider` needs."""
    mirror: str | None = None
    """The address of a folder with the official zip files under their own names; by default the
    authors' hosts (Google Drive) are asked."""
    splits: tuple[Literal["train", "val", "test"], ...] = ("train", "val")
    """Which images; the truth of all splits is one small file."""
    quiet: bool = False
    """Log only warnings."""


@dataclass(frozen=True)
class Import:
    """Convert a data set of another tool: COCO, YOLO, CVAT, LabelMe, Label Studio, VOC, RetinaFace.

    Boxes keep their decimals; crowds, ignored and difficult objects become difficult; the five
    points of a face are kept. Ends with the table of `faces prepare check`; the exit code is 1
    when that finds something or a listed image is not there.
    """

    source: tyro.conf.Positional[Path]
    """The unpacked export, or the one label file in it that shall be read (data.yaml, a JSON or
    XML file)."""
    out: Path
    """Where to put train/images, train/annotations and so on. Without splits all is train."""
    format: (
        Literal["coco", "yolo", "cvat", "labelme", "label-studio", "voc", "retinaface"] | None
    ) = None
    """Insist on a format; by default the contents of the files tell."""
    classes: tuple[str, ...] = ()
    """Keep only boxes of these classes; none given: all, which are listed."""
    images: Literal["link", "copy"] = "link"
    """Link the images (symbolic links, or hard links where those are not allowed), or copy them."""
    overwrite: bool = False
    """Replace a data set that is in --out."""
    show: int = 3
    """How many problems of each kind to list on the screen."""
    quiet: bool = False
    """Log only warnings."""


@dataclass(frozen=True)
class Check:
    """Find what is wrong with a folder of images and VOC annotations, and write a repaired copy.

    The exit code is 0 when nothing is wrong and 1 when something is.
    """

    folder: tyro.conf.Positional[Path | None] = None
    """A folder that holds images/ and annotations/ (or JPEGImages/ and Annotations/), or such
    folders one or two levels down, or images and .xml files mixed."""
    image_dir: Path | None = None
    """Instead of a folder: the images, and with --annotation-dir..."""
    annotation_dir: Path | None = None
    """...the annotations, in the same sub-folders as the images or all in one."""
    fix: Path | None = None
    """Write a repaired copy to this new folder."""
    images: Literal["copy", "link"] = "copy"
    """With --fix: copy the images that need no change, or link them."""
    exif_boxes: Literal["auto", "upright", "stored"] = "auto"
    """What boxes refer to in images that their EXIF data turns: the upright image, or the pixels as
    stored. By default the size in the annotation tells; where it cannot, upright."""
    classes: tuple[str, ...] = ()
    """Object names that are faces, as for `faces train`; none given: every object is a face."""
    headers_only: bool = False
    """Do not decode the images: much faster, but images cut off after their header pass."""
    report: Path = Path("runs/check")
    """Where to put report.json (all problems) and sample.png (a sample of boxes drawn)."""
    show: int = 3
    """How many problems of each kind to list on the screen."""
    quiet: bool = False
    """Log only warnings."""


@dataclass(frozen=True)
class Export:
    """Write images and VOC annotations as COCO or YOLO, for other tools and trainers.

    Boxes are written as `faces train` sees them, with all decimals. What the format cannot hold is
    counted on the screen.
    """

    format: Literal["coco", "yolo", "yolo-pose"]
    """`coco`: annotations/instances_train.json and images/train. `yolo`: data.yaml, labels/train
    and images/train. `yolo-pose`: the same with the five points of each face."""
    out: Path
    """The new folder."""
    folder: tyro.conf.Positional[Path | None] = None
    """A folder as for `faces prepare check`; its sets (train, val) become the splits."""
    image_dir: Path | None = None
    """Instead of a folder: the images, and with --annotation-dir..."""
    annotation_dir: Path | None = None
    """...the annotations."""
    classes: tuple[str, ...] = ()
    """Only objects of these names; none given: all."""
    images: Literal["copy", "link"] = "copy"
    """Copy the images or link them. Those that EXIF turns are written upright, since not every tool
    turns them, and so are kinds that few tools read (HEIC, AVIF, GIF)."""
    quiet: bool = False
    """Log only warnings."""


@dataclass(frozen=True)
class Points:
    """Mark eyes, nose and corners of the mouth of annotated faces, for `faces train --points`.

    They are found by the O-Net that comes with the package, and by YuNet where its file is given:
    then a point is the mean of both, and left out where they are further apart than a tenth of the
    face's side. Points that are there already stay.
    """

    folder: tyro.conf.Positional[Path]
    """A folder as for `faces prepare check`."""
    out: Path
    """Where to put the images and the annotations with points: train/images, train/annotations and
    so on."""
    yunet: Path | None = None
    """An ONNX file of YuNet with any image size, which doubles as a check (much better truth)."""
    images: Literal["link", "copy"] = "link"
    """Link the images, or copy them."""
    overwrite: bool = False
    """Replace a data set that is in --out."""
    threads: int | None = None
    """CPU threads of each network."""
    quiet: bool = False
    """Log only warnings, and no progress bar."""


Command = Wider | Download | Import | Check | Export | Points


def main(argv: Sequence[str]) -> int:
    """Run `faces prepare`; returns the exit code."""
    options: Command = parse(
        Command,
        argv,
        "faces prepare",
        "Bring images and boxes into the form that `faces train` reads.",
        EXAMPLES,
    )
    log_to_stderr(options.quiet)
    if isinstance(options, Wider):
        return _wider(options)
    if isinstance(options, Download):
        return _download(options)
    if isinstance(options, Import):
        return _import(options)
    if isinstance(options, Export):
        return _export(options)
    if isinstance(options, Points):
        return _points(options)
    return _check(options)


def _wider(options: Wider) -> int:
    from detector.data.wider.convert import convert
    from detector.data.wider.source import splits_in
    from faces.files import check_writable

    check_writable(options.out)
    splits = options.splits or tuple(splits_in(options.source))
    if not splits:
        raise UserError(
            f"{options.source} holds no truth of WIDER FACE: expected the folder wider_face_split "
            "(or wider_face_split.zip) in it; `faces prepare download` brings it"
        )
    summaries = [
        convert(
            options.source,
            options.out,
            split,
            truth=options.truth,
            placement=options.images,
            overwrite=options.overwrite,
        )
        for split in splits
    ]
    print(_summary_table(summaries))
    for summary in summaries:
        for title, names in (("missing", summary.missing), ("unreadable", summary.unreadable)):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                print(f"{summary.split}, {title} images: {', '.join(names[:3])}{more}")
        if summary.kept:
            print(f"{summary.split}: the annotations were up to date and have been kept")
    print(f"written to {options.out}")
    return 1 if any(summary.unreadable for summary in summaries) else 0


def _summary_table(summaries: Sequence[SplitSummary]) -> str:
    rows = [("", *(summary.split for summary in summaries))]
    for title in ("images", "faces", "invalid", "degenerate", "without_face", "turned"):
        counts = [f"{getattr(summary, title):,}" for summary in summaries]
        rows.append((_TITLES.get(title, title), *counts))
    for title in ("missing", "unreadable"):
        counts = [f"{len(getattr(summary, title)):,}" for summary in summaries]
        rows.append((f"{title} images", *counts))
    for how in dict.fromkeys(how for summary in summaries for how in summary.placed):
        counts = [f"{summary.placed.get(how, 0):,}" for summary in summaries]
        rows.append((f"images {how}", *counts))
    return aligned(rows)


_TITLES = {
    "invalid": "marked invalid (difficult)",
    "degenerate": "boxes without area",
    "without_face": "images without a face",
    "turned": "images turned by EXIF",
}


def _download(options: Download) -> int:
    from detector.data.wider.download import download_wider
    from faces.files import check_writable

    check_writable(options.out)
    folder = download_wider(options.out, options.splits, options.mirror)
    print(f"verified: {folder}")
    annotated = [split for split in ("train", "val") if split in options.splits]
    if annotated:  # the truth of both splits came; without this the other's images would be missed
        only = f" --splits {annotated[0]}" if len(annotated) == 1 else ""
        print(f"go on with: faces prepare wider {folder} --out {options.out / 'wider'}{only}")
    return 0


def _import(options: Import) -> int:
    import tempfile

    from detector.data.check import check_set
    from detector.data.formats.load import choose_classes, load_dataset
    from detector.data.formats.write import check_out, write_dataset
    from detector.data.voc.folder import VocFolder
    from faces.files import check_writable

    check_writable(options.out)
    check_out(options.source, options.out, overwrite=options.overwrite)
    with tempfile.TemporaryDirectory() as folder:  # of images that are inside label files
        scratch = Path(folder)
        found = load_dataset(options.source, scratch, options.format, options.out)
        dataset = choose_classes(found, options.classes)
        ways = write_dataset(dataset, options.out, placement=options.images, scratch=scratch)
    print(_import_summary(found, dataset, ways))
    reports = [
        check_set(VocFolder(split, *(options.out / split / x for x in ("images", "annotations"))))
        for split in dataset.splits
    ]
    print(f"\n{_check_table(reports, options.show)}\nwritten to {options.out}")
    lost = any("that are not there" in note for note in dataset.notes)
    return 1 if lost or any(report.findings for report in reports) else 0


def _import_summary(found: Dataset, dataset: Dataset, ways: dict[str, int]) -> str:
    from detector.data.formats.load import class_counts

    placed = ", ".join(f"{count:,} {how}" for how, count in ways.items())
    classes = ", ".join(f"{name or '(no name)'} ({n:,})" for name, n in class_counts(found).items())
    lines = [f"read as {dataset.format}; images: {placed}", f"classes found: {classes or 'none'}"]
    if len(class_counts(dataset)) > 1:
        lines.append("all of them are kept; choose with --classes here or in `faces train`")
    return "\n".join([*lines, *(f"note: {note}" for note in dataset.notes)])


def _check(options: Check) -> int:
    from PIL import Image

    from detector.data.check import check_set, draw_check
    from detector.data.repair import repair
    from faces.files import atomic_write, atomic_write_text, check_writable

    check_writable(options.report, "--report")
    if options.fix is not None:  # it is made in the folder above, and renamed
        check_writable(options.fix.absolute().parent, "--fix")
    reports = [
        check_set(
            folder,
            decode=not options.headers_only,
            boxes=options.exif_boxes,
            classes=options.classes,
        )
        for folder in _sets(options)
    ]
    text = json.dumps([report.to_json() for report in reports], indent=1, ensure_ascii=False)
    atomic_write_text(options.report / "report.json", text + "\n")
    picture = draw_check(reports, boxes=options.exif_boxes)
    if picture is not None:
        with atomic_write(options.report / "sample.png") as file:
            Image.fromarray(picture).save(file, format="PNG")
    print(_check_table(reports, options.show))
    drawn = "" if picture is None else f"; a sample of boxes: {options.report / 'sample.png'}"
    print(f"all problems: {options.report / 'report.json'}{drawn}")
    if options.fix is not None:
        repairs = repair(reports, options.fix, boxes=options.exif_boxes, images=options.images)
        print(_repair_table(repairs, options))
    return 1 if any(report.findings for report in reports) else 0


def _export(options: Export) -> int:
    from detector.data.formats.export import export_dataset, require_free, told_lines
    from detector.data.formats.from_voc import read_sets
    from faces.files import check_writable

    check_writable(options.out.absolute().parent)  # it is made there, and renamed
    sets = _sets(options)
    require_free(options.out, [path for one in sets for path in (one.images, one.annotations)])
    dataset = read_sets(sets, options.classes)
    written = export_dataset(dataset, options.out, options.format, options.images)
    rows = [("", *(split or "count" for split in written.images))]
    rows.append(("images", *(f"{count:,}" for count in written.images.values())))
    rows.append(("boxes", *(f"{count:,}" for count in written.boxes.values())))
    print(aligned(rows))
    for line in (*dataset.notes, *told_lines(written.told)):
        print(line)
    print(f"written to {options.out}")
    return 0


def _points(options: Points) -> int:
    from dataclasses import replace

    from detector.data.formats.from_voc import read_sets
    from detector.data.formats.write import check_out, write_dataset
    from detector.data.voc.folder import find_sets
    from faces.files import check_writable
    from pipeline.label_points import label_points, open_networks

    check_writable(options.out)
    check_out(options.folder, options.out, overwrite=options.overwrite)
    networks = open_networks(options.yunet, options.threads)
    sets = [replace(one, name=one.name or "train") for one in find_sets(options.folder)]
    dataset, found = label_points(
        read_sets(sets),
        networks,
        lambda images: progress(images, "looking", "image", options.quiet),
    )
    write_dataset(dataset, options.out, placement=options.images)
    print(
        f"{found.faces:,} faces: {found.now:,} got points, {found.before:,} had them, "
        f"{found.faces - found.now - found.before:,} are without, where the points are not sure"
    )
    print(f"written to {options.out}")
    return 0


def _sets(options: Check | Export) -> list[VocFolder]:
    from detector.data.voc.folder import VocFolder, find_sets

    given = (options.image_dir is not None, options.annotation_dir is not None)
    if options.folder is not None and not any(given):
        return find_sets(options.folder)
    if options.image_dir is None or options.annotation_dir is None or options.folder is not None:
        raise UserError("give either one folder, or both --image-dir and --annotation-dir")
    return [VocFolder("", options.image_dir, options.annotation_dir)]


def _check_table(reports: Sequence[SetReport], show: int) -> str:
    from detector.data.check import PROBLEMS

    heads = [report.folder.name or "count" for report in reports]
    rows = [("", *heads, "--fix")]
    rows.append(("images with annotations", *(f"{len(r.pairs.pairs):,}" for r in reports), ""))
    rows.append(("objects", *(f"{sum(r.classes.values()):,}" for r in reports), ""))
    rows.append(("difficult", *(f"{r.difficult:,}" for r in reports), ""))
    rows.append(("images without an object", *(f"{r.without_object:,}" for r in reports), ""))
    for kind, remedy in PROBLEMS.items():
        rows.append((kind, *(f"{r.counts()[kind]:,}" for r in reports), remedy))
    lines = [aligned(rows)]
    classes: dict[str, int] = {}
    for report in reports:
        for name, count in report.classes.items():
            classes[name] = classes.get(name, 0) + count
    if classes:
        lines.append("classes: " + ", ".join(f"{n} ({c:,})" for n, c in classes.items()))
    for kind in PROBLEMS:
        found = [x for report in reports for x in report.findings if x.kind == kind]
        if found and show > 0:
            lines += ["", f"{kind}:", *(f"  {finding}" for finding in found[:show])]
            if len(found) > show:
                lines.append(f"  ... and {len(found) - show:,} more")
    if not any(report.findings for report in reports):
        lines.append("nothing is wrong")
    return "\n".join(lines)


def _repair_table(repairs: Repairs, options: Check) -> str:
    from detector.data.repair import REPORT_NAME

    rows = [("repaired", ""), *((what, f"{count:,}") for what, count in repairs.done.items())]
    rows.append(("files left out", f"{len(repairs.left_out):,}"))
    rows.append(("images with annotations in the copy", f"{repairs.pairs:,}"))
    assert options.fix is not None
    return (
        f"\n{aligned(rows)}\nwritten to {options.fix}; {REPORT_NAME} there names what is left out"
    )


if __name__ == "__main__":
    run_program("scripts.prepare")
