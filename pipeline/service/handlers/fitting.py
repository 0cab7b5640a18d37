"""The job `fit`: teach the classifier head the people of a store, from the vectors it has."""

from __future__ import annotations

from typing import Any

from faces.errors import UserError
from pipeline.service.runtime.jobs import Progress
from recognizer.store.people import Store
from recognizer.training.background import draw_background, with_strangers
from recognizer.training.fit import HeadOptions, fit_head


def fit_people(store: Store, progress: Progress) -> dict[str, Any]:
    """Train on the vectors that are stored, and save the head; returns figures.

    It takes a second or so, in NumPy: the models stay free for requests. Pictures are not varied
    here; `faces fit` does that. Raises UserError when too few people are enrolled.
    """
    snapshot = store.snapshot()
    gallery = snapshot.gallery
    if not len(gallery):
        raise UserError("nobody is enrolled")
    options = HeadOptions()
    lines: list[dict[str, Any]] = []

    def tell(line: dict[str, Any]) -> None:
        lines.append(line)
        progress(line["epoch"] / options.epochs, f"epoch {line['epoch']} of {options.epochs}")

    strangers = with_strangers(draw_background(gallery), snapshot.strangers)
    head = fit_head(gallery, strangers, options, progress=tell)
    figures = {"people": len(gallery.people), "photos": len(gallery), "strangers": "drawn"}
    valid = min(lines, key=lambda line: line["valid"].get("loss", 0.0))["valid"]
    store.save_head(head, {**figures, "masks": False, "valid": valid})
    return {**figures, "epochs": len(lines), "valid": valid}
