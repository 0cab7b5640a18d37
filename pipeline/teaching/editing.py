"""What somebody changes of the people while a loop runs, apart from teaching: used at once, undone
with one call, and never half done.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product

from faces.closing import Closing
from faces.errors import UserError
from pipeline.live.best_views import BestViews, Chosen, face_of
from pipeline.live.cameras import Cameras
from pipeline.live.loop import Loop
from pipeline.teaching.background_fit import Trainer
from pipeline.teaching.corrections import SOURCE, deny, taught_as
from pipeline.teaching.fit_process import Fit, fit_apart
from pipeline.teaching.gathering import TeachOptions
from pipeline.teaching.progress import TeachingRun
from pipeline.types import Note, Tick
from recognizer.blank import find_blank
from recognizer.names import clean_name
from recognizer.snapshot import Snapshot
from recognizer.store.journal import Act
from recognizer.store.people import Store
from recognizer.store.read import PersonInfo
from recognizer.store.write import Change, NewSample
from recognizer.types import Embedder

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Denied:
    """A track whose face is not who it was taken for."""

    name: str  # that person's
    source: str  # of the denied faces
    left: int = 8  # how many more may be added to them


class PeopleEditing(Closing):
    """The people of a running loop. Any thread may call any method.

    Args:
        loop: the loop, or those of several cameras; its ``recognizer`` and ``notes`` are assigned
            here from now on.
        store: of the loop's embedder; it is used until `close`.
        fit: how a head is taught; see `pipeline.teaching.fit_process.Fit`.

    Attributes:
        prompt: notes of the window (what is being typed), shown with those made here.
    """

    def __init__(
        self,
        loop: Loop | Cameras,
        store: Store,
        embedder: Embedder,
        options: TeachOptions = TeachOptions(),  # noqa: B008 (immutable)
        fit: Fit = fit_apart,
    ) -> None:
        if store.fingerprint != embedder.fingerprint:
            raise ValueError(
                f"people of {store.fingerprint}, an embedder of {embedder.fingerprint}"
            )
        self._loop, self.store, self.options = loop, store, options
        self.embedder = embedder
        self.prompt: tuple[Note, ...] = ()
        # Whoever changes the store holds the first; the second, for moments only, guards the rest.
        self._editing, self._lock = threading.RLock(), threading.RLock()
        self._ticks: dict[str | None, Tick] = {}  # camera -> its newest
        self._best: dict[str | None, BestViews] = {}
        self._watched: set[int] = set()
        self._sources: dict[int, str] = {}  # track -> the teaching it was part of
        self._denied: dict[int, Denied] = {}  # track -> who it is not
        self._later = ThreadPoolExecutor(1, "faces-note")  # what the loop must not wait for
        self._session: TeachingRun | None = None
        self._thumbnails: tuple[int, dict[str, bytes | None]] = (-1, {})
        snapshot = store.snapshot()
        loop.recognizer = snapshot
        if options.blank is None:
            blank = find_blank(store.fingerprint, snapshot.same, options.gates.max_blank)
            self.options = replace(options, blank=blank)
        self._trainer = Trainer(store, self._editing, self.swap, self._ended, fit)

    def choose(self, track: int, *, poor: bool = False) -> Chosen:
        """The face of a track as it is now, to be taught later (when its name has been typed).

        No two cameras have a track of the same number. Raises UserError when it cannot be taught
        just now, with the reason; with ``poor`` only when it is not there, or may be another one.
        """
        with self._lock:
            showing = (camera for camera, tick in self._ticks.items() if face_of(track, tick))
            camera = next(showing, None)
            best = self._best.get(camera) or BestViews(self.options)
            return best.choose(track, self._ticks.get(camera), poor=poor)

    # -- people

    def people(self) -> list[PersonInfo]:
        """Everyone, sorted by name."""
        return self.store.people()

    def thumbnail(self, name: str) -> bytes | None:
        """A PNG of somebody; None when no picture was kept. Raises UserError: nobody."""
        version = self.store.version()
        with self._lock:
            if self._thumbnails[0] != version:
                self._thumbnails = (version, {})
            known = self._thumbnails[1]
        if name not in known:
            known[name] = self.store.thumbnail(name)
        return known[name]

    def forget(self, name: str) -> None:
        """Somebody is gone from memory and disk when this returns. Raises UserError: nobody."""
        name = clean_name(name)
        with self._editing:
            self.store.remove(name)
            with self._lock:
                session = self._session
                if session is not None and session.name == name:
                    session.end("cancelled")
                    self._session = None
                self._trainer.change(lambda batch: None if batch.name == name else batch)
                faces = [face for tick in self._ticks.values() for face in tick.faces]
                tracks = [f.track for f in faces if f.match.name == name and f.track is not None]
                for track, best in product(tracks, self._best.values()):
                    best.drop(track)
                self._thumbnails = (-1, {})
            self.swap(self.store.snapshot())

        def drop() -> None:
            for track in tracks:
                self._loop.forget(track)

        self._loop.call_soon(drop)

    def rename(self, old: str, new: str) -> None:
        old, new = clean_name(old), clean_name(new)
        with self._editing:
            self.store.rename(old, new)
            self._renamed(old, new)

    def merge(self, source: str, into: str) -> None:
        source, into = clean_name(source), clean_name(into)
        with self._editing:
            self.store.merge(source, into)
            self._renamed(source, into)
            if self.store.snapshot().head is not None:
                self._trainer.refit()

    def _renamed(self, old: str, new: str) -> None:
        with self._lock:
            session = self._session
            if session is not None and session.name == old:
                session.rename(new)
            self._trainer.change(
                lambda batch: replace(batch, name=new) if batch.name == old else batch
            )
        self.swap(self.store.snapshot())

    def deny(self, track: int, *, chosen: Chosen | None = None) -> None:
        """The face on a track is not who it is called: it loses that name, now and for good.

        Nobody else's name changes, see `recognizer.rule.is_denied`. Samples of that person that
        show this face go; a teaching of it that is under way is cancelled. ``chosen`` as in
        `correct`. Raises UserError when the face has no name, or is not there.
        """
        with self._editing:
            if chosen is None:
                chosen = self.choose(track, poor=True)
            wrong = chosen.match
            if wrong is None:
                raise UserError("this face has no name that could be wrong")
            session = self._session
            if session is not None and session.active and session.gatherer.track == track:
                self.cancel()
                if wrong not in {person.name for person in self.store.people()}:
                    return  # it was all that was known of them
            source = f"{SOURCE} {uuid.uuid4().hex[:12]}"
            example = chosen.example
            faces = [NewSample(example.embedding, example.picture, source)]
            faces += [NewSample(vector, None, source) for vector in chosen.others]
            deny(self.store, wrong, faces, self._sources.get(track), self.options.stricter)
            with self._lock:
                self._denied[track] = Denied(wrong, source)
            self._changed()

    def undo(self, act: int | None = None) -> Act:
        """Take back what was done last, see `recognizer.store.people.Store.undo`."""
        with self._editing:
            undone = self.store.undo(act)
            known = {person.name for person in self.store.people()}
            with self._lock:
                session = self._session
                if session is not None and session.active and (
                    session.act == undone.id or session.name not in known
                ):  # fmt: skip
                    session.end("cancelled")
                self._denied.clear()
                self._thumbnails = (-1, {})
            ended = session.source if session is not None and not session.active else None
            self._trainer.change(
                lambda batch: None if batch.id == ended or batch.name not in known else batch
            )
            self._changed()
            return undone

    def apply(self, change: Change) -> None:
        """Change the people, use it at once, and have the head learn it; see `Store.apply`."""
        with self._editing:
            self.store.apply(change)
            self._changed()

    def choose_picture(self, name: str, sample: int) -> None:
        with self._editing:
            self.store.choose_picture(name, sample)
            self._thumbnails = (-1, {})

    def _changed(self) -> None:
        """Use what the store holds now, and teach the head, if there is one."""
        snapshot = self.store.snapshot()
        self.swap(snapshot)
        if snapshot.head is not None:
            self._trainer.refit()

    def _deny_again(self, tick: Tick) -> None:
        """A denied face that turns and is called by that name again is denied so, too."""
        for look in tick.looks:
            for sighting in look.sightings:
                denied = self._denied.get(sighting.track or 0)
                wrong = sighting.match.name if sighting.match else None
                if denied is None or sighting.embedding is None or wrong != denied.name:
                    continue
                if not sighting.crossing and denied.left > 0:
                    denied.left -= 1
                    sample = NewSample(sighting.embedding, None, denied.source)
                    self._later.submit(self._add_denied, denied, sample)

    def _add_denied(self, denied: Denied, sample: NewSample) -> None:
        with self._editing:
            if denied not in self._denied.values():
                return  # undone meanwhile
            try:
                self.store.apply(Change(deny={denied.name: [sample]}))
            except UserError as error:  # somebody forgot that person
                logger.info("%s", error)
                return
            self.swap(self.store.snapshot())

    # -- using it

    def swap(self, snapshot: Snapshot) -> None:
        """Use a snapshot from the next frame on, unless a newer one is in use already.

        A teaching follows its person, whom another program may have renamed or forgotten.
        """
        with self._lock:
            if snapshot.version >= self._loop.recognizer.version:
                self._loop.recognizer = snapshot
        with self._editing:
            session = self._session
            if session is None or not session.active:
                return
            name = taught_as(self.store, session.source, session.name)
            with self._lock:
                if name is None:
                    session.end("cancelled", f"{session.name} was forgotten")
                elif name != session.name:
                    session.rename(name)

    def cancel(self) -> None:
        """End the present teaching, if any; see `pipeline.teaching.session.LiveTeaching`."""
        raise NotImplementedError

    def _ended(self, sources: Sequence[str], problem: str) -> None:
        """The trainer is done with these teachings."""
        with self._lock:
            session = self._session
            if session is not None and session.source in sources and session.active:
                said = session.message
                session.end("failed" if problem else "swapped", problem or said)
