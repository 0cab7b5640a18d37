"""WIDER FACE from a mirror, and from Google Drive with a stand-in for gdown."""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from torchvision.datasets import WIDERFace

from detector.data.wider import download as wider_download
from detector.data.wider.convert import convert
from detector.data.wider.download import download_wider
from faces.errors import UserError
from tests.detector.data.wider.test_convert import check_result, make_source, zip_source
from tests.faces.test_download import QUOTA_PAGE, Server, server  # noqa: F401 (a fixture)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def official(
    server: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Server:
    """A server with zip files that torchvision believes to be the official ones."""
    source = zip_source(make_source(tmp_path / "made"))
    for path in source.glob("*.zip"):
        server.files[path.name] = path.read_bytes()
    files = server.files
    files["WIDER_val.zip"] = b"val"
    files["eval_tools.zip"] = b"lists"
    monkeypatch.setattr(wider_download, "LISTS_URL", f"{server.url}/deep/eval_tools.zip")
    monkeypatch.setattr(wider_download, "LISTS_SHA1", hashlib.sha1(b"lists").hexdigest())
    monkeypatch.setattr(
        WIDERFace,
        "FILE_LIST",
        [(f"id-of-{name}", md5(files[name]), name) for name in ("WIDER_train.zip", "WIDER_val.zip")]
        + [("id-of-test", "0" * 32, "WIDER_test.zip")],
    )
    name = "wider_face_split.zip"
    monkeypatch.setattr(
        WIDERFace, "ANNOTATIONS_FILE", (f"{server.url}/deep/{name}", md5(files[name]), name)
    )
    return server


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_mirror_gives_verified_zip_files_that_can_be_converted(
    official: Server, tmp_path: Path
) -> None:
    official.drops = 2
    folder = download_wider(tmp_path / "data", ["train"], f"{official.url}/wider/")
    assert folder == tmp_path / "data" / "widerface"
    assert names(folder) == ["WIDER_train.zip", "wider_face_split.zip"]
    convert(tmp_path / "data", tmp_path / "out", "train")
    check_result(tmp_path / "out")

    asked = len(official.ranges)
    download_wider(tmp_path / "data", ["train"], f"{official.url}/wider/")
    assert len(official.ranges) == asked


def test_a_mirror_with_another_file_is_refused(official: Server, tmp_path: Path) -> None:
    official.files["WIDER_val.zip"] = b"something else"
    with pytest.raises(UserError, match=r"WIDER_val\.zip: the file has the md5"):
        download_wider(tmp_path / "data", ["val"], official.url)
    assert names(tmp_path / "data" / "widerface") == ["wider_face_split.zip"]


def test_a_mirror_that_serves_a_page_is_refused(official: Server, tmp_path: Path) -> None:
    official.files["wider_face_split.zip"] = QUOTA_PAGE
    with pytest.raises(UserError, match="sent a web page"):
        download_wider(tmp_path / "data", ["val"], official.url)


