"""Other people's detectors behind `detector.types.Detector`, run as their authors run them.

Each takes the picture as it is given, does its own preparation (which is part of its time) and
gives boxes in the pixels of that picture. Only the runtime that one needs is imported, so that its
memory is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.types import Detections
from faces.boxes import iou

YUNET_STRIDES = (8, 16, 32)
YUNET_IOU = 0.45
"""Overlap above which YuNet drops the worse of two boxes: ``configs/yunet_n.py`` (``test_cfg``) of
https://github.com/ShiqiYu/libfacedetection.train."""

ULTRA_LIGHT_IOU = 0.5
"""The same for Ultra-Light: ``detect_imgs_onnx.py`` (``predict``) of
https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB."""

ULTRA_LIGHT_CANDIDATES = 800
"""How many of its best boxes go into the suppression, as where its authors evaluate it
(``widerface_evaluate/evaluation_on_widerface.py`` of the same). Without a limit it takes seconds at
low scores."""


class OneByOne:
    """`detect_batch` for detectors that take one picture at a time."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the faces of an RGB uint8 (H, W, 3) image."""
        raise NotImplementedError

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find the faces of several images, one after the other."""
        return [self.detect(image) for image in images]


class OnnxPeer(OneByOne):
    """A network of one input in ONNX Runtime, on the CPU.

    Args:
        min_score: boxes below it (0..1) are left out.
    """

    def __init__(self, path: Path, threads: int, min_score: float = 0.0) -> None:
        self.session = onnx_session(path, threads)
        [given] = self.session.get_inputs()
        self.input, self.shape = given.name, given.shape
        self.min_score = min_score


class YuNet(OnnxPeer):
    """YuNet (Wu et al. 2023) in ONNX Runtime, from a file whose height and width are free.

    The network gives, for every cell of the strides 8, 16 and 32, a class score, an objectness and
    a box. As in ``modules/objdetect/src/face_detect.cpp`` of OpenCV 4.8 and
    ``mmdet/models/dense_heads/yunet_head.py`` of libfacedetection.train, the score of a cell is the
    root of the product of the first two, both clipped to 0..1, and at stride s the box of the cell
    (row, column) is centered at ``(column + dx, row + dy) * s`` and ``exp(dw) * s`` wide. The input
    is BGR, 0..255, padded with zeros to multiples of 32. A point is at
    ``(column + x, row + y) * s``.

    Args: see `OnnxPeer`; ``points`` asks for the five points, too.
    """

    def __init__(self, path: Path, threads: int, min_score: float, points: bool = False) -> None:
        super().__init__(path, threads, min_score)
        self.kinds = ("cls", "obj", "bbox", *(("kps",) if points else ()))

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        height, width = image.shape[:2]
        rows, columns = -(-height // 32) * 32, -(-width // 32) * 32
        pixels = np.zeros((1, 3, rows, columns), np.float32)
        pixels[0, :, :height, :width] = image.transpose(2, 0, 1)[::-1]
        names = [f"{kind}_{s}" for s in YUNET_STRIDES for kind in self.kinds]
        values = self.session.run(names, {self.input: pixels})
        boxes, scores, points = [], [], []
        for i, stride in enumerate(YUNET_STRIDES):
            each = len(self.kinds)
            classes, objects, moves, *five = values[each * i : each * (i + 1)]
            score = np.sqrt(classes[0, :, 0].clip(0, 1) * objects[0, :, 0].clip(0, 1))
            cells = np.flatnonzero(score >= self.min_score)
            corner = np.stack([cells % (columns // stride), cells // (columns // stride)], axis=1)
            center = (corner + moves[0, cells, :2]) * stride
            half = np.exp(moves[0, cells, 2:]) * (stride / 2)
            boxes.append(np.hstack([center - half, center + half]))
            scores.append(score[cells])
            for of_level in five:
                points.append((corner[:, None] + of_level[0, cells].reshape(-1, 5, 2)) * stride)
        xyxy, score = np.concatenate(boxes), np.concatenate(scores)
        landmarks = np.concatenate(points) if points else None
        return suppressed(xyxy, score, YUNET_IOU, (height, width), landmarks)


class Scrfd(OnnxPeer):
    """SCRFD (Guo et al. 2022) in ONNX Runtime, from a file of any size or of a fixed one.

    After ``detection/scrfd/tools/scrfd.py`` of https://github.com/deepinsight/insightface: RGB,
    ``(x - 127.5) / 128``, padded with black; at stride s each cell (row, column) has two anchors at
    ``(column, row) * s``, each with a score, the distances to the four sides and five points, in
    strides. Outputs are told apart by their width and length, as their names differ. A picture that
    does not fit into a fixed size is shrunk first.
    """

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        size = image.shape[:2]
        scale = 1.0
        rows, columns = self.shape[2:]
        fixed = (rows, columns) if isinstance(rows, int) and rows > 0 else None
        if fixed is not None:
            scale = min(1.0, *(have / want for have, want in zip(fixed, size, strict=True)))
            wide, high = (max(1, round(side * scale)) for side in size[::-1])
            image = np.asarray(
                Image.fromarray(image).resize((wide, high), Image.Resampling.BILINEAR)
            )
        rows, columns = fixed or (-(-side // 32) * 32 for side in size)
        pixels = np.zeros((rows, columns, 3), np.float32)
        pixels[: image.shape[0], : image.shape[1]] = image
        feed = {self.input: ((pixels - 127.5) / 128).transpose(2, 0, 1)[None]}
        levels: dict[int, list[NDArray[np.float32]]] = {1: [], 4: [], 10: []}
        for output in self.session.run(None, feed):
            levels[output.shape[-1]].append(output.reshape(-1, output.shape[-1]))
        boxes, scores = [], []
        ordered = [sorted(levels[kind], key=len, reverse=True) for kind in (1, 4)]
        for stride, score, sides in zip(YUNET_STRIDES, *ordered, strict=True):
            chosen = np.flatnonzero(score[:, 0] >= self.min_score)
            cells = chosen // 2
            corner = np.stack([cells % (columns // stride), cells // (columns // stride)], axis=1)
            left = (corner - sides[chosen, :2]) * stride
            boxes.append(np.hstack([left, (corner + sides[chosen, 2:]) * stride]))
            scores.append(score[chosen, 0])
        xyxy = np.concatenate(boxes) / scale
        return suppressed(xyxy.astype(np.float32), np.concatenate(scores), YUNET_IOU, size)


class UltraLight(OnnxPeer):
    """Ultra-Light-Fast-Generic-Face-Detector-1MB in ONNX Runtime, at the one size of its file.

    Every picture is squeezed into that size and scaled to ``(x - 127) / 128``; the file decodes its
    own anchors and gives boxes as fractions of the picture. After ``detect_imgs_onnx.py`` of
    https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, except that Pillow
    resizes, as it does for all others here.
    """

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        height, width = image.shape[:2]
        rows, columns = self.shape[2:]
        small = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
        pixels = (np.asarray(small, np.float32).transpose(2, 0, 1)[None] - 127) / 128
        scores, boxes = self.session.run(
            ["scores", "boxes"], {self.input: np.ascontiguousarray(pixels)}
        )
        score = scores[0, :, 1]
        best = np.argsort(-score, kind="stable")[:ULTRA_LIGHT_CANDIDATES]
        best = best[score[best] >= self.min_score]
        xyxy = boxes[0, best] * np.array([width, height, width, height], np.float32)
        return suppressed(xyxy, score[best], ULTRA_LIGHT_IOU, (height, width))


class Torchvision(OneByOne):
    """torchvision's ``fasterrcnn_mobilenet_v3_large_320_fpn`` for one class, without weights.

    Its weights know the classes of COCO, where there is no face: it is here for its time. It scales
    the shorter side to 320 pixels itself (the longer one to 640 at most).

    Args:
        threads: CPU threads, for the whole process.
    """

    def __init__(self, threads: int) -> None:
        import torch
        from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

        torch.set_num_threads(threads)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = fasterrcnn_mobilenet_v3_large_320_fpn(
                weights=None, weights_backbone=None, num_classes=2
            ).eval()

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
            [found] = self.model([pixels])
        return Detections.from_raw(
            found["boxes"].numpy(), found["scores"].numpy(), (image.shape[0], image.shape[1])
        )


class Backbone(OnnxPeer):
    """The MobileNetV2 backbone alone in ONNX Runtime: the floor for every detector built on it.

    It is run on noise of the picture's size, padded to multiples of 32, and finds nothing. Reading
    and normalizing the picture are left out on purpose. Its file is one of `export_backbone`.
    """

    noise = np.zeros(0, np.float32)

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        height, width = image.shape[:2]
        shape = (1, 3, -(-height // 32) * 32, -(-width // 32) * 32)
        size = int(np.prod(shape))
        if len(self.noise) < size:
            self.noise = np.random.default_rng(0).standard_normal(size, np.float32)
        self.session.run(None, {"pixels": self.noise[:size].reshape(shape)})
        return Detections.empty((height, width))


OF_FILES: dict[str, type[OnnxPeer]] = {
    "yunet": YuNet, "scrfd": Scrfd, "ultra-light": UltraLight, "backbone": Backbone,
}  # fmt: skip
"""By `detector.benchmark.contestants.Contestant.kind`."""


def export_backbone(path: Path) -> None:
    """Write torchvision's ``mobilenet_v2().features[:18]`` (strides up to 32) as an ONNX file.

    Input ``pixels``, float32 (1, 3, H, W) with H and W multiples of 32. Weights are random: time
    does not depend on them.
    """
    import torch
    from torchvision.models import mobilenet_v2

    from faces.networks.onnx_export import quiet_exporter

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = mobilenet_v2(weights=None).features[:18].eval()
    free = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            backbone,
            (torch.zeros(1, 3, 64, 96),),
            dynamo=True,
            opset_version=18,
            input_names=["pixels"],
            output_names=["features"],
            dynamic_shapes=(free,),
            verbose=False,
        )
    assert program is not None  # it is, with dynamo=True
    program.save(str(path))


def onnx_session(path: Path, threads: int) -> Any:
    """A plain ONNX Runtime session on the CPU with ``threads`` threads."""
    from faces.networks.onnx_session import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def suppressed(
    xyxy: NDArray[np.float32],
    score: NDArray[np.float32],
    threshold: float,
    image_size: tuple[int, int],
    points: NDArray[np.float32] | None = None,
) -> Detections:
    """Boxes (N, 4) and scores (N,) after non-maximum suppression, clipped to the image.

    ``points`` (N, 5, 2) go with them.

    Of two boxes whose IoU is above ``threshold`` (0..1) the better one stays, as in torchvision's
    ``nms``.
    """
    left = np.argsort(-score, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[iou(xyxy[best], xyxy[left])[0] <= threshold]
    landmarks = None if points is None else points[kept]
    return Detections.from_raw(xyxy[kept], score[kept], image_size, landmarks)
