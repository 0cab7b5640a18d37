"""Photos in buckets and on web servers: local servers of S3 and of Google Cloud Storage, and
Python's own web server."""

from __future__ import annotations

import functools
import http.server
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faces.errors import UserError
from pipeline.library.scan import scan
from pipeline.sources.addresses import list_address
from tests.pipeline.library.looking import Here, index, names, rows
from tests.pipeline.people_photos import person, save


class Handler(http.server.SimpleHTTPRequestHandler):
    def send_head(self) -> Any:
        if self.path != "/dead.png":
            return super().send_head()
        self.send_error(404)
        return None

    def send_header(self, name: str, value: str) -> None:
        odd = name == "Last-Modified" and self.path == "/odd.png"
        super().send_header(name, "0" if odd else value)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save(tmp_path / "photos" / "a b.png", person(1), person(2))
    save(tmp_path / "photos" / "sub" / "ä.png", person(3))
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "photos" / "notes.txt").write_bytes(b"nothing to see")
    return tmp_path / "photos"


@pytest.fixture
def web(photos: Path) -> Iterator[str]:
    handler = functools.partial(Handler, directory=photos)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server, photos, monkeypatch):
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": server,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="family")
    for path in photos.rglob("*"):
        if path.is_file():
            key = f"2024/{path.relative_to(photos).as_posix()}"
            client.upload_file(str(path), "family", key)
    yield client
    for found in client.list_objects_v2(Bucket="family").get("Contents", ()):
        client.delete_object(Bucket="family", Key=found["Key"])
    client.delete_bucket(Bucket="family")


def same_rows(library: Path, local: Path) -> list[dict[str, Any]]:
    """The rows of a library of addresses, which are those of the same files here."""
    same = ("digest", "face", "x1", "y2", "quality", "embedding", "width", "error", "size")
    there, here = rows(library), rows(local)
    assert [[r[c] for c in same] for r in there] == [[r[c] for c in same] for r in here]
    return there


@pytest.mark.slow
def test_a_bucket_is_indexed_like_a_folder(bucket, photos, tmp_path):
    library, local = tmp_path / "lib", tmp_path / "local"
    tally = index(library, "s3://family/2024")
    assert (tally.looked, tally.faces, tally.failed) == (3, 3, 1)
    index(local, photos)
    there = same_rows(library, local)
    assert [row["path"] for row in there][:2] == ["s3://family/2024/a b.png"] * 2
    executor = Here()
    assert index(library, "s3://family/2024/", executor=executor).unchanged == 3
    tally = index(library, "s3://family/2024/*.png", executor=executor)
    assert (tally.unchanged, tally.gone) == (1, 0), "the others are there all the same"
    assert executor.looker.looked == 0


def test_what_changes_in_a_bucket_is_seen(bucket, photos, tmp_path):
    library = tmp_path / "lib"
    index(library, "s3://family/2024")
    bucket.delete_object(Bucket="family", Key="2024/sub/ä.png")
    bucket.copy_object(Bucket="family", Key="2024/c.png", CopySource="family/2024/a b.png")
    executor = Here()
    tally = index(library, "s3://family/2024", executor=executor)
    assert (tally.known, tally.gone, executor.looker.looked) == (1, 1, 0)
    assert [name for name, face in names(library) if face] == ["a b.png"] * 2 + ["c.png"] * 2


def test_a_web_servers_folder_and_single_files(web, tmp_path):
    library = tmp_path / "lib"
    tally = index(library, web)
    assert (tally.looked, tally.faces, tally.failed) == (3, 3, 1)
    assert index(library, web).unchanged == 3
    assert index(library, f"{web}a%20b.png").unchanged == 1
    other = tmp_path / "other"
    listed = tmp_path / "list.txt"
    listed.write_text(f"{web}a%20b.png\n", encoding="utf-8")
    assert index(other, lists=[str(listed)]).faces == 2


