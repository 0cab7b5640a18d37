"""The configuration of a training run.

Every field is a flag of `faces train`; its docstring is the help.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from faces.errors import UserError, require
from faces.settings import with_settings

Arch = Literal["fpn", "reference"]
Precision = Literal["auto", "bf16", "float32"]

AUTO = Path("auto")
"""`TrainConfig.resume` for: go on with the run if there is one, else begin it."""

FOUR_PATHS = ("image_path", "train_ann_dir", "valid_path", "valid_ann_dir")
"""The settings for which `DataConfig.data_dir` stands."""

OLD_SCORE_CALIBRATION = 0.965
"""`ModelConfig.score_calibration` of checkpoints from before it was a setting."""

OLD_MIN_OBJECTNESS = 0.3
"""`ModelConfig.min_objectness` of checkpoints from before it was a setting."""


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures are and how they are shown to the network."""

    data_dir: Annotated[Path | None, tyro.conf.arg(name="data")] = None
    """Folder with all of it, in place of the next four: train/images, train/annotations and the
    same in val, as `faces prepare` writes it; or images and annotations only, of which a part is
    then kept to validate on. Or data.yaml, COCO JSON and what else `faces prepare import` reads:
    the images stay where they are."""
    valid_share: float = 0.1
    """Part (0..1) of the pictures that is kept to validate on where --data has none for that: at
    least 10 pictures, but no more than a fifth for their sake. Pictures that show nearly the same
    stay together. The division is written into the run folder, split.json."""
    split_seed: int = 0
    """Random seed of this division: runs with the same one are validated on the same pictures."""
    image_path: Path | None = None
    """Folder of training images, searched recursively."""
    train_ann_dir: Path | None = None
    """Folder of their PASCAL VOC annotations (.xml), flat or mirroring the image folder."""
    valid_path: Path | None = None
    """Folder of validation images."""
    valid_ann_dir: Path | None = None
    """Folder of their annotations."""
    classes: tuple[str, ...] = ()
    """Object names that are faces; none given: every object is a face."""
    image_size: Annotated[int, tyro.conf.arg(aliases=["-i"])] = 320
    """Side of a training crop in pixels (`reference`: the square that every image is squeezed
    into). A multiple of 32."""
    max_side: int = 640
    """Longest side in pixels to which validation pictures are shrunk (`fpn`)."""
    face_sizes: tuple[float, float] = (16.0, 300.0)
    """Range in pixels that a crop rescales its chosen face to, log-uniformly (`fpn`)."""
    face_crops: float = 0.75
    """Share of the crops that are centered on a face; the others fall anywhere (`fpn`)."""
    min_face: float = 4.0
    """Faces smaller than this in a crop (geometric mean of the sides, pixels) are ignored: neither
    positive nor negative."""
    num_workers: Annotated[int, tyro.conf.arg(aliases=["-w"])] = 2
    """Processes that decode and augment; 0 does it in the training process."""
    cache_mb: int = 0
    """Megabytes of decoded images kept in memory, over all workers; 0 keeps none."""


