"""The networks: shapes, sizes, ignored faces, weights and their refusals."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import roi_align

from detector.backbone import normed
from detector.config import ModelConfig, OptimConfig, TrainConfig
from detector.inference.resize import Resize
from detector.inference.torch_backend import trains_in_bf16
from detector.model import build_model
from detector.stages import IgnoringRoIHeads, _covered, enlarge
from detector.training.dataset import FaceIndex, ValidationBatches
from detector.training.validate import set_train_mode, validate
from faces.errors import UserError
from tests.tiny import TINY_MODEL, make_voc

CPU = torch.device("cpu")


def millions(config: ModelConfig) -> float:
    model = build_model(config, pretrained=False)
    return sum(p.numel() for p in model.parameters()) / 1e6


@pytest.mark.slow
def test_fpn_is_small_and_reference_is_as_published() -> None:
    assert millions(ModelConfig()) == pytest.approx(2.67, abs=0.4)
    reference = build_model(ModelConfig(arch="reference"), pretrained=False)
    count = sum(p.numel() for p in reference.parameters()) / 1e6
    assert count == pytest.approx(82.4, abs=0.1)
    head = sum(p.numel() for p in reference.roi_heads.parameters()) / 1e6
    assert head == pytest.approx(65.3, abs=0.1)
    assert reference.roi_heads.detections_per_img == 100
    assert reference.rpn.anchor_generator.sizes == ((32.0, 64.0, 128.0, 256.0, 512.0),)


def test_anchors_cover_the_faces_that_fpn_is_for() -> None:
    sizes = sorted(s for level in ModelConfig().anchors for s in level)
    assert sizes[0] <= 8
    assert sizes[-1] >= 400
    assert max(b / a for a, b in itertools.pairwise(sizes)) < 1.6


@pytest.mark.slow
@pytest.mark.usefixtures("small_reference")
@pytest.mark.parametrize("config", [TINY_MODEL, replace(TINY_MODEL, arch="reference")])
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (160, 96)])
def test_losses_in_training_and_boxes_in_evaluation(
    config: ModelConfig, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    model = build_model(config)
    images = torch.randint(0, 255, (2, 3, *size), dtype=torch.uint8)
    full = {"boxes": torch.tensor([[10.0, 10, 40, 50]]), "labels": torch.ones(1).long()}
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
    losses = model.train()(images, [full, none])
    assert losses.keys() == {
        "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"
    }  # fmt: skip
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(loss) for loss in model(images, [none, none]).values())
    model.eval()
    model.rpn.score_thresh = model.roi_heads.score_thresh = 0.0  # untrained ones score low
    for result in model(images):
        boxes = result["boxes"]
        assert len(boxes)
        assert (boxes[:, 2] <= size[1]).all()
        assert (boxes[:, 3] <= size[0]).all()


def test_covered() -> None:
    regions = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 19], [0, 0, 10, 21], [52, 52, 54, 54]])
    assert _covered(boxes, regions).tolist() == [True, True, False, True]


def test_a_proposal_is_judged_with_what_surrounds_it() -> None:
    boxes = torch.tensor([[20.0, 30, 30, 50], [0, 0, 64, 64]])
    larger = enlarge(boxes, 1.5)
    assert larger.tolist() == [[17.5, 25, 32.5, 55], [-16, -16, 80, 80]]
    pool = build_model(TINY_MODEL).roi_heads.box_roi_pool
    assert pool.context == pytest.approx(1.5)
    maps = {str(i): torch.rand(1, 2, 64 >> i, 64 >> i) for i in range(4)}
    # Regions of 30 and 96 pixels have cells of 4.3 and 13.7: strides 4 and 8.
    proposals = torch.tensor([[10.0, 30, 30, 50], [0, 0, 64, 64]])
    pooled = pool(maps, [proposals], [(256, 256)])
    regions = enlarge(proposals, 1.5)
    fine = roi_align(maps["0"], [regions[:1]], 7, 1 / 4, 1)
    coarse = roi_align(maps["1"], [regions[1:]], 7, 1 / 8, 1)
    torch.testing.assert_close(pooled, torch.cat((fine, coarse)))


@pytest.mark.usefixtures("small_reference")
@pytest.mark.parametrize("config", [TINY_MODEL, replace(TINY_MODEL, arch="reference")])
@pytest.mark.parametrize("training", [False, True])
def test_proposals_are_torchvisions_with_their_objectness(
    config: ModelConfig, training: bool
) -> None:
    torch.manual_seed(1)
    rpn = build_model(config).rpn.train(training)
    counts, sizes = [300, 200, 40], [(96, 128), (128, 128)]
    corner = torch.rand(2, 540, 2) * 120
    boxes = torch.cat((corner, corner + torch.rand(2, 540, 2) * 40), dim=2)
    logits = torch.randn(1080, 1) * 2
    ours, scores = rpn.filter_proposals(boxes, logits, sizes, counts)
    if training:  # weak ones too, and such as lie closer together
        rpn.score_thresh, rpn.nms_thresh = 0.0, 0.7
    theirs, expected = RegionProposalNetwork.filter_proposals(rpn, boxes, logits, sizes, counts)
    for i in range(2):
        torch.testing.assert_close(ours[i][:, :4], theirs[i], rtol=0, atol=0)
        torch.testing.assert_close(scores[i], expected[i])
        torch.testing.assert_close(ours[i][:, 4].sigmoid(), expected[i])
        assert len(ours[i]) > 20


def test_a_face_is_scored_by_the_head_and_by_the_proposal_network() -> None:
    heads = build_model(
        replace(TINY_MODEL, objectness=0.25, score_calibration=0.9, temperature=0.5)
    ).roi_heads.eval()
    proposals = [torch.tensor([[10.0, 10, 30, 40, 4.0], [60, 60, 80, 90, -1.0]])]
    logits = torch.tensor([[-1.0, 3.0], [0.5, 2.5]])
    _, [scores], _ = heads.postprocess_detections(logits, torch.zeros(2, 8), proposals, [(99, 99)])
    mean = torch.tensor([0.75 * 4 + 0.25 * 4, 0.75 * 2 - 0.25])
    torch.testing.assert_close(scores, ((mean - torch.tensor(9.0).log()) / 0.5).sigmoid())


def test_ignored_faces_are_neither_positive_nor_negative() -> None:
    model = build_model(TINY_MODEL)
    anchors = [torch.tensor([[0.0, 0, 20, 20], [50, 50, 70, 70], [100, 100, 120, 120]])]
    target = {
        "boxes": torch.tensor([[0.0, 0, 20, 20]]),
        "labels": torch.ones(1).long(),
        "ignore": torch.tensor([[48.0, 48, 72, 72]]),
    }
    labels, _ = model.rpn.assign_targets_to_anchors(anchors, [target])
    assert labels[0].tolist() == [20 / 16, -1, 0]  # a face of 20 pixels: `face_weights`
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
    labels, _ = model.rpn.assign_targets_to_anchors(
        anchors, [{**nothing, "ignore": target["ignore"]}]
    )
    assert labels[0].tolist() == [0, -1, 0]
    heads = model.roi_heads
    assert isinstance(heads, IgnoringRoIHeads)
    proposals, _, labels, _ = heads.select_training_samples([anchors[0]], [target])
    assert [50, 50, 70, 70] not in proposals[0].tolist()
    assert [100, 100, 120, 120] in proposals[0].tolist()
    overlapping = {**target, "ignore": torch.tensor([[0.0, 0, 30, 30]])}
    proposals, _, labels, _ = heads.select_training_samples([anchors[0]], [overlapping])
    assert labels[0].tolist().count(1) >= 1  # a true face under an ignored one still counts


def test_the_validation_loss_repeats_exactly_and_moves_nothing(tmp_path: Path) -> None:
    make_voc(tmp_path, 4)
    torch.manual_seed(3)
    model = build_model(TINY_MODEL)
    index = FaceIndex(tmp_path / "images", tmp_path / "annotations")
    batches = ValidationBatches(index, Resize("fit", 96), 2)
    set_train_mode(model, OptimConfig(batch_norm="all", freeze=1))
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    evaluated = validate(model, batches, CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(7)
    assert evaluated == validate(model, batches, CPU)
    without_ap = validate(model, batches, CPU, ap=False)
    assert evaluated is not None
    assert without_ap is not None
    assert evaluated.ap50 is not None
    assert without_ap.ap50 is None
    first = evaluated.losses
    assert first == without_ap.losses
    assert first["loss"] == pytest.approx(sum(v for k, v in first.items() if k != "loss"))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]


@pytest.mark.parametrize(
    ("policy", "body", "heads"),
    [("heads", False, True), ("all", True, True), ("frozen", False, False)],
)
def test_batch_norm_policies(policy: str, body: bool, heads: bool) -> None:
    model = build_model(TINY_MODEL)
    set_train_mode(model, OptimConfig(batch_norm=policy, freeze=2))  # type: ignore[arg-type]
    norms = {
        name: m.training for name, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)
    }
    assert norms["backbone.body.1.conv.0.1"] is False  # a frozen block never moves
    assert norms["backbone.body.5.conv.0.1"] is body
    assert norms["backbone.lateral.0.1"] is heads


def test_weights_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = mobilenet_v2()
    torch.save(source.state_dict(), tmp_path / "body.pth")
    model = build_model(ModelConfig(backbone_weights=str(tmp_path / "body.pth")))
    wanted = source.features[5].conv[0][0].weight
    assert torch.equal(model.backbone_blocks[5].conv[0][0].weight, wanted)


def test_weights_that_cannot_be_used_name_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = r"set backbone_weights to a local file.*none to train from scratch"
    with pytest.raises(UserError, match=f"no such file.*{ways}"):
        build_model(ModelConfig(backbone_weights=str(tmp_path / "absent.pth")))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match=f"not a file of weights.*{ways}"):
        build_model(ModelConfig(backbone_weights=str(tmp_path / "text.pth")))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=f"does not hold the weights.*{ways}"):
        build_model(ModelConfig(backbone_weights=str(tmp_path / "other.pth")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "torch.hub.urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("no route to host"))
    )
    with pytest.raises(UserError, match=f"cannot be downloaded.*{ways}"):
        build_model(ModelConfig())


@pytest.mark.data
def test_the_real_backbone_weights_fit(shared_data: Path) -> None:
    path = shared_data / "weights" / "mobilenet_v2_imagenet.pth"
    model = build_model(ModelConfig(backbone_weights=str(path)))
    weights = torch.load(path, weights_only=True)
    assert torch.equal(model.backbone_blocks[0][0].weight, weights["features.0.0.weight"])


def test_a_wider_body_without_weights_is_refused() -> None:
    with pytest.raises(UserError, match="set backbone_weights to none"):
        TrainConfig(model=ModelConfig(width=0.5))


def test_the_box_losses_are_weighted() -> None:
    losses = {"loss_classifier": torch.ones(()), "loss_rpn_box_reg": torch.ones(())}
    model = build_model(replace(TINY_MODEL, box_loss=3.0)).train()
    assert model.eager_outputs(losses, []) == {"loss_classifier": 1.0, "loss_rpn_box_reg": 3.0}


@pytest.mark.usefixtures("small_reference")
@pytest.mark.parametrize("arch", ["fpn", "reference"])
def test_a_batch_that_ignored_faces_fill_has_losses_and_gradients(arch: str) -> None:
    """A portrait whose crop shows less than half of the one face, or marks it difficult."""
    torch.manual_seed(0)
    model = build_model(replace(TINY_MODEL, arch=arch)).train()
    target = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0).long(),
        "ignore": torch.tensor([[-900.0, -900.0, 1000.0, 1000.0]]),
    }
    losses = model(torch.randint(0, 255, (1, 3, 96, 96), dtype=torch.uint8), [target])
    assert losses["loss_classifier"] == losses["loss_box_reg"] == 0
    (losses["loss_classifier"] + losses["loss_box_reg"]).backward()
    gradients = [p.grad for p in model.roi_heads.parameters()]
    assert all(grad is not None and not grad.any() for grad in gradients)


@pytest.mark.slow
def test_both_losses_of_fpn_are_means_over_faces() -> None:
    """Twice the same picture, or one beside it without faces, has the same loss of the boxes."""
    torch.manual_seed(0)
    model = build_model(TINY_MODEL).eval()  # its batch norm; the parts below are in training mode
    for part in (model, model.rpn, model.roi_heads):
        part.training = True
    images = torch.randint(0, 255, (1, 3, 128, 128), dtype=torch.uint8)
    target = {"boxes": torch.tensor([[20.0, 20, 60, 70]]), "labels": torch.ones(1).long()}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
    heads = model.roi_heads
    heads.fg_bg_sampler.batch_size_per_image = 10_000  # all, so that chance has no part in it
    heads.fg_bg_sampler.positive_fraction = 0.9
    once = model(images, [target])
    twice = model(images.expand(2, -1, -1, -1), [target, target])
    beside = model(images.expand(2, -1, -1, -1), [target, nothing])
    for name, loss in once.items():
        torch.testing.assert_close(twice[name], loss, msg=name)
        if name.endswith("box_reg"):
            torch.testing.assert_close(beside[name], loss, msg=name)
    assert not build_model(replace(TINY_MODEL, arch="reference")).roi_heads.quality


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norm_that_does_not_move_is_part_of_the_convolution(frozen: bool) -> None:
    """The same maps and gradients as module by module, also of what batch norm scales by."""
    torch.manual_seed(0)
    model = build_model(replace(TINY_MODEL, width=0.25))
    for child in model.modules():
        if isinstance(child, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(child.running_mean, -1, 1)
            torch.nn.init.uniform_(child.running_var, 0.5, 2)
            torch.nn.init.uniform_(child.weight, 0.5, 2)
            torch.nn.init.uniform_(child.bias, -1, 1)
    other = copy.deepcopy(model)
    images = torch.rand(2, 3, 64, 64)
    found = []
    for network, run in ((model, normed), (other, lambda module, x: module(x))):
        network.train(not frozen)
        x = images
        for block in [*network.backbone.body, network.backbone.lateral[3], network.rpn.head.conv]:
            x = run(block, x)
        x.square().mean().backward()
        parts = (network.backbone.body, network.backbone.lateral[3], network.rpn.head.conv)
        found.append((x, [p.grad for part in parts for p in part.parameters()], network))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert all(grad is not None for grad in found[0][1])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)
    for ours, theirs in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("small_reference")
@pytest.mark.parametrize("arch", ["fpn", "reference"])
def test_proposals_are_exact_in_bfloat16(arch: str) -> None:
    """BoxCoder gives boxes the type of the deltas: at 600 px bfloat16 has steps of four pixels."""
    model = build_model(replace(TINY_MODEL, arch=arch)).eval()
    torch.nn.init.zeros_(model.rpn.head.bbox_pred.weight)  # proposals are the anchors
    model.rpn.score_thresh = 0.0
    images, _ = model.transform(torch.zeros(1, 3, 640, 640, dtype=torch.uint8))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = model.backbone(images.tensors)
        maps = maps if isinstance(maps, dict) else {"0": maps}
        [boxes], _ = model.rpn(images, maps)
    assert boxes.dtype == torch.float32
    [anchors] = model.rpn.anchor_generator(images, list(maps.values()))
    inside = (anchors.min(dim=1).values >= 0) & (anchors.max(dim=1).values <= 640)
    apart = torch.cdist(boxes[:, :4], anchors[inside].float()).amin(dim=1)
    whole = (boxes[:, :4].min(dim=1).values > 0) & (boxes[:, :4].max(dim=1).values < 640)
    assert whole.any()
    assert apart[whole].max() < 1e-3


def test_what_learns_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for has in (True, False):
        monkeypatch.setattr(
            "detector.inference.torch_backend.cpu_gains_by_bf16", lambda has=has: has
        )
        assert trains_in_bf16("auto", CPU, "fpn") == has
        assert not trains_in_bf16("auto", CPU, "reference")  # as published
        assert trains_in_bf16("auto", cuda, "reference")
        for arch in ("fpn", "reference"):
            assert trains_in_bf16("bf16", CPU, arch)
            assert not trains_in_bf16("float32", cuda, arch)
    assert not trains_in_bf16("auto", torch.device("mps"), "fpn")
