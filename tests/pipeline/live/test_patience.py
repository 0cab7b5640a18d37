"""One failure is reported; many in a row end it."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.live.patience import MANY, GaveUp, Patience
from pipeline.sinks.files import Showing
from pipeline.types import FrameFaces, Picture, Tick


def test_a_failure_is_told_with_its_reason_and_its_trace(caplog):
    patience = Patience("looking at a frame")
    with caplog.at_level(logging.WARNING):
        try:
            raise ValueError("bad number")
        except ValueError as error:
            patience.failed(error, " (frame 7)")
    assert "looking at a frame has failed (frame 7): ValueError: bad number" in caplog.text
    assert "Traceback" in caplog.text
    assert patience.failures == 1


def test_many_in_a_row_end_it_and_say_how_many():
    patience = Patience("it")
    for _ in range(5):
        for _ in range(MANY - 1):
            patience.failed(ValueError("x"))
        patience.fine()
    for _ in range(MANY - 1):
        patience.failed(ValueError("x"))
    with pytest.raises(GaveUp, match=f"it has failed {MANY} times in a row, .*KeyError: 'y'") as up:
        patience.failed(KeyError("y"))
    assert isinstance(up.value.__cause__, KeyError)
    assert patience.failures == 6 * (MANY - 1) + 1


class Sink:
    def __init__(self, error: Exception | None = None, at: tuple[int, ...] = ()) -> None:
        self.error, self.at, self.seen = error, at, []

    def show(self, tick) -> None:
        if tick.picture.index in self.at and self.error:
            raise self.error
        self.seen.append(tick.picture.index)


def shown(*sinks: Sink, frames: int = 100) -> Showing:
    showing = Showing(sinks)
    for i in range(frames):
        picture = Picture(i, i / 10, np.zeros((4, 4, 3), np.uint8), 0.0)
        showing.show(Tick(picture, FrameFaces(i, i / 10, (4, 4), (), 1)))
    return showing


def test_an_error_in_one_sink_ends_neither_it_nor_the_others(caplog):
    bad, good = Sink(ValueError("no"), at=(3, 7)), Sink()
    assert shown(bad, good).failures == 2
    assert good.seen == list(range(100))
    assert bad.seen == [i for i in range(100) if i not in (3, 7)]
    assert "Sink.show has failed (frame 3): ValueError: no" in caplog.text


def test_a_sink_that_always_fails_is_given_up():
    with pytest.raises(GaveUp, match=f"{MANY} times in a row"):
        shown(Sink(ValueError("no"), at=tuple(range(5, 100))))


@pytest.mark.parametrize("error", [OSError("disk full"), BrokenPipeError(), UserError("x")])
def test_what_cannot_be_written_ends_it_at_once(error):
    with pytest.raises(type(error)):
        shown(Sink(error, at=(3,)))
