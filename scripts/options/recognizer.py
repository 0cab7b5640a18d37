"""Flags that the commands about people share, and opening what they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from recognizer.store.address import PostgresAddress, place

if TYPE_CHECKING:
    from detector.types import Detector
    from recognizer.embedders.embedder import FaceEmbedder
    from recognizer.store.people import Store
    from recognizer.types import Embedder


GALLERY = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="FILE|ADDRESS",
    instance_from_str=lambda words: place(words[0]),
    is_instance=lambda value: value is None or isinstance(value, Path | PostgresAddress),
    str_from_instance=lambda value: [str(value)],  # without a password
)
"""How a flag names a gallery."""


@dataclass(frozen=True)
class GalleryOptions:
    """Where people are kept."""

    gallery: Annotated[PostgresAddress | Path, GALLERY, tyro.conf.arg(aliases=["-g"])] = Path(
        "people.db"
    )
    """The file of the people who are known; or postgresql://user@host/database for several
    machines (docs/scale.md), with the password in PGPASSWORD or ~/.pgpass."""

    def exists(self) -> bool:
        """Whether people are, or have been, kept there."""
        from recognizer.store.people import Store

        return Store.exists(self.gallery)

    def open_store(self, embedder: Embedder, take_over: bool = False) -> Store:
        """The people, for this embedder; made where they are missing. ``take_over`` and UserError
        as `Store.open`."""
        from recognizer.store.people import Store

        return Store.open(
            self.gallery, embedder.fingerprint, embedder.dimension, take_over=take_over
        )

    def open_existing_store(self) -> Store:
        """The people, whatever their embedder. Raises UserError when they are missing."""
        from recognizer.store.people import Store

        return Store.open_existing(self.gallery)


@dataclass(frozen=True)
class EmbedderOptions:
    """What tells faces apart."""

    embedder: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = "auto"
    """`mini` comes with the project, `inception` is InceptionResnetV1 of facenet-pytorch; `auto`
    takes inception where its weights are there, else mini. Or a file of `faces fit` or
    `faces pretrain-embedder`."""
    embedder_weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Weights of InceptionResnetV1 (a state dict), in place of the download."""
    flip: bool = False
    """Look at the mirror image of each face, too: fewer mistakes, and twice the time for telling
    faces apart. What was made without it can still be compared."""

    def open_embedder(self, threads: int | None = None) -> FaceEmbedder:
        """Raises UserError as `load_embedder`."""
        from recognizer.embedders.load import load_embedder

        return load_embedder(self.embedder, self.embedder_weights, threads=threads, flip=self.flip)


@dataclass(frozen=True)
class DetectorOptions:
    """What finds faces."""

    detector: Annotated[Path, tyro.conf.arg(aliases=["-m", "--model"], metavar="FILE")] = Path(
        "shipped"
    )
    """Checkpoint, TorchScript or ONNX file; `shipped` comes with the project."""

    def open_detector(self) -> Detector:
        """Raises UserError as `load_detector`."""
        from detector.inference.load import load_detector

        return load_detector(self.detector)
