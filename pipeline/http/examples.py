"""Examples for the OpenAPI document; a test reads them with the real types."""

from __future__ import annotations

from typing import Any

_BOX = {"box": [312.4, 96.1, 401.8, 214.6], "score": 0.998, "liveness": None}
_SIZE = {"width": 1024, "height": 683}
_CHALLENGED = {
    "session": "q0cUSK3nJ9yTzv1dM5bYw8rF2hLxAeGk", "status": "waiting", "asks": "left",
    "instruction": "Turn your head slowly to your left.", "hint": None, "reason": None,
    "message": None, "step": 1, "steps": 4, "progress": 0.35, "left": 71.5, "faces": 1,
    "liveness": None, "person": None,
}  # fmt: skip
_JOB = {
    "job": "b1946ac92492d234", "kind": "fit", "state": "running", "progress": 0.4,
    "message": "epoch 24 of 60", "news": 24, "started": 1795312800.0, "finished": None,
    "result": None,
}  # fmt: skip

RESPONSES: dict[str, dict[str, Any]] = {
    "detect": {"images": [{**_SIZE, "faces": [_BOX]}]},
    "embed": {
        "contract": "mini-1f0c2d5b",
        "images": [{**_SIZE, "faces": [{**_BOX, "embedding": [0.6, 0.0, -0.8]}]}],
    },
    "recognize": {
        "version": 12,
        "images": [
            {
                **_SIZE,
                "faces": [
                    {**_BOX, "name": "Ada", "similarity": 0.83, "confidence": 0.97,
                     "source": "head"},
                    {"box": [40.0, 88.5, 121.3, 190.2], "score": 0.973, "liveness": None,
                     "name": None, "similarity": 0.21, "confidence": 0.64, "source": "none"},
                ],
            }
        ],
    },
    "verify": {"same": True, "similarity": 0.79, "threshold": 0.43, "faces": [_BOX, _BOX]},
    "liveness/begin": {
        **_CHALLENGED, "asks": "look", "step": 0, "progress": 0.0, "left": 90.0, "faces": None,
        "instruction": "Look straight at the camera and hold still.",
    },
    "liveness/frame": _CHALLENGED,
    "liveness/state": {
        **_CHALLENGED, "status": "passed", "asks": "done", "step": 4, "progress": 1.0,
        "instruction": "Thank you, that is all.", "left": 29.0,
        "person": {"name": "Ada", "similarity": 0.83, "confidence": None, "source": "gallery"},
    },
    "liveness/end": {"session": _CHALLENGED["session"]},
    "enroll": {
        "name": "Ada", "added": 2, "version": 13,
        "refused": [{"image": 2, "code": "several_faces",
                     "message": "image 2 shows 3 faces; one is needed, or `largest`"}],
    },
    "people": {
        "version": 13, "total": 2,
        "people": [{"name": "Ada", "photos": 5}, {"name": "Grace", "photos": 3}],
    },
    "people/rename": {"version": 14},
    "people/forget": {"version": 15},
    "fit": {**_JOB, "progress": 0.0, "message": "starting", "news": 0},
    "fit/status": _JOB,
    "info": {
        "version": "0.1.0", "detector": "fpn.pt 5f0c7d9a", "contract": "mini-1f0c2d5b",
        "dimension": 256, "liveness": False, "challenges": False, "people": 2, "people_version": 13,
        "head": True, "threshold": 0.43,
        "limits": {"max_bytes": 20971520, "max_pixels": 25000000, "max_images": 16,
                   "max_faces": 100, "deadline": 30.0},
        "operations": ["detect", "recognize"],
    },
    "health": {"ready": True, "waiting": 3, "reason": None},
}  # fmt: skip

REQUESTS: dict[str, dict[str, Any]] = {
    "liveness/begin": {"mirrored": False},
    "liveness/state": {"session": _CHALLENGED["session"]},
    "liveness/end": {"session": _CHALLENGED["session"]},
    "people/rename": {"name": "Ada", "new_name": "Ada Lovelace"},
    "people/forget": {"name": "Ada"},
    "fit": {},
}

ERROR: dict[str, Any] = {
    "error": {
        "code": "several_faces",
        "message": "image 1 shows 3 faces; one is needed, or `largest`",
        "details": {"image": 1, "faces": 3},
        "retry_after": None,
    },
    "request_id": "9f86d081884c7d65",
}
