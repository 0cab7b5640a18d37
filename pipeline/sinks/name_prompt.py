"""Typing a name onto the picture: click a face, type, Enter. Knows keys and notes, no window."""

from __future__ import annotations

import logging

from faces.errors import UserError
from pipeline.live.best_views import Chosen
from pipeline.teaching.corrections import AlreadyKnown
from pipeline.teaching.session import LiveTeaching
from pipeline.types import Face, Note, Tick
from recognizer.names import MAX_LENGTH

logger = logging.getLogger(__name__)

ENTER, ESCAPE, BACKSPACE, UNDO = (10, 13), 27, (8, 127), ord("u")


class Prompt:
    """What a click and the keys after it do; used by the window's thread.

    Enter on a face without a name, or with the name that it has, teaches; with another name it
    corrects, and Backspace before anything is typed says that the name is wrong, whoever it is. Esc
    ends the typing, else the present teaching; u, when nothing is typed, takes back what was done
    last.

    Attributes:
        typed: the name so far; None when nothing is being typed.
    """

    def __init__(self, live: LiveTeaching) -> None:
        self._live = live
        self.typed: str | None = None
        self._chosen: Chosen | None = None
        self._pointed: Chosen | None = None  # the same, also where too little is seen to learn it
        self._sure = False

    def click(self, tick: Tick, face: Face | None) -> None:
        """Begin to type the name of a face; beside all faces: end that."""
        self._close()
        if face is None or face.track is None:
            return
        try:
            self._pointed = self._live.choose(face.track, poor=True)
            self._chosen = self._live.choose(face.track)
        except UserError as error:
            more = (
                f" (Backspace: not {face.match.name})" if self._pointed and face.match.name else ""
            )
            self._show(f"{error}{more}")
            return
        self.typed = ""
        name = face.match.name
        self._show(f"is {name}; other name? (Backspace: not {name})" if name else "name?")

    def key(self, code: int) -> bool:
        """Take a key; whether it was for the prompt (or ended a teaching)."""
        if self.typed is None:
            teaching = self._live.teaching
            if code == ESCAPE and teaching is not None and teaching.phase in (
                "gathering", "training",
            ):  # fmt: skip
                try:
                    self._live.cancel()
                except UserError as error:
                    logger.warning("%s", error)
                return True
            if code in BACKSPACE and self._pointed is not None:
                self._deny()
                return True
            if code == UNDO:
                self._undo()
                return True
            return False
        if code == ESCAPE:
            self._close()
        elif code in ENTER:
            self._enter()
        elif code in BACKSPACE and not self.typed:
            self._deny()
        elif code in BACKSPACE:
            self._type(self.typed[:-1])
        elif chr(code).isprintable() and len(self.typed) < MAX_LENGTH:
            self._type(self.typed + chr(code))
        return True

    def _deny(self) -> None:
        chosen = self._pointed
        assert chosen is not None
        try:
            self._live.deny(chosen.track, chosen=chosen)
        except UserError as error:
            self._show(str(error))
        else:
            self._close()

    def _undo(self) -> None:
        try:
            self._live.prompt = (Note(f"undone: {self._live.undo().what}", None),)
        except UserError as error:
            self._live.prompt = (Note(str(error), None),)

    def _type(self, text: str) -> None:
        self.typed, self._sure = text, False
        self._show("Enter: teach, Esc: not")

    def _enter(self) -> None:
        chosen = self._chosen
        assert chosen is not None
        assert self.typed is not None
        name = self.typed.strip() or chosen.match or ""
        try:
            if chosen.match is None or name == chosen.match or self._sure:
                self._live.teach(chosen.track, name, sure=self._sure, chosen=chosen)
            else:
                self._live.correct(chosen.track, name, chosen=chosen)
        except AlreadyKnown as error:
            self._sure = True
            self._show(f"{error}; Enter again: teach all the same")
        except UserError as error:
            self._show(str(error))
        else:
            self._close()

    def _show(self, hint: str) -> None:
        track = self._chosen.track if self._chosen else None
        typed = () if self.typed is None else (Note(f"> {self.typed}_", track),)
        self._live.prompt = (*typed, Note(hint, track))

    def _close(self) -> None:
        self.typed, self._chosen, self._pointed, self._sure = None, None, None, False
        self._live.prompt = ()
