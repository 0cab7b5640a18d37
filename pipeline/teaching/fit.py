"""From samples to a head in the store, in one or two phases."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.history import best_line, plot_histories, save_figure, write_history
from pipeline.teaching.fit_data import Sources
from recognizer.gallery import Head
from recognizer.sample_rule import somebody_else
from recognizer.store.people import Store
from recognizer.store.read import outside_head
from recognizer.store.write import NewSample
from recognizer.training.augment import PLAIN, STRONG
from recognizer.training.background import with_strangers
from recognizer.training.fit import HeadOptions, fit_head
from recognizer.training.head_samples import Samples, with_copies, without_masks
from recognizer.types import Embedder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadPlan:
    """How a head is taught."""

    copies: int = 6  # varied copies of each photo whose picture is at hand
    masks: bool = True  # half of them wear masks
    phases: int = 1  # 1: strongly varied copies at once; 2: hardly varied ones first
    # values for `recognizer.training.fit.HeadOptions`
    details: Mapping[str, Any] = field(default_factory=dict)

    def options(self, phase: int) -> HeadOptions:
        """Of a phase; the second has half the learning rate. Raises UserError for wrong values."""
        values = {"learning_rate": 1e-3, **self.details}
        return HeadOptions(**{**values, "learning_rate": values["learning_rate"] / phase})


@dataclass
class Record:
    """The history of a run in a folder: history.jsonl and loss.png."""

    folder: Path
    level: int = logging.DEBUG
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, phase: int, line: Mapping[str, Any]) -> None:
        """Note an epoch, numbered through all phases."""
        line = {**line, "phase": phase, "epoch": len(self.lines) + 1}
        self.lines.append(line)
        valid = line["valid"]
        error = f", held-out error {valid['error']:.2%}" if "error" in valid else ""
        log.log(
            self.level, "phase %d, epoch %d: training loss %.4f, held-out loss %.4f%s",
            phase, line["epoch"], line["train"]["loss"], valid["loss"], error,
        )  # fmt: skip

    @property
    def best(self) -> dict[str, Any]:
        """What the best epoch of the last phase gave on the held-out part."""
        last = [line for line in self.lines if line["phase"] == self.lines[-1]["phase"]]
        return dict(best_line(last)["valid"])

    def write(self) -> None:
        """Both files, whole."""
        write_history(self.folder / "history.jsonl", self.lines)
        save_figure(plot_histories({self.folder.name: self.lines}), self.folder / "loss.png")


def teach_head(
    samples: Samples,
    sources: Sources,
    embedder: Embedder,
    plan: HeadPlan,
    record: Record,
    denied: NDArray[np.float32] | None = None,
) -> Head:
    """A head for the people of ``samples``; nothing is stored. Raises UserError as `fit_head`.

    ``denied`` are strangers who were taken for somebody, see `Snapshot.strangers`.
    """
    seed = int(plan.details.get("seed", 0))
    strong = STRONG if plan.masks else without_masks(STRONG)
    phases = [PLAIN, strong] if plan.phases == 2 else [strong]
    copies = plan.copies if len(samples.cropped) else 0
    if plan.copies and not copies:
        log.info(
            "no pictures were kept, so neither masks nor bad light can be practiced: enroll with "
            "`faces enroll --keep-crops`, or teach from folders of photos"
        )
    head: Head | None = None
    for number, how in enumerate(phases, 1):
        with sources.bar("copies", copies * len(samples.cropped), "faces") as tick:
            gallery, photos = with_copies(samples, embedder, how, copies, seed * 10 + number, tick)
        strangers = sources.stranger_vectors(gallery, embedder, bool(how.mask and copies), seed)
        strangers = with_strangers(strangers, denied)
        head = fit_head(
            gallery, strangers, plan.options(number), photos=photos, start=head,
            progress=partial(record.add, number),
        )  # fmt: skip
    assert head is not None
    return head


def store_head(
    store: Store, head: Head, samples: Samples, sources: Sources, record: Record
) -> None:
    """Put a head into the store; who is in the folder but not in the store is enrolled first, and
    those who are only in the store are named.

    Raises UserError as `Store.add_samples` and `Store.save_head`.
    """
    new: dict[str, list[NewSample]] = {}
    # Samples of the store never enroll: somebody who is missing by now was forgotten or renamed
    # meanwhile and must not come back. `save_head` leaves their classes out.
    if sources.folder is not None:
        known = {person.name for person in store.people()}
        for name, vector in zip(samples.names, samples.embeddings, strict=True):
            if name not in known:
                new.setdefault(name, []).append(NewSample(vector, None, "faces fit"))
    if new:
        _point_out(store, new)
        store.add_samples(new)
        log.info("enrolled from %s: %s", sources.folder, ", ".join(new))
    provenance = {
        "people": len(set(samples.names)),
        "photos": len(samples),
        "pictures": int(np.size(samples.cropped)),
        "strangers": "drawn" if sources.strangers is None else "photos",
        "held_out": record.best,
    }
    store.save_head(head, provenance)
    outside = outside_head(store.people())
    if sources.folder is not None and outside:
        log.warning(
            "the new head does not know %s, who are enrolled and not in %s: `faces fit` without "
            "--from-folders teaches everybody",
            outside, sources.folder,
        )  # fmt: skip


def _point_out(store: Store, new: Mapping[str, Sequence[NewSample]]) -> None:
    """Who is about to be enrolled and looks like somebody who is enrolled already."""
    snapshot = store.snapshot()
    for name, samples in new.items():
        found = [somebody_else(snapshot, name, sample.embedding) for sample in samples]
        others = [other for other in found if other is not None]
        if others:
            other, cosine = max(others, key=lambda other: other[1])
            log.warning(
                "warning: %r looks like %r, who is enrolled already (similarity %.2f); if both are "
                "one person: `faces people merge`",
                name, other, cosine,
            )  # fmt: skip
