"""Fitting the head while the picture runs: in a process of its own, and used only when it is good.

A process, because NumPy's many small steps would take the interpreter from the loop's thread again
and again (`benchmarks/teach.py` measures both); with low priority and one thread. It is given
vectors and gives back a head; the store is touched by this process alone, in one transaction. So
whoever is killed, and whenever, the file holds the last whole state.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from recognizer.compare import HeldBack, compare_snapshots, held_back
from recognizer.fit import FIRST_BAR, SCALE, HeadOptions, Stopped, fit_head
from recognizer.gallery import Gallery
from recognizer.head import Head
from recognizer.snapshot import Snapshot
from recognizer.store import Store, StoreChanged
from recognizer.store_write import Change, NewSample
from recognizer.strangers import draw_strangers, read_spreads

logger = logging.getLogger(__name__)

JUDGES = 500
"""Drawn strangers with whom a new head is judged."""

MORE_STRANGERS = 0.01
"""Share of them that a new snapshot may name beyond those that the old one names."""

FEW = 20
"""People from which on strangers can be drawn as the known people are spread."""

POLL = 0.05
"""Seconds between two questions whether to stop."""

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""What keeps NumPy from taking all cores, whatever it was built with."""


class Fit(Protocol):
    """Teaches a head; see `fit_apart`."""

    def __call__(
        self, gallery: Gallery, start: Head | None, stop: Callable[[], bool]
    ) -> Head | None:
        """None when no head can be made; raises Stopped soon after ``stop()`` is true."""


class FitError(Exception):
    """The process that fits has died, with its last words."""


def fit_here(
    gallery: Gallery, start: Head | None, stop: Callable[[], bool]
) -> Head | None:  # fmt: skip
    """Fine-tune a head for everybody in the gallery, in this thread.

    None when it is the first one, few people are known, and nothing is known of how strangers look
    to this embedder: such a head would call strangers by their names.
    """
    if start is None and not _strangers_known(gallery):
        return None
    return fit_head(gallery, draw_strangers(gallery), HeadOptions(), start=start, stop=stop)


def _strangers_known(gallery: Gallery) -> bool:
    """Whether strangers can be drawn that look like strangers."""
    return len(gallery.people) >= FEW or bool(read_spreads(gallery.contract))


def fit_apart(
    gallery: Gallery,
    start: Head | None,
    stop: Callable[[], bool],
    command: Sequence[str] = (sys.executable, "-m", "pipeline.background_fit"),
) -> Head | None:
    """As `fit_here`, in a process of low priority. Raises FitError when it dies."""
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
    ) as process:
        try:
            _step_back(process.pid)
            out, err = _talk(process, _packed(gallery, start), stop)
        finally:
            process.kill()  # nothing happens to one that has ended
    if process.returncode != 0:
        last = err.decode(errors="replace").strip().splitlines() or ["without a word"]
        raise FitError(f"the training has died ({process.returncode}): {last[-1]}")
    return _unpacked(out)[1]


def _talk(
    process: subprocess.Popen[bytes], data: bytes, stop: Callable[[], bool]
) -> tuple[bytes, bytes]:
    rest: bytes | None = data
    while True:
        try:
            return process.communicate(rest, timeout=POLL)
        except subprocess.TimeoutExpired:
            rest = None  # the first call has taken it over
            if stop():
                raise Stopped from None


def _step_back(process: int) -> None:
    """Everybody else goes first."""
    import psutil

    try:
        lowest = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10)  # the former on Windows only
        psutil.Process(process).nice(lowest)
    except psutil.Error as error:  # it only takes more than its share then
        logger.debug("the training keeps its priority: %s", error)


def _packed(gallery: Gallery, head: Head | None) -> bytes:
    text = {
        "contract": gallery.contract,
        "names": gallery.names,
        "classes": None if head is None else head.names,
    }
    arrays = {"text": np.array(json.dumps(text)), "embeddings": gallery.embeddings}
    if head is not None:
        arrays |= {"weight": head.weight, "bias": head.bias}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # it takes every keyword for a flag
    return buffer.getvalue()


def _unpacked(data: bytes) -> tuple[Gallery, Head | None]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        text = json.loads(str(arrays["text"]))
        gallery = Gallery(text["contract"], tuple(text["names"]), arrays["embeddings"])
        if text["classes"] is None:
            return gallery, None
        classes = tuple(text["classes"])
        return gallery, Head(text["contract"], classes, arrays["weight"], arrays["bias"])


def main() -> None:
    """The other process: a gallery and a head from stdin, a head to stdout."""
    gallery, start = _unpacked(sys.stdin.buffer.read())
    head = fit_here(gallery, start, lambda: False)
    nobody = Gallery.empty(gallery.contract, gallery.embeddings.shape[1])
    sys.stdout.buffer.write(_packed(nobody, head))


# -- a new snapshot, built aside and judged


@dataclass(frozen=True, eq=False)
class Split:
    """Everybody's vectors, those to teach with and those to judge with."""

    taught: Gallery
    judged: HeldBack

    @classmethod
    def of(cls, gallery: Gallery) -> Split:
        """About a fifth of everybody with five vectors or more is held back.

        Who has fewer is judged with what is taught: at least that must not get worse.
        """
        names = np.array(gallery.names)
        out = held_back(gallery.names, gallery.embeddings)
        spare = np.isin(names, names[~out])  # whoever would be held back altogether stays
        out &= spare
        judged = out | ~np.isin(names, names[out])
        return cls(
            Gallery(gallery.contract, tuple(names[~out].tolist()), gallery.embeddings[~out]),
            HeldBack(tuple(names[judged].tolist()), gallery.embeddings[judged]),
        )


