"""The people who are known, as Python sees them: the file people.db and the networks for it.

This is the gallery of the door, `faces.Gallery`. `recognizer.store.people.Store` is the file alone,
and `recognizer.gallery.Gallery` what it holds at one moment.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detector.types import Detector
from faces.closing import Closing
from faces.errors import UserError
from faces.images.read import as_image
from pipeline.enroll.photos import Refused, sample_of
from recognizer.names import clean_name
from recognizer.quality import Gates
from recognizer.sample_rule import decide
from recognizer.snapshot import Snapshot
from recognizer.store.address import PostgresAddress
from recognizer.store.database import StoreUnreachable
from recognizer.store.people import Store
from recognizer.store.write import NewSample
from recognizer.types import Embedder, Match

log = logging.getLogger(__name__)

GATES = Gates()
"""How good a photo must be, unless told otherwise."""


class Gallery(Closing):
    """The people in a file such as people.db; it is also used by `faces enroll` and all commands.

    Open one with `Gallery.open`. Other programs may change the file meanwhile: every answer is
    about what it holds now; while a database cannot be reached, about who was known last.
    Thresholds are those saved in the file, else those of the embedder.

    >>> import faces
    >>> from skimage.data import astronaut
    >>> with faces.Gallery.open("people.db") as gallery:
    ...     gallery.add("Eileen Collins", astronaut())
    ...     gallery
    True
    Gallery(people.db: 1 person)
    """

    def __init__(self, store: Store, embedder: Embedder, detector: Detector | str | Path) -> None:
        """Use `open`; ``store`` must be of the embedder's fingerprint."""
        self._store, self.embedder = store, embedder
        self._detector = detector
        self._closed = False
        self._last: Snapshot | None = None
        self._away = False

    @classmethod
    def open(
        cls,
        path: str | Path | PostgresAddress,
        embedder: Embedder | str | Path | None = None,
        detector: Detector | str | Path | None = None,
    ) -> Self:
        """Open the file, making it when it is missing.

        Args:
            path: the file, on a local disk; or ``postgresql://user@host/database``, which several
                machines may share (docs/scale.md).
            embedder: what makes vectors of faces: a name or file as `faces.load_embedder` takes
                it, or one that is open; None is the one that all commands take unless told
                otherwise. A file belongs to the embedder that it was made with.
            detector: what finds the face of a photo that is added: a file as `faces.load_detector`
                takes it, or one that is open; None is the shipped one. Opened when first needed.

        Raises UserError for a file that is damaged or foreign, or that is another embedder's.

        >>> import faces
        >>> with faces.Gallery.open("people.db", embedder="mini") as gallery:
        ...     gallery
        Gallery(people.db: nobody)
        """
        embedder = open_embedder(embedder)
        store = Store.open(path, embedder.fingerprint, embedder.dimension, take_over=True)
        return cls(store, embedder, "shipped" if detector is None else detector)

    @property
    def store(self) -> Store:
        """The file alone. Raises UserError once it is closed."""
        if self._closed:
            raise UserError(f"{self._store.path} is closed: open it again with Gallery.open")
        return self._store

    @cached_property
    def detector(self) -> Detector:
        """Finds the face of a photo that is added."""
        return open_detector(self._detector)

    def add(
        self,
        name: str,
        photo: Any,
        *,
        largest: bool = False,
        force: bool = False,
        keep_crop: bool = False,
        gates: Gates | None = GATES,
    ) -> bool:
        """Add a photo of a person, new or known, by the rule of `faces enroll`.

        Args:
            photo: a path, a Pillow image or an array (see `faces.images.read.as_image`) with one
                face; or an embedding, float (D,), of `faces.Face.embedding` or the embedder.
            largest: of several faces take the largest instead of refusing the photo.
            force: take a face that does not look like the person's others.
            keep_crop: also keep the picture of the face, so that another embedder can use it later.
            gates: how good the photo must be; None takes every face.

        Returns:
            Whether it is of use: False for a photo that shows nothing new (a near-duplicate).

        Raises UserError, saying why, for a photo that cannot be used and a name that cannot be.

        >>> import faces
        >>> from skimage.data import astronaut
        >>> with faces.Gallery.open("people.db") as gallery:
        ...     gallery.add("Eileen Collins", astronaut())
        ...     gallery.add("Eileen Collins", astronaut())
        ...     gallery.people
        True
        False
        ('Eileen Collins',)
        """
        name = clean_name(name)
        sample = self._sample(photo, largest, keep_crop, gates)
        source = sample.source
        [decision] = decide(self.snapshot(), name, sample.embedding[None], gates, force=force)
        if decision.why == "duplicate_photo":
            return False
        if decision.why is not None:
            way = "force=True" if decision.why == "another_face" else "gates=None"
            raise UserError(f"{source}: {decision.reason}; {way} takes it all the same")
        if decision.looks_like is not None:
            other, cosine = decision.looks_like
            log.warning("%s: added as %s, but it looks like %s (%.2f)", source, name, other, cosine)
        self.store.add_samples({name: [sample]})
        return True

    def deny(
        self, name: str, photo: Any, *, largest: bool = False, keep_crop: bool = False
    ) -> None:  # fmt: skip
        """Note that the face on a photo is not this person, whoever it may look like.

        From now on nothing calls this face so, and nobody else's name changes; the next classifier
        head learns it, too. `undo` takes it back, and so does adding the face with ``force``.

        Args:
            name: who it is not.
            photo, largest, keep_crop: as in `add`; how good the photo is does not matter.

        Raises UserError for a photo without one face, and when there is nobody of that name.

        >>> import faces
        >>> from skimage.data import astronaut
        >>> with faces.Gallery.open("people.db") as gallery:
        ...     _ = gallery.add("Eileen Collins", astronaut())
        ...     gallery.deny("Eileen Collins", astronaut())
        ...     print(faces.FaceAnalyzer(gallery=gallery)(astronaut())[0].name)
        ...     gallery.undo()
        ...     print(faces.FaceAnalyzer(gallery=gallery)(astronaut())[0].name)
        None
        'this is not Eileen Collins'
        Eileen Collins
        """
        self.store.deny(clean_name(name), [self._sample(photo, largest, keep_crop, None)])

    def undo(self) -> str:
        """Take back what was done last to these people, by whichever program; what that was.

        Up to fifty acts of the last day can be undone, one by one; forgetting is for ever. Raises
        UserError when there is nothing.
        """
        return self.store.undo().what

    def remove(self, name: str) -> None:
        """Forget somebody for good. Raises UserError when there is nobody of that name.

        >>> import faces
        >>> from skimage.data import astronaut
        >>> with faces.Gallery.open("people.db") as gallery:
        ...     _ = gallery.add("Eileen Collins", astronaut())
        ...     gallery.remove("Eileen Collins")
        ...     len(gallery)
        0
        """
        self.store.remove(name)

    def rename(self, old: str, new: str) -> None:
        """Raises UserError when there is nobody ``old``, or already somebody ``new``."""
        self.store.rename(old, new)

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody's name, sorted; `Store.people` has the details."""
        return self.snapshot().gallery.people

    def snapshot(self) -> Snapshot:
        """Everything that is known now; the same object as long as nothing has changed."""
        try:
            self._last, self._away = self.store.snapshot(), False
        except StoreUnreachable as error:
            if self._last is None:
                raise
            if not self._away:
                log.warning("faces are named from memory: %s", error)
            self._away = True
        return self._last

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self.store.version()

    def identify(self, embeddings: NDArray[np.float32]) -> list[Match]:
        """Unit vectors float32 (N, D) -> who each is.

        Raises UserError for anything else; a photo is for `faces.FaceAnalyzer`.
        """
        vectors = np.asarray(embeddings)
        if not vectors.size:
            return []
        if vectors.dtype.kind != "f" or vectors.ndim != 2:
            raise UserError(
                "identify takes embeddings, one in each row: [Face.embedding, ...]; the faces of a "
                "photo are named by faces.FaceAnalyzer(gallery=...)"
            )
        return self.snapshot().identify(np.stack([self._embedding(v) for v in vectors]))

    def __len__(self) -> int:
        return len(self.people)

    def __contains__(self, name: object) -> bool:
        return name in self.people

    def __repr__(self) -> str:
        if self._closed:
            return f"Gallery({self._store.path}: closed)"
        count = len(self)
        who = "nobody" if not count else "1 person" if count == 1 else f"{count:,} people"
        return f"Gallery({self.store.path}: {who})"

    def close(self) -> None:
        """Let go of the file; nothing else can be asked of it then."""
        self._closed = True
        self._store.close()

    def _sample(
        self, photo: Any, largest: bool, keep_crop: bool, gates: Gates | None
    ) -> NewSample:  # fmt: skip
        if getattr(photo, "ndim", None) == 1:
            return NewSample(self._embedding(photo), None, "embedding")
        source = _source(photo)
        try:
            return sample_of(
                as_image(photo), self.detector, self.embedder, gates, largest, keep_crop, source
            )
        except Refused as refused:
            raise UserError(f"{source}: {'; '.join(refused.reasons)}") from refused

    def _embedding(self, vector: Any) -> NDArray[np.float32]:
        vector = np.asarray(vector, np.float32)
        if vector.shape != (self.embedder.dimension,):
            raise UserError(
                f"an embedding of {len(vector)} numbers, this gallery's have "
                f"{self.embedder.dimension}: take it from the same embedder"
            )
        if not abs(float(np.linalg.norm(vector)) - 1) < 1e-3:  # also refuses what is not finite
            raise UserError("an embedding must have the length 1, as Face.embedding has")
        return vector


def open_embedder(embedder: Embedder | str | Path | None, threads: int | None = None) -> Embedder:
    """An embedder that is open already, or what `load_embedder` makes of its name or file."""
    if embedder is None or isinstance(embedder, str | Path):
        from recognizer.embedders.load import AUTO, load_embedder

        return load_embedder(AUTO if embedder is None else embedder, threads=threads)
    return embedder


def open_detector(detector: Detector | str | Path | None, **settings: Any) -> Detector:
    """A detector that is open already, or what `load_detector` makes of its name or file."""
    if detector is None or isinstance(detector, str | Path):
        from detector.inference.load import load_detector
        from detector.shipped import SHIPPED

        return load_detector(SHIPPED if detector is None else detector, **settings)
    return detector


def _source(photo: Any) -> str:
    """What a photo is called in messages and in the file."""
    name = photo if isinstance(photo, str | Path) else getattr(photo, "filename", "")
    return f"photo {Path(name).name}" if name else "photo"
