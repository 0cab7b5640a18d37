"""Photos with boxes in, a trained face detector out.

from detector import load_detector

faces = load_detector("best.pt").detect(image)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.inference.load import load_detector

__all__ = ["load_detector"]


def __getattr__(name: str) -> Any:
    """`load_detector` is imported when it is first asked for, so that `import detector` is free."""
    if name == "load_detector":
        from detector.inference.load import load_detector

        return load_detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
