"""What a head is taught with: vectors, and vectors of varied copies of the crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.text import counted
from recognizer.crop import CropRecipe, landmarks_in
from recognizer.gallery import Gallery
from recognizer.store import read
from recognizer.store.people import Store
from recognizer.store.write import person_id
from recognizer.training.augment import Augmentation, augment, augment_all
from recognizer.types import Embedder, frozen

BATCH = 32


@dataclass(frozen=True, eq=False)
class Samples:
    """People's photos: always a vector, where possible also the crop."""

    names: tuple[str, ...]  # whose each photo is
    embeddings: NDArray[np.float32]  # unit vectors, float32 (N, D)
    crops: NDArray[np.uint8]  # RGB uint8 (K, S, S, 3), of the photos that have one
    cropped: NDArray[np.int64]  # their positions among the photos, int64 (K,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "embeddings", frozen(self.embeddings, np.float32))

    def __len__(self) -> int:
        return len(self.names)


def samples_of_store(store: Store, embedder: Embedder) -> Samples:
    """Everybody's vectors as they are stored, and crops of the pictures that were kept."""
    names: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    crops: list[NDArray[np.uint8]] = []
    cropped: list[int] = []
    with store.reading() as db:  # at one moment, whoever is renamed or merged meanwhile
        for person in read.people(db):
            number = person_id(db, person.name)
            for sample in read.samples(db, number, store.dimension, store.path):
                if sample.picture is not None:
                    crops.append(sample.picture.crop(embedder))
                    cropped.append(len(names))
                names.append(person.name)
                vectors.append(sample.embedding)
    return Samples(
        tuple(names),
        np.array(vectors, np.float32).reshape(-1, embedder.dimension),
        stack(crops, embedder.size),
        np.array(cropped, np.int64),
    )


def samples_of_crops(
    names: Sequence[str],
    crops: NDArray[np.uint8],
    embedder: Embedder,
    progress: Callable[[int], object] = lambda count: None,
) -> Samples:
    """Crops (N, S, S, 3) with their vectors; ``progress`` is told how many are done each time."""
    vectors = embed_all(embedder, crops, progress)
    return Samples(tuple(names), vectors, crops, np.arange(len(crops)))


def with_copies(
    samples: Samples,
    embedder: Embedder,
    how: Augmentation,
    copies: int,
    seed: int = 0,
    progress: Callable[[int], object] = lambda count: None,
) -> tuple[Gallery, NDArray[np.int64]]:
    """All samples, and that many varied copies of each that has a crop.

    Returns the gallery to teach with, and for each of its vectors the number of the photo it comes
    from (see `recognizer.training.fit.fit_head`).
    """
    place = geometry(embedder)
    names, photos = list(samples.names), [np.arange(len(samples))]
    vectors = [samples.embeddings]
    for copy in range(copies):
        varied = vary(samples.crops, how, seed * 1_000 + copy, place)
        vectors.append(embed_all(embedder, varied, progress))
        names += [samples.names[i] for i in samples.cropped]
        photos.append(samples.cropped)
    gallery = Gallery(embedder.fingerprint, tuple(names), np.concatenate(vectors))
    return gallery, np.concatenate(photos)


def vary(
    crops: NDArray[np.uint8],
    how: Augmentation,
    seed: int,
    landmarks: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """A varied copy of each crop; masks come to lie by these five points, moved a little."""
    if landmarks is None:
        return augment_all(crops, how, seed)
    copies = np.empty_like(crops)
    for i, crop in enumerate(crops):
        rng = np.random.default_rng((seed, i))
        moved = landmarks + rng.normal(0, 0.012, 2) * crop.shape[0]
        copies[i] = augment(crop, how, rng, moved)
    return copies


def geometry(embedder: Embedder) -> NDArray[np.float32] | None:
    """Where a face's five points lie in this embedder's crops (5, 2); None: as in aligned ones."""
    recipe = getattr(embedder, "recipe", None)
    if not isinstance(recipe, CropRecipe):
        return None
    return landmarks_in(recipe)


def embed_all(
    embedder: Embedder,
    crops: NDArray[np.uint8],
    progress: Callable[[int], object] = lambda count: None,
) -> NDArray[np.float32]:
    """Vectors (N, D) of crops (N, S, S, 3), a batch at a time; N may be 0."""
    parts = []
    for start in range(0, len(crops), BATCH):
        batch = crops[start : start + BATCH]
        parts.append(embedder.embed(batch))
        progress(len(batch))
    return np.concatenate(parts) if parts else np.zeros((0, embedder.dimension), np.float32)


def stack(crops: Sequence[NDArray[np.uint8]], size: int) -> NDArray[np.uint8]:
    """Crops (S, S, 3) as one array (N, S, S, 3), which may be empty."""
    return np.stack(crops) if len(crops) else np.zeros((0, size, size, 3), np.uint8)


def refuse_without_pictures(store: Store) -> None:
    """Raises UserError unless every sample, and every face that is denied of somebody, has its
    picture, so that another network can see it."""
    people = store.people()
    missing = {p.name: p.samples - p.crops for p in people if p.crops < p.samples}
    if missing:
        some = ", ".join(list(missing)[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{sum(missing.values())} samples in {store.path} have no stored picture ({some}), and "
            "a network that has learned something gives other vectors: everybody must be seen "
            "again. Enroll them from the photos with `faces enroll --keep-crops`, or train from "
            "folders of photos into another file"
        )
    denied = [face for p in people if p.denied for face in store.samples(p.name, denied=True)]
    if without := sum(face.picture is None for face in denied):
        raise UserError(
            f"{store.path} has {counted(without, 'denied face')} without a stored picture, and a "
            "network that has learned something gives other vectors: `faces people reembed "
            "--drop-missing`, with the --embedder of now, gives those up and makes the rest again; "
            "`faces people deny --keep-crops` stores a picture"
        )


def without_masks(how: Augmentation) -> Augmentation:
    """The same, but nobody wears a mask."""
    return replace(how, mask=0.0)
