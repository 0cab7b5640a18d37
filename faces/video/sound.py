"""The sound of a film, copied into what is made of it with the system's ffmpeg."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

from faces.video.film import VideoReader

logger = logging.getLogger(__name__)


def copy_sound(film: VideoReader, video: Path, seconds: float | None = None) -> bool:
    """Put the sound of a film into ``video`` with the system's ``ffmpeg``; whether it did.

    OpenCV cannot write sound, and the Python packages that can bring GPL encoders with them; a
    program that the user installed is nobody's license problem. The pictures are copied as they
    are, the sound as well where .mp4 can hold it; it keeps its distance to the first picture.
    Where there is sound that cannot be copied the video stays silent, and the log says so.

    Args:
        film: which has been read; it may be closed.
        video: a .mp4 file that begins with the film's first frame.
        seconds: how much of it to keep; None: all, also what goes on after the last picture.
    """
    if film.has_sound is False:
        return False
    silent = f"{video} has no sound, though {film.path} has"
    if film.has_sound is None:
        silent = f"{video} has no sound; if {film.path} has any"
    program = shutil.which("ffmpeg")
    if program is None:
        logger.warning("%s: install ffmpeg to have it copied", silent)
        return False
    # In full: a name may look like a flag or an address.
    source, video = film.path.absolute(), video.absolute()
    part = video.with_name(f".{video.stem}.{os.getpid()}.sound{video.suffix}")
    for codec in ("copy", "aac"):
        command = [
            *(program, "-nostdin", "-loglevel", "error", "-y"),
            # ffmpeg counts the second file's times from its own beginning, sound or picture.
            *("-itsoffset", f"{film.start:.6f}", "-i", os.fspath(video)),
            *("-i", os.fspath(source)),
            # The second 0 is the first sound track; ? lets a film without sound pass.
            *("-map", "0:v:0", "-map", "1:a:0?", "-c:v", "copy", "-c:a", codec),
            *(() if seconds is None else ("-t", f"{film.start + seconds:.6f}")),
            *("-movflags", "+faststart", os.fspath(part)),
        ]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode == 0 and part.stat().st_size > 0:
                part.replace(video)
                return True
        except OSError:
            continue
        finally:
            part.unlink(missing_ok=True)
    logger.warning("%s: ffmpeg could not copy it", silent)
    return False