def test_a_mirror_without_the_lists_of_the_evaluation_is_good_enough(
    official: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official.files["eval_tools.zip"] = b"another release"
    folder = download_wider(tmp_path / "data", ["val"], official.url)
    assert names(folder) == ["WIDER_val.zip", "wider_face_split.zip"]
    assert "only `faces evaluate --wider` needs it" in caplog.text
    assert "has the sha1" in caplog.text
    official.files["eval_tools.zip"] = b"lists"
    download_wider(tmp_path / "data", ["val"], official.url)
    assert (folder / "eval_tools.zip").read_bytes() == b"lists"


class DownloadError(Exception):
    """As gdown raises it."""


def install_gdown(
    monkeypatch: pytest.MonkeyPatch, download: Callable[..., object]
) -> list[dict[str, object]]:
    """A module gdown whose ``download`` is the given one; the calls it gets."""
    calls: list[dict[str, object]] = []

    def record(**kwargs: object) -> object:
        calls.append(kwargs)
        return download(**kwargs)

    gdown = types.ModuleType("gdown")
    gdown.download = record  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    return calls


def test_google_drive_is_asked_through_torchvision(
    official: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give(id: str, output: str, **_: object) -> None:
        Path(output).write_bytes(official.files[id.removeprefix("id-of-")])

    calls = install_gdown(monkeypatch, give)
    folder = download_wider(tmp_path / "data")
    assert names(folder) == [
        "WIDER_train.zip", "WIDER_val.zip", "eval_tools.zip", "wider_face_split.zip"
    ]  # fmt: skip
    assert [call["id"] for call in calls] == ["id-of-WIDER_train.zip", "id-of-WIDER_val.zip"]
    assert all(call["resume"] for call in calls)
    convert(tmp_path / "data", tmp_path / "out", "train")
    check_result(tmp_path / "out")

    download_wider(tmp_path / "data")  # verified files are left alone
    assert len(calls) == 2


def test_a_damaged_file_is_fetched_again_by_torchvision(
    official: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [b"damaged", official.files["WIDER_val.zip"]]

    def give(output: str, **_: object) -> None:
        Path(output).write_bytes(answers.pop(0))

    install_gdown(monkeypatch, give)
    folder = download_wider(tmp_path / "data", ["val"])
    assert (folder / "WIDER_val.zip").read_bytes() == b"val"


def refuse_with(error: Exception) -> Callable[..., object]:
    def download(**_: object) -> object:
        raise error

    return download


def give_page(output: str, **_: object) -> None:
    Path(output).write_bytes(QUOTA_PAGE)


def give_other(output: str, **_: object) -> None:
    Path(output).write_bytes(b"something else")


@pytest.mark.parametrize(
    ("download", "reason"),
    [
        (refuse_with(DownloadError("Too many users have\nviewed this file")), "Too many users"),
        (refuse_with(ConnectionError("no route")), "no route"),
        (give_page, "a web page came in place of the file"),
        (give_other, "corrupted"),
    ],
    ids=["quota", "network", "page", "other file"],
)
def test_a_refusal_says_the_ways_on(
    official: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    download: Callable[..., object],
    reason: str,
) -> None:
    install_gdown(monkeypatch, download)
    with pytest.raises(UserError) as caught:
        download_wider(tmp_path / "data", ["val"])
    message = str(caught.value)
    assert message.startswith("WIDER_val.zip could not be downloaded")
    for words in (reason, "--mirror URL", "browser", str(tmp_path / "data" / "widerface")):
        assert words in message
    if download is give_page:
        assert names(tmp_path / "data" / "widerface") == ["wider_face_split.zip"]


def test_the_truths_host_refusing_says_the_ways_on_too(official: Server, tmp_path: Path) -> None:
    official.status = 403
    with pytest.raises(UserError, match=r"(?s)wider_face_split\.zip could not.*--mirror URL"):
        download_wider(tmp_path / "data")


def test_without_gdown_the_message_names_it(
    official: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UserError, match=r"pip install 'faces\[train\]'"):
        download_wider(tmp_path / "data")


def test_folders_that_torchvision_unpacked_are_kept(official: Server, tmp_path: Path) -> None:
    (tmp_path / "data" / "widerface" / "WIDER_train").mkdir(parents=True)
    download_wider(tmp_path / "data", ["train"])
    assert names(tmp_path / "data" / "widerface") == ["WIDER_train", "wider_face_split.zip"]


def test_the_names_are_those_that_torchvision_knows() -> None:
    """The checksums of the official files, as published by torchvision."""
    known = {name: checksum for _, checksum, name in WIDERFace.FILE_LIST}
    assert known["WIDER_train.zip"] == "3fedf70df600953d25982bcd13d91ba2"
    assert WIDERFace.ANNOTATIONS_FILE[2] == "wider_face_split.zip"
    assert WIDERFace.BASE_FOLDER == "widerface"
