"""Several cameras for `faces webcam`: on the command line, or in a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.errors import UserError
from faces.settings import with_settings
from scripts.options.live import parse_size
from scripts.options.webcam_page import BROWSER

if TYPE_CHECKING:
    from contextlib import ExitStack

    from pipeline.live.area import Area
    from pipeline.live.cameras import Cameras
    from scripts.options.webcam import Options

NAME = re.compile(r"[\w][\w .-]{0,39}")
"""What a camera may be called: letters of any script, digits, and what file names can have."""


@dataclass(frozen=True)
class Camera:
    """One of several cameras; what is None is as the flags of the same names say."""

    source: str = ""  # as on the command line
    name: str = ""  # unlike that of all others
    mirror: bool | None = None
    size: str | None = None
    fps: float | None = None
    again: bool | None = None
    every: int | None = None
    min_face: int | None = None
    zones: tuple[tuple[tuple[float, float], ...], ...] = ()  # see `pipeline.live.area.Area`


def several_cameras(sources: Sequence[str]) -> tuple[Camera, ...]:
    """The cameras that a command line names; none when it is one camera without a name.

    Args:
        sources: each a camera's index, name or address, with ``NAME=`` before it or not, or a TOML
            file of cameras.

    Raises UserError for cameras that cannot be together, without showing what may be a secret.
    """
    cameras: list[Camera] = []
    for what in sources:
        if what.lower().endswith(".toml"):
            cameras += _read(Path(what))
        else:
            name, source = _split(what)
            cameras.append(Camera(source, name))
    if len(cameras) == 1 and not cameras[0].name:
        return ()
    for camera in cameras:
        if camera.source in (BROWSER, "-"):
            raise UserError(f"{camera.source} cannot be one of several cameras, nor have a name")
    return tuple(_named(cameras))


def _split(what: str) -> tuple[str, str]:
    """``door=rtsp://...`` -> name and source; the name is empty where there is none."""
    name, equals, source = what.partition("=")
    if not equals or not source or not NAME.fullmatch(name):
        return "", what
    if "://" not in source and Path(what).exists():
        return "", what
    return name.strip(), source


def _read(path: Path) -> Iterator[Camera]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"cannot read the cameras of {path}: {error}") from error
    cameras = content.pop("cameras", None)
    if not isinstance(cameras, dict) or not cameras or content:
        raise UserError(
            f'{path}: expected a table for each camera: [cameras.door], source = "rtsp://..."'
        )
    for name, values in cameras.items():
        where = f"{path}: cameras.{name}: "
        if not NAME.fullmatch(name):
            raise UserError(f"{where}a name has letters, digits, spaces, . - and _, at most 40")
        if not isinstance(values, dict) or not values.get("source") or "name" in values:
            raise UserError(f'{where}expected a table with source = "..."')
        source = values.pop("source")
        if not isinstance(source, str | int) or isinstance(source, bool):
            raise UserError(f"{where}source must be a text, or a camera's index")
        yield with_settings(Camera(str(source), name), values, where)


def _named(cameras: Sequence[Camera]) -> Iterator[Camera]:
    """Each with a name of its own, made of what may be shown of its source."""
    from pipeline.sources.captures import refuse_misspelt, without_secrets

    taken = {camera.name.casefold() for camera in cameras if camera.name}
    if len(taken) < sum(bool(camera.name) for camera in cameras):
        raise UserError("two cameras have the same name")
    for camera in cameras:
        name = camera.name
        if not name:
            if "://" in camera.source:
                shown = without_secrets(camera.source).partition("://")[2].removesuffix("/...")
                stem = shown.replace(":", " ").strip(" .[]") or "stream"
            else:
                refuse_misspelt(camera.source)
                short = Path(camera.source).stem
                stem = f"camera {short}" if short.isdecimal() else short
            stem = re.sub(r"[^\w .-]", "_", stem)[:36]
            name, number = stem, 1
            while name.casefold() in taken:
                number += 1
                name = f"{stem} {number}"
            taken.add(name.casefold())
        yield replace(camera, name=name)


def areas_path(options: Options) -> Path:
    """Where what is drawn on the page is kept: beside the gallery, or here for a database."""
    gallery = options.networks.gallery
    beside = gallery if isinstance(gallery, Path) else Path("people.db")
    return beside.with_suffix(".cameras.json")


def open_cameras(
    options: Options, detector: Any, embedder: Any, people: Any, stack: ExitStack
) -> Cameras:
    """All of them with a loop each, not yet read; ``stack`` ends them.

    Raises UserError for one that can never be there, such as a missing file; one that is away is
    waited for.
    """
    from itertools import count

    from pipeline.live.area import AreaFile
    from pipeline.live.cameras import Cameras, SharedNetworks, Watched
    from pipeline.live.loop import Loop, LoopOptions
    from pipeline.live.worker import Background
    from pipeline.sources.live import LiveSource, Together
    from pipeline.sources.open import SourceOptions, open_source

    drawn = AreaFile(areas_path(options)).areas
    networks = stack.enter_context(SharedNetworks(detector, embedder))
    together, numbers, watched = Together(), count(1), []
    for camera in options.cameras:
        area = drawn.get(camera.name) or area_of(camera, options)
        size = camera.size or options.size
        source = open_source(
            camera.source,
            SourceOptions(
                live=True,
                again=_first(camera.again, options.again),
                mirror=_first(camera.mirror, options.mirror),
                size=parse_size(size, f"{camera.name}: size") if size else None,
                fps=_first(camera.fps, options.fps),
                name=camera.name,
                together=together,
            ),
        )
        if not isinstance(source, LiveSource):
            source.close()
            raise UserError(f"{camera.name} holds photos: use `faces run` for them")
        stack.callback(source.stop)
        settings = LoopOptions(
            _first(camera.every, options.every), area.min_face, options.networks.threshold,
            camera=camera.name, zones=area.zones,
        )  # fmt: skip
        loop = Loop(
            networks.detector(camera.name), networks.embedder(camera.name), people, settings,
            Background(), numbers,
        )  # fmt: skip
        watched.append(Watched(camera.name, source, loop))
    return stack.enter_context(Cameras(watched, together.news))


def area_of(camera: Camera, options: Options) -> Area:
    """Where its faces count, as the file or the flags say. Raises UserError, naming the camera."""
    from pipeline.live.area import Area

    try:
        return Area(camera.zones, _first(camera.min_face, options.networks.min_face))
    except UserError as error:
        raise UserError(f"{camera.name}: {error}") from error


def _first(own: Any, flag: Any) -> Any:
    return flag if own is None else own
