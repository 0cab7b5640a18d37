"""What the page can ask for: a method for each command, whose arguments are the command's fields.

A text of the page, ``{"type": "rename", "id": 3, "old": "Ana", "new": "Anna"}``, calls `do_rename`.
The table in docs/live.md describes all of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, validate_call

from faces.errors import UserError
from pipeline.live.area import Area
from pipeline.live.best_views import Chosen
from pipeline.web.broadcast import Broadcast
from pipeline.web.desk import Desk
from pipeline.web.messages import NAME_LENGTH

Number = Annotated[int, Field(ge=0, le=2**53)]
Numbers = Annotated[list[Number], Field(min_length=1, max_length=5000)]
Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
Photos = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=200)]
Corner = Annotated[list[float], Field(min_length=2, max_length=2)]

checked = validate_call(config=ConfigDict(strict=True))
"""For what browsers may call: other arguments raise `pydantic.ValidationError`, and do nothing."""


class Commands:
    """The commands of one browser, each done in a thread. Raises UserError for what cannot be."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast, self._live = broadcast, broadcast.live
        self._chosen: Chosen | None = None
        self._pointed: Chosen | None = None  # the same, also where too little is seen to learn it

    @property
    def _desk(self) -> Desk:
        if self._broadcast.desk is None:
            raise UserError("this page cannot do that")
        return self._broadcast.desk

    def _clicked(self, track: int) -> Chosen | None:
        """The face as it was when it was clicked, if it is the one that is meant."""
        chosen = self._chosen
        return chosen if chosen is not None and chosen.track == track else None

    # -- faces in the picture

    @checked
    def do_choose(self, track: Number) -> None:
        """A face was clicked: what is said of that track next means it as it is now."""
        self._chosen = self._pointed = None
        self._pointed = self._live.choose(track, poor=True)
        self._chosen = self._live.choose(track)

    @checked
    def do_teach(self, track: Number, name: Name, sure: bool = False) -> None:
        """The face is this person; ``sure`` after AlreadyKnown was asked about."""
        self._live.teach(track, name, sure=sure, chosen=self._clicked(track))

    @checked
    def do_correct(self, track: Number, name: Name) -> None:
        """The face has a wrong name and is this person."""
        self._live.correct(track, name, chosen=self._clicked(track))

    @checked
    def do_deny(self, track: Number) -> None:
        """The face is not who it is called."""
        pointed = self._pointed
        same = pointed is not None and pointed.track == track
        self._live.deny(track, chosen=pointed if same else None)

    @checked
    def do_cancel(self) -> None:
        """End the teaching without a trace."""
        self._live.cancel()

    @checked
    def do_check(self, track: Number) -> None:
        """Is the face that of a living person? Begins the challenge."""
        self._broadcast.check.begin(track, self._broadcast.switch.mirrored)

    @checked
    def do_unchecked(self) -> None:
        """End the check, or take its verdict away."""
        self._broadcast.check.stop()

    @checked
    def do_zones(self, camera: Name, zones: list[list[Corner]], min_face: int) -> None:
        """Faces of a camera count in these polygons only, and from this size on."""
        area = Area.from_json({"zones": zones, "min_face": min_face})
        self._broadcast.switch.set_area(camera, area)

    # -- people

    @checked
    def do_rename(self, old: Name, new: Name) -> None:
        self._live.rename(old, new)

    @checked
    def do_merge(self, source: Name, into: Name) -> None:
        self._live.merge(source, into)

    @checked
    def do_forget(self, name: Name) -> None:
        self._live.forget(name)

    @checked
    def do_undo(self, act: Number) -> None:
        """Take back what was done last; ``act`` is its number as it was shown."""
        self._desk.undo(act)

    @checked
    def do_remove(self, name: Name, ids: Numbers) -> None:
        """These samples of somebody go."""
        self._desk.remove_samples(name, ids)

    @checked
    def do_split(self, name: Name, ids: Numbers, new: Name) -> None:
        """These samples of somebody are another's."""
        self._desk.split(name, ids, new)

    @checked
    def do_picture(self, name: Name, sample: Number) -> None:
        """The picture of this sample stands for the person."""
        self._desk.live.choose_picture(name, sample)

    @checked
    def do_enroll(self, name: Name, photos: Photos, sure: bool = False) -> dict[str, str]:
        """Photos that were looked at are of this person; why some could not be used."""
        return self._desk.enroll(name, photos, sure)

    # -- unknown faces

    @checked
    def do_name(self, ids: Numbers, name: Name, sure: bool = False) -> None:
        self._desk.name_unknown(ids, name, sure)

    @checked
    def do_not(self, ids: Numbers, name: Name) -> None:
        self._desk.deny_unknown(ids, name)

    @checked
    def do_judge(self, ids: Numbers, verdict: Literal["ignored", "not a face"]) -> None:
        self._desk.judge(ids, verdict)

    @checked
    def do_clear(self) -> None:
        self._desk.clear_unknown()
