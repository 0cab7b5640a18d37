"""Which extra of the package brings a library, for whoever lacks one.

The table follows ``[project.optional-dependencies]`` of pyproject.toml; a test compares the two.
"""

from __future__ import annotations

EXTRAS = {
    "train": (
        "facenet_pytorch",
        "faster_coco_eval",
        "gdown",
        "onnx",
        "onnxscript",
        "skimage",
        "torch",
        "torchmetrics",
        "torchvision",
        "yaml",
    ),
    "serve": (
        "fastapi",
        "limits",
        "prometheus_client",
        "pydantic",
        "python_multipart",
        "starlette",
        "uvicorn",
        "websockets",
    ),
    "fast": ("openvino",),
    "heic": ("pi_heif",),
    "index": ("pyarrow",),
    "remote": ("aiohttp", "fsspec", "s3fs"),
    "gcs": ("gcsfs",),
    "ray": ("ray",),
    "large": ("faiss",),
    "postgres": ("pg8000",),
    "telemetry": ("opentelemetry",),
    "tensorboard": ("tensorboard",),
}
"""The modules that each extra brings, by the names they are imported by."""


def advice(error: ModuleNotFoundError) -> str | None:
    """What to install when a library of an extra is missing; None when it is none of them.

    >>> advice(ModuleNotFoundError("No module named 'torch'", name="torch"))
    "this needs torch, which is not installed: pip install 'faces[train]'"
    """
    module = (error.name or "").split(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f"this needs {module}, which is not installed: pip install 'faces[{extra}]'"
    return None
