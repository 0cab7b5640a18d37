"""A library as a page shows it: always at hand, told in pages, worked out again in a thread.

What is shown is the last complete list. Decisions count at once, and the list follows when it has
been worked out: 5 s for 100,000 faces, in which the page goes on with the list that there is. A
list has a number; what somebody decides is about the list that they saw.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.closing import Closing
from faces.errors import UserError
from pipeline.library import decide
from pipeline.library.page import Act, Kind
from pipeline.library.page.lists import PAGE, Known, Lists, page, told
from pipeline.library.page.pictures import photo_of, picture_of, small_jpeg
from pipeline.library.people import Library
from pipeline.library.search import by_photo, search_face

logger = logging.getLogger(__name__)

SOON = 0.5
"""Seconds for which a decision waits for the list that follows from it."""

SEARCHES = 32
"""Searches that are remembered, to be told in pages."""

FACE, PHOTO = 192, 1280
"""The longer side of a picture of a face and of a photo, pixels at most."""


class Shelf(Closing):
    """A library at hand. Any thread may call any method.

    Args:
        library: closed with this.
        known: who has a name; asked again and again.
    """

    def __init__(self, library: Library, known: Known = lambda: (None, "")) -> None:
        self.library = library
        self._lists = Lists(library, known)
        self._lock = threading.Lock()
        self._searches: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._undo: tuple[int, dict[str, Any] | None] = -1, None

    def close(self) -> None:
        """End the thread, and let go of the library."""
        self._lists.close()

    # -- what is there

    def status(self) -> dict[str, Any]:
        """How many there are, and whether the list will change; looks whether it must."""
        error, working, undo = None, False, None
        try:
            working, undo = self._lists.outdated(), self._undoable()
        except UserError as problem:  # a busy file, a disk that is away
            error = str(problem)
        view = next(iter(self._lists.views), None)
        count = {} if view is None else {kind: len(found) for kind, found in view.kinds.items()}
        return {
            "view": 0 if view is None else view.number,
            "faces": 0 if view is None else len(view.people.faces),
            "kinds": count,
            "working": working,
            "writing": self._lists.writing,
            "error": self._lists.error or error,
            "undo": undo,
        }

    def people(self, kind: Kind, offset: int = 0, text: str = "") -> dict[str, Any]:
        """One page of a list; with a text only names that hold it."""
        view = self._lists.view()
        found = view.kinds[kind]
        if text:
            found = [one for one in found if text.casefold() in (one.name or "").casefold()]
        return {
            "view": view.number,
            "total": len(found),
            "rows": [told(view, one) for one in found[offset : offset + PAGE]],
        }

    def photos(self, face: str, offset: int = 0) -> dict[str, Any]:
        """One page of the photos of whoever has this face, in the order of time."""
        view = self._lists.view()
        person = view.person(face)
        found = by_photo(view.people.faces, person.rows)
        return {**page(view, found, offset), "person": told(view, person)}

    def search(self, vector: NDArray[np.float32]) -> str:
        """Remember whom to search for; the key of `found`."""
        key = secrets.token_urlsafe(12)
        with self._lock:
            self._searches[key] = vector
            while len(self._searches) > SEARCHES:
                self._searches.popitem(last=False)
        return key

    def found(self, key: str, offset: int = 0) -> dict[str, Any]:
        """One page of the photos with a face that is searched for, most alike first."""
        view = self._lists.view()
        vector = self._searches.get(key)
        if vector is None:
            raise UserError("that search was long ago: search again")
        people = view.people
        found = search_face(people.faces, vector, people.threshold, people.group < 0)
        return page(view, found, offset)

    def picture(self, face: str, whole: bool = False) -> bytes | None:
        """A JPEG of the face, or of the whole photo; None when that is not there any more."""
        view = self._lists.view()
        faces = view.people.faces
        for row in np.flatnonzero(faces.face == face).tolist():  # any copy will do
            try:
                if whole:
                    return small_jpeg(photo_of(faces, row, PHOTO), PHOTO)
                return small_jpeg(picture_of(faces, row), FACE)
            except (UserError, OSError) as error:
                logger.debug("no picture of %s: %s", face, error)
        return None

    # -- decisions

    def decide(
        self,
        number: int,
        do: Act,
        faces: Sequence[str],
        whole: bool,
        name: str = "",
        who: str | None = None,
    ) -> None:
        """Keep a decision; see `pipeline.library.decide`.

        Args:
            number: of the list that somebody saw.
            do: what is said.
            faces: whom it is about.
            whole: all who are with these faces; else these faces alone.
            name: who they are, for ``name``.
            who: a face of whom they are not, for ``not``.

        Raises UserError for a list of long ago, and for what cannot be.
        """
        view = next((view for view in self._lists.views if view.number == number), None)
        if view is None:
            raise UserError("the list has changed meanwhile: look at it again")
        library, meant = view.library, [view.meant(face, whole) for face in faces]
        if do == "name":
            decide.name(library, meant, name)
        elif do == "same":
            decide.same(library, meant)
        elif do == "not":
            decide.tell_apart(library, meant, view.meant(who or faces[0], True))
        elif do == "ignore":
            decide.ignore(library, meant)
        else:
            decide.not_faces(library, meant)
        self._follow()

    def undo(self, number: int) -> None:
        """Take a decision back. Raises UserError when there is none of that number."""
        self.library.decisions.undo(number)
        self._follow()

    def _follow(self) -> None:
        with suppress(UserError):  # the decision is kept, whatever happens to the list
            self._lists.wait(SOON)

    def _undoable(self) -> dict[str, Any] | None:
        decisions = self.library.decisions
        version = decisions.version
        if self._undo[0] != version:
            last = decisions.all()[-1:]
            told = {"number": last[0].number, "what": last[0].what} if last else None
            self._undo = version, told
        return self._undo[1]
