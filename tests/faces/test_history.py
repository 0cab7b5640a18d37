"""The history of a run and the picture drawn from it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from faces.errors import UserError
from faces.history import (
    best_line,
    is_best,
    plot_histories,
    read_history,
    save_figure,
    write_history,
)


def line(epoch: int, valid: float, lr: float = 1e-3) -> dict[str, Any]:
    parts = {"loss": valid, "loss_classifier": valid / 2, "loss_rpn_box_reg": valid / 2}
    return {"epoch": epoch, "lr": lr, "train": {"loss": valid * 0.9}, "valid": parts}


HISTORY = [line(1, 1.0), line(2, 0.6), line(3, 0.7, 3e-4), line(4, 0.5, 3e-4), line(5, 0.55, 9e-5)]


def labels(figure: Any) -> list[str]:
    [legend] = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_what_is_written_is_read(tmp_path):
    write_history(tmp_path / "history.jsonl", HISTORY)
    assert len((tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()) == 5
    assert read_history(tmp_path) == HISTORY
    assert read_history(tmp_path / "history.jsonl") == HISTORY


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "has not finished an epoch"),
        (json.dumps(HISTORY[0]) + '\n{"epoch": 2, "tr', "line 2 is not a line of history"),
        ('{"epoch": 1}\n', "line 1 is not a line of history"),
        ("[1, 2]\n", "line 1 is not a line of history"),
    ],
    ids=["missing", "empty", "cut", "no losses", "no object"],
)
def test_a_damaged_history_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "history.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        read_history(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_the_best_line_has_the_lowest_validation_loss():
    assert best_line(HISTORY)["epoch"] == 4
    assert best_line([line(1, 0.5), line(2, 0.5)])["epoch"] == 1
    assert best_line([line(1, math.nan), line(2, 0.9), line(3, math.nan)])["epoch"] == 2


def test_the_best_line_is_the_last_that_was_the_best_when_it_was_written():
    marked = [{**item, "best": item["epoch"] in (1, 3)} for item in HISTORY]
    assert best_line(marked)["epoch"] == 3
    # A run that went on after AP came: no new line is better than the old ones.
    assert best_line([*HISTORY[:4], {**HISTORY[4], "best": False}])["epoch"] == 4


def judged(loss: float, ap: float | None) -> dict[str, Any]:
    return {**line(1, loss), "ap50": ap}


@pytest.mark.parametrize(
    ("new", "before", "by_ap", "by_loss"),
    [
        (judged(0.9, 0.7), [judged(0.5, 0.6)], True, False),
        (judged(0.4, 0.6), [judged(0.5, 0.7)], False, True),
        (judged(0.4, 0.7), [judged(0.5, 0.7)], True, True),
        (judged(0.5, 0.7), [judged(0.5, 0.7)], False, False),
        (judged(0.4, None), [judged(0.5, 0.0)], False, True),
        (judged(0.9, 0.0), [judged(0.5, None)], True, False),
        (judged(0.4, None), [judged(0.5, None)], True, True),
        (judged(math.nan, 0.9), [judged(0.5, 0.1)], False, False),
        (judged(math.nan, 0.9), [], False, False),
        (judged(0.5, 0.0), [judged(math.nan, 0.9)], True, True),
        (judged(0.4, math.nan), [judged(0.5, 0.2)], False, True),
        (judged(0.4, 0.3), [judged(0.6, 0.2), judged(0.3, 0.4)], False, False),
    ],
)
def test_what_makes_an_epoch_the_best(new, before, by_ap, by_loss):
    assert is_best(new, before, "ap") is by_ap
    assert is_best(new, before, "loss") is by_loss


def test_ap_has_a_panel_of_its_own_where_it_was_measured(tmp_path):
    values = [0.1, None, 0.6, 0.5, math.nan]
    history = [
        {**item, "ap50": ap, "best": i == 2}
        for i, (item, ap) in enumerate(zip(HISTORY, values, strict=True))
    ]
    figure = plot_histories({"fpn": history})
    assert "validation, best 0.700, AP50 0.600 (epoch 3)" in labels(figure)
    _, ap, _ = figure.axes
    assert ap.get_ylabel() == "validation AP50"
    curve = ap.lines[0]
    assert list(zip(curve.get_xdata(), curve.get_ydata(), strict=True)) == [
        (1, 0.1), (3, 0.6), (4, 0.5)
    ]  # fmt: skip
    [ring] = [item for item in ap.lines if item.get_marker() == "o"]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (3, 0.6)
    write_history(tmp_path / "history.jsonl", history)
    # Beside a run from before there was AP, and resumed from one.
    mixed = {"old": HISTORY, "new": read_history(tmp_path), "both": [*HISTORY[:3], *history[3:]]}
    figure = plot_histories(mixed)
    assert len(figure.axes) == 3
    assert labels(figure)[:2] == [
        "old: best 0.500 (epoch 4)", "new: best 0.700, AP50 0.600 (epoch 3)"
    ]  # fmt: skip
    save_figure(figure, tmp_path / "loss.png")


def test_one_run_shows_its_losses_their_parts_and_every_drop():
    figure = plot_histories({"fpn": HISTORY})
    losses, rates = figure.axes
    assert labels(figure) == [
        "validation, best 0.500 (epoch 4)",
        "training",
        "validation: classifier",
        "validation: rpn box reg",
        "learning rate lowered",
    ]
    drawn = {item.get_label(): item for item in losses.lines}
    validation = drawn["validation, best 0.500 (epoch 4)"]
    assert list(validation.get_xdata()) == [1, 2, 3, 4, 5]
    assert list(validation.get_ydata()) == [1.0, 0.6, 0.7, 0.5, 0.55]
    assert drawn["training"].get_ydata()[0] == 0.9
    for axes in (losses, rates):
        drops = [item.get_xdata()[0] for item in axes.lines if item.get_linestyle() == ":"]
        assert drops == [2.5, 4.5]
    assert list(rates.lines[0].get_ydata()) == [1e-3, 1e-3, 3e-4, 3e-4, 9e-5]
    ring = [item for item in losses.lines if item.get_marker() == "o"]
    assert [(item.get_xdata()[0], item.get_ydata()[0]) for item in ring] == [(4, 0.5)]
    assert losses.get_title() == "Losses of fpn"
    assert (losses.get_ylabel(), rates.get_xlabel()) == ("loss", "epoch")


def test_a_rise_of_the_learning_rate_is_no_drop():
    figure = plot_histories({"fpn": [line(1, 1.0, 1e-4), line(2, 0.9, 1e-3)]})
    assert "learning rate lowered" not in labels(figure)


def test_a_learning_rate_that_falls_in_every_epoch_is_a_slope_and_no_drops():
    rates = [1e-3, 1e-3, 3e-4, 3e-4, 2e-4, 1e-4, 0.0]
    history = [line(i, 1.0, rate) for i, rate in enumerate(rates, 1)]
    figure = plot_histories({"fpn": history})
    for axes in figure.axes:
        drops = [item.get_xdata()[0] for item in axes.lines if item.get_linestyle() == ":"]
        assert drops == [2.5]


def test_several_runs_have_a_color_each_and_one_legend_entry():
    figure = plot_histories({"one": HISTORY, "two": HISTORY[:2]})
    assert labels(figure) == [
        "one: best 0.500 (epoch 4)",
        "two: best 0.600 (epoch 2)",
        "validation",
        "training",
    ]
    colors = [item.get_color() for item in figure.axes[1].lines]
    assert len(colors) == len(set(colors)) == 2
    assert figure.axes[0].get_title() == "2 runs compared"


def test_a_wild_first_epoch_does_not_flatten_the_rest():
    figure = plot_histories({"fpn": [line(1, 900.0), *HISTORY[1:]]})
    assert figure.axes[0].get_ylim()[1] < 3


@pytest.mark.slow
def test_a_loss_that_is_not_finite_does_not_stop_the_picture(tmp_path):
    save_figure(plot_histories({"fpn": [line(1, math.nan), line(2, 1.0)]}), tmp_path / "a.png")
    save_figure(plot_histories({"fpn": [line(1, math.nan)]}), tmp_path / "b.png")
    assert Image.open(tmp_path / "a.png").size == Image.open(tmp_path / "b.png").size


@pytest.mark.parametrize("count", [1, 2, 12])
def test_the_legend_covers_nothing(count):
    """However many runs there are, the panels keep their room and the legend is below them."""
    figure = plot_histories({f"a run with a long name, {i}": HISTORY for i in range(count)})
    figure.draw_without_rendering()
    [legend] = figure.legends
    top_of_legend = legend.get_window_extent().y1
    losses, rates = figure.axes
    assert rates.get_window_extent().y0 > top_of_legend
    assert losses.get_window_extent().height > 250
    assert legend.get_window_extent().x0 >= 0


@pytest.mark.parametrize("name", ["loss.png", "loss.svg", "loss.PDF", "loss"])
def test_the_suffix_chooses_the_format(tmp_path, name):
    save_figure(Figure(figsize=(1, 1)), tmp_path / name)
    head = (tmp_path / name).read_bytes()[:300]
    kind = {".svg": b"<?xml", ".pdf": b"%PDF"}.get((tmp_path / name).suffix.lower(), b"\x89PNG")
    assert head.startswith(kind)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"loss\.doc: a picture cannot be a \.doc; take .*png"):
        save_figure(Figure(), tmp_path / "loss.doc")
    assert list(tmp_path.iterdir()) == []
