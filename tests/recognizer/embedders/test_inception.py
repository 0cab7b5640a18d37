from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from faces import download as download_module
from faces.errors import UserError
from recognizer.embedders import inception_load, inception_weights
from recognizer.embedders.inception import InceptionFaces, open_inception
from recognizer.embedders.inception_load import load_inception, with_torch
from recognizer.embedders.inception_weights import Release, find_cached, find_or_fetch
from recognizer.embedders.load import load_embedder
from tests.faces.test_download import DATA, QUOTA_PAGE, Server, server

__all__ = ["server"]  # a fixture


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(download_module.time, "sleep", lambda _: None)
    return tmp_path / "torch" / "checkpoints"


@pytest.fixture
def releases(server: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[Release, Release]:
    """Two published files on a local server; only the first one is there."""
    server.files["first.pt"] = DATA
    pair = (
        Release("first", f"{server.url}/first.pt", hashlib.sha256(DATA).hexdigest()),
        Release("second", f"{server.url}/second.pt", hashlib.sha256(b"second").hexdigest()),
    )
    monkeypatch.setattr(inception_weights, "RELEASES", pair)
    monkeypatch.setattr(inception_weights.fetch, "__defaults__", (pair[0],))
    return pair


@pytest.fixture(scope="module")
def network() -> InceptionFaces:
    """Not trained, but with statistics as after training."""
    torch.manual_seed(0)
    faces = InceptionFaces()
    with torch.no_grad():
        for name, buffer in faces.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.01)
    return faces.eval()


@pytest.fixture(scope="module")
def weights(network: InceptionFaces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vggface2.pt"
    state = dict(network.net.state_dict())
    state["logits.weight"], state["logits.bias"] = torch.zeros(5, 512), torch.zeros(5)
    torch.save(state, path)
    return path


def some_faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 160, 160, 3), np.uint8)


def test_weights_are_fetched_once(server: Server, releases: object, cache: Path) -> None:
    assert find_cached() is None
    path = find_or_fetch()
    assert path == cache / "first.pt"
    assert path.read_bytes() == DATA
    assert find_or_fetch() == path
    assert len(server.ranges) == 1
    assert find_cached() == path


def test_a_broken_download_goes_on_where_it_stopped(
    server: Server,
    releases: object,
) -> None:
    server.drops = 1
    assert find_or_fetch().read_bytes() == DATA
    assert server.ranges == [None, "bytes=150000-"]


def test_damaged_weights_in_the_cache_are_fetched_again(
    server: Server,
    releases: object,
    cache: Path,
) -> None:
    cache.mkdir(parents=True)
    (cache / "first.pt").write_bytes(DATA[:-1])
    assert find_or_fetch().read_bytes() == DATA
    assert len(server.ranges) == 1


def test_the_second_release_will_do_where_it_is_there(
    server: Server,
    releases: object,
    cache: Path,
) -> None:
    cache.mkdir(parents=True)
    (cache / "second.pt").write_bytes(b"second")
    assert find_or_fetch() == cache / "second.pt"
    assert server.ranges == []


@pytest.mark.parametrize("trouble", ["no server", "refused", "web page", "other file"])
def test_without_network_both_ways_out_are_named(
    trouble: str,
    server: Server,
    releases: tuple[Release, Release],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if trouble == "no server":
        gone = Release("first", "http://127.0.0.1:9/first.pt", releases[0].sha256)
        monkeypatch.setattr(inception_weights.fetch, "__defaults__", (gone,))
    elif trouble == "refused":
        server.status = 404
    else:
        server.files["first.pt"] = QUOTA_PAGE if trouble == "web page" else DATA[:-1] + b"?"
    with pytest.raises(UserError) as error:
        load_embedder("inception")
    assert "no trained weights" in str(error.value)
    assert "embedder_weights" in str(error.value)
    assert "the embedder mini" in str(error.value)
    assert not (cache / "first.pt").exists()


def test_the_real_releases_are_those_of_facenet_pytorch() -> None:
    import inspect

    from facenet_pytorch.models.inception_resnet_v1 import load_weights

    source = inspect.getsource(load_weights)
    for release in inception_weights.RELEASES:
        assert release.url in source
        assert release.name in source
        assert len(release.sha256) == 64


def test_the_cache_is_where_facenet_pytorch_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from facenet_pytorch.models.inception_resnet_v1 import get_torch_home

    def theirs() -> Path:
        return Path(get_torch_home()) / "checkpoints"

    assert inception_weights.cache_folder() == theirs()
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert inception_weights.cache_folder() == theirs()
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert inception_weights.cache_folder() == theirs()


@pytest.mark.slow
def test_trained_weights_are_taken_with_or_without_the_classifier(
    network: InceptionFaces, weights: Path
) -> None:
    opened = open_inception(weights)
    for name, value in network.net.state_dict().items():
        assert torch.equal(opened.net.state_dict()[name], value), name


@pytest.mark.slow
def test_a_network_without_trained_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "random.pt"
    torch.save(InceptionFaces().net.state_dict(), path)
    with pytest.raises(UserError, match="never trained"):
        load_embedder("inception", path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no weights"):
        load_embedder("inception", tmp_path / "none.pt")
    path = tmp_path / "other.pt"
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="is no state dict of InceptionResnetV1 as facenet"):
        load_embedder("inception", path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="is no state dict of InceptionResnetV1"):
        load_embedder("inception", path)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match="damaged or cut short"):
        load_embedder("inception", path)


def test_auto_takes_inception_where_its_weights_are_whole(
    weights: Path,
    cache: Path,
    releases: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[Path | None] = []

    def load_inception(given: Path | None, threads: int | None) -> SimpleNamespace:
        asked.append(given)
        return SimpleNamespace()

    monkeypatch.setattr(inception_load, "load_inception", load_inception)
    load_embedder("auto", weights)
    cache.mkdir(parents=True)
    (cache / "first.pt").write_bytes(DATA)
    load_embedder("auto")
    assert asked == [weights, cache / "first.pt"]
    (cache / "first.pt").write_bytes(DATA[:5])
    assert load_embedder("auto", threads=1).fingerprint.startswith("mini-")
    assert "first.pt is cut short or damaged" in caplog.text


@pytest.mark.slow
def test_it_runs_with_torch_where_the_cache_cannot_be_written(
    weights: Path, network: InceptionFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(inception_load, "export_embedder", refuse)
    embedder = load_inception(weights, threads=1)
    assert embedder.fingerprint == with_torch(network).fingerprint
    assert embedder.fingerprint.startswith("inception-")
    assert embedder.fingerprint.endswith("/crop1-stretched-160-0.0959")
    faces = some_faces(2)
    vectors = embedder.embed(faces)
    assert vectors.shape == (2, 512)
    with torch.inference_mode():
        x = (torch.from_numpy(faces).permute(0, 3, 1, 2).float() - 127.5) / 128
        expected = network.net(x).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.slow
def test_it_is_converted_to_onnx_once(
    weights: Path, network: InceptionFaces, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = load_embedder("inception", weights, threads=1)
    [converted] = cache.iterdir()
    assert converted.suffix == ".onnx"
    reference = with_torch(network)
    assert embedder.fingerprint == reference.fingerprint
    for count in (1, 3):
        faces = some_faces(count)
        np.testing.assert_allclose(embedder.embed(faces), reference.embed(faces), atol=1e-4)
    monkeypatch.setattr(
        inception_load, "export_embedder", lambda *_: pytest.fail("converted again")
    )
    assert load_embedder("auto", weights).fingerprint == embedder.fingerprint
