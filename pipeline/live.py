"""Teaching while the picture runs: one object that the window and the page talk to.

live = Live(loop, store, embedder)
for tick in loop.run(source):
    live.show(tick)                     # a sink like any other; it must get every tick
    face = live.face_at(x, y)
    live.teach(face.track, "Ada")       # the next frame knows her
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from pipeline.background_fit import Batch, HeadState, Trainer
from pipeline.fit_process import Fit, fit_apart
from pipeline.gathering import Example, Gatherer, TeachOptions, refusal
from pipeline.loop import Loop
from pipeline.sinks_window import face_at
from pipeline.types import Face, Look, Note, Picture, Sighting, Tick
from recognizer.cutout import Cutout
from recognizer.gallery import Gallery
from recognizer.head import Head
from recognizer.names import clean_name
from recognizer.snapshot import Snapshot
from recognizer.store import Store
from recognizer.store_read import PersonInfo, Sample
from recognizer.store_write import Change, NewSample
from recognizer.types import Embedder, unit

__all__ = ["AlreadyKnown", "HeadState", "Live", "TeachOptions", "Teaching"]

Phase = Literal["idle", "gathering", "training", "swapped", "failed", "cancelled"]


SOURCE = "live"
"""Begins the source of every sample that was taught here; the rest tells one teaching from others.
"""

WATCH = 1.0
"""Seconds for which tracks are asked to be watched; asked anew with every tick."""

SHOWN = 3.0
"""Seconds for which the end of a teaching stays on the picture."""

WHOLE = 0.5
"""How near the mean of an earlier teaching must be to a face for `correct` to move it, as a part of
the way from the threshold of names to 1."""


@dataclass(frozen=True)
class Teaching:
    """How far the teaching of one person is, for the picture and for the page.

    Args:
        name: of the person.
        track: the face that is followed; None while it is out of sight or not certain.
        gathered: examples so far, the clicked one included.
        wanted: how many there shall be.
        phase: ``gathering``, then ``training``, then ``swapped`` or ``failed``; ``cancelled``.
        message: why nothing is gathered just now, or why it failed; may be empty.
    """

    name: str
    track: int | None
    gathered: int
    wanted: int
    phase: Phase
    message: str = ""


class AlreadyKnown(UserError):
    """The face looks like somebody known under another name; or the name is somebody else's.

    Attributes:
        name: of that person.
        similarity: cosine of the face with them.
    """

    def __init__(self, message: str, name: str, similarity: float) -> None:
        super().__init__(message)
        self.name, self.similarity = name, similarity


@dataclass(frozen=True, eq=False)
class Chosen:
    """The face that a user means, as it was when they chose it.

    Args:
        track: where it was.
        example: its vector and picture.
        match: the name it had, or None.
        time: seconds of the source.
    """

    track: int
    example: Example
    match: str | None
    time: float


@dataclass(frozen=True, eq=False)
class _Best:
    """The best look at a track since it last met another one."""

    picture: Picture
    look: Look
    sighting: Sighting
    bad: str | None


@dataclass(eq=False)
class _Session:
    """One teaching."""

    source: str
    name: str
    gatherer: Gatherer
    first: int
    """Number of the first sample."""
    head: tuple[Head, dict[str, Any]] | None
    """What was taken out of use because it contradicted the user."""
    phase: Phase = "gathering"
    message: str = ""
    ended: float | None = None

    @property
    def active(self) -> bool:
        return self.phase in ("gathering", "training")


class Live:
    """Teaches, corrects and forgets people while a loop runs. Any thread may call any method.

    Args:
        loop: the loop; its ``recognizer`` and ``notes`` are assigned here from now on.
        store: of the loop's embedder; it is used until `close`.
        embedder: the loop's.
        options: see `TeachOptions`.
        fit: how a head is taught; see `pipeline.fit_process.Fit`.

    Attributes:
        prompt: notes of the window (what is being typed), shown with those made here.
    """

    def __init__(
        self,
        loop: Loop,
        store: Store,
        embedder: Embedder,
        options: TeachOptions = TeachOptions(),  # noqa: B008 (immutable)
        fit: Fit = fit_apart,
    ) -> None:
        if store.contract != embedder.contract:
            raise ValueError(f"people of {store.contract}, an embedder of {embedder.contract}")
        self._loop, self._store, self._options = loop, store, options
        self.prompt: tuple[Note, ...] = ()
        # Whoever changes the store holds the first; the second, for moments only, guards the rest.
        self._editing, self._lock = threading.RLock(), threading.RLock()
        self._tick: Tick | None = None
        self._best: dict[int, _Best] = {}
        self._watched: set[int] = set()
        self._sources: dict[int, str] = {}  # track -> the teaching it was part of
        self._session: _Session | None = None
        self._thumbnails: tuple[int, dict[str, bytes | None]] = (-1, {})
        loop.recognizer = store.snapshot()
        self._trainer = Trainer(store, self._editing, self.swap, self._ended, fit)

    # -- for the loop's thread

    def show(self, tick: Tick) -> None:
        """Take a tick; called by the loop's thread with every one, as sinks are."""
        with self._lock:
            self._tick = tick
            for look in tick.looks:
                self._remember(look)
            session = self._session
            if session is not None and session.phase == "gathering":
                self._gather(session, tick)
            self._watch(session, tick)
            self._loop.notes = (*self._notes(session, tick.picture.time), *self.prompt)

    def _remember(self, look: Look) -> None:
        """Keep the best look at every track, for the moment when somebody clicks it."""
        for sighting in look.sightings:
            track = sighting.track
            if track is None:
                continue
            if sighting.crossing:  # from now on it may be somebody else
                self._best.pop(track, None)
                self._sources.pop(track, None)
            elif sighting.embedding is not None:
                bad = refusal(look, sighting, self._options.gates)
                best = _Best(look.picture, look, sighting, bad)
                old = self._best.get(track)
                if old is None or _worth(best) >= _worth(old):
                    self._best[track] = best
        if self._tick is not None:
            here = {face.track for face in self._tick.faces.faces}
            here |= {sighting.track for sighting in look.sightings}
            for gone in self._best.keys() - here:
                del self._best[gone]

    def _gather(self, session: _Session, tick: Tick) -> None:
        gatherer, gallery = session.gatherer, self._gallery()
        for look in tick.looks:
            gatherer.take(look, gallery)
        gatherer.at(tick.picture.time)
        if gatherer.track is not None:
            self._sources[gatherer.track] = session.source
        if gatherer.done:
            self._hand_over(session)

    def _hand_over(self, session: _Session) -> None:
        """Gathering is over; the examples after the first one go to the trainer."""
        session.phase = "training"
        session.message = session.gatherer.message if not session.gatherer.full else ""
        samples = tuple(
            NewSample(example.embedding, example.cutout, session.source)
            for example in session.gatherer.examples[1:]
        )
        self._trainer.add(Batch(session.source, session.name, samples))

    def _watch(self, session: _Session | None, tick: Tick) -> None:
        """Have the face looked at all the time; everybody, while it is unclear who is who."""
        wanted: set[int] = set()
        if session is not None and session.phase == "gathering":
            if session.gatherer.track is not None:
                wanted = {session.gatherer.track}
            else:
                wanted = {face.track for face in tick.faces.faces if face.track is not None}
        for track in self._watched - wanted:
            self._loop.watch(track, 0)
        for track in wanted:
            self._loop.watch(track, WATCH)
        self._watched = wanted

    def _notes(self, session: _Session | None, time: float) -> tuple[Note, ...]:
        if session is None:
            return ()
        if not session.active:
            if session.ended is None:
                session.ended = time
            if not 0 <= time - session.ended <= SHOWN:
                return ()
        state = self._describe(session)
        share = state.gathered / state.wanted if state.phase == "gathering" else None
        text = {
            "gathering": f"{state.gathered} of {state.wanted}",
            "training": "learning ...",
            "swapped": "learnt",
            "failed": "not learnt",
            "cancelled": "cancelled",
        }[state.phase]
        if state.message:
            text += f": {state.message}"
        if state.track is None:
            text = f"{state.name}: {text}"
        return (Note(text, state.track, share),)

    # -- what is there

    def face_at(self, x: float, y: float) -> Face | None:
        """The face at a point of the newest frame; the smallest where several overlap."""
        tick = self._tick
        return None if tick is None else face_at(tick, x, y)

    @property
    def teaching(self) -> Teaching | None:
        """The newest teaching, also when it has ended; None before the first."""
        with self._lock:
            return None if self._session is None else self._describe(self._session)

    def head(self) -> HeadState:
        """How the classifier head is."""
        return replace(self._trainer.state, version=self._loop.recognizer.version)

    def people(self) -> list[PersonInfo]:
        """Everyone, sorted by name."""
        return self._store.people()

    def thumbnail(self, name: str) -> bytes | None:
        """A PNG of somebody; None when no picture was kept. Raises UserError: nobody."""
        version = self._store.version()
        with self._lock:
            if self._thumbnails[0] != version:
                self._thumbnails = (version, {})
            known = self._thumbnails[1]
        if name not in known:
            cutouts = [sample.cutout for sample in self._store.samples(name)]
            known[name] = next((cutout.png for cutout in cutouts if cutout), None)
        return known[name]

    def choose(self, track: int) -> Chosen:
        """The face of a track as it is now, to be taught later (when its name has been typed).

        Raises UserError when it cannot be taught just now, with the reason.
        """
        with self._lock:
            face = self._face(track)
            best = self._best.get(track)
            if face is None:
                raise UserError("this face is not in the picture any more")
            if best is None:
                raise UserError("this face cannot be told apart just now: try again in a moment")
            if best.bad is not None:
                raise UserError(f"this face cannot be learnt from: {best.bad}")
            sighting, image = best.sighting, best.picture.image
            time = self._tick.picture.time if self._tick else best.picture.time
        assert sighting.embedding is not None
        cutout = None
        if self._options.pictures != "none":
            cutout = Cutout.of(image, np.array(sighting.box, np.float32))
        return Chosen(track, Example(sighting.embedding, cutout), face.match.name, time)

    # -- what is done

    def teach(
        self, track: int, name: str, *, sure: bool = False, chosen: Chosen | None = None
    ) -> Teaching:
        """Enrol the face of a track at once and begin to gather more of it.

        Args:
            track: of the face.
            name: the person's; they may be known already and learn more.
            sure: do it although `AlreadyKnown` was raised.
            chosen: what `choose` gave when the face was clicked, so that the right one is taught
                even if somebody else has stepped in front of it meanwhile.

        A teaching that is still gathering ends with what it has. Raises AlreadyKnown unless
        ``sure``; UserError for a name that cannot be, or when the face cannot be taught just now.
        """
        name = clean_name(name)
        with self._editing:
            chosen = chosen or self.choose(track)
            if not sure:
                _point_out(self._store.snapshot(), chosen, name)
            self._finish_gathering()
            return self._begin(chosen, name)

    def _begin(self, chosen: Chosen, name: str) -> Teaching:
        """The first example into the store, and into use."""
        source = f"{SOURCE} {uuid.uuid4().hex[:12]}"
        snapshot = self._store.snapshot()
        vector = chosen.example.embedding
        first = NewSample(vector, chosen.example.cutout, source)
        gallery = snapshot.gallery.add(name, vector[None])
        agrees = _agrees(replace(snapshot, gallery=gallery), vector, name)
        dropped = None
        if not agrees and snapshot.head is not None:
            dropped = (snapshot.head, self._store.head_provenance() or {})
        self._store.apply(Change(add={name: [first]}, new_head=dropped is not None))
        number = max(s.id for s in self._store.samples(name) if s.source == source)
        gatherer = Gatherer(
            name, chosen.track, chosen.example, snapshot.thresholds.gallery, chosen.time,
            self._options,
        )  # fmt: skip
        session = _Session(source, name, gatherer, number, dropped)
        with self._lock:
            self._session = session
            self._sources[chosen.track] = source
        self.swap(self._store.snapshot())
        self._trainer.change(lambda batch: batch)  # what is fitted now must know of the newcomer
        return self._describe(session)

    def cancel(self) -> None:
        """End the present teaching without a trace; nothing happens when there is none.

        The first example goes, and the person with it if they are known by it alone. Once the new
        snapshot is in use a teaching is over and cannot be cancelled: forget or correct it.
        """
        with self._editing:
            with self._lock:
                session = self._session
                if session is None or not session.active:
                    return
                self._end(session, "cancelled", "")  # nothing is handed over from here on
            self._trainer.change(lambda batch: None if batch.id == session.source else batch)
            restored = session.head if self._store.snapshot().head is None else None
            self._store.apply(
                Change(
                    remove=[session.first],
                    new_head=restored is not None,
                    head=restored[0] if restored else None,
                    provenance=restored[1] if restored else {},
                )
            )
            self.swap(self._store.snapshot())

    def correct(self, track: int, name: str) -> None:
        """The name on a track is wrong: the crops of this face move to ``name``.

        Those are the ones taught from this track, those of earlier teachings whose mean is near to
        this face, and single ones nearer to it than to the rest of the person; who has none left is
        forgotten. When none is, the face is taught under ``name``. Raises UserError when the face
        has no name, or cannot be taught just now.
        """
        name = clean_name(name)
        with self._editing:
            session = self._session
            if session is not None and session.active and session.gatherer.track == track:
                self._rename_session(session, name)
                return
            chosen = self.choose(track)
            wrong = chosen.match
            if wrong is None:
                raise UserError("this face has no name yet: teach it one")
            if wrong == name:
                return
            self._finish_gathering()
            source = self._sources.get(track)
            ids = self._crops_of(chosen.example.embedding, wrong, source)
            if not ids:
                self._begin(chosen, name)
                return
            self._move(ids, wrong, name, chosen.example.embedding)
            if source is not None:
                self._trainer.change(
                    lambda batch: replace(batch, name=name) if batch.id == source else batch
                )
            self.swap(self._store.snapshot())
            self._trainer.refit()

    def _rename_session(self, session: _Session, name: str) -> None:
        if session.name == name:
            return
        vector = session.gatherer.examples[0].embedding
        self._move([session.first], session.name, name, vector)
        with self._lock:
            session.name = session.gatherer.name = name
            self._trainer.change(
                lambda batch: replace(batch, name=name) if batch.id == session.source else batch
            )
        self.swap(self._store.snapshot())

    def _move(
        self, ids: Sequence[int], wrong: str, name: str, vector: NDArray[np.float32]
    ) -> None:  # fmt: skip
        """Samples to another person, and the head's class that was taught with them away."""
        snapshot = self._store.snapshot()
        head = _without(snapshot.head, wrong)
        gallery = snapshot.gallery.add(name, vector[None])
        if not _agrees(replace(snapshot, gallery=gallery, head=head), vector, name):
            head = None
        self._store.apply(
            Change(
                move=(name, ids),
                new_head=head is not snapshot.head,
                head=head,
                provenance=self._store.head_provenance() or {},
            )
        )

    def _crops_of(
        self, face: NDArray[np.float32], wrong: str, source: str | None
    ) -> list[int]:  # fmt: skip
        """Numbers of the samples of ``wrong`` that show this face."""
        named = self._store.snapshot().thresholds.gallery
        bar = named + self._options.stricter * (1 - named)
        whole = named + WHOLE * (1 - named)
        teachings: dict[str, list[Sample]] = {}
        for sample in self._store.samples(wrong):
            batch = sample.source if sample.source.startswith(f"{SOURCE} ") else str(sample.id)
            teachings.setdefault(batch, []).append(sample)
        moved: list[int] = []
        rest: list[list[Sample]] = []
        for batch, samples in teachings.items():
            mean = unit(np.sum([sample.embedding for sample in samples], axis=0))
            if batch == source or (len(samples) > 1 and float(mean @ face) > whole):
                moved += [sample.id for sample in samples]
            else:
                rest.append(samples)
        far = [s.embedding for group in rest for s in group if float(s.embedding @ face) <= bar]
        if far:
            centre = unit(np.sum(far, axis=0))
            moved += [
                sample.id
                for group in rest
                if len(group) == 1
                for sample in group
                if float(sample.embedding @ face) > max(bar, float(sample.embedding @ centre))
            ]
        return moved

    def forget(self, name: str) -> None:
        """Somebody is gone from memory and disk when this returns. Raises UserError: nobody."""
        name = clean_name(name)
        with self._editing:
            self._store.remove(name)
            with self._lock:
                session = self._session
                if session is not None and session.name == name:
                    self._end(session, "cancelled", "")
                    self._session = None
                self._trainer.change(lambda batch: None if batch.name == name else batch)
                faces = self._tick.faces.faces if self._tick else ()
                tracks = [f.track for f in faces if f.match.name == name and f.track is not None]
                for track in tracks:
                    self._best.pop(track, None)
                self._thumbnails = (-1, {})
            self.swap(self._store.snapshot())

        def drop() -> None:
            for track in tracks:
                self._loop.forget(track)

        self._loop.call_soon(drop)

    def rename(self, old: str, new: str) -> None:
        """See `recognizer.store.Store.rename`."""
        old, new = clean_name(old), clean_name(new)
        with self._editing:
            self._store.rename(old, new)
            self._renamed(old, new)

    def merge(self, source: str, into: str) -> None:
        """See `recognizer.store.Store.merge`."""
        source, into = clean_name(source), clean_name(into)
        with self._editing:
            self._store.merge(source, into)
            self._renamed(source, into)
            if self._store.snapshot().head is not None:
                self._trainer.refit()

    def _renamed(self, old: str, new: str) -> None:
        with self._lock:
            session = self._session
            if session is not None and session.name == old:
                session.name = session.gatherer.name = new
            self._trainer.change(
                lambda batch: replace(batch, name=new) if batch.name == old else batch
            )
        self.swap(self._store.snapshot())

    def swap(self, snapshot: Snapshot) -> None:
        """Use a snapshot from the next frame on, unless a newer one is in use already."""
        with self._lock:
            if snapshot.version >= self._loop.recognizer.version:
                self._loop.recognizer = snapshot

    def close(self) -> None:
        """Stop the teaching in the background; what is stored stays as it is."""
        self._trainer.close()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside

    def _finish_gathering(self) -> None:
        with self._lock:
            if self._session is not None and self._session.phase == "gathering":
                self._hand_over(self._session)

    def _ended(self, sources: Sequence[str], problem: str) -> None:
        """The trainer is done with these teachings."""
        with self._lock:
            session = self._session
            if session is not None and session.source in sources and session.active:
                said = session.message
                self._end(session, "failed" if problem else "swapped", problem or said)

    def _end(self, session: _Session, phase: Phase, message: str) -> None:
        with self._lock:
            session.phase, session.message = phase, message

    def _describe(self, session: _Session) -> Teaching:
        gatherer = session.gatherer
        message = gatherer.message if session.phase == "gathering" else session.message
        return Teaching(
            session.name, gatherer.track, len(gatherer.examples), gatherer.options.wanted,
            session.phase, message,
        )  # fmt: skip

    def _face(self, track: int) -> Face | None:
        faces = self._tick.faces.faces if self._tick else ()
        return next((face for face in faces if face.track == track), None)

    def _gallery(self) -> Gallery:
        recognizer = self._loop.recognizer
        assert isinstance(recognizer, Snapshot)
        return recognizer.gallery


