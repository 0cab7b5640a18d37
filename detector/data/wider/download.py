"""WIDER FACE from its authors' hosts, by torchvision's own loader, or from a mirror."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from detector.data.wider.source import Split
from faces.download import download, is_web_page
from faces.errors import UserError

log = logging.getLogger(__name__)

PROJECT_PAGE = "http://shuoyang1213.me/WIDERFACE/"
# The lists of faces that `faces evaluate --wider` uses; torchvision does not know them. The
# checksum is that of OpenCV Zoo (https://github.com/opencv/opencv_zoo, tools/eval).
LISTS_NAME = "eval_tools.zip"
LISTS_URL = f"{PROJECT_PAGE}support/eval_script/{LISTS_NAME}"
LISTS_SHA1 = "a62215ee44ec86c5916176ccc07980a852af9118"


def download_wider(
    out: Path, splits: Sequence[Split] = ("train", "val"), mirror: str | None = None
) -> Path:
    """Bring the zip files of WIDER FACE (train 1.5 GB, val 0.4 GB) to ``out/widerface``.

    With ``val`` comes ``eval_tools.zip``, which only `faces evaluate --wider` needs: where it
    cannot be had, that is a warning.

    Args:
        out: the folder; torchvision's ``WIDERFace(root=out)`` looks for them in the same place.
        splits: which images to fetch; the truth of all of them is one small file.
        mirror: the address of a folder that holds the official zip files under their own names;
            without it, images come from Google Drive and the truth from the authors' page.

    The files, hosts and checksums are those of torchvision's ``WIDERFace``, and its functions fetch
    from Google Drive. Its constructor is not called, because it would unpack the files in place,
    and a folder that is half unpacked when that is interrupted passes for a whole one ever after.
    Every file is verified; verified files are not fetched again, cut-off ones are continued.

    Returns ``out/widerface``, a source for `detector.data.wider.convert.convert`. Raises UserError,
    with the ways on, when the host refuses.
    """
    from torchvision.datasets import WIDERFace

    folder = out / WIDERFace.BASE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    truth_url, truth_md5, truth_name = WIDERFace.ANNOTATIONS_FILE
    names = {f"WIDER_{split}.zip" for split in splits}
    base = truth_url.rpartition("/")[0] if mirror is None else mirror.rstrip("/")
    try:
        download(f"{base}/{truth_name}", folder / truth_name, md5=truth_md5)
    except UserError as error:
        raise (_refused(folder / truth_name, str(error)) if mirror is None else error) from error
    for file_id, md5, name in WIDERFace.FILE_LIST:
        if name not in names:
            continue
        if (folder / name).with_suffix("").is_dir() and not (folder / name).exists():
            log.info("%s is there, unpacked", name)
        elif mirror is None:
            _from_google_drive(file_id, folder / name, md5)
        else:
            download(f"{base}/{name}", folder / name, md5=md5)
    if "val" in splits:
        url = LISTS_URL if mirror is None else f"{base}/{LISTS_NAME}"
        try:
            download(url, folder / LISTS_NAME, sha1=LISTS_SHA1)
        except UserError as error:
            log.warning(
                "%s could not be downloaded; only `faces evaluate --wider` needs it: %s",
                LISTS_NAME,
                error,
            )
    return folder


def _from_google_drive(file_id: str, path: Path, md5: str) -> None:
    from torchvision.datasets.utils import download_file_from_google_drive

    try:
        import gdown
    except ModuleNotFoundError as error:
        raise UserError(
            "Google Drive needs the package gdown: pip install 'faces[train]'; or name a mirror"
        ) from error
    try:
        # What torchvision does, but with `resume`; torchvision then finds the file and verifies it.
        if not path.exists():
            gdown.download(id=file_id, output=str(path), resume=True)
            with path.open("rb") as file:
                if is_web_page(file.read(512)):
                    path.unlink()
                    raise _refused(path, "a web page came in place of the file")
        download_file_from_google_drive(file_id, path.parent, path.name, md5)
    except UserError:
        raise
    except Exception as error:  # gdown's own kinds differ from version to version
        raise _refused(path, str(error)) from error


def _refused(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path.name} could not be downloaded: {' '.join(reason.split())}\n"
        "The authors' hosts limit how often a popular file is fetched in a day. The ways on:\n"
        "  - run the same command again later; what has arrived is kept;\n"
        f"  - fetch the zip files with a browser, signed in, from {PROJECT_PAGE} into\n"
        f"    {path.parent} and go on with `faces prepare wider`;\n"
        "  - give a server that has them: `faces prepare download --mirror URL`."
    )
