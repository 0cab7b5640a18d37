"""Which part of a data set's folder a detector is to be evaluated on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from detector.data.division import Division, picture_name, read_division
from detector.data.parts import find_parts
from detector.evaluation.truth import read_voc_truth

if TYPE_CHECKING:
    from detector.evaluation.matching import ImageFaces

log = logging.getLogger(__name__)


def read_part(
    data: Path, classes: tuple[str, ...], model: Path | None, split: Path | None
) -> tuple[list[ImageFaces], dict[str, Path]]:
    """The faces and files of the pictures to evaluate on, as `read_voc_truth` gives them.

    Args:
        data: as `faces train --data` takes it. Its validation part is taken; where it has
            none, the pictures that ``split`` or ``model`` say, and otherwise all, with a warning.
        classes: object names that are faces; empty: all.
        model: a detector's file; a checkpoint knows how its run divided one set.
        split: split.json of a run, or its folder.

    Raises UserError for data that cannot be used, and a ``split`` that is about other pictures.
    """
    parts = find_parts(data)
    if parts.valid is not None:
        if split is not None:
            log.warning("%s has a part to validate on, so %s is not needed", data, split)
        return read_voc_truth(parts.valid.annotations, parts.valid.images, classes)
    assert parts.train is not None
    folder = parts.train.images
    truth, images = read_voc_truth(parts.train.annotations, folder, classes)
    files = {picture_name(path, folder): path for path in images.values()}
    division = read_division(split) if split is not None else _of_model(model)
    if division is None or (split is None and not division.is_of(files)):
        log.warning(
            "%s has no part to validate on, and %s does not know one: all %d pictures are taken. "
            "If it was trained on others of them, name those it was not, with --split RUN",
            data, model or "the detector", len(files),
        )  # fmt: skip
        return truth, images
    names = list(files)
    _, kept = division.rows(names, folder)
    wanted = {names[i] for i in kept}
    log.info("%d of %d pictures of %s were kept to validate on", len(kept), len(files), data)
    chosen = [item for item in truth if picture_name(images[item.name], folder) in wanted]
    return chosen, {item.name: images[item.name] for item in chosen}


def _of_model(model: Path | None) -> Division | None:
    from detector.inference.load import file_kind

    if model is None or not model.is_file() or file_kind(model) != "checkpoint":
        return None
    from detector.checkpoint import load_checkpoint

    payload = load_checkpoint(model)
    return Division.from_dict(payload["split"], str(model)) if "split" in payload else None
