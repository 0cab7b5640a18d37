"""Runs that write empty figures: drawing one takes a third of a second, most of a short run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def empty_figures(put: Callable[[Any, str, Any], None], module: Any) -> None:
    """Of the runs of ``module``; ``put`` is ``setattr``, or sets it for a while."""

    def save(figure: Any, path: Path) -> None:
        path.touch()

    put(module, "plot_histories", lambda histories: None)
    put(module, "save_figure", save)