@dataclass(frozen=True)
class ModelConfig:
    """The network; stored in every checkpoint, so that it can be rebuilt."""

    arch: Arch = "fpn"
    """`fpn`: MobileNetV2 with a feature pyramid, for faces. `reference`: the well-known recipe with
    one 1280-channel map and a 1024-wide head (82 M parameters)."""
    backbone_weights: str = "imagenet"
    """`imagenet` (downloaded once by torchvision), `none` (from scratch: then the whole backbone
    learns), or a file with the state dict of torchvision's mobilenet_v2."""
    width: float = 1.0
    """Width multiplier of MobileNetV2; other than 1.0 there are no ImageNet weights."""
    channels: int = 64
    """Channels of every pyramid level (`fpn`)."""
    head_width: int = 256
    """Width of the fully connected layer that classifies a proposal (`fpn`)."""
    points: bool = False
    """Also find the eyes, the nose and the corners of the mouth of every face (`fpn`). Learned from
    annotations that have them, <landmarks>; faces without are no part of it."""
    box_loss: float = 1.5
    """Weight of the two box-regression losses in the sum: means over faces of what is missing of
    the overlap (GIoU) for `fpn`; torchvision's smooth L1 over all sampled boxes for `reference`."""
    anchors: Annotated[tuple[tuple[float, ...], ...], tyro.conf.Suppress] = (
        (8.0, 12.5),
        (19.0, 30.0),
        (47.0, 73.0),
        (115.0, 180.0),
        (280.0, 440.0),
    )
    anchor_ratio: Annotated[float, tyro.conf.Suppress] = 1.25
    objectness: Annotated[float, tyro.conf.Suppress] = 0.5
    """Share (0..1) of the proposal network in a face's score: its logit and the head's are averaged
    (`fpn`)."""
    score_calibration: Annotated[float, tyro.conf.Suppress] = field(
        default=0.5, metadata={"old_name": "half"}
    )
    """The uncalibrated score (0..1) that is reported as 0.5 (`fpn`), measured by `faces calibrate`;
    0.5 leaves the scores as they are."""
    temperature: Annotated[float, tyro.conf.Suppress] = 1.0
    """What the logit of a calibrated score is divided by (`fpn`): below 1 clear faces are surer,
    and 0.5 stays 0.5. The losses take the logits as they are."""
    min_objectness: Annotated[float, tyro.conf.Suppress] = 0.1
    """Proposals with a lower objectness (0..1) are not looked at when detecting (`fpn`). Objectness
    learns the overlap of its box: of a network that has not learned long, few reach 0.3."""


