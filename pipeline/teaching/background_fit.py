"""Fits the head in the background, and uses it only when it is no worse than the old one.

The fitting is done by a process (`pipeline.teaching.fit_process`); the store is touched by this
one alone, in one transaction. So if either is killed, the file holds the last complete state.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from faces.errors import UserError
from faces.text import counted
from pipeline.teaching.corrections import taught_as
from pipeline.teaching.fit_process import Fit, fit_apart, strangers_known
from pipeline.teaching.holdout import Split, first_head, problems
from recognizer.gallery import Gallery, Head
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store, StoreChanged
from recognizer.store.write import Change, NewSample
from recognizer.training.background import draw_background
from recognizer.training.fit import Stopped

logger = logging.getLogger(__name__)

TEST_BACKGROUND = 500
"""Drawn vectors of unknown people on which a new head is evaluated."""

Phase = Literal["none", "training", "swapped", "failed"]


@dataclass(frozen=True)
class HeadState:
    """How the classifier head is."""

    # ``none``: there is no head; ``training``: one is being taught in the background; ``swapped``:
    # the newest is in use; ``failed``: the old one stays, see ``message``
    phase: Phase
    message: str = ""  # why it failed, or what came of it
    version: int = 0  # of the gallery in use
    # how long the last training took, or the present one has been running
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """The examples of one teaching that are not in the store yet."""

    id: str  # of the teaching: the source of its first sample, which is in the store
    name: str  # whose they are
    samples: tuple[NewSample, ...] = ()  # may be empty when only the head is to be fitted again


class Trainer:
    """Takes batches, and makes of all of them and the store a new state of the store.

    Args:
        editing: held while the store is changed, here as by everybody else.
        swapped: called with the new snapshot when it is saved; ``editing`` is held.
        ended: called with the ids of the batches that are done with and what went wrong (empty when
            they are saved); ``editing`` is held.

    Batches whose training broke down are kept in memory and tried again with the next one; those
    that made somebody worse are dropped. What waits at the end is stored by `close`.
    """

    def __init__(
        self,
        store: Store,
        editing: threading.RLock,
        swapped: Callable[[Snapshot], None],
        ended: Callable[[Sequence[str], str], None],
        fit: Fit = fit_apart,
    ) -> None:
        self._store, self._editing = store, editing
        self._swapped, self._ended, self._fit = swapped, ended, fit
        self._batches: list[Batch] = []
        self._wanted, self._closed = False, False
        self._generation = 0
        self._changed = threading.Condition()
        has_head = store.snapshot().head is not None
        self._state = HeadState("swapped" if has_head else "none")
        self._began: float | None = None
        self._thread = threading.Thread(target=self._work, name="faces-teach", daemon=True)
        self._thread.start()

    @property
    def state(self) -> HeadState:
        """How it is going."""
        began, state = self._began, self._state
        if state.phase == "training" and began is not None:
            return replace(state, seconds=time.monotonic() - began)
        return state

    @property
    def busy(self) -> bool:
        """Whether something is being fitted, or will be."""
        with self._changed:
            return self._wanted or self._state.phase == "training"

    def add(self, batch: Batch) -> None:
        """Fit with these as well; what is running begins again."""
        with self._changed:
            self._batches.append(batch)
            self._ask()

    def refit(self) -> None:
        """Fit what is in the store; what is running begins again."""
        with self._changed:
            self._ask()

    def change(self, edit: Callable[[Batch], Batch | None]) -> None:
        """Replace every batch (None drops it); what is running begins again from that."""
        with self._changed:
            edited = [edit(batch) for batch in self._batches]
            self._batches = [batch for batch in edited if batch is not None]
            if self._state.phase == "training" or self._wanted:
                self._ask()

    def close(self, left: Batch | None = None) -> None:
        """Stop at once; examples that wait, and those ``left``, are stored without a new head."""
        with self._changed:
            self._closed = True
            self._batches += [] if left is None else [left]
            self._changed.notify_all()
        self._thread.join(timeout=30.0)
        try:
            while self._batches:
                with suppress(StoreChanged):
                    self._keep()
        except UserError as error:  # a busy or full disk
            logger.warning("what was taught last is not kept: %s", error)

    def _keep(self) -> None:
        """Store the examples that wait, unless they make somebody worse; the head stays."""
        old = self._store.snapshot()
        batches = self._present(tuple(self._batches))
        add = _by_name(batches)
        worse = []
        if add:
            split = Split.of(_joined(old.gallery, batches))
            worse = self._worse(old, split, None)
        with self._editing:
            if worse:
                logger.warning("what was taught last is not kept: %s", "; ".join(worse))
            elif add:
                self._store.apply(Change(add=add, expected=old.version))
                count = counted(sum(map(len, add.values())), "example")
                who = " and ".join(add)
                logger.info("kept %s of %s; the head learns them with `faces fit`", count, who)
            self._batches = []
            self._ended([batch.id for batch in batches], "; ".join(worse))

    def _ask(self) -> None:
        self._wanted, self._generation = True, self._generation + 1
        self._state = HeadState("training", "", self._state.version)
        self._began = self._began or time.monotonic()
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
                self._wanted = False
                generation = self._generation
                batches = tuple(self._batches)
            try:
                self._round(batches, generation)
            except (Stopped, StoreChanged):
                with self._changed:
                    self._wanted = not self._closed
            except Exception as error:  # whatever it is, the old state stays and the loop goes on
                logger.warning("the head was not taught: %s", error)
                logger.debug("", exc_info=True)
                self._fail(str(error) or type(error).__name__, batches, generation, drop=False)

    def _round(self, batches: Sequence[Batch], generation: int) -> None:
        def stale() -> bool:
            return self._closed or self._generation != generation

        old = self._store.snapshot()
        batches = self._present(batches)
        gallery = _joined(old.gallery, batches)
        if not len(gallery):
            self._settle(batches, generation, HeadState("none", "", old.version))
            return
        split = Split.of(gallery)
        first = first_head(old.head, split.taught)
        head = self._fit(split.taught, first, stale, old.strangers)
        worse = self._worse(old, split, head)
        if stale():
            raise Stopped
        if worse:
            logger.warning("the new head is not used: %s", "; ".join(worse))
            self._fail("; ".join(worse), batches, generation, drop=True)
            return
        self._save(batches, generation, head, old.version)

    def _worse(self, old: Snapshot, split: Split, head: Head | None) -> list[str]:
        """What is worse with the vectors of ``split`` and this head; None is the old head."""
        out = {vector.tobytes() for vector in split.held_out.embeddings}
        known = np.array([v.tobytes() not in out for v in old.gallery.embeddings], bool)
        known |= ~np.isin(np.array(old.gallery.names), np.array(old.gallery.names)[known])
        before = replace(
            old,
            gallery=Gallery(
                old.gallery.fingerprint,
                tuple(n for n, k in zip(old.gallery.names, known, strict=True) if k),
                old.gallery.embeddings[known],
            ),
        )
        after = replace(old, gallery=split.taught, head=head or old.head)
        background = np.zeros((0, self._store.dimension), np.float32)
        if strangers_known(split.taught):
            # Not those that it was fitted with.
            background = draw_background(split.taught, TEST_BACKGROUND, seed=1)
        return problems(before, after, split, background)

    def _present(self, batches: Sequence[Batch]) -> list[Batch]:
        """Those of people who are still known, under the names that they have by now."""
        present = []
        for batch in batches:
            name = taught_as(self._store, batch.id, batch.name)
            if name is not None:
                present.append(replace(batch, name=name))
                continue
            with self._editing:
                with self._changed:
                    self._batches = [one for one in self._batches if one.id != batch.id]
                self._ended([batch.id], f"{batch.name} was forgotten meanwhile")
        return present

    def _save(
        self, batches: Sequence[Batch], generation: int, head: Head | None, version: int
    ) -> None:  # fmt: skip
        add = _by_name(batches)
        people = 0 if head is None else len([name for name in head.names if name is not None])
        made = {"people": people, "strangers": "drawn", "by": "live"}
        with self._editing:
            if self._closed or self._generation != generation:
                raise Stopped
            self._store.apply(
                Change(
                    add=add, new_head=head is not None, head=head, provenance=made, expected=version
                )
            )
            snapshot = self._store.snapshot()
            self._swapped(snapshot)
            state = HeadState("swapped", counted(people, "person"), snapshot.version)
            if snapshot.head is None:
                state = HeadState("none", "nearness alone decides: see faces calibrate")
            self._settle(batches, generation, state)

    def _settle(self, batches: Sequence[Batch], generation: int, state: HeadState) -> None:
        """These batches are done with."""
        done = {batch.id for batch in batches}
        with self._editing:
            with self._changed:
                self._batches = [batch for batch in self._batches if batch.id not in done]
                self._conclude(state, generation)
            self._ended(sorted(done), state.message if state.phase == "failed" else "")

    def _fail(
        self, message: str, batches: Sequence[Batch], generation: int, *, drop: bool
    ) -> None:  # fmt: skip
        with self._changed:
            if self._generation != generation:
                return  # something newer is under way
        version = self._state.version
        if drop:
            self._settle(batches, generation, HeadState("failed", message, version))
            return
        with self._editing:
            with self._changed:
                self._conclude(HeadState("failed", message, version), generation)
            self._ended(sorted(batch.id for batch in batches), message)

    def _conclude(self, state: HeadState, generation: int) -> None:
        if self._generation != generation:
            return
        seconds = None if self._began is None else time.monotonic() - self._began
        self._state, self._began = replace(state, seconds=seconds), None


def _by_name(batches: Sequence[Batch]) -> dict[str, list[NewSample]]:
    add: dict[str, list[NewSample]] = {}
    for batch in batches:
        if batch.samples:
            add.setdefault(batch.name, []).extend(batch.samples)
    return add


def _joined(gallery: Gallery, batches: Sequence[Batch]) -> Gallery:
    new = [(batch.name, sample.embedding) for batch in batches for sample in batch.samples]
    if not new:
        return gallery
    return Gallery(
        gallery.fingerprint,
        (*gallery.names, *(name for name, _ in new)),
        np.concatenate([gallery.embeddings, np.stack([vector for _, vector in new])]),
    )
