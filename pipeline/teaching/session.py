"""Teaching while the picture runs: one object that the window and the page talk to.

live = LiveTeaching(loop, store, embedder)
for tick in loop.run(source):
    live.show(tick)                     # a sink like any other; it must get every tick
    live.teach(tick.faces.faces[0].track, "Ada")  # the next frame knows her
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace

from faces.errors import UserError
from pipeline.live.best_views import BestViews, Chosen
from pipeline.teaching.background_fit import HeadState
from pipeline.teaching.corrections import (
    SOURCE,
    agrees,
    move,
    point_out,
    samples_of_face,
)
from pipeline.teaching.editing import PeopleEditing
from pipeline.teaching.gathering import Gatherer
from pipeline.teaching.progress import Teaching, TeachingRun
from pipeline.types import Tick
from recognizer.gallery import Gallery
from recognizer.names import clean_name
from recognizer.snapshot import Snapshot
from recognizer.store.journal import Doing
from recognizer.store.write import Change, NewSample

logger = logging.getLogger(__name__)

WATCH = 1.0
"""Seconds for which tracks are asked to be watched; asked again with every tick."""


class LiveTeaching(PeopleEditing):
    """Teaches and corrects people while a loop runs; the rest is in `PeopleEditing`."""

    # -- for the loop's thread

    def show(self, tick: Tick) -> None:
        """Take a tick; called by the loop's thread with every one, as sinks are."""
        with self._lock:
            self._ticks[tick.camera] = tick
            best = self._best.setdefault(tick.camera, BestViews(self.options))
            for look in tick.looks:
                for track in best.take(look, tick):
                    self._sources.pop(track, None)
                    self._denied.pop(track, None)
            if self._denied:
                self._deny_again(tick)
            session = self._session
            if session is None or not session.active or session.camera == tick.camera:
                if session is not None and session.phase == "gathering":
                    self._gather(session, tick)
                self._watch(session, tick)
            notes = session.notes(tick.picture.time) if session else ()
            self._loop.notes = (*notes, *self.prompt)

    def _gather(self, session: TeachingRun, tick: Tick) -> None:
        gatherer, gallery = session.gatherer, self._gallery()
        for look in tick.looks:
            gatherer.take(look, gallery)
        gatherer.at(tick.picture.time)
        if gatherer.track is not None:
            self._sources[gatherer.track] = session.source
        if gatherer.done:
            self._trainer.add(session.hand_over())

    def _watch(self, session: TeachingRun | None, tick: Tick) -> None:
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

    # -- what is there

    @property
    def teaching(self) -> Teaching | None:
        """The newest teaching, also when it has ended; None before the first."""
        with self._lock:
            return None if self._session is None else self._session.describe()

    def head(self) -> HeadState:
        """How the classifier head is."""
        return replace(self._trainer.state, version=self._loop.recognizer.version)

    # -- what is done

    def teach(
        self, track: int, name: str, *, sure: bool = False, chosen: Chosen | None = None
    ) -> Teaching:
        """Enroll the face of a track at once and begin to gather more of it.

        Args:
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
                point_out(self.store.snapshot(), chosen.example.embedding, name)
            self._finish_gathering()
            return self._begin(chosen, name)

    def _begin(self, chosen: Chosen, name: str) -> Teaching:
        """The first example into the store, and into use."""
        source = f"{SOURCE} {uuid.uuid4().hex[:12]}"
        snapshot = self.store.snapshot()
        vector = chosen.example.embedding
        first = NewSample(vector, chosen.example.picture, source)
        gallery = snapshot.gallery.add(name, vector[None])
        dropped = None
        told_apart = agrees(replace(snapshot, gallery=gallery), vector, name)
        if not told_apart and snapshot.head is not None:
            dropped = (snapshot.head, self.store.head_provenance() or {})
        doing = Doing(f"{name} was taught", head=dropped is not None, more=source)
        self.store.apply(Change(add={name: [first]}, new_head=dropped is not None, doing=doing))
        number = max(s.id for s in self.store.samples(name) if s.source == source)
        denied = self.store.snapshot().denied
        gatherer = Gatherer(
            name, chosen.track, chosen.example, snapshot.thresholds.gallery, chosen.time,
            self.options, None if denied is None else denied.of(name),
        )  # fmt: skip
        session = TeachingRun(
            source, name, gatherer, number, dropped, self.store.acts()[0].id,
            camera=chosen.camera,
        )  # fmt: skip
        with self._lock:
            self._session = session
            self._sources[chosen.track] = source
            denied_as = self._denied.get(chosen.track)
            if denied_as is not None and denied_as.name == name:
                del self._denied[chosen.track]  # a denial that waits to be written is not any more
        self.swap(self.store.snapshot())
        self._trainer.change(lambda batch: batch)  # what is fitted now must know of the newcomer
        return session.describe()

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
                session.end("cancelled")  # nothing is handed over from here on
            self._trainer.change(lambda batch: None if batch.id == session.source else batch)
            if [act.id for act in self.store.acts()[:1]] == [session.act]:
                self.store.undo(session.act)
                self.swap(self.store.snapshot())
                return
            restored = session.head if self.store.snapshot().head is None else None
            self.store.apply(
                Change(
                    remove=[session.first],
                    new_head=restored is not None,
                    head=restored[0] if restored else None,
                    provenance=restored[1] if restored else {},
                )
            )
            self.swap(self.store.snapshot())

    def correct(self, track: int, name: str, *, chosen: Chosen | None = None) -> None:
        """The name on a track is wrong: the crops of this face move to ``name``.

        Args:
            chosen: what `choose` gave when the face was clicked; with it, the face may be out of
                the picture by now.

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
            chosen = chosen or self.choose(track)
            wrong = chosen.match
            if wrong is None:
                raise UserError("this face has no name yet: teach it one")
            if wrong == name:
                return
            self._finish_gathering()
            source = self._sources.get(track)
            vector = chosen.example.embedding
            ids = samples_of_face(self.store, vector, wrong, source, self.options.stricter)
            if not ids:
                self._begin(chosen, name)
                return
            move(self.store, ids, wrong, name, vector)
            sources = {source}
            if session is not None and session.active and session.first in ids:
                sources.add(session.source)  # the face has got a new track since
                session.rename(name)
            self._trainer.change(
                lambda batch: replace(batch, name=name) if batch.id in sources else batch
            )
            self.swap(self.store.snapshot())
            self._trainer.refit()

    def _rename_session(self, session: TeachingRun, name: str) -> None:
        if session.name == name:
            return
        vector = session.gatherer.examples[0].embedding
        move(self.store, [session.first], session.name, name, vector)
        with self._lock:
            session.rename(name)
            self._trainer.change(
                lambda batch: replace(batch, name=name) if batch.id == session.source else batch
            )
        self.swap(self.store.snapshot())

    def close(self) -> None:
        """Stop the teaching in the background; what was gathered is stored, without a new head."""
        self._later.shutdown()
        with self._lock:
            session = self._session
            gathering = session is not None and session.phase == "gathering"
            left = session.hand_over() if session is not None and gathering else None
        self._trainer.close(left)

    # -- inside

    def _finish_gathering(self) -> None:
        with self._lock:
            if self._session is not None and self._session.phase == "gathering":
                self._trainer.add(self._session.hand_over())

    def _gallery(self) -> Gallery:
        recognizer = self._loop.recognizer
        assert isinstance(recognizer, Snapshot)
        return recognizer.gallery
