"""Training speed: ours against a plain torchvision loop and against `reference`, in one run.

    python benchmarks/train.py                            # on the demo's scenes
    python benchmarks/train.py --data data/wider/train    # a folder with images/ and annotations/

The contestants take turns, a step each, so that a machine that slows down slows them all; compared
are the ratios within a turn. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import mobilenet_v2
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.transforms.v2 import functional

from detector.backbone import Pyramid
from detector.config import TrainConfig, preset
from detector.shipped import SHIPPED
from detector.training.dataset import Batch, FaceIndex
from detector.training.distributed import World
from detector.training.train import Trainer
from detector.training.transforms import FACE
from faces.images.read import read_image

Step = Callable[[], tuple[int, float]]
"""Takes one optimizer step; returns the number of images and the seconds spent on data."""


def ours(config: TrainConfig) -> tuple[Step, int]:
    """Steps of the trainer itself, loader and all; and its number of parameters."""
    trainer = Trainer(config, World(), torch.device("cpu"))

    def forever() -> Iterator[Batch]:
        while True:
            yield from trainer.data.loader
            trainer.data.batches.epoch += 1

    batches = forever()

    def step() -> tuple[int, float]:
        start = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - start
        trainer.step([batch])
        trainer.progress.step += 1
        return len(batch[0]), waited

    return step, sum(p.numel() for p in trainer.model.parameters())


def plain(data: Path, image_size: int, batch_size: int) -> tuple[Step, int]:
    """The loop that tutorials show: stock FasterRCNN settings, decoding in the step, NCHW.

    The backbone, the size of the images and the batch are ours; the whole network learns.
    """
    backbone = Pyramid(mobilenet_v2().features, 64)
    sizes = tuple((size,) for size in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    model = FasterRCNN(
        backbone, num_classes=2, rpn_anchor_generator=anchors, min_size=image_size,
        max_size=image_size,
    ).train()  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    index = FaceIndex(data / "images", data / "annotations")
    usable = [i for i in range(len(index)) if (index.labels(i) == FACE).any()]
    position = 0

    def load(i: int) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = torch.from_numpy(read_image(index.path(i))).permute(2, 0, 1).float() / 255
        height, width = pixels.shape[-2:]
        pixels = functional.resize(pixels, [image_size, image_size], antialias=True)
        scale = torch.tensor([image_size / width, image_size / height] * 2)
        boxes = torch.from_numpy(index.boxes(i)[index.labels(i) == FACE]) * scale
        return pixels, {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}

    def step() -> tuple[int, float]:
        nonlocal position
        start = time.perf_counter()
        chosen = [usable[(position + k) % len(usable)] for k in range(batch_size)]
        images, targets = zip(*map(load, chosen), strict=True)
        waited = time.perf_counter() - start
        position += batch_size
        loss = torch.stack(list(model(list(images), list(targets)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return batch_size, waited

    return step, sum(p.numel() for p in model.parameters())


def scenes(folder: Path) -> Path:
    """The demo's scenes as VOC, for machines without WIDER FACE; returns the training part."""
    from detector.data.wider.convert import convert
    from scripts.demo_parts.scenes import make_scenes

    make_scenes(folder / "wider")
    convert(folder / "wider", folder / "voc", "train")
    return folder / "voc" / "train"


def main() -> int:
    """Run the contest and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with images/ and annotations/")
    parser.add_argument("--turns", type=int, default=12, help="counted steps of each [12]")
    parser.add_argument("--reference-turns", type=int, default=3, help="of `reference` [3]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        data = options.data or scenes(Path(name))

        def config(arch: str, image_size: int, batch_size: int) -> TrainConfig:
            base = preset(arch)  # type: ignore[arg-type]
            return replace(
                base,
                run=Path(name) / f"{arch}{image_size}",
                data=replace(
                    base.data,
                    image_path=data / "images",
                    train_ann_dir=data / "annotations",
                    valid_path=data / "images",
                    valid_ann_dir=data / "annotations",
                    image_size=image_size,
                    num_workers=options.workers,
                ),
                model=replace(base.model, backbone_weights="none"),
                # Frozen as in a real run, which only weights that have learned may be.
                init=Path(SHIPPED) if arch == "fpn" else None,
                optim=replace(base.optim, batch_size=batch_size),
            )

        print("## The same backbone, 320x320, batch 8\n")
        contest(
            {
                "`fpn`, `faces train`": ours(config("fpn", 320, 8)),
                "plain torchvision loop": plain(data, 320, 8),
            },
            options.turns,
        )
        print("\n## 224x224, batch 10\n")
        contest(
            {
                "`fpn`, `faces train`": ours(config("fpn", 224, 10)),
                "`reference`, `faces train`": ours(config("reference", 224, 10)),
            },
            options.reference_turns,
        )
    return 0


def contest(contestants: dict[str, tuple[Step, int]], turns: int) -> None:
    """Let all take ``turns`` steps in turn, after two to warm up, and print a table."""
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    waits: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(turns + 2):
        for name, (step, _) in contestants.items():
            start = time.perf_counter()
            images, waited = step()
            seconds = time.perf_counter() - start
            print(f"turn {turn}: {name} {images / seconds:.2f} images/s", file=sys.stderr)
            if turn >= 2:
                speeds[name].append(images / seconds)
                waits[name].append(waited / seconds)
    first = next(iter(contestants))
    print("| training | parameters | images/s: median (min-max) | waiting for data | ratio |")
    print("|---|---|---|---|---|")
    for name, (_, parameters) in contestants.items():
        ratio = statistics.median(a / b for a, b in zip(speeds[first], speeds[name], strict=True))
        low, middle, high = min(speeds[name]), statistics.median(speeds[name]), max(speeds[name])
        print(
            f"| {name} | {parameters / 1e6:.1f} M | {middle:.2f} ({low:.2f}-{high:.2f}) | "
            f"{statistics.median(waits[name]):.1%} | "
            + ("1" if name == first else f"{first} is {ratio:.1f}x faster")
            + " |"
        )


if __name__ == "__main__":
    sys.exit(main())