def test_a_dead_link_or_an_odd_answer_does_not_end_it(web, photos, tmp_path):
    save(photos / "odd.png", person(3))
    save(photos / "dead.png", person(3))
    found = {name: size for name, size, _ in list_address(web, lambda name: ".png" in name)[0]}
    assert found.pop(f"{web}dead.png") == -1
    assert min(found.values()) > 0
    assert len(found) == 3
    listed = tmp_path / "list.txt"
    listed.write_text(f"{web}nowhere.png\n{web}odd.png\n", encoding="utf-8")
    tally = index(tmp_path / "lib", lists=[str(listed)])
    assert (tally.faces, tally.failed) == (1, 1)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{web}nowhere.png", "there is no such file"),
        ("http://127.0.0.1:9/a.png", "onnect"),
        ("http://ann:secret@127.0.0.1/a.png", "leave them out"),
        ("https://127.0.0.1/a.png?X-Amz-Signature=secret", "stored with what signs it"),
        ("https://127.0.0.1/a.png?sv=1&sig=secret", "stored with what signs it"),
        ("ftps://x/y", "give s3://"),
    ],
)
def test_addresses_that_cannot_be_used(web, address, message):
    with pytest.raises(UserError, match=message) as raised:
        scan([address.format(web=web)])
    assert "secret" not in str(raised.value)


@pytest.fixture(autouse=True)
def without_grpc(monkeypatch):
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # before gcsfs is imported


@pytest.fixture
def google(photos, monkeypatch):
    """A server that speaks Google's JSON API, with the photos in a bucket."""
    pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    server = emulator.create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    host, port = server._api._httpd.server_address[:2]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
    import gcsfs

    bucket = gcsfs.GCSFileSystem(token="anon", skip_instance_cache=True)
    bucket.mkdir("family")
    for path in photos.rglob("*"):
        if path.is_file():
            bucket.pipe(f"family/2024/{path.relative_to(photos).as_posix()}", path.read_bytes())
    yield bucket
    server.stop()


def test_a_bucket_of_google_is_indexed_like_a_folder(google, photos, tmp_path):
    library, local = tmp_path / "lib", tmp_path / "local"
    tally = index(library, "gs://family/2024")
    assert (tally.looked, tally.faces, tally.failed) == (3, 3, 1)
    index(local, photos)
    there = same_rows(library, local)
    assert [row["path"] for row in there][:2] == ["gs://family/2024/a b.png"] * 2
    executor = Here()
    assert index(library, "gs://family/2024/", executor=executor).unchanged == 3
    assert index(library, "gs://family/2024/*.png", executor=executor).unchanged == 1
    google.rm("family/2024/sub/ä.png")
    tally = index(library, "gs://family", executor=executor)
    assert (tally.unchanged, tally.gone, executor.looker.looked) == (2, 1, 0)
    for missing in ("gs://nobodys/2024", "gs://family/nowhere", "gs://family/2025/a.png"):
        with pytest.raises(UserError, match="there is no such file"):
            scan([missing])


def test_a_bucket_of_google_that_may_not_be_read_says_so(monkeypatch):
    pytest.importorskip("gcsfs")

    class Forbidding(Handler):
        def do_GET(self):
            self.send_error(403, "ann has no storage.objects.list access")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forbidding) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(UserError, match=r"gs://family/.*cannot be read: .*(403|orbidden)"):
            scan(["gs://family/2024"])
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"type": "secret"}', None])
def test_credentials_that_are_no_good_are_an_error_and_not_shown(monkeypatch, tmp_path, content):
    pytest.importorskip("gcsfs")
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")
    with pytest.raises(UserError, match=r"gs://family/.*key\.json.* or unset it") as raised:
        list_address("gs://family/2024", lambda name: True)
    assert "secret" not in str(raised.value)


def test_what_to_install_for_buckets_of_google(monkeypatch):
    from fsspec.registry import _registry

    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for protocol in ("gs", "gcs"):
        monkeypatch.delitem(_registry, protocol, raising=False)
    with pytest.raises(UserError, match=r"gs://bucket/.*pip install 'faces\[gcs\]'"):
        scan(["gs://bucket/a"])


def test_a_file_that_vanishes_after_the_scan_has_a_reason_and_is_tried_again(web, photos, tmp_path):
    found = scan([web])
    (photos / "a b.png").unlink()
    from pipeline.library.index import Indexing
    from tests.pipeline.library.looking import SETTINGS, QuickLooker

    run = Indexing(tmp_path / "lib", QuickLooker(SETTINGS).manifest, found)
    assert run.run(Here(), 1).failed == 2
    [row] = [row for row in rows(tmp_path / "lib") if "a%20b" in row["path"]]
    assert "no such file" in row["error"]
    assert row["digest"] is None


def test_listing_leaves_out_what_is_no_picture(web):
    files, searched = list_address(web, lambda name: name.endswith(".txt"))
    assert searched
    assert [(name.removeprefix(web), size) for name, size, _ in files] == [("notes.txt", 14)]
    assert files[0][2] > 1e9
