"""What was made of photos (crops, vectors), remembered under the digests of their files.

Such a file holds faces, which are personal data as the photos are: delete the two together.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.files import atomic_write

log = logging.getLogger(__name__)

Answer = NDArray | tuple[str, ...]
"""What a photo gave: an array, of one shape in the whole file, or the reasons why it gave none."""


class PhotoCache(dict[str, Answer]):
    """Answers by digest.

    Args:
        path: of the file; None remembers nothing beyond this object.
        identity: everything that decides about the answers besides the photo. A file of another
            identity is replaced; so is one that cannot be read, with a warning.
    """

    def __init__(self, path: Path | None, identity: str) -> None:
        super().__init__()
        self.path, self.identity = path, identity
        self._known: set[str] = set()
        if path is None or not path.is_file():
            return
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["identity"]) != identity:
                    return
                digests, reasons, arrays = file["digests"], file["reasons"], file["arrays"]
            found = reasons == ""
            if len(digests) != len(found) or len(arrays) != found.sum():
                raise ValueError("numbers that do not go together")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s cannot be used and will be written again: %s", path, error)
            return
        place = np.cumsum(found) - 1
        for i, digest in enumerate(digests):
            reason = tuple(str(reasons[i]).split("\n"))
            self[str(digest)] = arrays[place[i]] if found[i] else reason
        self._known.update(self)

    def save(self, digests: Collection[str] | None = None) -> None:
        """Write what is new, if anything is; of these digests alone, if they are given."""
        if self.path is None or self.keys() == self._known:
            return
        kept = {d: answer for d, answer in self.items() if digests is None or d in digests}
        arrays = [answer for answer in kept.values() if not isinstance(answer, tuple)]
        reasons = ["\n".join(a) if isinstance(a, tuple) else "" for a in kept.values()]
        with atomic_write(self.path) as file:
            np.savez(
                file,
                identity=np.array(self.identity),
                digests=np.array(list(kept), "U64"),
                reasons=np.array(reasons, np.str_),
                arrays=np.stack(arrays) if arrays else np.zeros(0),
            )
        self._known = set(self)
