"""Photos in buckets and on web servers: a local S3 server and Python's own web server."""

from __future__ import annotations

import functools
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faces.errors import UserError
from pipeline.library.scan import scan
from pipeline.sources.addresses import list_address
from tests.pipeline.library.looking import Here, index, names, rows
from tests.pipeline.people_photos import person, save


class Handler(http.server.SimpleHTTPRequestHandler):
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


@pytest.mark.slow
def test_a_bucket_is_indexed_like_a_folder(bucket, photos, tmp_path):
    library, local = tmp_path / "lib", tmp_path / "local"
    tally = index(library, "s3://family/2024")
    assert (tally.looked, tally.faces, tally.failed) == (3, 3, 1)
    index(local, photos)
    same = ("digest", "face", "x1", "y2", "quality", "embedding", "width", "error", "size")
    there, here = rows(library), rows(local)
    assert [[r[c] for c in same] for r in there] == [[r[c] for c in same] for r in here]
    assert [row["path"] for row in there][:2] == ["s3://family/2024/a b.png"] * 2
    executor = Here()
    assert index(library, "s3://family/2024/", executor=executor).unchanged == 3
    assert index(library, "s3://family/2024/*.png", executor=executor).unchanged == 1
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


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{web}nowhere.png", "there is no such file"),
        ("http://127.0.0.1:9/a.png", "onnect"),
        ("http://ann:secret@127.0.0.1/a.png", "leave them out"),
        ("gs://bucket/a", "pip install gcsfs"),
        ("ftps://x/y", "give s3://"),
    ],
)
def test_addresses_that_cannot_be_used(web, address, message):
    with pytest.raises(UserError, match=message) as raised:
        scan([address.format(web=web)])
    assert "secret" not in str(raised.value)


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
