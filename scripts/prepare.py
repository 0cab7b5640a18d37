"""`faces prepare`: bring in WIDER FACE and other tools' data, check, repair and export it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.errors import UserError
from faces.text import aligned
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse, progress
from scripts.options.prepare import Check, Command, Download, Export, Import, Points, Wider

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
    actions: dict[type, Any] = {
        Wider: _wider, Download: _download, Import: _import, Export: _export, Points: _points,
        Check: _check,
    }  # fmt: skip
    return actions[type(options)](options)


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
    from detector.data.parts import voc_sets
    from faces.files import check_writable
    from pipeline.label_points import label_points, open_networks

    check_writable(options.out)
    check_out(options.folder, options.out, overwrite=options.overwrite)
    networks = open_networks(options.yunet, options.threads)
    read = read_sets(voc_sets(options.folder))
    splits = {split or "train": images for split, images in read.splits.items()}
    dataset, found = label_points(
        replace(read, splits=splits),
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
    from detector.data.parts import voc_sets
    from detector.data.voc.folder import VocFolder

    given = (options.image_dir is not None, options.annotation_dir is not None)
    if options.folder is not None and not any(given):
        return voc_sets(options.folder)
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
