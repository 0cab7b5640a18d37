"""What is taught from: enrolled people or folders of photos, and strangers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.images.find import find_images
from pipeline.enroll.photo_faces import Where, crop_photos, face_finder
from recognizer.data.photos import FaceFinder, read_folders
from recognizer.gallery import Gallery
from recognizer.names import clean_name
from recognizer.quality import Gates
from recognizer.sample_rule import decide
from recognizer.store.people import Store
from recognizer.training.augment import MASK_ONLY
from recognizer.training.background import draw_background
from recognizer.training.head_samples import (
    Samples,
    embed_all,
    geometry,
    samples_of_crops,
    samples_of_store,
    vary,
)
from recognizer.types import Embedder

log = logging.getLogger(__name__)

Bar = Callable[[str, int, str], AbstractContextManager[Callable[[int], object]]]
"""What is done, how many, their unit -> a context that gives what counts them."""


@dataclass
class Sources:
    """Where people and strangers come from."""

    folder: Path | None  # with a folder of photos per person; None takes those of the store
    strangers: Path | None  # photos of people who must stay unknown; None draws vectors
    where: Where  # where the face is on photos, see `pipeline.enroll.photo_faces.face_finder`
    detector: Path | None  # its file; None is the shipped one
    cache: Path  # folder that keeps the crops of photos
    bar: Bar  # shows progress
    threads: int | None = None  # of the detector
    # what people's photos must have, as for `faces enroll`; strangers' need not
    gates: Gates = field(default_factory=Gates)
    # of several faces on people's photos take the largest, instead of refusing them
    largest: bool = False
    refused: int = 0  # counts photos that could not be used

    def samples(self, store: Store, embedder: Embedder, choose: bool = True) -> Samples:
        """Everybody's photos with vectors. Raises UserError when there is nobody.

        ``choose`` leaves out photos of a folder that `recognizer.sample_rule` does not take. It
        asks cosines of embedders that tell all people apart, not of one that was trained on these.
        """
        if self.folder is not None:
            names, paths, crops = self._of_folder(embedder)
            with self.bar("embedding", len(crops), "faces") as tick:
                samples = samples_of_crops(names, crops, embedder, tick)
            return self._chosen(store, samples, paths) if choose else samples
        samples = samples_of_store(store, embedder)
        if not len(samples):
            raise UserError(f"nobody is enrolled in {store.path}; see `faces enroll`")
        return samples

    def faces(self, embedder: Embedder) -> tuple[list[str], NDArray[np.uint8]]:
        """A name and a crop for each usable photo of the folder; uint8 (N, S, S, 3).

        Raises UserError when there is none.
        """
        names, _, crops = self._of_folder(embedder)
        return names, crops

    def _of_folder(self, embedder: Embedder) -> tuple[list[str], list[Path], NDArray[np.uint8]]:
        """Of each usable photo: whose it is, the file, and the crop."""
        assert self.folder is not None
        photos = read_folders(self.folder)
        people = [clean_name(name) for name in photos.people]
        found = face_finder(self.where, self.detector, self.threads, self.gates, self.largest)
        crops, usable = self._crops(photos.paths, embedder, found, "crops.npz")
        names = [name for name, fine in zip(people, usable, strict=True) if fine]
        paths = [path for path, fine in zip(photos.paths, usable, strict=True) if fine]
        if not names:
            raise UserError(f"no photo in {self.folder} could be used (see above)")
        lost = sorted(set(people) - set(names))
        if lost:
            log.warning("no photo could be used of: %s", ", ".join(lost))
        return names, paths, crops

    def _chosen(self, store: Store, samples: Samples, paths: Sequence[Path]) -> Samples:
        """Those photos that may become samples; one that shows nothing new is no failure."""
        snapshot = store.snapshot()
        own: dict[str, list[int]] = {}
        for i, name in enumerate(samples.names):
            own.setdefault(name, []).append(i)
        rows: list[int] = []
        for name, mine in own.items():
            decisions = decide(
                snapshot, name, samples.embeddings[mine], self.gates, enrolled_before=True
            )
            for i, decision in zip(mine, decisions, strict=True):
                if decision.why is None:
                    rows.append(i)
                    continue
                log.warning("%s: %s", paths[i], decision.reason)
                self.refused += decision.why != "duplicate_photo"
        rows.sort()
        return Samples(
            tuple(samples.names[i] for i in rows),
            samples.embeddings[rows],
            samples.crops[rows],
            np.arange(len(rows)),
        )

    def stranger_crops(self, embedder: Embedder) -> NDArray[np.uint8]:
        """Crops (N, S, S, 3) of the strangers' photos. Raises UserError when there is none."""
        assert self.strangers is not None
        found = face_finder(self.where, self.detector, self.threads)
        crops, _ = self._crops(find_images(self.strangers), embedder, found, "strangers.npz")
        if not len(crops):
            raise UserError(f"no photo in {self.strangers} shows a face, so there are no strangers")
        return crops

    def stranger_vectors(
        self, gallery: Gallery, embedder: Embedder, masked: bool, seed: int
    ) -> NDArray[np.float32]:
        """Vectors (M, D) for the class "unknown", half of them with masks when ``masked``."""
        if self.strangers is None:
            return draw_background(gallery, masked=masked, seed=seed)
        crops = self.stranger_crops(embedder)
        if masked:
            varied = vary(crops, MASK_ONLY, seed, geometry(embedder))
            crops = np.concatenate([crops, varied])
        with self.bar("strangers", len(crops), "faces") as tick:
            vectors = embed_all(embedder, crops, tick)
        # `fit_head` holds the last ones out, so they come in random order.
        return vectors[np.random.default_rng(seed).permutation(len(vectors))]

    def _crops(
        self, paths: Sequence[Path], embedder: Embedder, found: tuple[FaceFinder, str], name: str
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        find, recipe = found
        with self.bar("photos", len(paths), "photos") as tick:
            crops, usable, refusals = crop_photos(
                paths, embedder, find, recipe, self.cache / name, tick
            )
        for sentence in refusals:
            log.warning("%s", sentence)
        self.refused += int((~usable).sum())
        return crops, usable
