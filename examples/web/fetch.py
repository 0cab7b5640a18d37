"""Put beside this file what the page needs and this repository does not hold.

ONNX Runtime Web comes from the npm registry, one version, checked by its digest before it is
opened; the detector is the shipped one.
"""

import hashlib
import io
import shutil
import sys
import tarfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
URL = "https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def fetch(url: str = URL, digest: str = SHA256, out: Path = HERE) -> None:
    """Write ``FILES`` to ``out``/ort and the detector to ``out``/detector.onnx; SystemExit says why
    that cannot be."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read(100_000_000)
    except OSError as error:
        sys.exit(f"{url} cannot be had: {error}; try again, or from another network")
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"{url} is not the file it was (SHA-256 {digest} is wanted): nothing was written")
    (out / "ort").mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None
            (out / "ort" / name).write_bytes(member.read())
    shutil.copy(HERE.parents[1] / "detector/weights/fpn.onnx", out / "detector.onnx")
    print(f"written to {out}; next: {sys.executable} -m http.server --bind 127.0.0.1 -d {out}")


if __name__ == "__main__":
    fetch()
