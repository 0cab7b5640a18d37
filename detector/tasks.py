"""Training and exporting in one call each, as `faces train` and `faces export` do them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.config import AUTO, TrainConfig, from_dict, load_config, preset, run_folder, to_dict
from detector.shipped import FOLDER, SHIPPED, find_checkpoint
from faces.errors import UserError
from faces.files import check_writable
from faces.images.read import as_images
from faces.settings import read_config, with_settings

if TYPE_CHECKING:
    from detector.export.publish import Exported
    from detector.training.train import FitResult

SHIPPED_OUT = Path("exported")
"""Where the shipped detector is exported to: never into the package that it lies in."""


def train(config: TrainConfig | str | Path | None = None, **settings: Any) -> FitResult:
    """Train a face detector from images and PASCAL VOC annotations, or go on with a run.

    Args:
        config: a configuration, or a TOML file with the names of its settings; None takes the
            defaults of the architecture.
        settings: over it, by their names in `TrainConfig` and what is in it: ``data`` (a folder or
            file), ``image_path``, ``epochs``, ``resume``, ``arch``, ... as the flags of `faces
            train`.

    Returns:
        ``run``, the folder with best.pt, last.pt, the history and plots, and ``history``, one dict
        an epoch; ``stopped_by`` is the signal that ended it early, or None.

    Raises UserError for settings that cannot work and for data that cannot be used. SIGINT and
    SIGTERM finish the step and save; ``train(resume=run)`` goes on from there. Worker processes are
    started: in a program call it under ``if __name__ == "__main__":``.

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skimage.data import astronaut
    >>> import faces
    >>> from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
    >>> Path("photos").mkdir()
    >>> Image.fromarray(astronaut()).save("photos/eileen.png")
    >>> face = VocObject("face", (178, 62, 270, 184))
    >>> _ = write_voc(Path("xml/eileen.xml"), VocAnnotation("eileen.png", 512, 512, (face,)))
    >>> result = faces.train(
    ...     run="runs/small", image_path="photos", train_ann_dir="xml", valid_path="photos",
    ...     valid_ann_dir="xml", epochs=1, batch_size=1, num_workers=0, device="cpu",
    ...     image_size=128, backbone_weights="none", width=0.1, channels=8, head_width=8,
    ... )
    >>> len(result.history), (result.run / "best.pt").exists()
    (1, True)
    """
    from detector.training.distributed import leave_world
    from detector.training.train import fit

    try:
        return fit(make_config(config, settings))
    finally:
        leave_world()


def make_config(
    config: TrainConfig | str | Path | None, settings: Mapping[str, Any]
) -> TrainConfig:
    """The configuration that `train` takes. Raises UserError as it does."""
    if isinstance(config, TrainConfig):
        base = from_dict(TrainConfig, to_dict(config))  # also where a path was given as text
    else:
        base = base_config(
            settings.get("resume"), settings.get("arch"), settings.get("run"), config
        )
        if config is not None:
            base = read_config(Path(config), base)
    return with_settings(base, settings)


def base_config(
    resume: str | Path | None,
    arch: str | None,
    run: str | Path | None,
    config: str | Path | None,
) -> TrainConfig:
    """What settings come over: those of the run to go on with, or the defaults of the architecture.

    Args:
        resume: the folder of a run; "auto" takes ``run`` if there is one.
        arch: "fpn" or "reference", over the file.
        run: the folder that a new run would have, over the file.
        config: a TOML file, which may choose both.

    Raises UserError for a folder or file that cannot be read.
    """
    auto = resume is not None and Path(resume) == AUTO
    if resume is not None and not auto:
        return replace(load_config(Path(resume)), run=None)
    file = TrainConfig() if config is None else read_config(Path(config), TrainConfig())
    arch = arch or file.model.arch
    base = preset("reference" if arch == "reference" else "fpn")
    folder = run_folder(replace(base, run=Path(run) if run is not None else file.run))
    if auto and (folder / "config.json").exists():
        return replace(load_config(folder), run=None)
    return base


def export(
    checkpoint: str | Path = SHIPPED,
    out: str | Path | None = None,
    formats: str | Sequence[str] = ("onnx", "torchscript"),
    images: Sequence[Any] = (),
    calibrate: Sequence[Any] = (),
) -> list[Exported]:
    """Write a checkpoint as files that run elsewhere, if they give what it gives.

    Args:
        checkpoint: a file of `faces.train`; "shipped" is the detector that comes with the package.
        out: folder for the files, which take the checkpoint's name; None is beside the checkpoint,
            and "exported" for the shipped one.
        formats: which file or files to write: "onnx", "torchscript", "openvino" (.xml and .bin),
            "int8" (.onnx and .int8.onnx, which speed "fast" of `faces.load_detector` runs).
        images: also compare on these: paths, Pillow images or arrays.
        calibrate: photos, likewise, for "int8": 8 to 48, of the kind that the detector is for.

    Returns:
        For each file its ``path``, the ``report`` that lies beside it and its ``outcomes``, or for
        an int8 file the ``agreement``.

    Raises UserError for a checkpoint that cannot be read, and its subclass
    `detector.export.publish.ParityError` for a file that would differ, which is not written.

    >>> import faces
    >>> [file] = faces.export(formats=["torchscript"])
    >>> file.path.as_posix(), all(outcome.passed for outcome in file.outcomes)
    ('exported/fpn.torchscript', True)
    """
    from detector.export.publish import export_checkpoint
    from faces.networks.torch import EXPORTED

    path = find_checkpoint(checkpoint)
    folder = None if out is None else Path(out)
    if folder is not None and folder.suffix in (*EXPORTED, ".pt") and not folder.is_dir():
        raise UserError(f"out={folder}: name a folder; the files take the checkpoint's name")
    if folder is None and path.resolve().parent == FOLDER.resolve():
        folder = SHIPPED_OUT
    check_writable(path.parent if folder is None else folder, "out")
    formats = [formats] if isinstance(formats, str) else formats
    return export_checkpoint(path, folder, formats, as_images(images), as_images(calibrate))