def first_head(old: Head | None, gallery: Gallery) -> Head | None:
    """The old head with rows for newcomers (their means) and without those who are gone.

    What it knows beyond the vectors, such as masks, is kept that way. None without an old head, or
    with one that has no class of strangers.
    """
    if old is None or None not in old.names:
        return None
    rows = {name: i for i, name in enumerate(old.names)}
    means = gallery.prototypes * SCALE
    weight, bias = [], []
    for name, mean in zip(gallery.people, means, strict=True):
        weight.append(old.weight[rows[name]] if name in rows else mean)
        # A newcomer begins level with the strangers' class, as `fit_head` would begin.
        level = old.bias[rows[None]] - FIRST_BAR * SCALE
        bias.append(old.bias[rows[name]] if name in rows else level)
    weight.append(old.weight[rows[None]])
    bias.append(old.bias[rows[None]])
    return Head(old.contract, (*gallery.people, None), np.stack(weight), np.array(bias))


def problems(old: Snapshot, new: Snapshot, split: Split, judges: NDArray[np.float32]) -> list[str]:
    """What the new snapshot does worse; both must be without the vectors held back."""
    found = list(compare_snapshots(old, new, split.judged).problems)
    before, after = (
        sum(match.name is not None for match in snapshot.identify(judges))
        for snapshot in (old, new)
    )
    if after > before + MORE_STRANGERS * len(judges):
        found.append(f"{after} of {len(judges)} made strangers named, {before} before")
    return found


# -- the thread that sees to it

Phase = Literal["none", "training", "swapped", "failed"]


@dataclass(frozen=True)
class HeadState:
    """How the classifier head is.

    Args:
        phase: ``none``: there is no head; ``training``: one is being taught in the background;
            ``swapped``: the newest is in use; ``failed``: the old one stays, see ``message``.
        message: why it failed, or what came of it.
        version: of the gallery in use.
        seconds: how long the last training took, or the present one has been running.
    """

    phase: Phase
    message: str = ""
    version: int = 0
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """The examples of one teaching that are not in the store yet.

    Args:
        id: of the teaching.
        name: whose they are.
        samples: may be empty when only the head is to be fitted anew.
    """

    id: str
    name: str
    samples: tuple[NewSample, ...] = ()


class Trainer:
    """Takes batches, and makes of all of them and the store a new state of the store.

    Args:
        store: of the people.
        editing: held while the store is changed, here as by everybody else.
        swapped: called with the new snapshot when it is saved; ``editing`` is held.
        ended: called with the ids of the batches that are done with and what went wrong (empty when
            they are saved); ``editing`` is held.
        fit: see `fit_apart`.

    Batches whose training broke down are kept in memory and tried again with the next one; those
    that made somebody worse are dropped.
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
        """Fit with these as well; what is running begins anew."""
        with self._changed:
            self._batches.append(batch)
            self._ask()

    def refit(self) -> None:
        """Fit what is in the store; what is running begins anew."""
        with self._changed:
            self._ask()

    def change(self, edit: Callable[[Batch], Batch | None]) -> None:
        """Replace every batch (None drops it); what is running begins anew with the newer state."""
        with self._changed:
            edited = [edit(batch) for batch in self._batches]
            self._batches = [batch for batch in edited if batch is not None]
            if self._state.phase == "training" or self._wanted:
                self._ask()

    def close(self) -> None:
        """Stop at once; what was not saved is given up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=30.0)

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
        gallery = _joined(old.gallery, batches)
        if not len(gallery):
            self._settle(batches, generation, HeadState("none", "", old.version))
            return
        split = Split.of(gallery)
        head = self._fit(split.taught, first_head(old.head, split.taught), stale)
        out = {vector.tobytes() for vector in split.judged.embeddings}
        known = np.array([v.tobytes() not in out for v in old.gallery.embeddings], bool)
        known |= ~np.isin(np.array(old.gallery.names), np.array(old.gallery.names)[known])
        before = replace(
            old,
            gallery=Gallery(
                gallery.contract,
                tuple(n for n, k in zip(old.gallery.names, known, strict=True) if k),
                old.gallery.embeddings[known],
            ),
        )
        after = replace(old, gallery=split.taught, head=head or old.head)
        judges = np.zeros((0, self._store.dimension), np.float32)
        if _strangers_known(split.taught):
            judges = draw_strangers(split.taught, JUDGES, seed=1)  # not those it was taught with
        worse = problems(before, after, split, judges)
        if stale():
            raise Stopped
        if worse:
            logger.warning("the new head is not used: %s", "; ".join(worse))
            self._fail("; ".join(worse), batches, generation, drop=True)
            return
        self._save(batches, generation, head, old.version)

    def _save(
        self, batches: Sequence[Batch], generation: int, head: Head | None, version: int
    ) -> None:  # fmt: skip
        add: dict[str, list[NewSample]] = {}
        for batch in batches:
            if batch.samples:
                add.setdefault(batch.name, []).extend(batch.samples)
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
            taught = f"{people} {'person' if people == 1 else 'people'}"
            state = HeadState("swapped", taught, snapshot.version)
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


def _joined(gallery: Gallery, batches: Sequence[Batch]) -> Gallery:
    new = [(batch.name, sample.embedding) for batch in batches for sample in batch.samples]
    if not new:
        return gallery
    return Gallery(
        gallery.contract,
        (*gallery.names, *(name for name, _ in new)),
        np.concatenate([gallery.embeddings, np.stack([vector for _, vector in new])]),
    )


if __name__ == "__main__":
    main()
