"""The flags of `faces prepare`, a class for each of its sub-commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


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
