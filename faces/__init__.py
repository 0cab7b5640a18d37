"""Find faces, put names to them, and train what does it: everything for Python under one name.

```python
import faces

with faces.Gallery.open("people.db") as gallery:
    gallery.add("Grace Hopper", "grace.jpg")
    for face in faces.FaceAnalyzer(gallery=gallery)("group.jpg"):
        print(face.name, face.similarity, face.box)
```

Each name is imported when it is first asked for, so `import faces` costs nothing, and without the
extra `train` of the package everything works but `train`, `export` and `evaluate`. What is wrong
with an input is a `UserError`, whose message says what to do; all else that is raised is a bug.

Everything else stays importable where it lives, see docs/architecture.md. The modules of this
package are the ground that all others stand on, and know nothing of faces; only this file imports
from the packages above.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.config import TrainConfig
    from detector.evaluation.evaluate import evaluate
    from detector.inference.load import load_detector
    from detector.tasks import export, train
    from detector.types import Detection, Detections
    from faces.errors import UserError
    from faces.images.read import read_image
    from pipeline.analyzer import FaceAnalyzer
    from pipeline.gallery import Gallery
    from pipeline.stream import stream
    from pipeline.types import Face
    from recognizer.embedders.load import load_embedder

    __version__: str

_HOMES = {
    "FaceAnalyzer": "pipeline.analyzer",
    "Face": "pipeline.types",
    "Gallery": "pipeline.gallery",
    "stream": "pipeline.stream",
    "load_detector": "detector.inference.load",
    "Detections": "detector.types",
    "Detection": "detector.types",
    "load_embedder": "recognizer.embedders.load",
    "train": "detector.tasks",
    "TrainConfig": "detector.config",
    "export": "detector.tasks",
    "evaluate": "detector.evaluation.evaluate",
    "read_image": "faces.images.read",
    "UserError": "faces.errors",
}

__all__ = [
    "Detection",
    "Detections",
    "Face",
    "FaceAnalyzer",
    "Gallery",
    "TrainConfig",
    "UserError",
    "__version__",
    "evaluate",
    "export",
    "load_detector",
    "load_embedder",
    "read_image",
    "stream",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("faces")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # from now on it is found without asking here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