@dataclass(frozen=True)
class OptimConfig:
    """How the network is optimized."""

    epochs: Annotated[int, tyro.conf.arg(aliases=["-e"])] = 40
    """Passes over the training images: an epoch shows as many crops as there are images, more of
    those with many faces (`fpn`)."""
    batch_size: Annotated[int, tyro.conf.arg(aliases=["-b"])] = 8
    """Images that go through the network together, over all processes."""
    accumulate: int = 1
    """Add up the gradients of so many batches before each step: it is the same as that of one batch
    so many times as large, and takes the memory of one."""
    learning_rate: Annotated[float, tyro.conf.arg(aliases=["-l"])] = 1e-3
    """Peak learning rate of AdamW."""
    backbone_lr: Annotated[
        float | None,
        tyro.conf.arg(aliases=["--body-lr"], help_behavior_hint="(default: 0.3; 1 from scratch)"),
    ] = field(default=None, metadata={"old_name": "body_lr"})
    """The backbone learns at this multiple of the learning rate."""
    weight_decay: float = 1e-2
    """AdamW weight decay."""
    amsgrad: bool = False
    """Use the AMSGrad variant of AdamW."""
    warmup_steps: int = 200
    """Steps over which the learning rate rises linearly from zero: at most a tenth of the run's."""
    cooldown: float = 0.3
    """Last part of all steps (0..1) in which the learning rate falls linearly to zero, whatever the
    plateau schedule has made of it; 0 leaves it to the plateau schedule alone."""
    clip_norm: float = 5.0
    """Largest norm of the gradient; 0 does not clip."""
    plateau_factor: float = 0.3
    """ReduceLROnPlateau multiplies the learning rate by this ..."""
    plateau_patience: int = 2
    """... after this many epochs without a better validation loss."""
    ema: float = 0.998
    """Decay of the running average of the weights, which is what is validated and kept in best.pt;
    0 uses the plain weights."""
    freeze: Annotated[
        int | None, tyro.conf.arg(help_behavior_hint="(default: 4; 0 from scratch)")
    ] = None
    """Blocks of the backbone, from the stem on, that do not learn (4: up to stride 4)."""
    batch_norm: Annotated[
        Literal["heads", "all", "frozen"] | None,
        tyro.conf.arg(help_behavior_hint="(default: heads; all from scratch)"),
    ] = None
    """Where batch-norm statistics move: in the pyramid and heads, everywhere, or nowhere (which
    needs --init: new heads have none yet)."""
    only_points: bool = False
    """Learn nothing but the points, on weights from --init: boxes and scores stay exactly as they
    are, neither is computed, and a step takes 0.4 of the time of one with them. The best epoch is
    the one with the lowest error of the points; AP50 is not measured, as it stays."""
    best: Literal["ap", "loss"] = "ap"
    """What makes an epoch the best, whose weights are best.pt: the highest AP50 on the validation
    pictures, or the lowest validation loss (as where there is no AP)."""
    ap_every: int = 1
    """Measure AP50 (PASCAL VOC, as `faces evaluate` does) after every so many epochs and the
    last; 0: never. The plateau schedule goes by the validation loss in any case."""
    seed: int = 0
    """Every random choice is a function of this, the step and the image."""

    @property
    def images_a_step(self) -> int:
        """Images of one step, over all processes and accumulated batches."""
        return self.batch_size * self.accumulate


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    >>> import faces
    >>> config = faces.TrainConfig(run="runs/mine")
    >>> config.optim.epochs, config.model.arch
    (40, 'fpn')
    """

    run: Path | None = None
    """Run folder [default: runs/ARCH]: configuration, history, checkpoints, pictures."""
    resume: Path | None = None
    """Go on with the run in this folder, exactly where it stopped. Only --epochs, --num-workers,
    --cache-mb, --device, --threads and the outputs may be changed then, and --data where the
    pictures were moved. `auto`: go on with the run in --run if there is one, else begin it."""
    init: Path | None = None
    """Fine-tune: start from the weights of this checkpoint of the same architecture; `shipped` are
    those that come with the project."""
    config: Path | None = None
    """Read settings from this TOML file; its keys are the names of the flags, and flags given on
    the command line win."""
    model_file: Annotated[Path | None, tyro.conf.arg(name="model", aliases=["-m"])] = None
    """Also write the best checkpoint to this file."""
    fig_path: Path | None = None
    """Also write the plot of the losses to this file (.png, .pdf, .svg)."""
    device: str = "auto"
    """`auto` (CUDA, else CPU), `cpu`, `cuda`, `cuda:1`, `mps` (slow and may hang)."""
    precision: Precision = "auto"
    """What the network computes in while it learns: `bf16` (bfloat16 where that is safe, half the
    memory and up to twice as fast where the processor is made for it), `float32`, or `auto`: bf16
    on CUDA and, for `fpn`, on a processor that is faster with it, which is measured."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to torch. Bit-for-bit resuming needs the same number."""
    save_minutes: float = 10.0
    """Write last.pt at least this often within an epoch."""
    tensorboard: bool = False
    """Write TensorBoard events into the run folder (needs `pip install 'faces[tensorboard]'`)."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        data, model, optim = self.data, self.model, self.optim
        rules = [
            (
                not model.points or model.arch == "fpn",
                "points are found by fpn only: leave out points or arch",
            ),
            (data.image_size >= 128, "image_size must be at least 128"),
            (data.image_size % 32 == 0, "image_size must be a multiple of 32"),
            (0 < data.valid_share <= 0.5, "valid_share must be above 0 and at most 0.5"),
            (data.max_side >= 64, "max_side must be at least 64"),
            (0 < data.face_sizes[0] <= data.face_sizes[1], "face_sizes must be LOW HIGH"),
            (0 <= data.face_crops <= 1, "face_crops must be between 0 and 1"),
            (data.num_workers >= 0, "num_workers must not be negative"),
            (data.cache_mb >= 0, "cache_mb must not be negative"),
            (data.min_face >= 0, "min_face must not be negative"),
            (model.box_loss > 0, "box_loss must be positive"),
            (model.width > 0, "width must be positive"),
            (model.channels >= 8, "channels must be at least 8"),
            (model.head_width >= 8, "head_width must be at least 8"),
            (optim.epochs >= 1, "epochs must be at least 1"),
            (optim.batch_size >= 1, "batch_size must be at least 1"),
            (optim.accumulate >= 1, "accumulate must be at least 1"),
            (optim.learning_rate > 0, "learning_rate must be positive"),
            (0 < model.score_calibration < 1, "score_calibration must be between 0 and 1"),
            (model.temperature > 0, "temperature must be positive"),
            (0 <= model.min_objectness < 1, "min_objectness must be at least 0 and below 1"),
            ((optim.backbone_lr or 0) >= 0, "backbone_lr must not be negative"),
            (optim.weight_decay >= 0, "weight_decay must not be negative"),
            (optim.clip_norm >= 0, "clip_norm must not be negative"),
            (0 < optim.plateau_factor < 1, "plateau_factor must be between 0 and 1"),
            (optim.plateau_patience >= 0, "plateau_patience must not be negative"),
            (0 <= optim.ema < 1, "ema must be at least 0 and below 1"),
            (0 <= (optim.freeze or 0) <= 18, "freeze must be between 0 and 18"),
            (optim.ap_every >= 0, "ap_every must not be negative"),
            (optim.warmup_steps >= 0, "warmup_steps must not be negative"),
            (0 <= optim.cooldown <= 1, "cooldown must be between 0 and 1"),
            (self.threads >= 0, "threads must not be negative"),
            (self.save_minutes > 0, "save_minutes must be positive"),
            (
                model.width == 1.0 or model.backbone_weights != "imagenet",
                "width other than 1.0 has no ImageNet weights: set backbone_weights to none",
            ),
        ]
        both = [name for name in FOUR_PATHS if getattr(data, name) is not None]
        if data.data_dir is not None and both:
            raise UserError(
                f"give data or {both[0]}, not both: data {data.data_dir} is a folder with all four "
                f"of {', '.join(FOUR_PATHS)}"
            )
        require(rules)


def preset(arch: Arch) -> TrainConfig:
    """The defaults of an architecture.

    `reference` is the published recipe: https://pytorch.org/tutorials/intermediate/
    torchvision_tutorial.html's MobileNetV2 Faster R-CNN at 224x224, batch 10, 40 epochs,
    AdamW at 1e-4 with torch's default weight decay, ReduceLROnPlateau with torch's defaults.
    """
    if arch == "fpn":
        return TrainConfig()
    return TrainConfig(
        data=DataConfig(image_size=224, num_workers=4, min_face=1.0),
        model=ModelConfig(arch="reference", box_loss=1.0),
        optim=OptimConfig(
            epochs=40,
            batch_size=10,
            learning_rate=1e-4,
            backbone_lr=1.0,
            weight_decay=1e-2,
            warmup_steps=0,
            cooldown=0.0,
            clip_norm=0.0,
            plateau_factor=0.1,
            plateau_patience=10,
            ema=0.0,
            freeze=0,
            batch_norm="all",
        ),
    )


def run_folder(config: TrainConfig) -> Path:
    """Where a run is or will be."""
    if config.resume is not None and config.resume != AUTO:
        return config.resume
    return config.run or Path("runs") / config.model.arch


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as JSON-ready values (paths as strings, tuples as lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def load_config(run: Path) -> TrainConfig:
    """The configuration of a run folder. Raises UserError when there is none or it is damaged."""
    path = run / "config.json"
    try:
        return from_dict(TrainConfig, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{run} is not a run folder: it has no config.json") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def from_dict(kind: type, values: dict[str, Any]) -> Any:
    """The inverse of `to_dict`; missing fields get the default that they had when it was written.

    A field is also read under its ``old_name``. Raises UserError for an unknown field.
    """
    then = {"score_calibration": OLD_SCORE_CALIBRATION, "min_objectness": OLD_MIN_OBJECTNESS}
    if kind is ModelConfig:
        values = {**then, **values}
    elif "model" in values:
        values = {**values, "model": {**then, **values["model"]}}
    return with_settings(kind(), values, "written by another version of this program: ")
