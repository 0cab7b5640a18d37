"""The background: vectors of people who are not enrolled, for the class "unknown" of a head.

They are drawn from a normal distribution over vectors: a mean, the 64 directions in which people
differ most, and the same spread in all others. For the shipped embedders it was measured on some
hundred people and comes with the package; it holds sums over all of them, nobody's face and
nobody's vector. On people never seen, a head taught with drawn vectors names as few impostors as
one taught with those of real people (docs/recognition.md has the figures), so nothing need be
downloaded and nobody's data shipped.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import atomic_write
from recognizer.gallery import Gallery
from recognizer.shipped import FOLDER
from recognizer.types import frozen, unit

log = logging.getLogger(__name__)

DEFAULTS = FOLDER / "strangers.npz"
"""The spreads of the shipped embedders, written by `faces calibrate`."""

RANK = 64
KINDS = ("plain", "masked", "blank")


@dataclass(frozen=True, eq=False)
class Spread:
    """A normal distribution over vectors of length about 1."""

    mean: NDArray[np.float32]  # float32 (D,)
    # float32 (K, D), orthogonal, each as long as the standard deviation along it
    directions: NDArray[np.float32]
    rest: float  # standard deviation in every other direction

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", frozen(self.mean, np.float32))
        object.__setattr__(self, "directions", frozen(self.directions, np.float32))

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """That many unit vectors (count, D)."""
        along = rng.standard_normal((count, len(self.directions)), np.float32) @ self.directions
        across = rng.standard_normal((count, len(self.mean)), np.float32) * np.float32(self.rest)
        return unit(self.mean + along + across)


def measure_spread(embeddings: NDArray[np.float32], rank: int = RANK) -> Spread:
    """How the vectors of different people lie, best one vector (N, D) for each person.

    With fewer vectors than four times the dimension the covariance is drawn towards equal spread in
    all directions, as it would otherwise be zero in most. Raises ValueError for fewer than two.
    """
    count, dimension = embeddings.shape
    if count < 2:
        raise ValueError(f"a spread needs two vectors at least, got {count}")
    mean = embeddings.mean(axis=0)
    covariance = np.cov(embeddings.T.astype(np.float64)).reshape(dimension, dimension)
    even = np.trace(covariance) / dimension
    share = min(0.9, dimension / (2 * count)) if count < 4 * dimension else 0.0
    covariance = (1 - share) * covariance + share * even * np.eye(dimension)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1].T
    rank = min(rank, dimension - 1, count - 1)
    rest = float(np.sqrt(values[rank:].mean()))
    # `rest` is added in every direction, so these carry only what goes beyond it.
    beyond = np.sqrt((values[:rank] - rest**2).clip(0))
    return Spread(
        mean.astype(np.float32), (vectors[:rank] * beyond[:, None]).astype(np.float32), rest
    )


def spread_of_gallery(gallery: Gallery) -> Spread:
    """For an embedder of which nothing is known: others differ as the enrolled people do.

    With a single person, or nobody, they lie in all directions alike.
    """
    if len(gallery.people) > 1:
        return measure_spread(gallery.prototypes)
    dimension = gallery.embeddings.shape[1]
    nothing = np.zeros(dimension, np.float32)
    return Spread(nothing, np.zeros((0, dimension), np.float32), float(dimension**-0.5))


def draw_background(
    gallery: Gallery, count: int = 2000, masked: bool = False, seed: int = 0, path: Path = DEFAULTS
) -> NDArray[np.float32]:
    """Vectors (count, D) for the class "unknown" of a head.

    Args:
        gallery: whose head it is; its fingerprint says which spread is the right one.
        masked: half of them wear masks. For a head that is taught with masked faces, which would
            otherwise take every mask for its own people. Without a measured spread this has no
            effect.
        path: of the measured spreads.

    Raises UserError when the file of spreads is damaged.
    """
    rng = np.random.default_rng(seed)
    spreads = read_spreads(gallery.fingerprint, path)
    if not spreads:
        log.info(
            "the background is drawn as the enrolled people are spread: this embedder has no own"
        )
        return spread_of_gallery(gallery).draw(count, rng)
    half = count // 2 if masked and "masked" in spreads else 0
    return np.concatenate(
        [spreads["plain"].draw(count - half, rng)]
        + ([spreads["masked"].draw(half, rng)] if half else [])
    )


STRANGERS = 0.1
"""Part of the background that is made of strangers who are known, if there are any: few faces, of
which somebody had to say that they are not who they were taken for."""


def with_strangers(
    background: NDArray[np.float32], strangers: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """A background (M, D) with known strangers (S, D), each as often as it takes to matter.

    They come first: what `recognizer.training.fit` holds out is the end.
    """
    if strangers is None or not len(strangers):
        return background
    often = max(1, round(STRANGERS * len(background) / len(strangers)))
    return np.concatenate([np.repeat(strangers, often, axis=0), background])


# ---- the file ------------------------------------------------------------------------------------


def read_spreads(fingerprint: str, path: Path = DEFAULTS) -> dict[str, Spread]:
    """The measured spreads of an embedder by kind, "plain", "masked" and "blank" (see
    `recognizer.blank`); empty when unknown.

    Raises UserError when the file is damaged.
    """
    return _read(path).get(fingerprint, {})


def write_spreads(path: Path, fingerprint: str, spreads: Mapping[str, Spread]) -> None:
    """Add an embedder's spreads to a file, or replace them, in half precision; others stay."""
    everything = {**_read(path), fingerprint: dict(spreads)}
    arrays: dict[str, NDArray] = {"contracts": np.array(sorted(everything), dtype=np.str_)}
    for number, name in enumerate(sorted(everything)):
        for kind, spread in everything[name].items():
            arrays[f"{number}_{kind}_mean"] = spread.mean.astype(np.float16)
            arrays[f"{number}_{kind}_directions"] = spread.directions.astype(np.float16)
            arrays[f"{number}_{kind}_rest"] = np.array(spread.rest, np.float32)
    buffer = io.BytesIO()
    save: Callable[..., None] = np.savez_compressed  # its stubs take every keyword for a flag
    save(buffer, **arrays)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def _read(path: Path) -> dict[str, dict[str, Spread]]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                str(fingerprint): {
                    kind: Spread(
                        arrays[f"{number}_{kind}_mean"],
                        arrays[f"{number}_{kind}_directions"],
                        float(arrays[f"{number}_{kind}_rest"]),
                    )
                    for kind in KINDS
                    if f"{number}_{kind}_mean" in arrays
                }
                for number, fingerprint in enumerate(arrays["contracts"])
            }
    except Exception as error:  # NumPy and zipfile raise many kinds for a file they cannot read
        raise UserError(f"{path} is no file of spreads, or it is damaged: {error}") from error