def _worth(best: _Best) -> tuple[bool, float]:
    return best.bad is None, best.sighting.quality


def _point_out(snapshot: Snapshot, chosen: Chosen, name: str) -> None:
    """Raise AlreadyKnown for a face under another name, or a name with another face."""
    vector = chosen.example.embedding
    [match] = snapshot.identify(vector[None])
    if match.name is not None and match.name != name:
        similarity = match.similarity or 0.0
        raise AlreadyKnown(
            f"this looks like {match.name} ({similarity:.2f}), who is known already",
            match.name,
            similarity,
        )
    people = snapshot.gallery.people
    if match.name is None and name in people:
        similarity = float(snapshot.gallery.prototypes[people.index(name)] @ vector)
        raise AlreadyKnown(
            f"there is somebody called {name} already, who looks different ({similarity:.2f})",
            name,
            similarity,
        )


def _agrees(snapshot: Snapshot, vector: NDArray[np.float32], name: str) -> bool:
    """Whether the head, if it has a say, calls this face by its name."""
    [match] = snapshot.identify(vector[None])
    return match.source != "head" or match.name == name


def _without(head: Head | None, name: str) -> Head | None:
    """The head without a class; None when no person is left in it."""
    if head is None or name not in head.names:
        return head
    keep = [i for i, other in enumerate(head.names) if other != name]
    names = tuple(head.names[i] for i in keep)
    if all(other is None for other in names):
        return None
    return Head(head.contract, names, head.weight[keep], head.bias[keep])
