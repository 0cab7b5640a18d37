"""Training of `MiniResNet` by a teacher: it learns to give the vectors that a larger network gives.

"Knowledge distillation: A good teacher is patient and consistent" (Beyer et al., CVPR 2022): both
see the same crop, however spoilt, and the variants never end.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from common.errors import UserError
from common.files import atomic_write_text
from common.run import stop_signals
from recognizer.checkpoint import load_checkpoint, save_checkpoint
from recognizer.crop import CropRecipe
from recognizer.lfw import Lfw
from recognizer.mini import MiniConfig, MiniResNet
from recognizer.muon import Muon
from recognizer.pretrain_config import PretrainConfig
from recognizer.pretrain_data import Varied
from recognizer.types import unit

log = logging.getLogger(__name__)

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
SPREAD = np.array([0.229, 0.224, 0.225], np.float32) * 255
"""Of ImageNet, with which the teacher was trained."""


class Teacher:
    """MobileFaceNet as ONNX: aligned RGB faces -> unit vectors."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Open the file, with its fixed batch of 1 made free.

        Raises UserError when it cannot be read or is no such network.
        """
        try:
            proto = onnx.load(path)
            [image], [vector] = proto.graph.input, proto.graph.output
            sizes = [d.dim_value for d in image.type.tensor_type.shape.dim]
            self.dimension = int(vector.type.tensor_type.shape.dim[1].dim_value)
            self.size = int(sizes[2])
            _free_batch(proto, self.dimension)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = threads or 0
            self._session = onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # protobuf and ONNX Runtime have many kinds
            raise UserError(f"the teacher {path} cannot be opened as ONNX: {error}") from error
        if sizes[1:] != [3, self.size, self.size] or not self.dimension:
            raise UserError(f"the teacher {path} takes {sizes}, expected (N, 3, S, S)")
        self._input = image.name

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 (N, size, size, 3) -> unit vectors float32 (N, dimension)."""
        x = np.ascontiguousarray(((faces - MEAN) / SPREAD).transpose(0, 3, 1, 2))
        return unit(self._session.run(None, {self._input: x})[0])


def _free_batch(proto: onnx.ModelProto, dimension: int) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    for node in proto.graph.node:  # the target of the last Reshape was written for a batch of 1
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.t.data_type == onnx.TensorProto.INT64:
                values = numpy_helper.to_array(attribute.t)
                if values.tolist() in ([1, -1], [1, dimension]):
                    attribute.t.CopyFrom(numpy_helper.from_array(np.array([-1, dimension])))


class Pool:
    """The latest variants with the teacher's vectors: each is used a few times."""

    def __init__(self, config: PretrainConfig, varied: Varied, teacher: Teacher) -> None:
        self._config, self._varied, self._teacher = config, varied, teacher
        size = varied.size
        self._faces = np.zeros((config.pool, size, size, 3), np.uint8)
        self._vectors = np.zeros((config.pool, teacher.dimension), np.float32)
        self.made = 0

    def refill(self, step: int, count: int) -> None:
        """Add ``count`` variants, in place of the oldest; which ones follows from seed and step."""
        for part in range(0, count, 8):  # small batches stay in the processor's cache
            seeds = range(part, min(part + 8, count))
            faces = np.stack([self._varied(self._seed(step, i)) for i in seeds])
            rows = np.arange(self.made, self.made + len(faces)) % len(self._faces)
            self._faces[rows], self._vectors[rows] = faces, self._teacher(faces)
            self.made += len(faces)

    def _seed(self, step: int, number: int) -> int:
        return (self._config.seed << 48) + (step << 24) + number

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Crops uint8 (B, S, S, 3) and the teacher's vectors (B, D)."""
        random = np.random.default_rng([self._config.seed, step])
        rows = random.integers(0, min(self.made, len(self._faces)), self._config.batch_size)
        return torch.from_numpy(self._faces[rows]), torch.from_numpy(self._vectors[rows])


@dataclass(frozen=True, eq=False)
class Judge:
    """Verification of pairs: the threshold is chosen on ``tuning`` and applied to ``held_out``.

    The faces are aligned crops uint8 (N, S, S, 3) of each set's images.
    """

    tuning: Lfw
    tuning_faces: NDArray[np.uint8]
    held_out: Lfw
    held_out_faces: NDArray[np.uint8]

    def __post_init__(self) -> None:
        both = set(self.tuning.people) & set(self.held_out.people)
        if both:
            raise ValueError(f"people in both parts: {sorted(both)[:5]}")

    def __call__(self, embed: Any) -> dict[str, float]:
        """Accuracy on both, and the threshold, for a function from faces to unit vectors."""
        tuning = self.tuning.cosines(embed(self.tuning_faces))
        held_out = self.held_out.cosines(embed(self.held_out_faces))
        threshold = best_threshold(tuning, self.tuning.same)
        return {
            "tuning": float(((tuning > threshold) == self.tuning.same).mean()),
            "held_out": float(((held_out > threshold) == self.held_out.same).mean()),
            "threshold": threshold,
        }


