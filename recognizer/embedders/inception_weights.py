"""Where the weights of InceptionResnetV1 come from and where they lie. No torch here."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from faces.download import download
from faces.errors import UserError
from faces.files import file_digest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """A published file of weights."""

    name: str  # the data that they were trained on
    url: str  # where facenet-pytorch 2.5.3 (models/inception_resnet_v1.py) fetches it
    sha256: str  # of the whole file

    @property
    def path(self) -> Path:
        """Its place in the cache, whether it is there or not."""
        return cache_folder() / self.url.rpartition("/")[2]


# The release states no checksums. These were noted by others who fetched the files: the first in
# two public projects that do not share their code, with the size 111,898,327; the second in one,
# with the size 115,887,415 that another one names. Not checked by us, who have no such file.
_FOLDER = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
VGGFACE2 = Release(
    "vggface2",
    _FOLDER + "20180402-114759-vggface2.pt",
    "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
)
CASIA_WEBFACE = Release(
    "casia-webface",
    _FOLDER + "20180408-102900-casia-webface.pt",
    "7a67afdbbc995fce5e10128675e318799a70698c2f433ba75dd7eb9a2f096e7d",
)
RELEASES = (VGGFACE2, CASIA_WEBFACE)
"""The better one first: 99.65 % and 99.05 % on LFW, by facenet-pytorch's README."""


def cache_folder() -> Path:
    """The folder that facenet-pytorch itself keeps its weights in: they are fetched only once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser() / "checkpoints"


def find_cached() -> Path | None:
    """Whole weights that are in the cache, the better ones first."""
    for release in RELEASES:
        if release.path.is_file():
            if file_digest(release.path) == release.sha256:
                return release.path
            log.warning(
                "%s is cut short or damaged, and left out: delete it; --embedder inception fetches "
                "it again",
                release.path,
            )  # fmt: skip
    return None


def find_or_fetch() -> Path:
    """Published weights from the cache, the better ones first, else downloaded.

    Raises UserError, with the ways out, when there are none to be had.
    """
    return find_cached() or fetch()


def fetch(release: Release = VGGFACE2) -> Path:
    """The file of a release, downloaded unless it is in the cache with the right checksum.

    Raises UserError, with the ways out, when that fails.
    """
    try:
        return download(release.url, release.path, sha256=release.sha256, attempts=3)
    except (UserError, OSError) as error:
        raise UserError(
            f"the embedder inception has no trained weights, and they cannot be fetched: {error}\n"
            f"Ways out: fetch {release.url} elsewhere and give the file (embedder_weights) "
            f"(or put it into {release.path.parent}), or take the embedder mini, which "
            "needs nothing"
        ) from error