def best_threshold(cosines: NDArray[np.float32], same: NDArray[np.bool_]) -> float:
    """The cosine above which pairs count as one person, with the fewest mistakes.

    Of several, the middle of the first.
    """
    order = np.argsort(-cosines, kind="stable")
    sorted_cosines = np.concatenate([[1.0], cosines[order], [-1.0]])
    right = np.concatenate([[0], np.cumsum(np.where(same[order], 1, -1))])
    best = int(right.argmax())
    return float((sorted_cosines[best] + sorted_cosines[best + 1]) / 2)


def embed_with(network: MiniResNet, faces: NDArray[np.uint8], batch: int = 64) -> NDArray:
    """Unit vectors float32 (N, D) of crops uint8 (N, S, S, 3), in half precision."""
    network.eval()
    parts = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(faces), batch):
            parts.append(network(torch.from_numpy(faces[start : start + batch])).float().numpy())
    return np.concatenate(parts)


class Trainer:
    """A run in a folder: last.pt and history.jsonl."""

    def __init__(
        self, config: PretrainConfig, shape: MiniConfig, recipe: CropRecipe, run: Path
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.recipe, self.run = config, recipe, run
        self.network = MiniResNet(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MiniResNet(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average.load_state_dict(self.network.state_dict())
        inner = [p for name, p in self.network.stages.named_parameters() if p.ndim == 4]
        chosen = {id(p) for p in inner}
        rest = [p for p in self.network.parameters() if id(p) not in chosen]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(inner, config.lr),
            torch.optim.AdamW(rest, config.lr_rest, weight_decay=config.weight_decay),
        ]
        self.step = 0
        self.history: list[dict[str, Any]] = []

    def resume(self) -> None:
        """Go on from the folder's last.pt."""
        payload = load_checkpoint(self.run / "last.pt")
        training = payload["training"]
        self.average.load_state_dict(payload["weights"])
        self.network.load_state_dict(training["weights"])
        for optimiser, state in zip(self.optimisers, training["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step, self.history = training["step"], payload["history"]

    def save(self) -> None:
        """Write last.pt and history.jsonl."""
        save_checkpoint(
            self.run / "last.pt",
            self.network.config,
            self.recipe,
            self.average.state_dict(),
            settings=dataclasses.asdict(self.config),
            history=self.history,
            training={
                "step": self.step,
                "weights": self.network.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            },
        )
        lines = "".join(json.dumps(line) + "\n" for line in self.history)
        atomic_write_text(self.run / "history.jsonl", lines)

    def train_step(self, faces: Tensor, vectors: Tensor) -> float:
        """One step; returns the loss, 1 - cosine with the teacher's vectors."""
        rate = self.config.rate(self.step)
        highest = (self.config.lr, self.config.lr_rest)
        for optimiser, lr in zip(self.optimisers, highest, strict=True):
            optimiser.param_groups[0]["lr"] = lr * rate
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16):
            given = self.network(faces)
        loss = 1 - F.cosine_similarity(given.float(), vectors).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss of step {self.step} is {loss.item()}")
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._follow()
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running average; it forgets the beginning quickly."""
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        new = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name], 1 - decay)
            else:
                value.copy_(new[name])

    def fit(self, pool: Pool, judge: Judge | None) -> Iterator[dict[str, Any]]:
        """Train to the last step (or until Ctrl-C); yields a line after each evaluation."""
        start, losses = time.monotonic(), []
        missing = self.config.pool
        pool.refill(self.config.steps + self.step, missing)
        with (
            stop_signals() as stopped,
            tqdm(total=self.config.steps, initial=self.step, unit="step", disable=None) as bar,
        ):
            while self.step < self.config.steps and not stopped:
                pool.refill(self.step, self.config.fresh)
                losses.append(self.train_step(*pool.batch(self.step)))
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.3f}")
                last = self.step == self.config.steps or bool(stopped)
                if self.step % 25 == 0:
                    log.debug("step %d loss %.4f", self.step, np.mean(losses[-25:]))
                if last or self.step % self.config.evaluate_every == 0:
                    line = {
                        "step": self.step,
                        "loss": float(np.mean(losses)),
                        "lr": self.config.rate(self.step - 1),
                        "seconds": round(time.monotonic() - start, 1),
                    }
                    if judge is not None:
                        line |= judge(lambda faces: embed_with(self.average, faces))
                    self.history.append(line)
                    self.save()
                    losses = []
                    yield line
